"""The updates of parameters in training: Adam."""

import collections

import numpy

from backend import T, theano
from backend.formulas import AdamStep

from lasagne.updates import get_or_compute_grads

__all__ = ['adam']


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
    gradients = [
        T.patternbroadcast(gradient, param.broadcastable)
        for gradient, param in zip(get_or_compute_grads(loss_or_grads, params), params)
    ]
    steps = theano.shared(numpy.zeros((), theano.config.floatX), 'steps')
    step = steps + 1
    rate = learning_rate * T.sqrt(1 - beta2**step) / (1 - beta1**step)
    moments = [
        [
            theano.shared(numpy.zeros_like(param.get_value(borrow=True)), broadcastable=param.broadcastable)
            for param in params
        ]
        for _ in range(2)
    ]
    new = AdamStep(beta1, beta2, epsilon)(rate, *(params + moments[0] + moments[1] + gradients))
    count, updates = len(params), collections.OrderedDict()
    for i in range(count):
        updates[moments[0][i]] = new[count + i]
        updates[moments[1][i]] = new[2 * count + i]
        updates[params[i]] = new[i]
    updates[steps] = step
    return updates
