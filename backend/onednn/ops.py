"""Theano ops on blocked tensors, run by the native library.

A blocked tensor is a 5-D float32 array (N, ceil(C / B), H, W, B) that holds an (N, C, H, W) tensor
with its channels in blocks of B = `library.block()`, 8 or 16, filled up with zeros: the innermost
dimension is one vector register. The ops know as much of C as their weights tell them.

They have no gradients: the rewrites that introduce them (`rewrites`) work on graphs that have been
differentiated.
"""

import numpy

from backend import T, theano

from backend.onednn import library

__all__ = [
    'Blocked',
    'ToBlocked',
    'FromBlocked',
    'Conv',
    'ConvInputGradient',
    'ConvWeightGradient',
    'Norm',
    'BatchMoments',
    'MappedNorm',
    'NormGradient',
    'Expand',
    'ExpandGradient',
    'MaxPool',
    'MaxPoolGradient',
    'AveragePool',
    'AveragePoolGradient',
    'Add',
    'Rectify',
    'RectifyGradient',
    'BatchedProduct',
    'Gram',
    'GramGradient',
    'SquaredDifference',
    'SquaredDifferenceGradient',
    'AdamStep',
]

Blocked = T.TensorType('float32', (False,) * 5)


def _tensor(x, ndim, name):
    x = T.as_tensor_variable(x)
    if x.dtype != 'float32' or x.ndim != ndim:
        raise TypeError(f'{name} is a {ndim}-D float32 tensor, not {x.type}')
    return x


def _blocked(x, name='x'):
    x = _tensor(x, 5, f'{name} (blocked)')
    return x if x.type == Blocked else T.patternbroadcast(x, Blocked.broadcastable)


def _integer(x):
    x = T.as_tensor_variable(x)
    if x.ndim != 0 or x.dtype not in theano.tensor.integer_dtypes:
        raise TypeError(f'a size is an integer, not {x.type}')
    return x


