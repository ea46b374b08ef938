"""Networks of other projects: what their files hold, as the architecture and the parameters of a network of ours.

Each reader says which project's networks it takes. Nothing in a file is trusted or run, and none needs Theano.
"""

import collections
import json
import os
import re

import numpy

import files
import utils
from architecture import Architecture
from formats import networks, onnx, tensorflow, torch, torch7

__all__ = ['read']

# A convolution: filters OIHW (IOHW if of stride 1/2) of a cross-correlation, and what follows: beta and gamma, with
# batch norm the mean and the variance, or a bias.
Convolution = collections.namedtuple('Convolution', 'filters rows')


def read(path, network=None):
    """A network of ours or of another project; arguments, results and errors are those of `networks.read`.

    The name of a file says what it is: ``.npz``, ``.onnx``, ``.pth`` or ``.model`` of PyTorch's, ``.ckpt`` or
    ``.index`` of TensorFlow's, ``.t7`` of Torch7's; or it is a folder of deeplearn.js.
    """
    if path.endswith('.npz'):
        return networks.read(path, network)
    readers = {
        '.onnx': _read_onnx,
        '.pth': _read_pytorch,
        '.model': _read_pytorch,
        '.ckpt': _read_tensorflow,
        '.index': _read_tensorflow,
        '.t7': _read_torch7,
    }
    reader = _read_deeplearnjs if os.path.isdir(path) else readers.get(os.path.splitext(path)[1])
    if reader is None:
        raise utils.UserError(
            f'{path}: networks are read from {", ".join([".npz"] + sorted(readers))}, and from folders of deeplearn.js'
        )
    try:
        read = reader(path)
        networks.check(path, read[0], read[1], read[3])
    except utils.UserError:
        raise
    except files.ERRORS as error:
        raise utils.UserError(f'{path}: cannot read this network: {utils.reason(error)}')
    return read


def _contents(path):
    """The bytes of a file of reasonable size."""
    most = utils.limit('GOGH_MAX_BYTES', files.MAX_BYTES)
    files.check_regular(path)
    if os.path.getsize(path) > most:
        raise ValueError(f'it has more than the {most} bytes that are read at most; set GOGH_MAX_BYTES to allow more')
    with open(path, 'rb') as file:
        return file.read()


def _assemble(convolutions, styles, turned=False, **settings):
    """A network, as `networks.read` returns it, of its convolutions in order.

    With `turned` their filters are for an image that is not turned, and the padding 'same' turns it.
    """
    deconv, shapes = settings.get('upsampling') == 'deconv', []
    for i, (filters, rows) in enumerate(convolutions):
        if filters.ndim != 4 or not all(row.ndim for row in rows):
            raise ValueError('its filters do not have four dimensions')
        shape = filters.shape
        if deconv and len(convolutions) - 3 <= i < len(convolutions) - 1:
            shape = (shape[1], shape[0]) + shape[2:]
        shapes += [shape, (shape[0],), (shape[0],)]
    architecture = Architecture.from_shapes(shapes, **settings)
    values = []
    for filters, rows in convolutions:
        filters = filters if turned else filters[:, :, ::-1, ::-1]  # of a convolution, which turns them itself
        values += [numpy.array(value, 'float32') for value in (filters,) + tuple(rows)]
    return architecture, styles, {}, values


# ONNX -----------------------------------------------------------------------------------------------------

# Between the photo and the pastiche.
ONNX_OPERATIONS = (
    'Add BatchNormalization Cast Clip Concat Conv ConvTranspose Div Floor Gather Greater Identity '
    'InstanceNormalization Max Min Mod Mul Pad Pow Range Reciprocal ReduceMean Relu Resize Shape '
    'Sigmoid Slice Sqrt Sub Tanh Unsqueeze Upsample Where'
).split()


