"""The update of the parameters."""

import numpy

from backend import T, theano
from backend.onednn import library
from backend.onednn.ops.basics import Op, as_array, as_tensor, check_shape

__all__ = ['AdamStep']


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
            [as_tensor(rate, 0, 'rate')] + [T.as_tensor_variable(x) for x in arrays],
            [x.type() for x in arrays[:count]],
        )

    def infer_shape(self, node, shapes):
        return shapes[1 : 1 + len(node.outputs)]

    def run(self, rate, *arrays):
        count = len(arrays) // 4
        for i, x in enumerate(arrays):
            check_shape(self, x, arrays[i % count].shape, 'an input')
        results = tuple(
            x if self.inplace and x.flags.c_contiguous else numpy.array(x, 'float32', order='C')
            for x in arrays[: 3 * count]
        )
        gradients = [as_array(x) for x in arrays[3 * count :]]
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
