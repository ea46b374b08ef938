"""The papers' formulas in numpy and scipy, float64, written without a look at the layers."""

import numpy
import scipy.signal


def conv(x, W, stride=1, pad='reflect', flip=True, b=None):
    """A convolution (or cross-correlation) of images (N, C, H, W) with filters OIHW, of the same size / stride.

    Without padding ('none') the filter size is lost but for a pixel.
    """
    p = W.shape[2] // 2 if pad != 'none' else 0
    x = numpy.pad(x, [(0, 0), (0, 0), (p, p), (p, p)], mode='reflect' if pad == 'reflect' else 'constant')
    operation = scipy.signal.convolve if flip else scipy.signal.correlate
    y = numpy.array(
        [
            [sum(operation(channel, kernel, mode='valid') for channel, kernel in zip(image, kernels)) for kernels in W]
            for image in x
        ]
    )
    y = y[:, :, ::stride, ::stride]
    return y if b is None else y + b.reshape(1, -1, 1, 1)


def instance_norm(x, gamma, beta, epsilon=1e-5):
    """gamma and beta of shape (C,) or (N, C). A variance at the level of float32's rounding counts as zero."""
    mean, variance = x.mean(axis=(2, 3), keepdims=True), x.var(axis=(2, 3), keepdims=True)
    gamma, beta = (numpy.atleast_2d(v)[:, :, numpy.newaxis, numpy.newaxis] for v in (gamma, beta))
    flat = variance <= 2.0**-20 * epsilon + 2.0**-32 * mean**2
    return numpy.where(flat, 0, gamma * (x - mean) / numpy.sqrt(variance + epsilon)) + beta


def relu(x):
    return numpy.maximum(x, 0)


def upsample(x):
    return x.repeat(2, axis=2).repeat(2, axis=3)


def transformer(image, params, style=None, residual_blocks=5, epsilon=1e-5, pad='reflect', tanh_constant=150):
    """Table 1 of arXiv:1610.07629. `params` are W, beta, gamma of each convolution; `style` is (N, styles) or None."""
    params = iter([numpy.asarray(p, 'float64') for p in params])
    blocks_crop = pad in ('reflect-start', 'none')

    def block(x, stride=1, activation=relu, pad='zero' if blocks_crop else pad):
        W, beta, gamma = next(params), next(params), next(params)
        if style is not None:
            beta, gamma = style.dot(beta), style.dot(gamma)
        return activation(instance_norm(conv(x, W, stride, pad), gamma, beta, epsilon))

    if pad == 'reflect-start':
        # Each residual block loses 2 pixels on each side, of a quarter of the size.
        p = 4 * 2 * residual_blocks
        image = numpy.pad(image, [(0, 0), (0, 0), (p, p), (p, p)], mode='reflect')
    x = block(image)
    x = block(x, 2)
    x = block(x, 2)
    for _ in range(residual_blocks):
        if blocks_crop:
            x = x[:, :, 2:-2, 2:-2] + block(block(x, pad='none'), activation=lambda y: y, pad='none')
        else:
            x = x + block(block(x), activation=lambda y: y)
    x = block(upsample(x))
    x = block(upsample(x))
    if style is not None:
        return block(x, activation=lambda y: 1 / (1 + numpy.exp(-y)))
    return block(x, activation=lambda y: tanh_constant * numpy.tanh(y))


def bilinear(x, factor, axis):
    """An array made larger along an axis by linear interpolation between the centres of its pixels."""
    size = x.shape[axis]
    places = (numpy.arange(factor * size) + 0.5) / factor - 0.5
    return numpy.apply_along_axis(lambda line: numpy.interp(places, numpy.arange(size), line), axis, x)


def upscaler(image, params, factor, norm, residual_blocks=1, epsilon=1e-5, training=False, output='residual'):
    """The super-resolution network of the supplement of arXiv:1603.08155; `params` in the order of a network's file.

    In training batch norm takes the statistics of the batch. The network makes the whole image, or what is to be added.
    """
    params = iter([numpy.asarray(p, 'float64') for p in params])
    large = bilinear(bilinear(image, factor, 2), factor, 3)

    def spread(values):
        return values.reshape(1, -1, 1, 1)

    def block(x, activation=relu):
        x = conv(x, next(params))
        if norm == 'none':
            return activation(x + spread(next(params)))
        beta, gamma = next(params), next(params)
        if norm == 'instance':
            return activation(instance_norm(x, gamma, beta, epsilon))
        mean, variance = spread(next(params)), spread(next(params))
        if training:
            mean, variance = x.mean(axis=(0, 2, 3), keepdims=True), x.var(axis=(0, 2, 3), keepdims=True)
        return activation((x - mean) / numpy.sqrt(variance + epsilon) * spread(gamma) + spread(beta))

    x = block(image)
    for _ in range(residual_blocks):
        x = x + block(block(x), activation=lambda y: y)
    while factor > 1:
        x, factor = block(upsample(x)), factor // 2
    x = conv(x, next(params), b=next(params))
    return large + x / 255 if output == 'residual' else (x + 127.5) / 255