def _read_onnx(path):
    """An ONNX network of these shapes: ours; CIN networks with styles as weights, and PyTorch's examples."""
    graph = onnx.graph(_contents(path))
    if 'meta' in graph.metadata and graph.metadata.get('project') == 'gogh-figure':
        architecture, styles, meta = networks.read_meta(path, graph.metadata['meta'])
        convolutions, _ = _walk(graph)
        settings = {
            name: getattr(architecture, name)
            for name in architecture.__dataclass_fields__
            if name not in ('widths', 'up_widths', 'residual_blocks', 'filter_sizes')
        }
        found, _, _, values = _assemble(convolutions, styles, **settings)
        shapes = architecture.shapes(max(1, len(styles)))
        if found != architecture or len(shapes) != len(values):
            raise ValueError('its convolutions are not those that its metadata name')
        return (
            architecture,
            styles,
            meta,
            [value.reshape(shape) for value, (_, shape) in zip(values, shapes) if value.size == numpy.prod(shape)],
        )
    convolutions, seen = _walk(graph)
    _check_counts(convolutions, seen)
    settings = dict(
        upsampling='deconv' if seen['ConvTranspose'] else 'nearest', pad='reflect' if seen['Pad'] else 'zero'
    )
    if seen['epsilon']:
        settings['epsilon'] = float(min(seen['epsilon'], key=abs))
    if seen['Sigmoid']:
        rows = [row for convolution in convolutions for row in convolution.rows]
        if any(row.ndim != 2 for row in rows) or any(len(c.rows) != 2 for c in convolutions):
            raise ValueError('its normalizations lack a gamma and a beta for each style')
        return _assemble(convolutions, [f'style {i}' for i in range(len(rows[0]))], **settings)
    if seen['Tanh'] or seen['Sub'] and not seen['ReduceMean']:
        raise ValueError('its output is neither a sigmoid nor linear, as in the networks that are known')
    return _linear(convolutions, _stem(path), **settings)