def _blocks(channels):
    return -(-channels // library.block())


def _grown(size, by):
    """A size plus a number, without the sums that it comes from: x + 2 - 2 is x.

    Theano states the shape of each result by those of the inputs, back to the images; its optimizer took most of a
    compilation to find out how little that is.
    """
    if getattr(size.owner, 'op', None) == T.add and isinstance(size.owner.inputs[1], T.Constant):
        size, by = size.owner.inputs[0], by + int(size.owner.inputs[1].data)
    return size + numpy.int64(by) if by else size


def _frame(size, scale, mirror):
    """What a height or width becomes when the image is enlarged and padded by reflection."""
    return _grown(size if scale == 1 else size * numpy.int64(scale), 2 * mirror)


def _check_blocks(op, x, channels, name='x'):
    if x.shape[4] != library.block() or x.shape[1] != _blocks(channels):
        raise ValueError(f'{op}: {name} of shape {x.shape} does not hold {channels} channels')


def _check_shape(op, x, shape, name):
    if x.shape != tuple(shape):
        raise ValueError(f'{op}: {name} is of shape {x.shape}, not {tuple(shape)}')


def _array(x):
    return numpy.ascontiguousarray(x, 'float32')


class Op(theano.Op):
    """An op whose `run` maps arrays to arrays.

    `destroys` maps an output to the input whose memory it takes over when the op is in place.
    """

    __props__ = ()
    destroys = {}

    def perform(self, node, inputs, outputs):
        results = self.run(*inputs)
        for output, result in zip(outputs, results if isinstance(results, tuple) else (results,)):
            output[0] = result

    def result(self, x):
        """The array to write a result of the shape of x into: x itself, if the op is in place."""
        if self.inplace and x.flags.c_contiguous and x.flags.writeable:
            return x
        return library.empty(*x.shape)


class ToBlocked(Op):
    """From (N, C, H, W) to blocked."""

    def make_node(self, x):
        return theano.Apply(self, [_tensor(x, 4, 'x')], [Blocked()])

    def infer_shape(self, node, shapes):
        n, c, h, w = shapes[0]
        return [(n, _blocks(c), h, w, library.block())]

    def run(self, x):
        n, c, h, w = x.shape
        y = library.empty(n, _blocks(c), h, w, library.block())
        library.call('gogh_to_blocked', _array(x), y, n, c, h * w)
        return y


class FromBlocked(Op):
    """From blocked to (N, C, H, W); C is the second input."""

    def make_node(self, x, channels):
        return theano.Apply(self, [_blocked(x), _integer(channels)], [T.ftensor4()])

    def infer_shape(self, node, shapes):
        n, _, h, w, _ = shapes[0]
        return [(n, node.inputs[1], h, w)]

    def run(self, x, channels):
        channels = int(channels)
        _check_blocks(self, x, channels)
        n, _, h, w, _ = x.shape
        y = library.empty(n, channels, h, w)
        library.call('gogh_from_blocked', _array(x), y, n, channels, h * w)
        return y


class _Convolution(Op):
    """What a convolution and its gradients share.

    Parameters
    ----------
    scale : int
        The image is first upsampled, each pixel repeated so many times in height and width,
    mirror : int
        then padded by reflection,
    border_mode : 'valid', 'full', 'half' or pair of int
        then padded by zeros, as in Theano's ``conv2d``. What stands before the zeros is called the frame.
    subsample : pair of int
        The stride.
    flip : bool
        True for a convolution, False for a cross-correlation.
    """

    __props__ = ('scale', 'mirror', 'border_mode', 'subsample', 'flip')

    def __init__(self, scale=1, mirror=0, border_mode=(0, 0), subsample=(1, 1), flip=True):
        self.scale, self.mirror, self.flip = int(scale), int(mirror), bool(flip)
        if isinstance(border_mode, int):
            border_mode = (border_mode, border_mode)
        self.border_mode = border_mode if isinstance(border_mode, str) else tuple(int(p) for p in border_mode)
        self.subsample = tuple(int(s) for s in subsample)
        if self.scale < 1 or self.mirror < 0 or min(self.subsample) < 1:
            raise ValueError(f'{self}: scale and stride are at least 1, padding at least 0')

    def pad(self, kernel):
        if self.border_mode == 'valid':
            return 0, 0
        if self.border_mode == 'half':
            return kernel[0] // 2, kernel[1] // 2
        if self.border_mode == 'full':
            return kernel[0] - 1, kernel[1] - 1
        return self.border_mode

    def shape(self, n, c, h, w, oc, kernel, bf16=False):
        """The sizes as the library takes them, the blocked shapes of the frame and of the output."""
        pad = self.pad(kernel)
        frame = [size * self.scale + 2 * self.mirror for size in (h, w)]
        out = [(f + 2 * p - k) // s + 1 for f, p, k, s in zip(frame, pad, kernel, self.subsample)]
        sizes = numpy.array(
            (n, c, h, w, self.scale, self.mirror, oc) + tuple(kernel) + self.subsample + tuple(pad) + (self.flip, bf16),
            'int64',
        )
        if min(out) < 1:
            raise ValueError(
                '%s: the filters (%d x %d) are larger than the padded image (%d x %d)'
                % ((self,) + tuple(kernel) + (frame[0] + 2 * pad[0], frame[1] + 2 * pad[1]))
            )
        block = library.block()
        return sizes, (n, _blocks(c)) + tuple(frame) + (block,), (n, _blocks(oc)) + tuple(out) + (block,)


class Conv(_Convolution):
    """Convolution of a blocked image with filters (O, C, kh, kw), plus an optional bias (O,), optionally rectified.

    With `bf16` the image and the filters (or, in Winograd's method, their transforms) are rounded to bfloat16 before
    they are multiplied; the products are summed in float32. Up to four output maps are computed in float32 anyway.
    """

    __props__ = _Convolution.__props__ + ('rectify', 'bf16')

    def __init__(self, scale=1, mirror=0, border_mode=(0, 0), subsample=(1, 1), flip=True, rectify=False, bf16=False):
        _Convolution.__init__(self, scale, mirror, border_mode, subsample, flip)
        self.rectify, self.bf16 = bool(rectify), bool(bf16)

    def make_node(self, x, w, *bias):
        inputs = [_blocked(x), _tensor(w, 4, 'filters')] + [_tensor(b, 1, 'bias') for b in bias]
        return theano.Apply(self, inputs, [Blocked()])

    def infer_shape(self, node, shapes):
        filters, shape = node.inputs[1], shapes[1]
        if isinstance(filters, theano.compile.SharedVariable):
            shape = filters.get_value(borrow=True).shape
        n, _, *sizes, block = shapes[0]
        for axis, (pad, side, stride) in enumerate(zip(self.pad(shape[2:]), shape[2:], self.subsample)):
            size = _frame(sizes[axis], self.scale, self.mirror)
            size = _grown(size, 2 * pad - side) if isinstance(side, int) else size + 2 * pad - side
            sizes[axis] = _grown(size if stride == 1 else size // numpy.int64(stride), 1)
        return [(n, _blocks(shape[0]), *sizes, block)]

    def run(self, x, w, bias=None):
        oc, c = w.shape[:2]
        _check_blocks(self, x, c)
        if bias is not None:
            _check_shape(self, bias, (oc,), 'bias')
            bias = _array(bias)
        sizes, _, shape = self.shape(x.shape[0], c, x.shape[2], x.shape[3], oc, w.shape[2:], self.bf16)
        y = library.empty(*shape)
        library.call('gogh_conv', sizes, _array(x), _array(w), bias, self.rectify, y)
        return y


class ConvInputGradient(_Convolution):
    """The gradient with respect to the frame, which is blocked too: inputs are filters, gradient to the output and the
    frame's height and width.

    With a fifth input, which is a rectified frame, it is the gradient with respect to that before it was rectified.
    """

    def make_node(self, w, dy, height, width, *frame):
        inputs = [_tensor(w, 4, 'filters'), _blocked(dy, 'dy'), _integer(height), _integer(width)]
        return theano.Apply(self, inputs + [_blocked(f, 'frame') for f in frame], [Blocked()])

    def infer_shape(self, node, shapes):
        return [(shapes[1][0], _blocks(shapes[0][1]), node.inputs[2], node.inputs[3], shapes[1][4])]

    def run(self, w, dy, height, width, rectified=None):
        oc, c = w.shape[:2]
        sizes, frame, out = self.shape(dy.shape[0], c, int(height), int(width), oc, w.shape[2:])
        _check_shape(self, dy, out, 'dy')
        if rectified is not None:
            _check_shape(self, rectified, frame, 'frame')
            rectified = _array(rectified)
        dx = library.empty(*frame)
        library.call('gogh_conv_input_gradient', sizes, _array(w), _array(dy), rectified, dx)
        return dx


class ConvWeightGradient(_Convolution):
    """The gradient with respect to the filters (O, C, kh, kw): inputs are image, output gradient, O, C, kh, kw."""

    def make_node(self, x, dy, *sizes):
        if len(sizes) != 4:
            raise TypeError(f'the shape of the filters is of four sizes, not {len(sizes)}')
        return theano.Apply(
            self, [_blocked(x), _blocked(dy, 'dy')] + [_integer(size) for size in sizes], [T.ftensor4()]
        )

    def infer_shape(self, node, shapes):
        return [tuple(node.inputs[2:])]

    def run(self, x, dy, *shape):
        oc, c, kh, kw = [int(size) for size in shape]
        _check_blocks(self, x, c)
        sizes, _, out = self.shape(x.shape[0], c, x.shape[2], x.shape[3], oc, (kh, kw))
        _check_shape(self, dy, out, 'dy')
        dw = numpy.empty((oc, c, kh, kw), 'float32')
        library.call('gogh_conv_weight_gradient', sizes, _array(x), _array(dy), dw)
        return dw


LINEAR, RECTIFY, SIGMOID, TANH = range(4)


class Norm(Op):
    """Instance normalization (see `formulas.InstanceNorm`), then an activation, then the sum with another image.

    With `batch` it is batch normalization (`formulas.BatchNorm`). Inputs are x, gamma and beta (N or 1, C), and
    optionally that other image. Outputs are the result and a vector of means and inverse standard deviations that
    `NormGradient` takes.
    """

    __props__ = ('epsilon', 'activation', 'batch', 'inplace')
    destroys = {0: 0}

    def __init__(self, epsilon, activation=LINEAR, batch=False, inplace=False):
        self.epsilon, self.activation, self.batch, self.inplace = float(epsilon), activation, batch, inplace
        if inplace:
            self.destroy_map = {0: [0]}

    def make_node(self, x, gamma, beta, *other):
        inputs = [_blocked(x), _tensor(gamma, 2, 'gamma'), _tensor(beta, 2, 'beta')]
        return theano.Apply(self, inputs + [_blocked(o, 'other') for o in other], [Blocked(), T.fvector()])

    def infer_shape(self, node, shapes):
        n, blocks, _, _, block = shapes[0]
        return [shapes[0], (2 * n * blocks * block,)]

    def run(self, x, gamma, beta, other=None):
        channels = _check_scales(self, x, gamma, beta)
        if other is not None:
            _check_shape(self, other, x.shape, 'other')
            other = _array(other)
        n, blocks, h, w, block = x.shape
        x = _array(x)
        y, stats = self.result(x), numpy.empty(2 * n * blocks * block, 'float32')
        library.call(
            'gogh_norm',
            x,
            _array(gamma),
            _array(beta),
            len(gamma),
            len(beta),
            other,
            y,
            stats,
            n,
            channels,
            h * w,
            self.epsilon,
            self.activation,
            self.batch,
        )
        return y, stats


class BatchMoments(Op):
    """The mean and the variance of each channel over all images (see `formulas.BatchMoments`): (2, C).

    Inputs are x and C.
    """

    __props__ = ()

    def make_node(self, x, channels):
        return theano.Apply(self, [_blocked(x), _integer(channels)], [T.fmatrix()])

    def run(self, x, channels):
        channels = int(channels)
        _check_blocks(self, x, channels)
        n, _, h, w, _ = x.shape
        result = numpy.empty((2, channels), 'float32')
        library.call('gogh_batch_moments', _array(x), result, n, channels, h * w)
        return result


def _check_scales(op, x, gamma, beta):
    for name, value in (('gamma', gamma), ('beta', beta)):
        if value.shape[0] not in (1, x.shape[0]) or value.shape[1] != gamma.shape[1]:
            raise ValueError(
                f'{op}: {name} is of shape {value.shape} for {x.shape[0]} images and {gamma.shape[1]} channels'
            )
    _check_blocks(op, x, gamma.shape[1])
    return gamma.shape[1]


class MappedNorm(Norm):
    """`Norm` with gamma and beta that differ from pixel to pixel (see `formulas.MappedInstanceNorm`).

    Inputs are x, gamma and beta (styles, C), the weights of the styles (N, styles, H, W), and optionally another image.
    """

    def make_node(self, x, gamma, beta, weights, *other):
        node = Norm.make_node(self, x, gamma, beta)
        inputs = node.inputs + [_tensor(weights, 4, 'weights')] + [_blocked(o, 'other') for o in other]
        return theano.Apply(self, inputs, [output.type() for output in node.outputs])

    def run(self, x, gamma, beta, weights, other=None):
        n, blocks, h, w, block = x.shape
        styles, channels = gamma.shape
        _check_shape(self, beta, gamma.shape, 'beta')
        _check_shape(self, weights, (n, styles, h, w), 'weights')
        _check_blocks(self, x, channels)
        if other is not None:
            _check_shape(self, other, x.shape, 'other')
            other = _array(other)
        x = _array(x)
        y, stats = self.result(x), numpy.empty(2 * n * blocks * block, 'float32')
        rows = _array(gamma), _array(beta), _array(weights)
        library.call(
            'gogh_mapped_norm', x, *rows, styles, other, y, stats, n, channels, h * w, self.epsilon, self.activation
        )
        return y, stats


class NormGradient(Op):
    """The gradients of `Norm` with respect to x, gamma and beta.

    Inputs are x, gamma, beta, the second output of `Norm` and the gradient with respect to its result; with `rectify`
    that result is rectified, with `batch` the moments are those of all images.
    """

    __props__ = ('rectify', 'batch', 'inplace')
    destroys = {0: 4}

    def __init__(self, rectify=False, batch=False, inplace=False):
        self.rectify, self.batch, self.inplace = rectify, batch, inplace
        if inplace:
            self.destroy_map = {0: [4]}

    def make_node(self, x, gamma, beta, stats, dy):
        inputs = [
            _blocked(x),
            _tensor(gamma, 2, 'gamma'),
            _tensor(beta, 2, 'beta'),
            _tensor(stats, 1, 'stats'),
            _blocked(dy, 'dy'),
        ]
        return theano.Apply(self, inputs, [Blocked(), inputs[1].type(), inputs[2].type()])

    def infer_shape(self, node, shapes):
        return shapes[:3]

    def run(self, x, gamma, beta, stats, dy):
        channels = _check_scales(self, x, gamma, beta)
        _check_shape(self, dy, x.shape, 'dy')
        n, blocks, h, w, block = x.shape
        _check_shape(self, stats, (2 * n * blocks * block,), 'stats')
        dy = _array(dy)
        dx, dgamma, dbeta = self.result(dy), numpy.empty_like(_array(gamma)), numpy.empty_like(_array(beta))
        library.call(
            'gogh_norm_gradient',
            _array(x),
            _array(gamma),
            _array(beta),
            len(gamma),
            len(beta),
            _array(stats),
            dy,
            dx,
            dgamma,
            dbeta,
            n,
            channels,
            h * w,
            self.rectify,
            self.batch,
        )
        return dx, dgamma, dbeta


class Expand(Op):
    """Nearest-neighbour upsampling by `scale`, then `mirror` pixels of reflection padding."""

    __props__ = ('scale', 'mirror')

    def __init__(self, scale, mirror):
        self.scale, self.mirror = int(scale), int(mirror)

    def make_node(self, x):
        return theano.Apply(self, [_blocked(x)], [Blocked()])

    def infer_shape(self, node, shapes):
        n, blocks, h, w, block = shapes[0]
        return [(n, blocks, _frame(h, self.scale, self.mirror), _frame(w, self.scale, self.mirror), block)]

    def run(self, x):
        n, blocks, h, w, block = x.shape
        y = library.empty(n, blocks, h * self.scale + 2 * self.mirror, w * self.scale + 2 * self.mirror, block)
        library.call('gogh_expand', _array(x), y, n, blocks * block, h, w, self.scale, self.mirror)
        return y


class ExpandGradient(Op):
    """The gradient of `Expand`."""

    __props__ = ('scale', 'mirror')

    def __init__(self, scale, mirror):
        self.scale, self.mirror = int(scale), int(mirror)

    def make_node(self, dy):
        return theano.Apply(self, [_blocked(dy, 'dy')], [Blocked()])

    def infer_shape(self, node, shapes):
        n, blocks, h, w, block = shapes[0]
        return [(n, blocks, (h - 2 * self.mirror) // self.scale, (w - 2 * self.mirror) // self.scale, block)]

    def run(self, dy):
        n, blocks, height, width, block = dy.shape
        h, w = (height - 2 * self.mirror) // self.scale, (width - 2 * self.mirror) // self.scale
        if (h * self.scale + 2 * self.mirror, w * self.scale + 2 * self.mirror) != (height, width) or min(h, w) < 1:
            raise ValueError(f'{self}: dy of {height} x {width} is no expanded image')
        dx = library.empty(n, blocks, h, w, block)
        library.call('gogh_expand_gradient', _array(dy), dx, n, blocks * block, h, w, self.scale, self.mirror)
        return dx


class MaxPool(Op):
    """The maximum of each window of `size`, a pair; windows do not overlap, what is left at the border is dropped."""

    __props__ = ('size',)
    function = 'gogh_max_pool'

    def __init__(self, size):
        self.size = tuple(int(s) for s in size)

    def make_node(self, x):
        return theano.Apply(self, [_blocked(x)], [Blocked()])

    def infer_shape(self, node, shapes):
        n, blocks, h, w, block = shapes[0]
        return [(n, blocks, h // self.size[0], w // self.size[1], block)]

    def run(self, x):
        n, blocks, h, w, block = x.shape
        y = library.empty(n, blocks, h // self.size[0], w // self.size[1], block)
        library.call(self.function, _array(x), y, n * blocks, h, w, self.size[0], self.size[1])
        return y


class MaxPoolGradient(Op):
    """The gradient of `MaxPool`, to every position that holds its window's maximum: inputs are x, the result, dy."""

    __props__ = ('size',)

    def __init__(self, size):
        self.size = tuple(int(s) for s in size)

    def make_node(self, x, y, dy):
        return theano.Apply(self, [_blocked(x), _blocked(y, 'y'), _blocked(dy, 'dy')], [Blocked()])

    def infer_shape(self, node, shapes):
        return [shapes[0]]

    def run(self, x, y, dy):
        n, blocks, h, w, block = x.shape
        for name, value in (('y', y), ('dy', dy)):
            _check_shape(self, value, (n, blocks, h // self.size[0], w // self.size[1], block), name)
        dx = library.empty(*x.shape)
        library.call(
            'gogh_max_pool_gradient', _array(x), _array(y), _array(dy), dx, n * blocks, h, w, self.size[0], self.size[1]
        )
        return dx


class AveragePool(MaxPool):
    """The mean of each window."""

    function = 'gogh_average_pool'


class AveragePoolGradient(Op):
    """The gradient of `AveragePool`: inputs are dy and the height and width of x."""

    __props__ = ('size',)

    def __init__(self, size):
        self.size = tuple(int(s) for s in size)

    def make_node(self, dy, height, width):
        return theano.Apply(self, [_blocked(dy, 'dy'), _integer(height), _integer(width)], [Blocked()])

    def infer_shape(self, node, shapes):
        n, blocks, _, _, block = shapes[0]
        return [(n, blocks, node.inputs[1], node.inputs[2], block)]

    def run(self, dy, height, width):
        n, blocks, _, _, block = dy.shape
        h, w = int(height), int(width)
        _check_shape(self, dy, (n, blocks, h // self.size[0], w // self.size[1], block), 'dy')
        dx = library.empty(n, blocks, h, w, block)
        library.call('gogh_average_pool_gradient', _array(dy), dx, n * blocks, h, w, self.size[0], self.size[1])
        return dx


class _Pointwise(Op):
    __props__ = ('inplace',)
    arity = 1

    def __init__(self, inplace=False):
        self.inplace = inplace
        if inplace:
            self.destroy_map = {0: [self.destroys[0]]}

    def make_node(self, *inputs):
        if len(inputs) != self.arity:
            raise TypeError(f'{self} takes {self.arity} inputs, not {len(inputs)}')
        return theano.Apply(self, [_blocked(x) for x in inputs], [Blocked()])

    def infer_shape(self, node, shapes):
        return [shapes[0]]

    def run(self, *inputs):
        for x in inputs:
            _check_shape(self, x, inputs[0].shape, 'an input')
        inputs = [_array(x) for x in inputs]
        y = self.result(inputs[self.destroys[0]])
        library.call(self.function, *(inputs + [y, y.size // library.block()]))
        return y


class Add(_Pointwise):
    """a + b"""

    arity, destroys, function = 2, {0: 0}, 'gogh_add'


class Rectify(_Pointwise):
    """max(x, 0)"""

    destroys, function = {0: 0}, 'gogh_rectify'


class RectifyGradient(_Pointwise):
    """Inputs are x or max(x, 0), and the gradient with respect to the latter."""

    arity, destroys, function = 2, {0: 1}, 'gogh_rectify_gradient'


class BatchedProduct(Op):
    """The products of two batches of matrices, (N, i, k) and (N, k, j); either may be a transposed view."""

    def make_node(self, a, b):
        return theano.Apply(self, [_tensor(a, 3, 'a'), _tensor(b, 3, 'b')], [T.ftensor3()])

    def infer_shape(self, node, shapes):
        a, b = shapes
        return [(a[0], a[1], b[2])]

    def run(self, a, b):
        (n, i, k), (m, l, j) = a.shape, b.shape
        if (n, k) != (m, l):
            raise ValueError(f'{self}: shapes {a.shape} and {b.shape} do not match')
        c = library.empty(n, i, j) if k else numpy.zeros((n, i, j), 'float32')
        if c.size and k and not library.with_onednn():
            numpy.matmul(a, b, out=c)
        elif c.size and k:
            a, b = [
                x if all(s > 0 and s % 4 == 0 for s in x.strides) and 4 in x.strides[1:] else _array(x) for x in (a, b)
            ]
            library.call(
                'gogh_product',
                a,
                b,
                c,
                numpy.array([n, i, k, j], 'int64'),
                numpy.array([s // 4 for s in a.strides + b.strides], 'int64'),
            )
        return c


class Gram(Op):
    """The products of all pairs of feature maps, (N, C, C), divided by height times width; C is the second input.

    With `divide_by_channels` they are divided by C as well: see `formulas.GramMatrix`.
    """

    __props__ = ('divide_by_channels',)

    def __init__(self, divide_by_channels=False):
        self.divide_by_channels = bool(divide_by_channels)

    def make_node(self, x, channels):
        return theano.Apply(self, [_blocked(x), _integer(channels)], [T.ftensor3()])

    def infer_shape(self, node, shapes):
        return [(shapes[0][0], node.inputs[1], node.inputs[1])]

    def scale(self, x, channels):
        return 1.0 / (x.shape[2] * x.shape[3] * (channels if self.divide_by_channels else 1))

    def run(self, x, channels):
        channels = int(channels)
        _check_blocks(self, x, channels)
        y = numpy.empty((len(x), channels, channels), 'float32')
        library.call('gogh_gram', _array(x), y, len(x), channels, x.shape[2] * x.shape[3], self.scale(x, channels))
        return y


class GramGradient(Gram):
    """The gradient of `Gram`, blocked: inputs are x, the gradient to the matrices, and optionally one to add.

    With `rectify`, x is rectified, and the gradient is that with respect to x before.
    """

    __props__ = ('divide_by_channels', 'rectify')

    def __init__(self, divide_by_channels=False, rectify=False):
        Gram.__init__(self, divide_by_channels)
        self.rectify = bool(rectify)

    def make_node(self, x, dy, *other):
        return theano.Apply(
            self, [_blocked(x), _tensor(dy, 3, 'dy')] + [_blocked(o, 'other') for o in other], [Blocked()]
        )

    def infer_shape(self, node, shapes):
        return [shapes[0]]

    def run(self, x, dy, other=None):
        channels = dy.shape[1]
        _check_blocks(self, x, channels)
        _check_shape(self, dy, (len(x), channels, channels), 'dy')
        if other is not None:
            _check_shape(self, other, x.shape, 'other')
            other = _array(other)
        dx = library.empty(*x.shape)
        library.call(
            'gogh_gram_gradient',
            _array(x),
            _array(dy),
            other,
            self.rectify,
            dx,
            len(x),
            channels,
            x.shape[2],
            x.shape[3],
            self.scale(x, channels),
        )
        return dx


class SquaredDifference(Op):
    """The sum of squared differences for each image, divided by an integer, the third input.

    The other two are of one type, blocked or (N, rows, columns).
    """

    def inputs(self, x, y, size):
        x, y = [_blocked(v) if v.ndim == 5 else _tensor(v, 3, 'x') for v in (x, y)]
        return [x, y, _integer(size)]

    def make_node(self, x, y, size):
        return theano.Apply(self, self.inputs(x, y, size), [T.fvector()])

    def infer_shape(self, node, shapes):
        return [shapes[0][:1]]

    def run(self, x, y, size):
        _check_shape(self, y, x.shape, 'y')
        result = numpy.empty(len(x), 'float32')
        library.call('gogh_squared_difference', _array(x), _array(y), result, len(x), x[0].size, 1.0 / int(size))
        return result


class SquaredDifferenceGradient(SquaredDifference):
    """The gradient of `SquaredDifference` with respect to its first input; the gradient to the result comes last."""

    def make_node(self, x, y, size, dy):
        inputs = self.inputs(x, y, size)
        return theano.Apply(self, inputs + [_tensor(dy, 1, 'dy')], [inputs[0].type()])

    def infer_shape(self, node, shapes):
        return [shapes[0]]

    def run(self, x, y, size, dy):
        _check_shape(self, y, x.shape, 'y')
        _check_shape(self, dy, (len(x),), 'dy')
        dx = library.empty(*x.shape)
        library.call(
            'gogh_squared_difference_gradient', _array(x), _array(y), _array(dy), dx, len(x), x[0].size, 1.0 / int(size)
        )
        return dx


class AdamStep(Op):
    """A step of Adam for many parameters; inputs and outputs are those of `formulas.AdamStep`."""

    __props__ = ('beta1', 'beta2', 'epsilon', 'inplace')

    def __init__(self, beta1, beta2, epsilon, inplace=False):
        self.beta1, self.beta2, self.epsilon, self.inplace = float(beta1), float(beta2), float(epsilon), inplace
        self.destroys = {}

    def make_node(self, rate, *arrays):
        op, count = self, 3 * len(arrays) // 4
        if self.inplace:
            # How many outputs there are depends on the node.
            op = type(self)(self.beta1, self.beta2, self.epsilon, True)
            op.destroy_map = {i: [i + 1] for i in range(count)}
        return theano.Apply(
            op,
            [_tensor(rate, 0, 'rate')] + [T.as_tensor_variable(x) for x in arrays],
            [x.type() for x in arrays[:count]],
        )

    def infer_shape(self, node, shapes):
        return shapes[1 : 1 + len(node.outputs)]

    def run(self, rate, *arrays):
        count = len(arrays) // 4
        for i, x in enumerate(arrays):
            _check_shape(self, x, arrays[i % count].shape, 'an input')
        results = tuple(
            x if self.inplace and x.flags.c_contiguous else numpy.array(x, 'float32', order='C')
            for x in arrays[: 3 * count]
        )
        gradients = [_array(x) for x in arrays[3 * count :]]
        pointers = numpy.array([x.ctypes.data for x in list(results) + gradients], 'uint64').reshape(4, count)
        library.call(
            'gogh_adam',
            *(
                list(pointers)
                + [
                    numpy.array([x.size for x in gradients], 'int64'),
                    count,
                    float(rate),
                    self.beta1,
                    self.beta2,
                    self.epsilon,
                ]
            ),
        )
        return results
