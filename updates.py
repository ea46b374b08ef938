"""The updates of parameters in training: Adam."""
import collections

import numpy

from backend import T, theano
from layers import Formula

from lasagne.updates import get_or_compute_grads

__all__ = ['AdamStep', 'adam']


class AdamStep(Formula):
    r"""A step of Adam (arXiv:1412.6980, algorithm 1) for many parameters at once.

    .. math::
        m &\mapsto \beta_1 m + (1 - \beta_1) g \\
        v &\mapsto \beta_2 v + (1 - \beta_2) g^2 \\
        \theta &\mapsto \theta - a \frac{m}{\sqrt{v} + \epsilon}

    The inputs are the step a, with the correction of both moments' bias, then all parameters, all their first moments
    m, all second moments v and all gradients g; the outputs are the new parameters, first and second moments.

    Parameters
    ----------
    beta1, beta2 : float
        Decay rates of the moments.
    epsilon : float
        Added to the root of the second moment.
    """
    __props__ = ('beta1', 'beta2', 'epsilon')

    def __init__(self, beta1=0.9, beta2=0.999, epsilon=1e-8):
        self.beta1, self.beta2, self.epsilon = float(beta1), float(beta2), float(epsilon)

    def check(self, rate, *arrays):
        quarter = len(arrays) // 4
        if rate.ndim or len(arrays) % 4 or any(x.type != arrays[i % quarter].type for i, x in enumerate(arrays)):
            raise TypeError('%s takes a number, then parameters, both moments and gradients of the same types' % self)

    def make_node(self, *inputs):
        inputs = [T.as_tensor_variable(x) for x in inputs]
        self.check(*inputs)
        return theano.Apply(self, inputs, [x.type() for x in inputs[1:1 + 3 * len(inputs) // 4]])

    def formula(self, rate, *arrays):
        quarter, new = len(arrays) // 4, []
        for i in range(quarter):
            param, m, v, g = arrays[i::quarter]
            m = self.beta1 * m + (1 - self.beta1) * g
            v = self.beta2 * v + (1 - self.beta2) * g**2
            new.append((param - rate * m / (T.sqrt(v) + self.epsilon), m, v))
        return [x for column in zip(*new) for x in column]

    def infer_shape(self, node, shapes):
        return shapes[1:1 + len(node.outputs)]

    def grad(self, inputs, output_gradients):
        raise NotImplementedError('%s: nothing is differentiated through an update' % self)


def adam(loss_or_grads, params, learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """The updates of ``lasagne.updates.adam``, as one operation.

    Parameters
    ----------
    loss_or_grads : scalar, or list of expressions
        The loss, or its gradients with respect to the parameters.
    params : list of shared variables
    learning_rate : float
    beta1, beta2, epsilon : float
        See `AdamStep`.

    Returns
    -------
    OrderedDict
        From shared variables to expressions; for each parameter its first moment, its second moment and
        the parameter itself, then the number of steps, as Lasagne orders them.
    """
    gradients = [T.patternbroadcast(gradient, param.broadcastable)
                 for gradient, param in zip(get_or_compute_grads(loss_or_grads, params), params)]
    steps = theano.shared(numpy.zeros((), theano.config.floatX), 'steps')
    step = steps + 1
    rate = learning_rate * T.sqrt(1 - beta2**step) / (1 - beta1**step)
    moments = [[theano.shared(numpy.zeros_like(param.get_value(borrow=True)), broadcastable=param.broadcastable)
                for param in params] for _ in range(2)]
    new = AdamStep(beta1, beta2, epsilon)(rate, *(params + moments[0] + moments[1] + gradients))
    count, updates = len(params), collections.OrderedDict()
    for i in range(count):
        updates[moments[0][i]] = new[count + i]
        updates[moments[1][i]] = new[2 * count + i]
        updates[params[i]] = new[i]
    updates[steps] = step
    return updates
