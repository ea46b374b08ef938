"""Ops on each number by itself."""

from backend import theano
from backend.onednn import library
from backend.onednn.ops.basics import Blocked, Op, as_array, as_blocked, check_shape

__all__ = ['Add', 'Rectify', 'RectifyGradient']


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
        return theano.Apply(self, [as_blocked(x) for x in inputs], [Blocked()])

    def infer_shape(self, node, shapes):
        return [shapes[0]]

    def run(self, *inputs):
        for x in inputs:
            check_shape(self, x, inputs[0].shape, 'an input')
        inputs = [as_array(x) for x in inputs]
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
