"""Files as Torch7's ``torch.save`` writes them, by its published File.lua, Tensor.c and Storage.c.

No Torch7 has read them; torchfile 0.1.0, a reader by others, gives what was written.
"""

import collections
import struct

import numpy

Module = collections.namedtuple('Module', 'name fields')


def module(name, **fields):
    return Module(f'nn.{name}', fields)


def sequence(name, *modules):
    return module(name, modules=list(modules))


def save(value):
    """The bytes of a file. Arrays are tensors of floats: parts of an array, which is their storage."""
    out, numbers, kept = [], {}, []

    def ints(*values):
        out.append(struct.pack(f'<{len(values)}i', *values))

    def longs(*values):
        out.append(struct.pack(f'<{len(values)}q', *values))

    def text(string):
        ints(len(string))
        out.append(string.encode('ascii'))

    def known(kind, key):
        """Write the kind and the number of an item; whether it has been written before."""
        ints(kind)
        seen = id(key) in numbers
        ints(numbers.setdefault(id(key), len(numbers) + 1))
        kept.append(key)  # so that no other gets its id
        return seen

    def item(value):
        if value is None:
            ints(0)
        elif isinstance(value, bool):
            ints(5, int(value))
        elif isinstance(value, (int, float)):
            ints(1)
            out.append(struct.pack('<d', value))
        elif isinstance(value, str):
            ints(2)
            text(value)
        elif isinstance(value, (dict, list)):
            if not known(3, value):
                pairs = list(value.items()) if isinstance(value, dict) else list(enumerate(value, 1))
                ints(len(pairs))
                for pair in pairs:
                    item(pair[0])
                    item(pair[1])
        elif isinstance(value, Module):
            if not known(4, value):
                text('V 1')
                text(value.name)
                item(value.fields)
        elif not known(4, value):
            whole = value.base
            text('V 1')
            text('torch.FloatTensor')
            ints(value.ndim)
            longs(*value.shape)
            longs(*(stride // 4 for stride in value.strides))
            longs(1 + (value.__array_interface__['data'][0] - whole.__array_interface__['data'][0]) // 4)
            if not known(4, whole):
                text('V 1')
                text('torch.FloatStorage')
                longs(whole.size)
                out.append(whole.astype('<f4').tobytes())

    item(value)
    return b''.join(out)


def network(generator, norm='instance', pad='reflect-start', upsampling='nearest', blocks=2, widths=(3, 4, 5, 4, 3)):
    """A checkpoint of fast-neural-style's train.lua with random parameters, all in one storage; and these, in order.

    For each convolution a dict: W, b, and gamma, beta, mean, variance where a normalization follows.
    """
    a, b, c, d, e = widths
    shapes = [(a, 3, 9, 9), (b, a, 3, 3), (c, b, 3, 3)] + [(c, c, 3, 3)] * (2 * blocks)
    shapes += [(d, c, 3, 3), (e, d, 3, 3)] if upsampling == 'nearest' else [(c, d, 3, 3), (d, e, 3, 3)]
    shapes += [(3, e, 9, 9)]
    maps = [a, b, c] + [c] * (2 * blocks) + [d, e, 3]
    sizes = [int(numpy.prod(shape)) + 5 * width for shape, width in zip(shapes, maps)]
    storage, parameters, start = numpy.zeros(sum(sizes), 'float32'), [], 0

    def part(values):
        nonlocal start
        values = numpy.asarray(values, 'float32')
        storage[start : start + values.size] = values.ravel()
        start += values.size
        return storage[start - values.size : start].reshape(values.shape)

    for shape, width in zip(shapes, maps):
        parameters.append(
            dict(
                W=part(generator.randn(*shape) / numpy.sqrt(shape[1] * shape[2] * shape[3])),
                b=part(0.3 * generator.randn(width)),
                gamma=part(1 + 0.3 * generator.randn(width)),
                beta=part(0.3 * generator.randn(width)),
                mean=part(0.3 * generator.randn(width)),
                variance=part(0.5 + generator.rand(width)),
            )
        )
    rest = iter(list(zip(parameters, maps)))
    crop = pad != 'zero'

    def conv(stride=1, margin=None, full=False):
        parameter, width = next(rest)
        kernel = parameter['W'].shape[2]
        margin = kernel // 2 if margin is None else margin
        first, second = parameter['W'].shape[:2]
        fields = dict(nInputPlane=first if full else second, nOutputPlane=width, kW=kernel, kH=kernel, dW=stride)
        fields.update(dH=stride, padW=margin, padH=margin, weight=parameter['W'], bias=parameter['b'])
        if full:
            fields.update(adjW=1, adjH=1)
        convolution = module('SpatialFullConvolution' if full else 'SpatialConvolution', **fields)
        if parameter is parameters[-1]:
            return [convolution]
        fields = dict(weight=parameter['gamma'], bias=parameter['beta'], eps=1e-5)
        if norm == 'instance':
            return [convolution, module('InstanceNormalization', **fields)]
        fields.update(running_mean=parameter['mean'], running_var=parameter['variance'], momentum=0.1)
        return [convolution, module('SpatialBatchNormalization', **fields)]

    relu = module('ReLU', inplace=True, threshold=0, val=0)
    modules = [module('SpatialReflectionPadding', **dict.fromkeys(('pad_l', 'pad_r', 'pad_t', 'pad_b'), 8 * blocks))]
    modules = modules if pad == 'reflect-start' else []
    for stride in (1, 2, 2):
        modules += conv(stride) + [relu]
    for _ in range(blocks):
        margin = 0 if crop else 1
        branch = sequence('Sequential', *(conv(margin=margin) + [relu] + conv(margin=margin)))
        shortcut = module('ShaveImage', size=2) if crop else module('Identity')
        modules.append(sequence('Sequential', sequence('ConcatTable', branch, shortcut), module('CAddTable')))
    for _ in range(2):
        if upsampling == 'nearest':
            modules += [module('SpatialUpSamplingNearest', scale_factor=2)] + conv() + [relu]
        else:
            modules += conv(2, full=True) + [relu]
    modules += conv() + [module('Tanh'), module('MulConstant', constant_scalar=150, inplace=False)]
    modules.append(module('TotalVariation', strength=1e-6))
    checkpoint = dict(
        opt=dict(preprocessing='vgg', padding_type=pad, use_instance_norm=int(norm == 'instance'), gpu=0),
        train_loss_history=[1.5, 1.25],
        model=sequence('Sequential', *modules),
    )
    return checkpoint, parameters