def conv_same(x, W, stride=1):
    """TensorFlow's cross-correlation of x (N, C, H, W) with W (k, k, C, C') and SAME padding, of zeros.

    As many as the last window needs: half of them, rounded down, at the beginning.
    """
    k, pads = W.shape[0], []
    for n in x.shape[2:]:
        total = max((-(-n // stride) - 1) * stride + k - n, 0)
        pads.append((total // 2, total - total // 2))
    x = numpy.pad(x, [(0, 0), (0, 0)] + pads, mode='constant')
    rows, columns = (range(0, n - k + 1, stride) for n in x.shape[2:])
    return numpy.array(
        [[numpy.einsum('nchw,hwcd->nd', x[:, :, i : i + k, j : j + k], W) for j in columns] for i in rows]
    ).transpose(2, 3, 0, 1)


def conv_transpose_same(x, W):
    """TensorFlow's transposed convolution of stride 2 with W (3, 3, C', C) and SAME padding: twice the size of x.

    Each pixel adds itself times W, from twice its place on; what lies past the end is cut off.
    """
    n, _, h, w = x.shape
    y = numpy.zeros((n, W.shape[2], 2 * h + 1, 2 * w + 1))
    for i in range(h):
        for j in range(w):
            y[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += numpy.einsum('nc,hwdc->ndhw', x[:, :, i, j], W)
    return y[:, :, :-1, :-1]


def lengstrom(image, variables, residual_blocks=5):
    """The transformer of lengstrom's fast-style-transfer, RGB in 0–255; filters, shift and scale in turn."""
    variables = iter(variables)

    def block(x, stride=1, activation=relu, conv=conv_same):
        x = conv_transpose_same(x, next(variables)) if conv is conv_transpose_same else conv(x, next(variables), stride)
        shift, scale = next(variables), next(variables)
        return activation(instance_norm(x, scale, shift, 1e-3))

    x = block(block(block(image), 2), 2)
    for _ in range(residual_blocks):
        x = x + block(block(x), activation=lambda y: y)
    x = block(block(x, conv=conv_transpose_same), conv=conv_transpose_same)
    return 150 * numpy.tanh(block(x, activation=lambda y: y)) + 127.5


def preprocess(image):
    return 255 * image[:, ::-1] - numpy.array([103.939, 116.779, 123.68]).reshape(1, 3, 1, 1)


def deprocess(image):
    return ((image + numpy.array([103.939, 116.779, 123.68]).reshape(1, 3, 1, 1)) / 255)[:, ::-1]


def max_pool(x):
    n, c, h, w = x.shape
    return x[:, :, : h // 2 * 2, : w // 2 * 2].reshape(n, c, h // 2, 2, w // 2, 2).max(axis=(3, 5))


def vgg(image, weights, last, blocks=(2, 2, 3, 3, 3), pad='zero'):
    """Features of all layers up to `last`, from an already preprocessed image."""
    x, features = image, {}
    for number, count in enumerate(blocks, 1):
        for i in range(1, count + 1):
            name = f'conv{number}_{i}'
            x = features[name] = relu(
                conv(
                    x,
                    weights[f'{name}_W'].astype('float64'),
                    pad=pad,
                    flip=False,
                    b=weights[f'{name}_b'].astype('float64'),
                )
            )
            if name == last:
                return features
        x = max_pool(x)


def gram(features, divide_by_channels=False):
    n, c, h, w = features.shape
    return numpy.einsum('nihw,njhw->nij', features, features) / (h * w * (c if divide_by_channels else 1))


def total_variation(x):
    total = numpy.zeros(len(x))
    for i in range(x.shape[2] - 1):
        for j in range(x.shape[3] - 1):
            down, right = x[:, :, i, j] - x[:, :, i + 1, j], x[:, :, i, j] - x[:, :, i, j + 1]
            total += ((down**2 + right**2) ** 1.25).sum(axis=1)
    return total
