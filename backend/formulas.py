"""The operations of style transfer, each stated once as mathematics.

Reflection padding, instance normalization, nearest-neighbour upsampling, rectification, Gram matrices, squared
differences and the step of Adam are formulas: a `Formula` is a Theano op that knows its own definition in plain Theano
expressions. The graph rewrite `lower_formulas` puts that definition in its place, unless the rewrites of a backend
(which run earlier) have replaced the op by something faster. Convolutions work in the same way already:
``T.nnet.conv2d`` is abstract until Theano's optimizer picks an implementation.
"""

from backend import T, theano

__all__ = [
    'EPSILON',
    'ROUNDING',
    'BACKEND_REWRITES',
    'Formula',
    'FormulaGradient',
    'ReflectPad',
    'InstanceNorm',
    'BatchNorm',
    'BatchMoments',
    'MappedInstanceNorm',
    'UpsampleNearest',
    'Rectify',
    'GramMatrix',
    'SquaredDifference',
    'AdamStep',
    'reflect_pad',
    'instance_norm',
    'batch_norm',
    'mapped_instance_norm',
    'upsample_nearest',
    'rectify',
]

EPSILON = 1e-5
# Variances that are rounding: shares of epsilon, and of the square of the mean. In the networks of data/models a photo
# of one colour has deviations of 2^-13 sqrt(epsilon) and less after a convolution, and the mean over a float32
# plane is off by 2^-16 of itself at most where one is taken over 1024 pixels at once. See `InstanceNorm`.
ROUNDING = 2.0**-20, 2.0**-32


class Formula(theano.Op):
    """An operation that is defined by an expression.

    A subclass lists its settings in ``__props__`` and states its mathematics in `formula`. Shapes,
    types and the gradient follow from that. Like Theano's abstract convolutions it has no code of
    its own: the optimizer replaces it by its formula (`lower_formulas`) or, before that, by the op
    of a backend.
    """

    __props__ = ()

    def formula(self, *inputs):
        """The expression that this operation stands for."""
        raise NotImplementedError

    def check(self, *inputs):
        """Raise TypeError unless the inputs are 4-D feature maps; a subclass may ask for more."""
        if inputs[0].ndim != 4:
            raise TypeError(f'{self} takes a 4-D tensor (images, channels, height, width), not {inputs[0].type}')

    def gradient(self, *inputs):
        """The gradients with respect to the inputs, as a list of expressions, by differentiating the formula.

        The last input is the gradient with respect to the output. A subclass may state them otherwise.
        """
        inputs, output_gradient = list(inputs[:-1]), inputs[-1]
        return theano.grad(None, inputs, known_grads={self.formula(*inputs): output_gradient})

    def make_node(self, *inputs):
        inputs = [T.as_tensor_variable(x) for x in inputs]
        self.check(*inputs)
        return theano.Apply(self, inputs, [self.formula(*inputs).type()])

    def infer_shape(self, node, shapes):
        return [shapes[0]]

    def grad(self, inputs, output_gradients):
        gradients = FormulaGradient(self)(*(inputs + output_gradients))
        return gradients if isinstance(gradients, list) else [gradients]

    def perform(self, node, inputs, outputs):
        raise NotImplementedError(
            f'{self} has no code of its own: compile with an optimizer, which replaces it by its formula'
        )


class FormulaGradient(theano.Op):
    """The gradient of a `Formula` with respect to its inputs.

    Parameters
    ----------
    of : Formula

    Notes
    -----
    The inputs of a node are those of the formula, then the gradient with respect to its output;
    the outputs are the gradients with respect to each input.
    """

    __props__ = ('of',)

    def __init__(self, of):
        self.of = of

    def make_node(self, *inputs):
        inputs = [T.as_tensor_variable(x) for x in inputs]
        return theano.Apply(self, inputs, [x.type() for x in inputs[:-1]])

    def formula(self, *inputs):
        """The list of gradients as expressions."""
        return [T.cast(gradient, x.dtype) for gradient, x in zip(self.of.gradient(*inputs), inputs)]

    def infer_shape(self, node, shapes):
        return shapes[:-1]

    def perform(self, node, inputs, outputs):
        raise NotImplementedError(
            f'{self} has no code of its own: compile with an optimizer, which replaces it by its formula'
        )


