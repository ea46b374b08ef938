"""Lasagne layers of the transformer and loss networks, and the blocks that the networks are made of.

What the layers compute is stated in `backend.formulas`.
"""

from fractions import Fraction

import numpy

from backend import T, lasagne, theano
from backend.formulas import (
    EPSILON,
    BatchMoments,
    batch_norm,
    instance_norm,
    mapped_instance_norm,
    rectify,
    reflect_pad,
    upsample_nearest,
)

from lasagne.init import Constant, HeNormal, Normal
from lasagne.nonlinearities import linear

__all__ = [
    'style_weights',
    'ReflectPadLayer',
    'CropLayer',
    'InstanceNormLayer',
    'ConditionalInstanceNormLayer',
    'mean_pool',
    'BatchNormLayer',
    'UpsampleNearestLayer',
    'UpsampleBilinearLayer',
    'ConvLayer',
    'FractionalConvLayer',
    'conv_block',
    'residual_block',
    'upsampling_block',
]


class ReflectPadLayer(lasagne.layers.Layer):
    """Pads height and width by reflection.

    Parameters
    ----------
    incoming : Layer or tuple
        The layer feeding into this one, of shape (N, C, H, W).
    pad : int
        Pixels to add on each side; H and W must be larger.
    """

    def __init__(self, incoming, pad, **kwargs):
        super().__init__(incoming, **kwargs)
        self.pad = pad
        if any(size is not None and size <= pad for size in self.input_shape[2:]):
            raise ValueError(f'feature maps of {self.input_shape[2:]} are too small for a reflection padding of {pad}')

    def get_output_shape_for(self, input_shape):
        return input_shape[:2] + tuple(None if size is None else size + 2 * self.pad for size in input_shape[2:])

    def get_output_for(self, input, **kwargs):
        return reflect_pad(input, self.pad)


class CropLayer(lasagne.layers.Layer):
    """Cuts off the borders of height and width.

    Parameters
    ----------
    incoming : Layer or tuple
        The layer feeding into this one, of shape (N, C, H, W).
    crop : int
        Pixels to cut off on each side.
    """

    def __init__(self, incoming, crop, **kwargs):
        super().__init__(incoming, **kwargs)
        self.crop = crop

    def get_output_shape_for(self, input_shape):
        return input_shape[:2] + tuple(None if size is None else size - 2 * self.crop for size in input_shape[2:])

    def get_output_for(self, input, **kwargs):
        return input[:, :, self.crop : -self.crop, self.crop : -self.crop]


class InstanceNormLayer(lasagne.layers.Layer):
    """Instance normalization with one gamma and beta for each channel (arXiv:1607.08022).

    Parameters
    ----------
    incoming : Layer or tuple
        The layer feeding into this one, of shape (N, C, H, W) with C known.
    epsilon : float
        Added to the variance.
    beta, gamma : Theano shared variable, expression, numpy array or callable
        Shift and scale, of shape (C,).

    See Also
    --------
    InstanceNorm : the formula
    """

    def __init__(self, incoming, epsilon=EPSILON, beta=Constant(0), gamma=Constant(1), **kwargs):
        super().__init__(incoming, **kwargs)
        self.epsilon = epsilon
        self.beta = self.add_param(beta, (self.input_shape[1],), name='beta', regularizable=False)
        self.gamma = self.add_param(gamma, (self.input_shape[1],), name='gamma', regularizable=False)

    def get_output_for(self, input, **kwargs):
        return instance_norm(input, self.gamma.dimshuffle('x', 0), self.beta.dimshuffle('x', 0), self.epsilon)


