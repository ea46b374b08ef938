"""Instance and batch normalization, with what comes after them."""

import numpy

from backend import T, theano
from backend.onednn import library
from backend.onednn.ops.basics import Blocked, Op, as_array, as_blocked, as_size, as_tensor, check_blocks, check_shape

__all__ = ['LINEAR', 'RECTIFY', 'SIGMOID', 'TANH', 'Norm', 'BatchMoments', 'MappedNorm', 'NormGradient']

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
        inputs = [as_blocked(x), as_tensor(gamma, 2, 'gamma'), as_tensor(beta, 2, 'beta')]
        return theano.Apply(self, inputs + [as_blocked(o, 'other') for o in other], [Blocked(), T.fvector()])

    def infer_shape(self, node, shapes):
        n, blocks, _, _, block = shapes[0]
        return [shapes[0], (2 * n * blocks * block,)]

    def run(self, x, gamma, beta, other=None):
        channels = _check_scales(self, x, gamma, beta)
        if other is not None:
            check_shape(self, other, x.shape, 'other')
            other = as_array(other)
        n, blocks, h, w, block = x.shape
        x = as_array(x)
        y, stats = self.result(x), numpy.empty(2 * n * blocks * block, 'float32')
        library.call(
            'gogh_norm',
            x,
            as_array(gamma),
            as_array(beta),
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
        return theano.Apply(self, [as_blocked(x), as_size(channels)], [T.fmatrix()])

    def run(self, x, channels):
        channels = int(channels)
        check_blocks(self, x, channels)
        n, _, h, w, _ = x.shape
        result = numpy.empty((2, channels), 'float32')
        library.call('gogh_batch_moments', as_array(x), result, n, channels, h * w)
        return result


def _check_scales(op, x, gamma, beta):
    for name, value in (('gamma', gamma), ('beta', beta)):
        if value.shape[0] not in (1, x.shape[0]) or value.shape[1] != gamma.shape[1]:
            raise ValueError(
                f'{op}: {name} is of shape {value.shape} for {x.shape[0]} images and {gamma.shape[1]} channels'
            )
    check_blocks(op, x, gamma.shape[1])
    return gamma.shape[1]


class MappedNorm(Norm):
    """`Norm` with gamma and beta that differ from pixel to pixel (see `formulas.MappedInstanceNorm`).

    Inputs are x, gamma and beta (styles, C), the weights of the styles (N, styles, H, W), and optionally another image.
    """

    def make_node(self, x, gamma, beta, weights, *other):
        node = Norm.make_node(self, x, gamma, beta)
        inputs = node.inputs + [as_tensor(weights, 4, 'weights')] + [as_blocked(o, 'other') for o in other]
        return theano.Apply(self, inputs, [output.type() for output in node.outputs])

    def run(self, x, gamma, beta, weights, other=None):
        n, blocks, h, w, block = x.shape
        styles, channels = gamma.shape
        check_shape(self, beta, gamma.shape, 'beta')
        check_shape(self, weights, (n, styles, h, w), 'weights')
        check_blocks(self, x, channels)
        if other is not None:
            check_shape(self, other, x.shape, 'other')
            other = as_array(other)
        x = as_array(x)
        y, stats = self.result(x), numpy.empty(2 * n * blocks * block, 'float32')
        rows = as_array(gamma), as_array(beta), as_array(weights)
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
            as_blocked(x),
            as_tensor(gamma, 2, 'gamma'),
            as_tensor(beta, 2, 'beta'),
            as_tensor(stats, 1, 'stats'),
            as_blocked(dy, 'dy'),
        ]
        return theano.Apply(self, inputs, [Blocked(), inputs[1].type(), inputs[2].type()])

    def infer_shape(self, node, shapes):
        return shapes[:3]

    def run(self, x, gamma, beta, stats, dy):
        channels = _check_scales(self, x, gamma, beta)
        check_shape(self, dy, x.shape, 'dy')
        n, blocks, h, w, block = x.shape
        check_shape(self, stats, (2 * n * blocks * block,), 'stats')
        dy = as_array(dy)
        dx, dgamma, dbeta = self.result(dy), numpy.empty_like(as_array(gamma)), numpy.empty_like(as_array(beta))
        library.call(
            'gogh_norm_gradient',
            as_array(x),
            as_array(gamma),
            as_array(beta),
            len(gamma),
            len(beta),
            as_array(stats),
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