@theano.gof.local_optimizer(None)
def _lower_formula(node):
    if not isinstance(node.op, (Formula, FormulaGradient)):
        return False
    # The inputs of a formula may depend on each other; stand-ins keep its gradient apart from that.
    # (theano.clone would copy the whole graph above the inputs with them.)
    stand_ins = [x.type() for x in node.inputs]
    outputs = node.op.formula(*stand_ins)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    copies = theano.gof.graph.clone_get_equiv(
        stand_ins, outputs, copy_inputs=False, copy_orphans=False, memo=dict(zip(stand_ins, node.inputs))
    )
    return [T.patternbroadcast(copies[new], old.broadcastable) for new, old in zip(outputs, node.outputs)]


# Before Theano's first pass (`merge1` is at 0). Backends register their rewrites at BACKEND_REWRITES.
LOWER_FORMULAS = -0.01
BACKEND_REWRITES = -0.02
_lowering = theano.gof.opt.in2out(_lower_formula, name='lower_formulas')
theano.compile.optdb.register('lower_formulas', _lowering, LOWER_FORMULAS, 'fast_run', 'fast_compile')


class ReflectPad(Formula):
    """Pad height and width by reflection about the edge pixels, which are not repeated.

    Row ``-i`` is row ``i`` and row ``H-1+i`` is row ``H-1-i``, for i = 1 … pad, so an image must
    be larger than `pad`.

    Parameters
    ----------
    pad : int
        Pixels to add on each side.
    """

    __props__ = ('pad',)

    def __init__(self, pad):
        self.pad = int(pad)
        if self.pad < 1:
            raise ValueError(f'reflection padding is of at least one pixel, not {pad!r}')
        self.large_enough = T.opt.Assert(f'an image is too small for a reflection padding of {self.pad}')

    def formula(self, x):
        p = self.pad
        x = self.large_enough(x, T.gt(x.shape[2], p), T.gt(x.shape[3], p))
        x = T.concatenate([x[:, :, p:0:-1], x, x[:, :, -2 : -p - 2 : -1]], axis=2)
        return T.concatenate([x[:, :, :, p:0:-1], x, x[:, :, :, -2 : -p - 2 : -1]], axis=3)

    def infer_shape(self, node, shapes):
        n, c, h, w = shapes[0]
        return [(n, c, h + 2 * self.pad, w + 2 * self.pad)]


class InstanceNorm(Formula):
    r"""Normalize each feature map of each image, then scale and shift it.

    .. math:: y_{nchw} = \gamma_{nc} \frac{x_{nchw} - \mu_{nc}}{\sqrt{\sigma^2_{nc} + \epsilon}} + \beta_{nc}

    where the mean and the (biased) variance are taken over height and width (arXiv:1607.08022,
    equation 3). The inputs are x of shape (N, C, H, W), gamma and beta of shape (N, C), or (1, C)
    with a broadcastable first dimension: conditional instance normalization (arXiv:1610.07629,
    section 2.1) is the case in which gamma and beta depend on the style of each image.

    A variance of no more than :math:`2^{-20} \epsilon + 2^{-32} \mu^2_{nc}` counts as zero, and y is beta
    there: it is the rounding of the convolution before, which one normalization after the other would
    amplify to a pattern of its own.

    Parameters
    ----------
    epsilon : float
        Added to the variance.
    """

    __props__ = ('epsilon',)

    def __init__(self, epsilon=EPSILON):
        self.epsilon = float(epsilon)

    def check(self, x, gamma, beta):
        Formula.check(self, x)
        if gamma.ndim != 2 or beta.ndim != 2:
            raise TypeError(f'gamma and beta are matrices (images, channels), not {gamma.type} and {beta.type}')

    def formula(self, x, gamma, beta):
        return self.scaled(x, gamma.dimshuffle(0, 1, 'x', 'x'), beta.dimshuffle(0, 1, 'x', 'x'))

    axes = 2, 3  # that the moments are taken over

    def scaled(self, x, gamma, beta):
        """x normalized, scaled and shifted by gamma and beta of four dimensions."""
        mean = x.mean(axis=self.axes, keepdims=True)
        variance = T.sqr(x - mean).mean(axis=self.axes, keepdims=True)
        scale = gamma / T.sqrt(variance + T.constant(self.epsilon, dtype=x.dtype))
        rounding = T.constant(ROUNDING[0] * self.epsilon, dtype=x.dtype) + T.constant(
            ROUNDING[1], dtype=x.dtype
        ) * T.sqr(mean)
        scale = T.switch(variance > rounding, scale, T.zeros_like(scale))
        return T.patternbroadcast((x - mean) * scale + beta, x.broadcastable)