class ConditionalInstanceNormLayer(lasagne.layers.MergeLayer):
    r"""Instance normalization with a gamma and a beta for each style (arXiv:1610.07629, section 2.1).

    The style is a row of weights for each image, w of shape (N, styles): a one-hot row is one
    style, and a convex combination blends styles (section 3.5 of the paper):
    :math:`\gamma_n = \sum_s w_{ns} \gamma_s`, and so for beta. Weights of four dimensions, (N, styles, H, W) at the
    size of the image, are a style map: each pixel of a feature map has the mean of the weights of the pixels that
    it stands for. Where the image is mirrored at its borders so are the weights, and what feature maps lose they lose.

    Parameters
    ----------
    incoming : Layer or tuple
        The layer feeding into this one, of shape (N, C, H, W) with C known.
    style : Layer or tuple
        The layer with the weights of the styles, of shape (N, styles), or (1, styles) with a
        broadcastable first dimension for one style in the whole batch; the number of styles known. An expression for
        it may be of shape (N, styles, H, W).
    epsilon : float
        Added to the variance.
    beta, gamma : Theano shared variable, expression, numpy array or callable
        Shift and scale, of shape (styles, C).

    See Also
    --------
    InstanceNorm : the formula
    style_weights : makes the rows
    """

    def __init__(self, incoming, style, epsilon=EPSILON, beta=Constant(0), gamma=Constant(1), **kwargs):
        super().__init__([incoming, style], **kwargs)
        self.epsilon = epsilon
        shape = (self.input_shapes[1][1], self.input_shapes[0][1])
        self.beta = self.add_param(beta, shape, name='beta', regularizable=False)
        self.gamma = self.add_param(gamma, shape, name='gamma', regularizable=False)

    def get_output_shape_for(self, input_shapes):
        return input_shapes[0]

    def get_output_for(self, inputs, **kwargs):
        x, style = inputs
        if style.ndim == 4:
            return mapped_instance_norm(x, self.gamma, self.beta, self.weights_at(style), self.epsilon)
        return instance_norm(x, T.dot(style, self.gamma), T.dot(style, self.beta), self.epsilon)

    def weights_at(self, style_map):
        """The weights of a style map (N, styles, H, W), for the pixels of the feature maps that are normalized."""
        stride, lost = _place(self.input_layers[0])
        if lost < 0:
            style_map = reflect_pad(style_map, -lost)
        elif lost:
            style_map = style_map[:, :, lost:-lost, lost:-lost]
        return mean_pool(style_map, stride)


