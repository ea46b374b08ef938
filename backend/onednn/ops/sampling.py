"""Upsampling with padding, and pooling."""

from backend import theano
from backend.onednn import library
from backend.onednn.ops.basics import Blocked, Op, as_array, as_blocked, as_size, check_shape, framed

__all__ = ['Expand', 'ExpandGradient', 'MaxPool', 'MaxPoolGradient', 'AveragePool', 'AveragePoolGradient']


class Expand(Op):
    """Nearest-neighbour upsampling by `scale`, then `mirror` pixels of reflection padding."""

    __props__ = ('scale', 'mirror')

    def __init__(self, scale, mirror):
        self.scale, self.mirror = int(scale), int(mirror)

    def make_node(self, x):
        return theano.Apply(self, [as_blocked(x)], [Blocked()])

    def infer_shape(self, node, shapes):
        n, blocks, h, w, block = shapes[0]
        return [(n, blocks, framed(h, self.scale, self.mirror), framed(w, self.scale, self.mirror), block)]

    def run(self, x):
        n, blocks, h, w, block = x.shape
        y = library.empty(n, blocks, h * self.scale + 2 * self.mirror, w * self.scale + 2 * self.mirror, block)
        library.call('gogh_expand', as_array(x), y, n, blocks * block, h, w, self.scale, self.mirror)
        return y


class ExpandGradient(Op):
    """The gradient of `Expand`."""

    __props__ = ('scale', 'mirror')

    def __init__(self, scale, mirror):
        self.scale, self.mirror = int(scale), int(mirror)

    def make_node(self, dy):
        return theano.Apply(self, [as_blocked(dy, 'dy')], [Blocked()])

    def infer_shape(self, node, shapes):
        n, blocks, h, w, block = shapes[0]
        return [(n, blocks, (h - 2 * self.mirror) // self.scale, (w - 2 * self.mirror) // self.scale, block)]

    def run(self, dy):
        n, blocks, height, width, block = dy.shape
        h, w = (height - 2 * self.mirror) // self.scale, (width - 2 * self.mirror) // self.scale
        if (h * self.scale + 2 * self.mirror, w * self.scale + 2 * self.mirror) != (height, width) or min(h, w) < 1:
            raise ValueError(f'{self}: dy of {height} x {width} is no expanded image')
        dx = library.empty(n, blocks, h, w, block)
        library.call('gogh_expand_gradient', as_array(dy), dx, n, blocks * block, h, w, self.scale, self.mirror)
        return dx


class MaxPool(Op):
    """The maximum of each window of `size`, a pair; windows do not overlap, what is left at the border is dropped."""

    __props__ = ('size',)
    function = 'gogh_max_pool'

    def __init__(self, size):
        self.size = tuple(int(s) for s in size)

    def make_node(self, x):
        return theano.Apply(self, [as_blocked(x)], [Blocked()])

    def infer_shape(self, node, shapes):
        n, blocks, h, w, block = shapes[0]
        return [(n, blocks, h // self.size[0], w // self.size[1], block)]

    def run(self, x):
        n, blocks, h, w, block = x.shape
        y = library.empty(n, blocks, h // self.size[0], w // self.size[1], block)
        library.call(self.function, as_array(x), y, n * blocks, h, w, self.size[0], self.size[1])
        return y


class MaxPoolGradient(Op):
    """The gradient of `MaxPool`, to every position that holds its window's maximum: inputs are x, the result, dy."""

    __props__ = ('size',)

    def __init__(self, size):
        self.size = tuple(int(s) for s in size)

    def make_node(self, x, y, dy):
        return theano.Apply(self, [as_blocked(x), as_blocked(y, 'y'), as_blocked(dy, 'dy')], [Blocked()])

    def infer_shape(self, node, shapes):
        return [shapes[0]]

    def run(self, x, y, dy):
        n, blocks, h, w, block = x.shape
        for name, value in (('y', y), ('dy', dy)):
            check_shape(self, value, (n, blocks, h // self.size[0], w // self.size[1], block), name)
        dx = library.empty(*x.shape)
        library.call(
            'gogh_max_pool_gradient',
            as_array(x),
            as_array(y),
            as_array(dy),
            dx,
            n * blocks,
            h,
            w,
            self.size[0],
            self.size[1],
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
        return theano.Apply(self, [as_blocked(dy, 'dy'), as_size(height), as_size(width)], [Blocked()])

    def infer_shape(self, node, shapes):
        n, blocks, _, _, block = shapes[0]
        return [(n, blocks, node.inputs[1], node.inputs[2], block)]

    def run(self, dy, height, width):
        n, blocks, _, _, block = dy.shape
        h, w = int(height), int(width)
        check_shape(self, dy, (n, blocks, h // self.size[0], w // self.size[1], block), 'dy')
        dx = library.empty(n, blocks, h, w, block)
        library.call('gogh_average_pool_gradient', as_array(dy), dx, n * blocks, h, w, self.size[0], self.size[1])
        return dx