class BatchNorm(InstanceNorm):
    r"""Batch normalization in training: `InstanceNorm` with mean and variance over all images as well.

    .. math:: y_{nchw} = \gamma_c \frac{x_{nchw} - \mu_c}{\sqrt{\sigma^2_c + \epsilon}} + \beta_c

    Gamma and beta are of shape (1, C).

    Parameters
    ----------
    epsilon : float
        Added to the variance.
    """

    axes = 0, 2, 3


class BatchMoments(Formula):
    """The mean and the (biased) variance of each channel over images, height and width: (2, C)."""

    def formula(self, x):
        mean = x.mean(axis=(0, 2, 3), keepdims=True)
        return T.stack([mean.flatten(), T.sqr(x - mean).mean(axis=(0, 2, 3))])

    def infer_shape(self, node, shapes):
        return [(2, shapes[0][1])]


class MappedInstanceNorm(InstanceNorm):
    r"""Instance normalization whose gamma and beta differ from pixel to pixel: a style map.

    .. math:: y_{nchw} = \Gamma_{nchw} \frac{x_{nchw} - \mu_{nc}}{\sqrt{\sigma^2_{nc} + \epsilon}} + B_{nchw}, \quad
        \Gamma_{nchw} = \sum_s w_{nshw} \gamma_{sc}, \quad B_{nchw} = \sum_s w_{nshw} \beta_{sc}

    The inputs are x of shape (N, C, H, W), gamma and beta of shape (S, C), a row for each style, and the weights w of
    the styles, (N, S, H, W), so that gamma and beta need not be held for each pixel and channel. Mean and
    variance are those of the whole image, and where w is one style everywhere y is that of `InstanceNorm`.

    Parameters
    ----------
    epsilon : float
        Added to the variance.
    """

    def check(self, x, gamma, beta, weights):
        InstanceNorm.check(self, x, gamma, beta)
        if weights.ndim != 4:
            raise TypeError(f'the weights of styles are maps (images, styles, height, width), not {weights.type}')

    def formula(self, x, gamma, beta, weights):
        gamma, beta = (T.tensordot(weights, rows, [[1], [0]]).dimshuffle(0, 3, 1, 2) for rows in (gamma, beta))
        return self.scaled(x, gamma, beta)


class UpsampleNearest(Formula):
    """Repeat each pixel `scale` times in height and width.

    Parameters
    ----------
    scale : int
    """

    __props__ = ('scale',)

    def __init__(self, scale=2):
        self.scale = int(scale)
        if self.scale < 1:
            raise ValueError(f'the scale is at least one, not {scale!r}')

    def formula(self, x):
        n, c, h, w = x.shape
        s = self.scale
        # A broadcast sum rather than T.repeat: its gradient is a sum over the two new dimensions.
        spread = x.dimshuffle(0, 1, 2, 'x', 3, 'x') + T.zeros((1, 1, 1, s, 1, s), dtype=x.dtype)
        return spread.reshape((n, c, h * s, w * s))

    def infer_shape(self, node, shapes):
        n, c, h, w = shapes[0]
        return [(n, c, h * self.scale, w * self.scale)]