def mean_pool(maps, side):
    """The means of squares of so many pixels; height and width of the maps (N, S, H, W) are multiples of that."""
    if side == 1:
        return maps
    n, s, height, width = maps.shape
    return maps.reshape((n, s, height // side, side, width // side, side)).mean(axis=(3, 5))


def _place(layer):
    """Where in the image a layer's feature maps lie, which are in the middle of it.

    Returns
    -------
    stride : int
        How many pixels of the image a pixel of them stands for, in height and in width.
    lost : int
        How many pixels of the image they lack on each side; below zero if they have so many more, by reflection.
    """
    path = []
    while not isinstance(layer, lasagne.layers.InputLayer):
        path.append(layer)
        # The layers of several inputs have inputs that lie alike.
        layer = layer.input_layers[0] if hasattr(layer, 'input_layers') else layer.input_layer
    stride, lost = Fraction(1), Fraction(0)
    for layer in reversed(path):
        if isinstance(layer, ConvLayer):
            lost += stride * (layer.filter_size // 2) * (layer.pad == 'none')
            stride *= layer.stride
        elif isinstance(layer, ReflectPadLayer):
            lost -= stride * layer.pad
        elif isinstance(layer, CropLayer):
            lost += stride * layer.crop
        elif isinstance(layer, UpsampleNearestLayer):
            stride /= layer.scale
        elif isinstance(layer, FractionalConvLayer):
            stride /= 2
    return int(stride), int(lost)


class BatchNormLayer(lasagne.layers.Layer):
    """Batch normalization over images, height and width: what instance normalization replaces.

    For the comparison in section 3 of arXiv:1607.08022; Lasagne 0.1 has no such layer. Training
    uses the statistics of the batch and keeps running averages of them, which are used when the
    output is asked for with ``deterministic=True``.

    Parameters
    ----------
    incoming : Layer or tuple
        The layer feeding into this one, of shape (N, C, H, W) with C known.
    epsilon : float
        Added to the variance.
    beta, gamma : Theano shared variable, expression, numpy array or callable
        Shift and scale, of shape (C,).
    average_factor : float
        Weight of a new batch in the running averages.
    """

    def __init__(self, incoming, epsilon=EPSILON, beta=Constant(0), gamma=Constant(1), average_factor=0.1, **kwargs):
        super().__init__(incoming, **kwargs)
        self.epsilon = epsilon
        self.average_factor = average_factor
        shape = (self.input_shape[1],)
        self.beta = self.add_param(beta, shape, name='beta', regularizable=False)
        self.gamma = self.add_param(gamma, shape, name='gamma', regularizable=False)
        self.mean = self.add_param(Constant(0), shape, name='mean', trainable=False, regularizable=False)
        self.variance = self.add_param(Constant(1), shape, name='variance', trainable=False, regularizable=False)

    def get_output_for(self, input, deterministic=False, **kwargs):
        if deterministic:
            scale = self.gamma / T.sqrt(self.variance + T.constant(self.epsilon, dtype=input.dtype))
            mean, scale, beta = (vector.dimshuffle('x', 0, 'x', 'x') for vector in (self.mean, scale, self.beta))
            return (input - mean) * scale + beta
        moments, gamma = BatchMoments()(input), self.gamma
        # The running averages ride along as default updates of copies of the parameters that
        # the expression mentions without being changed by them.
        for average, value in ((self.mean, moments[0]), (self.variance, moments[1])):
            copy = theano.clone(average, share_inputs=False)
            copy.default_update = (1 - self.average_factor) * average + self.average_factor * value
            gamma = gamma + 0 * copy
        return batch_norm(input, gamma.dimshuffle('x', 0), self.beta.dimshuffle('x', 0), self.epsilon)


class UpsampleNearestLayer(lasagne.layers.Layer):
    """Repeats each pixel in height and width; Lasagne 0.1 has only one that needs known shapes.

    Parameters
    ----------
    incoming : Layer or tuple
        The layer feeding into this one, of shape (N, C, H, W).
    scale : int
    """

    def __init__(self, incoming, scale=2, **kwargs):
        super().__init__(incoming, **kwargs)
        self.scale = scale

    def get_output_shape_for(self, input_shape):
        return input_shape[:2] + tuple(None if size is None else size * self.scale for size in input_shape[2:])

    def get_output_for(self, input, **kwargs):
        return upsample_nearest(input, self.scale)


class UpsampleBilinearLayer(UpsampleNearestLayer):
    """Makes images larger by bilinear interpolation between the centres of pixels, those at the edges repeated.

    Parameters
    ----------
    incoming : Layer or tuple
        The layer feeding into this one, of shape (N, C, H, W) with C known.
    scale : int
        Even.

    Notes
    -----
    Pixels are repeated, and means are taken over as many of them as were repeated, half of them on each side.
    """

    def get_output_for(self, input, **kwargs):
        weights = numpy.ones(self.scale + 1) / self.scale
        weights[[0, -1]] /= 2
        channels = numpy.eye(self.input_shape[1])[:, :, numpy.newaxis, numpy.newaxis]
        filters = (channels * numpy.outer(weights, weights)).astype('float32')
        repeated = reflect_pad(super().get_output_for(input, **kwargs), self.scale // 2)
        return T.nnet.conv2d(repeated, T.constant(filters), filter_shape=filters.shape)


class ConvLayer(lasagne.layers.Layer):
    """A convolution whose output has the size of its input divided by the stride.

    Parameters
    ----------
    incoming : Layer or tuple
        The layer feeding into this one, of shape (N, C, H, W) with C known.
    num_filters : int
        Number of output channels.
    filter_size : int
        Odd side length k of the square filters; the input is padded by k // 2 on each side.
    stride : int
    pad : {'reflect', 'zero', 'none'}
        What the padding consists of; 'none' leaves it away, so that the output lacks k // 2 pixels on each side.
    flip_filters : bool
        True for a convolution, as is Lasagne's default; False for a cross-correlation, as in Caffe.
    W : Theano shared variable, expression, numpy array or callable
        The filters, of shape (num_filters, C, k, k).
    b : Theano shared variable, expression, numpy array, callable or None
        The biases, of shape (num_filters,), or None for none.
    nonlinearity : callable
        Applied to the result.
    """

    def __init__(
        self,
        incoming,
        num_filters,
        filter_size,
        stride=1,
        pad='reflect',
        flip_filters=True,
        W=Normal(0.01),
        b=None,
        nonlinearity=linear,
        **kwargs,
    ):
        super().__init__(incoming, **kwargs)
        if filter_size % 2 != 1:
            raise ValueError(f'the filter size is odd, not {filter_size!r}')
        if pad not in ('reflect', 'zero', 'none'):
            raise ValueError(f"the padding is 'reflect', 'zero' or 'none', not {pad!r}")
        self.num_filters = num_filters
        self.filter_size = filter_size
        self.stride = stride
        self.pad = pad
        self.flip_filters = flip_filters
        self.nonlinearity = nonlinearity
        self.W = self.add_param(W, (num_filters, self.input_shape[1], filter_size, filter_size), name='W')
        self.b = None if b is None else self.add_param(b, (num_filters,), name='b', regularizable=False)

    def get_output_shape_for(self, input_shape):
        return (input_shape[0], self.num_filters) + tuple(
            None if size is None else (size - 1 - (self.filter_size - 1) * (self.pad == 'none')) // self.stride + 1
            for size in input_shape[2:]
        )

    def get_output_for(self, input, **kwargs):
        margin = self.filter_size // 2 if self.pad != 'none' else 0
        if self.pad == 'reflect' and margin:
            input = reflect_pad(input, margin)
            margin = 0
        output = T.nnet.conv2d(
            input,
            self.W,
            filter_shape=self.W.get_value(borrow=True).shape,
            border_mode=(margin, margin),
            subsample=(self.stride, self.stride),
            filter_flip=self.flip_filters,
        )
        if self.b is not None:
            output = output + self.b.dimshuffle('x', 0, 'x', 'x')
        return self.nonlinearity(output)


class FractionalConvLayer(lasagne.layers.Layer):
    """A convolution of stride 1/2 ("deconvolution"): twice the height and width (arXiv:1603.08155).

    It is the gradient of a convolution of stride 2 with zero padding, as in fast-neural-style's
    SpatialFullConvolution with ``adj`` 1. It leaves checkerboards, which is why the networks here
    upsample instead; it serves the comparison.

    Parameters
    ----------
    incoming : Layer or tuple
        The layer feeding into this one, of shape (N, C, H, W) with C known.
    num_filters : int
        Number of output channels.
    filter_size : int
        Odd side length k of the square filters.
    W : Theano shared variable, expression, numpy array or callable
        The filters, of shape (C, num_filters, k, k).
    b : Theano shared variable, expression, numpy array, callable or None
        The biases, of shape (num_filters,), or None for none.
    """

    def __init__(self, incoming, num_filters, filter_size=3, W=Normal(0.01), b=None, **kwargs):
        super().__init__(incoming, **kwargs)
        self.num_filters = num_filters
        self.filter_size = filter_size
        self.W = self.add_param(W, (self.input_shape[1], num_filters, filter_size, filter_size), name='W')
        self.b = None if b is None else self.add_param(b, (num_filters,), name='b', regularizable=False)

    def get_output_shape_for(self, input_shape):
        return (input_shape[0], self.num_filters) + tuple(
            None if size is None else 2 * size for size in input_shape[2:]
        )

    def get_output_for(self, input, **kwargs):
        margin = self.filter_size // 2
        height, width = 2 * input.shape[2], 2 * input.shape[3]
        output = T.nnet.abstract_conv.conv2d_grad_wrt_inputs(
            input,
            self.W,
            input_shape=(None, self.num_filters, height, width),
            filter_shape=self.W.get_value(borrow=True).shape,
            border_mode=(margin, margin),
            subsample=(2, 2),
        )
        return output if self.b is None else output + self.b.dimshuffle('x', 0, 'x', 'x')


# ---------------------------------------------------------------------------------------------
# Blocks
# ---------------------------------------------------------------------------------------------


def _normalize(layer, style, norm, epsilon):
    if norm == 'none':
        return layer
    if norm == 'batch':
        if style is not None:
            raise ValueError('batch normalization has no styles: the network for many styles needs instance norm')
        return BatchNormLayer(layer, epsilon)
    if norm != 'instance':
        raise ValueError(f"the norm is 'instance', 'batch' or 'none', not {norm!r}")
    if style is not None:
        return ConditionalInstanceNormLayer(layer, style, epsilon)
    return InstanceNormLayer(layer, epsilon)


def _start(norm):
    """The filters and biases that a convolution starts with, before such a normalization; or what serves without."""
    return dict(W=Normal(0.01)) if norm != 'none' else dict(W=HeNormal('relu'), b=Constant(0))


def conv_block(
    incoming,
    num_filters,
    filter_size,
    stride=1,
    style=None,
    nonlinearity=rectify,
    norm='instance',
    pad='reflect',
    epsilon=EPSILON,
):
    """Padding, convolution, (conditional) normalization, nonlinearity (arXiv:1610.07629, table 1).

    Parameters
    ----------
    incoming : Layer
        The layer feeding into this one, of shape (N, C, H, W) with C known.
    num_filters, filter_size, stride : int
        Of the convolution, which has no bias.
    style : Layer or None
        The weights of the styles, of shape (N, styles); None for a network of a single style.
    nonlinearity : callable
    norm : {'instance', 'batch', 'none'}
        With 'none' the convolution has a bias, and its filters start as large as keeps feature maps at one size
        (arXiv:1502.01852).
    pad : {'reflect', 'zero', 'none'}
        Of the convolution: see `ConvLayer`.
    epsilon : float
        Added to the variance by the normalization.

    Returns
    -------
    Layer
        Of shape (N, num_filters, H / stride, W / stride), rounded up.
    """
    layer = ConvLayer(incoming, num_filters, filter_size, stride, pad, **_start(norm))
    layer = _normalize(layer, style, norm, epsilon)
    return lasagne.layers.NonlinearityLayer(layer, nonlinearity)


def residual_block(incoming, style=None, norm='instance', pad='reflect', epsilon=EPSILON):
    """Two 3×3 convolution blocks, the second one linear, added to the input (arXiv:1610.07629, table 1).

    Parameters
    ----------
    incoming : Layer
        The layer feeding into this one, of shape (N, C, H, W) with C known.
    style, norm, pad, epsilon
        As for `conv_block`. With the padding 'none' the input loses the two pixels on each side that the
        convolutions lose (the supplement of arXiv:1603.08155).

    Returns
    -------
    Layer
        Of the shape of the input, less these pixels.
    """
    width = incoming.output_shape[1]
    layer = conv_block(incoming, width, 3, 1, style, rectify, norm, pad, epsilon)
    layer = conv_block(layer, width, 3, 1, style, linear, norm, pad, epsilon)
    if pad == 'none':
        incoming = CropLayer(incoming, 2)
    return lasagne.layers.ElemwiseSumLayer([incoming, layer])


def upsampling_block(
    incoming, num_filters, style=None, norm='instance', pad='reflect', upsampling='nearest', epsilon=EPSILON
):
    """Doubles height and width: nearest upsampling and a 3×3 convolution block (arXiv:1610.07629, table 1).

    Parameters
    ----------
    incoming : Layer
        The layer feeding into this one, of shape (N, C, H, W) with C known.
    num_filters : int
        Number of output channels.
    style, norm, pad, epsilon
        As for `conv_block`.
    upsampling : {'nearest', 'deconv'}
        'deconv' is the stride-1/2 convolution of arXiv:1603.08155 instead.

    Returns
    -------
    Layer
        Of shape (N, num_filters, 2 H, 2 W).
    """
    if upsampling == 'nearest':
        return conv_block(UpsampleNearestLayer(incoming, 2), num_filters, 3, 1, style, rectify, norm, pad, epsilon)
    if upsampling != 'deconv':
        raise ValueError(f"the upsampling is 'nearest' or 'deconv', not {upsampling!r}")
    layer = _normalize(FractionalConvLayer(incoming, num_filters, 3, **_start(norm)), style, norm, epsilon)
    return lasagne.layers.NonlinearityLayer(layer, rectify)


def style_weights(style, num_styles, num_images=1):
    """Rows of style weights, as `ConditionalInstanceNormLayer` takes them.

    Parameters
    ----------
    style : int, sequence of int, or dict
        One style for all images; one for each image; or a blend {style: weight}, whose weights
        are used as they are.
    num_styles : int
    num_images : int
        Number of rows; ignored if `style` is a sequence.

    Returns
    -------
    numpy array
        float32, of shape (images, styles).

    Raises
    ------
    IndexError
        If a style is not in 0 … num_styles - 1.
    """
    blends = (
        [{s: 1.0} for s in style]
        if hasattr(style, '__len__') and not isinstance(style, dict)
        else [style if isinstance(style, dict) else {style: 1.0}] * num_images
    )
    rows = numpy.zeros((len(blends), num_styles), 'float32')
    for row, blend in zip(rows, blends):
        for index, weight in blend.items():
            if not 0 <= index < num_styles:
                raise IndexError(f'there is no style {index}: the styles are 0 to {num_styles - 1}')
            row[index] = weight
    return rows