def _check_counts(convolutions, seen):
    """See that what lies between the convolutions is what our networks have there."""
    count, blocks = len(convolutions), (len(convolutions) - 6) // 2
    upsampled = [seen['ConvTranspose'], seen['Resize'] + seen['Upsample']]
    if seen['Relu'] != count - 1 - blocks or sorted(upsampled) != [0, 2]:
        raise ValueError(f'it has {count} convolutions, and other rectifiers or upsamplings than these networks')
    padded = [pads for op, size, pads in seen['pads'] if op == 'Conv' and size > 1]
    whole = [[size // 2] * 4 for op, size, _ in seen['pads'] if op == 'Conv' and size > 1]
    zero = not seen['Pad'] and padded == whole
    mirror = seen['Pad'] == len(padded) and padded == [[0] * 4] * len(padded)
    transposed = [pads for op, _, pads in seen['pads'] if op == 'ConvTranspose']
    if not (zero or mirror) or transposed != [[1] * 4 + [1, 1]] * len(transposed):
        raise ValueError('it pads otherwise than these networks')


def _stem(path):
    return os.path.splitext(os.path.basename(os.path.abspath(path)))[0]


def _linear(convolutions, style, **settings):
    """A network of PyTorch's examples: RGB in 0–255 in and out, the last convolution with a bias only.

    What biases the other convolutions have, instance normalization takes away.
    """
    filters, rows = convolutions[0]
    convolutions[0] = Convolution(numpy.float32(255) * filters, rows)  # for a photo in [0, 1]
    filters, rows = convolutions[-1]
    convolutions[-1] = Convolution(filters, [rows[-1] - numpy.float32(127.5)])
    return _assemble(
        convolutions, [style], network='fns', preprocessing='none', output='linear', last='bias', **settings
    )


def _walk(graph):
    """The convolutions of a graph in order, each with the arrays that scale and shift its output.

    Returns
    -------
    convolutions : list of Convolution
    seen : collections.defaultdict
        How often each operation was met on the way from the photo; the list 'epsilon', and the list 'pads', of the
        operation, the side of the filters, and the padding of each convolution.
    """
    if not graph.inputs:
        raise ValueError('it has no input')
    moving, roots, seen = {graph.inputs[0]}, {}, collections.defaultdict(int, epsilon=[], pads=[])
    found = []

    def root(name):
        """The array of numbers for channels that a variable is computed from, by way of the weights of styles."""
        if name in graph.arrays:
            return name if graph.arrays[name].size > 1 and graph.arrays[name].dtype.kind == 'f' else None
        return roots.get(name)

    for node in graph.nodes:
        if not moving.intersection(node.inputs):
            for name in node.outputs:
                roots[name] = next(filter(None, map(root, node.inputs)), None)
            continue
        if node.op not in ONNX_OPERATIONS:
            raise ValueError(f'it has the operation {node.op}, which these networks do not have')
        moving.update(node.outputs)
        seen[node.op] += 1
        others = [name for name in node.inputs if name not in moving]
        modes = {'Pad': 'reflect', 'Resize': 'nearest', 'Upsample': 'nearest'}
        if node.attributes.get('mode', '') != modes.get(node.op, ''):
            raise ValueError(f'its operation {node.op} is of another mode than these networks have')
        if node.op in ('Conv', 'ConvTranspose'):
            if not others or others[0] not in graph.arrays and not root(others[0]):
                raise ValueError('it has a convolution without filters')
            filters = graph.arrays[root(others[0])] if root(others[0]) else graph.arrays[others[0]]
            stride = 2 if node.op == 'ConvTranspose' or len(found) in (1, 2) else 1
            plain = (
                node.attributes.get('strides', [1, 1]) == [stride] * 2
                and node.attributes.get('group', 1) == 1
                and node.attributes.get('dilations', [1, 1]) == [1, 1]
            )
            if not plain:
                raise ValueError(f'convolution {len(found) + 1} is not one of these networks')
            if node.attributes.get('auto_pad', 'NOTSET') != 'NOTSET':
                raise ValueError(f'convolution {len(found) + 1} pads otherwise than these networks')
            pads = list(node.attributes.get('pads') or [0] * 4) + list(node.attributes.get('output_padding') or [])
            seen['pads'].append((node.op, filters.shape[-1] if filters.ndim else 0, pads))
            bias = graph.arrays.get(others[1]) if len(others) > 1 else None
            found.append(dict(filters=filters, bias=bias))
        elif found:
            _take(graph, node, others, root, found[-1], seen)
    convolutions = []
    for parts in found:
        rows = [parts[name] for name in ('beta', 'gamma', 'mean', 'variance') if name in parts]
        rows = [row.reshape(-1, row.shape[1]) if row.ndim == 4 else row for row in rows]
        if not rows:
            rows = [numpy.zeros(len(parts['filters'])) if parts['bias'] is None else parts['bias']]
        convolutions.append(Convolution(parts['filters'], rows))
    return convolutions, seen


def _take(graph, node, others, root, parts, seen):
    """Note what an operation after a convolution says of its normalization."""
    if node.op in ('InstanceNormalization', 'BatchNormalization'):
        for name, key in zip(('gamma', 'beta', 'mean', 'variance'), node.inputs[1:]):
            if key in graph.arrays:
                parts[name] = graph.arrays[key]
        seen['epsilon'].append(node.attributes.get('epsilon', 1e-5))
    for name in others:
        array = graph.arrays.get(root(name))
        if array is not None and node.op in ('Mul', 'Div'):
            parts.setdefault('gamma', array)
        elif array is not None and node.op == 'Add':
            parts.setdefault('beta', array)
        elif node.op == 'Add' and name in graph.arrays and graph.arrays[name].size == 1:
            seen['epsilon'].append(graph.arrays[name].item())


# PyTorch ----------------------------------------------------------------------------------------------------


def _read_pytorch(path):
    """A network of pytorch/examples' fast_neural_style: a state dict, in a file of ``torch.save``."""
    state = torch.read_state(_contents(path))
    blocks = 0
    while f'res{blocks + 1}.conv1.conv2d.weight' in state:
        blocks += 1
    names = [(f'conv{i}', f'in{i}') for i in (1, 2, 3)]
    for block in range(1, blocks + 1):
        names += [(f'res{block}.conv{i}', f'res{block}.in{i}') for i in (1, 2)]
    names += [('deconv1', 'in4'), ('deconv2', 'in5')]
    known = [name for conv, norm in names for name in (f'{conv}.conv2d.weight', f'{norm}.bias', f'{norm}.weight')]
    for name in known + ['deconv3.conv2d.weight', 'deconv3.conv2d.bias']:
        if name not in state:
            raise ValueError(f"not a network of PyTorch's examples: {name} is missing")
    convolutions = [
        Convolution(state[f'{conv}.conv2d.weight'], [state[f'{norm}.bias'], state[f'{norm}.weight']])
        for conv, norm in names
    ]
    convolutions.append(Convolution(state['deconv3.conv2d.weight'], [state['deconv3.conv2d.bias']]))
    return _linear(convolutions, _stem(path))


# Torch7 -----------------------------------------------------------------------------------------------------


def _read_torch7(path):
    """A network of fast-neural-style, by an author of arXiv:1603.08155: with instance or batch norm."""
    checkpoint = torch7.read(_contents(path))
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get('opt', {}), dict):
        raise ValueError('it is not a checkpoint of fast-neural-style')
    if checkpoint.get('opt', {}).get('preprocessing') not in (None, 'vgg'):
        raise ValueError("its photos are not prepared by the means of 'vgg', as in the networks that are known")
    modules = _Modules(checkpoint.get('model'))
    start = modules.take('SpatialReflectionPadding') if modules.next() == 'SpatialReflectionPadding' else None
    convolutions = [modules.block(stride) for stride in (1, 2, 2)]
    blocks = []
    while modules.next() == 'Sequential':
        blocks.append(modules.residual_block(convolutions))
    upsampling = 'nearest' if modules.next() == 'SpatialUpSamplingNearest' else 'deconv'
    convolutions += [modules.upsampling_block(upsampling) for _ in range(2)]
    filters, bias = modules.convolution()
    modules.take('Tanh')
    tanh_constant = modules.take('MulConstant').get('constant_scalar')
    while modules.next():
        modules.take('TotalVariation')
    convolutions.append(Convolution(filters, [bias]))
    if len(set(blocks)) > 1 or len({len(c.rows) for c in convolutions[:-1]}) > 1 or len(modules.epsilons) > 1:
        raise ValueError('its blocks are not all alike')
    border = start and [start.get(name) for name in ('pad_l', 'pad_r', 'pad_t', 'pad_b')]
    if border and (blocks[:1] != ['none'] or border != [8 * len(blocks)] * 4):
        raise ValueError('it pads the photo otherwise than these networks')
    return _assemble(
        convolutions,
        [_stem(path)],
        network='fns',
        epsilon=modules.epsilons.pop(),
        norm='batch' if len(convolutions[0].rows) == 4 else 'instance',
        pad='reflect-start' if start else blocks[0] if blocks else 'zero',
        upsampling=upsampling,
        last='bias',
        tanh_constant=tanh_constant,
    )


class _Modules:
    """The modules of an nn.Sequential, taken one after the other; those of cuDNN are called alike.

    Parameters
    ----------
    model : torch7.Object

    Attributes
    ----------
    epsilons : set of float
        Those of the normalizations that were taken.
    """

    def __init__(self, model, epsilons=None):
        self.epsilons = set() if epsilons is None else epsilons
        modules = model.fields.get('modules') if isinstance(model, torch7.Object) else None
        if not isinstance(modules, dict) or not all(isinstance(m, torch7.Object) for m in modules.values()):
            raise ValueError('it has no network of modules')
        self.modules = [modules[i] for i in range(1, len(modules) + 1) if i in modules]

    def next(self):
        """The class of the next module, without its package; None at the end."""
        return self.modules[0].name.partition('.')[2] if self.modules else None

    def take(self, *kinds):
        """The fields of the next module, which has to be of one of these classes."""
        if self.next() not in kinds:
            raise ValueError(f'it has the module {self.next()} where these networks have {" or ".join(kinds)}')
        return self.modules.pop(0).fields

    def convolution(self, stride=1, pad='zero', kind='SpatialConvolution'):
        """Filters (OIHW, of stride 1/2 IOHW) and bias."""
        fields = self.take(kind)
        numbers = [fields.get(name) for name in ('nInputPlane', 'nOutputPlane', 'kH', 'kW')]
        if any(type(number) is not float or not 1 <= number <= 4096 or number % 1 for number in numbers):
            raise ValueError('its convolutions have no shape')
        maps, filters, height, width = map(int, numbers)
        margin = height // 2 if pad == 'zero' else 0
        expected = dict(dH=stride, dW=stride, padH=margin, padW=margin)
        if kind == 'SpatialFullConvolution':
            expected.update(adjH=1, adjW=1)
        if any(fields.get(name) != value for name, value in expected.items()):
            raise ValueError('it has strides or a padding that these networks do not have')
        weight, bias = fields.get('weight'), fields.get('bias')
        if bias is None:
            bias = numpy.zeros(filters, 'float32')
        if not isinstance(weight, numpy.ndarray) or not isinstance(bias, numpy.ndarray) or bias.shape != (filters,):
            raise ValueError('it has a convolution without filters')
        shape = (filters, maps) if kind == 'SpatialConvolution' else (maps, filters)
        return weight.reshape(shape + (height, width)), bias

    def block(self, stride=1, pad='zero', kind='SpatialConvolution', rectified=True):
        """A convolution with the normalization that follows it."""
        filters, bias = self.convolution(stride, pad, kind)
        batch = self.next() == 'SpatialBatchNormalization'
        fields = self.take('SpatialBatchNormalization' if batch else 'InstanceNormalization')
        names = ['bias', 'weight'] + ['running_mean', 'running_var'] * batch
        rows = [fields.get(name) for name in names]
        if any(not isinstance(row, numpy.ndarray) or row.shape != bias.shape for row in rows):
            raise ValueError('it has a normalization without gamma, beta, mean or variance')
        if batch:
            rows[2] = rows[2] - bias  # instance normalization takes the bias away by itself
        self.epsilons.add(fields.get('eps'))
        if rectified:
            self.take('ReLU')
        return Convolution(filters, rows)

    def residual_block(self, convolutions):
        """Add the two convolutions of a residual block; how they pad."""
        outer = _Modules(self.modules.pop(0), self.epsilons)
        branches = _Modules(torch7.Object('', outer.take('ConcatTable')), self.epsilons)
        outer.take('CAddTable')
        inner = _Modules(torch7.Object('', branches.take('Sequential')), self.epsilons)
        pad = 'none' if branches.next() == 'ShaveImage' else 'zero'
        shortcut = branches.take('ShaveImage', 'Identity')
        if pad == 'none' and shortcut.get('size') != 2:
            raise ValueError('its residual blocks crop otherwise than these networks')
        convolutions += [inner.block(pad=pad), inner.block(pad=pad, rectified=False)]
        if outer.next() or branches.next() or inner.next():
            raise ValueError('its residual blocks have more modules than these networks')
        return pad

    def upsampling_block(self, upsampling):
        if upsampling == 'deconv':
            return self.block(2, kind='SpatialFullConvolution')
        if self.take('SpatialUpSamplingNearest').get('scale_factor') != 2:
            raise ValueError('it enlarges otherwise than these networks')
        return self.block()


# TensorFlow -------------------------------------------------------------------------------------------------


def _read_tensorflow(path):
    """A network of Magenta's image_stylization or of lengstrom's: a checkpoint of TensorFlow, in either format."""
    stem = path[: -len('.index')] if path.endswith('.index') else path
    numbers = None if stem == path else _contents(f'{stem}.data-00000-of-00001')
    variables = tensorflow.read_checkpoint(_contents(path), numbers)
    if 'transformer/contract/conv1/weights' in variables:
        return _of_magenta(variables)
    return _of_lengstrom(variables, _stem(stem))


def _of_magenta(variables):
    """A network of Magenta's for many styles, arXiv:1610.07629 by its authors."""
    blocks = 0
    while f'transformer/residual/residual{blocks + 1}/conv1/weights' in variables:
        blocks += 1
    scopes = [f'contract/conv{i}' for i in (1, 2, 3)]
    scopes += [f'residual/residual{block}/conv{i}' for block in range(1, blocks + 1) for i in (1, 2)]
    scopes += [f'expand/conv{i}/conv' for i in (1, 2, 3)]
    convolutions = []
    for scope in scopes:
        names = [f'transformer/{scope}/{kind}' for kind in ('weights', 'InstanceNorm/beta', 'InstanceNorm/gamma')]
        for name in names:
            if name not in variables or variables[name].ndim != (4 if name == names[0] else 2):
                raise ValueError(f"not one of Magenta's networks for many styles: {name} is missing or misshapen")
        filters, beta, gamma = (variables[name] for name in names)
        convolutions.append(Convolution(filters.transpose(3, 2, 0, 1), [beta, gamma]))
    return _assemble(convolutions, [f'style {i}' for i in range(len(convolutions[0].rows[0]))])


# deeplearn.js -----------------------------------------------------------------------------------------------


def _read_deeplearnjs(path):
    """A folder of deeplearn.js: a manifest, and a file of little-endian float32 for each variable of TensorFlow's."""
    try:
        manifest = json.loads(_contents(os.path.join(path, 'manifest.json'))[: 10**6].decode('utf-8'))
        entries = {name: (entry['filename'], tuple(entry['shape'])) for name, entry in manifest.items()}
    except (AttributeError, KeyError, TypeError, RecursionError):
        raise ValueError('its manifest.json is not one')
    variables = {}
    for name, (file, shape) in entries.items():
        if not isinstance(file, str) or os.path.basename(file) != file or file in ('', '.', '..'):
            raise ValueError(f'its manifest names the file {file!r}, which is not beside it')
        if len(shape) > 4 or not all(type(size) is int and 0 < size < 10**6 for size in shape):
            raise ValueError(f'its manifest gives {name} no shape')
        data = _contents(os.path.join(path, file))
        count = 1
        for size in shape:
            count *= size
        if len(data) != 4 * count:
            raise ValueError(f'{file} has {len(data)} bytes, which is not what its shape {shape} takes')
        variables[name] = numpy.frombuffer(data, '<f4').reshape(shape)
    return _of_lengstrom(variables, _stem(path))


def _of_lengstrom(variables, style):
    """A network of lengstrom's fast-style-transfer: ``Variable``, ``Variable_1`` …: filters, shift, scale in turn."""
    numbers = sorted(int(name[9:] or 0) for name in variables if re.fullmatch(r'Variable(_[1-9][0-9]{0,3})?', name))
    if not numbers or numbers != list(range(len(numbers))) or len(numbers) % 3:
        raise ValueError("its variables are not those of lengstrom's networks")
    values = [variables[f'Variable_{i}' if i else 'Variable'] for i in numbers]
    if any(value.ndim != 4 for value in values[::3]):
        raise ValueError("its variables are not those of lengstrom's networks")
    # Filters are HWIO, and HWOI where they are of stride 1/2.
    convolutions = [Convolution(filters.transpose(3, 2, 0, 1), rows) for filters, *rows in zip(*[iter(values)] * 3)]
    filters, rows = convolutions[0]
    convolutions[0] = Convolution(numpy.float32(255) * filters, rows)  # for a photo in [0, 1]
    return _assemble(
        convolutions,
        [style],
        turned=True,
        network='fns',
        epsilon=1e-3,
        pad='same',
        upsampling='deconv',
        preprocessing='none',
    )