class Rectify(Formula):
    """max(x, 0), with a gradient of 0 at 0."""

    def formula(self, x):
        return T.switch(x > 0, x, T.zeros_like(x))


class GramMatrix(Formula):
    r"""The Gram matrix of each image's feature maps, (N, C, C).

    .. math:: G_{nij} = \frac{1}{HW} \sum_{hw} F_{nihw} F_{njhw}

    Parameters
    ----------
    divide_by_channels : bool
        Divide by C as well.
    """

    __props__ = ('divide_by_channels',)

    def __init__(self, divide_by_channels=False):
        self.divide_by_channels = bool(divide_by_channels)

    def flat(self, x):
        """The features as (N, C, HW), and what the products are divided by."""
        n, c, h, w = x.shape
        size = c * h * w if self.divide_by_channels else h * w
        return x.reshape((n, c, h * w)), size.astype(x.dtype)

    def formula(self, x):
        flat, size = self.flat(x)
        return T.batched_dot(flat, flat.dimshuffle(0, 2, 1)) / size

    def gradient(self, x, dy):
        # Both factors are the features: one product with the sum of dy and its transpose, where differentiating the
        # formula makes two products, the size of the features, and transposes one.
        flat, size = self.flat(x)
        dx = T.batched_dot((dy + dy.dimshuffle(0, 2, 1)) / size, flat).reshape(x.shape)
        return [T.patternbroadcast(dx, x.broadcastable)]

    def infer_shape(self, node, shapes):
        n, c = shapes[0][:2]
        return [(n, c, c)]


class SquaredDifference(Formula):
    """The mean squared difference of two tensors of one shape for each image, the first dimension."""

    def check(self, x, y):
        if x.ndim != y.ndim or x.ndim < 2:
            raise TypeError(
                f'{self} takes two tensors of the same number of dimensions, at least two, not {x.type} and {y.type}'
            )

    def formula(self, x, y):
        return T.sqr(x - y).mean(axis=list(range(1, x.ndim)))

    def infer_shape(self, node, shapes):
        return [shapes[0][:1]]


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
            raise TypeError(f'{self} takes a number, then parameters, both moments and gradients of the same types')

    def make_node(self, *inputs):
        inputs = [T.as_tensor_variable(x) for x in inputs]
        self.check(*inputs)
        return theano.Apply(self, inputs, [x.type() for x in inputs[1 : 1 + 3 * len(inputs) // 4]])

    def formula(self, rate, *arrays):
        quarter, new = len(arrays) // 4, []
        for i in range(quarter):
            param, m, v, g = arrays[i::quarter]
            m = self.beta1 * m + (1 - self.beta1) * g
            v = self.beta2 * v + (1 - self.beta2) * g**2
            new.append((param - rate * m / (T.sqrt(v) + self.epsilon), m, v))
        return [x for column in zip(*new) for x in column]

    def infer_shape(self, node, shapes):
        return shapes[1 : 1 + len(node.outputs)]

    def grad(self, inputs, output_gradients):
        raise NotImplementedError(f'{self}: nothing is differentiated through an update')


def reflect_pad(x, pad):
    """See `ReflectPad`."""
    return ReflectPad(pad)(x)


def instance_norm(x, gamma, beta, epsilon=EPSILON):
    """See `InstanceNorm`."""
    return InstanceNorm(epsilon)(x, gamma, beta)


def batch_norm(x, gamma, beta, epsilon=EPSILON):
    """See `BatchNorm`."""
    return BatchNorm(epsilon)(x, gamma, beta)


def mapped_instance_norm(x, gamma, beta, weights, epsilon=EPSILON):
    """See `MappedInstanceNorm`."""
    return MappedInstanceNorm(epsilon)(x, gamma, beta, weights)


def upsample_nearest(x, scale=2):
    """See `UpsampleNearest`."""
    return UpsampleNearest(scale)(x)


rectify = Rectify()
