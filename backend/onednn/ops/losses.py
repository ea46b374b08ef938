"""What the losses are made of: Gram matrices, the products that guide them, and squared differences."""

import numpy

from backend import T, theano
from backend.onednn import library
from backend.onednn.ops.basics import Blocked, Op, as_array, as_blocked, as_size, as_tensor, check_blocks, check_shape

__all__ = ['BatchedProduct', 'Gram', 'GramGradient', 'SquaredDifference', 'SquaredDifferenceGradient']


class BatchedProduct(Op):
    """The products of two batches of matrices, (N, i, k) and (N, k, j); either may be a transposed view."""

    def make_node(self, a, b):
        return theano.Apply(self, [as_tensor(a, 3, 'a'), as_tensor(b, 3, 'b')], [T.ftensor3()])

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
                x if all(s > 0 and s % 4 == 0 for s in x.strides) and 4 in x.strides[1:] else as_array(x)
                for x in (a, b)
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
        return theano.Apply(self, [as_blocked(x), as_size(channels)], [T.ftensor3()])

    def infer_shape(self, node, shapes):
        return [(shapes[0][0], node.inputs[1], node.inputs[1])]

    def scale(self, x, channels):
        return 1.0 / (x.shape[2] * x.shape[3] * (channels if self.divide_by_channels else 1))

    def run(self, x, channels):
        channels = int(channels)
        check_blocks(self, x, channels)
        y = numpy.empty((len(x), channels, channels), 'float32')
        library.call('gogh_gram', as_array(x), y, len(x), channels, x.shape[2] * x.shape[3], self.scale(x, channels))
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
            self, [as_blocked(x), as_tensor(dy, 3, 'dy')] + [as_blocked(o, 'other') for o in other], [Blocked()]
        )

    def infer_shape(self, node, shapes):
        return [shapes[0]]

    def run(self, x, dy, other=None):
        channels = dy.shape[1]
        check_blocks(self, x, channels)
        check_shape(self, dy, (len(x), channels, channels), 'dy')
        if other is not None:
            check_shape(self, other, x.shape, 'other')
            other = as_array(other)
        dx = library.empty(*x.shape)
        library.call(
            'gogh_gram_gradient',
            as_array(x),
            as_array(dy),
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
        x, y = [as_blocked(v) if v.ndim == 5 else as_tensor(v, 3, 'x') for v in (x, y)]
        return [x, y, as_size(size)]

    def make_node(self, x, y, size):
        return theano.Apply(self, self.inputs(x, y, size), [T.fvector()])

    def infer_shape(self, node, shapes):
        return [shapes[0][:1]]

    def run(self, x, y, size):
        check_shape(self, y, x.shape, 'y')
        result = numpy.empty(len(x), 'float32')
        library.call('gogh_squared_difference', as_array(x), as_array(y), result, len(x), x[0].size, 1.0 / int(size))
        return result


class SquaredDifferenceGradient(SquaredDifference):
    """The gradient of `SquaredDifference` with respect to its first input; the gradient to the result comes last."""

    def make_node(self, x, y, size, dy):
        inputs = self.inputs(x, y, size)
        return theano.Apply(self, inputs + [as_tensor(dy, 1, 'dy')], [inputs[0].type()])

    def infer_shape(self, node, shapes):
        return [shapes[0]]

    def run(self, x, y, size, dy):
        check_shape(self, y, x.shape, 'y')
        check_shape(self, dy, (len(x),), 'dy')
        dx = library.empty(*x.shape)
        library.call(
            'gogh_squared_difference_gradient',
            as_array(x),
            as_array(y),
            as_array(dy),
            dx,
            len(x),
            x[0].size,
            1.0 / int(size),
        )
        return dx
