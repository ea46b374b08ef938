"""The losses of style transfer: Gram matrices, content, style, total variation, and their weighted sum.

The formulas take and return Theano expressions. Features are the rectified outputs of a loss
network (`models.loss_network`), of shape (N, C, H, W).
"""

import re

import numpy

import files
import models
import utils
from backend import T, devices, theano
from backend.formulas import GramMatrix, SquaredDifference

__all__ = [
    'gram_matrix',
    'content_loss',
    'style_loss',
    'total_variation_loss',
    'stability_loss',
    'perceptual_losses',
    'loss_names',
    'target_function',
    'style_grams',
    'image_bytes',
]


# ---------------------------------------------------------------------------------------------
# Formulas
# ---------------------------------------------------------------------------------------------


def gram_matrix(features, divide_by_channels=False):
    r"""The Gram matrix of each image's feature maps.

    .. math:: G_{nij} = \frac{1}{HW} \sum_{hw} F_{nihw} F_{njhw}

    Parameters
    ----------
    features : 4-D tensor
        Of shape (N, C, H, W).
    divide_by_channels : bool
        Divide by C as well, as arXiv:1603.08155 does (equation 3). The text of arXiv:1610.07629 gives no
        normalization; its authors' implementation (Magenta) divides by the number of positions only.

    Returns
    -------
    3-D tensor
        Of shape (N, C, C).
    """
    return GramMatrix(divide_by_channels)(features)


def content_loss(features, target):
    """Mean squared difference of two feature tensors for each image (arXiv:1603.08155, equation 2).

    Parameters
    ----------
    features, target : 4-D tensor
        Of the pastiches and of the content images, both (N, C, H, W).

    Returns
    -------
    vector
        One loss for each image.
    """
    return SquaredDifference()(features, target)


def style_loss(gram, target):
    """Mean squared difference of two Gram matrices for each image (arXiv:1603.08155, equation 4).

    The papers sum over the entries of the matrix; the mean differs from it by the factor C², as
    in the implementations that the default weights come from.

    Parameters
    ----------
    gram, target : 3-D tensor
        Of the pastiches and of the paintings, both (N, C, C).

    Returns
    -------
    vector
        One loss for each image.
    """
    return SquaredDifference()(gram, target)


def total_variation_loss(images):
    r"""Roughness of images.

    .. math:: \sum_{cij} \left((x_{cij} - x_{c,i+1,j})^2 + (x_{cij} - x_{c,i,j+1})^2\right)^{1.25}

    the regularizer of arXiv:1603.08155, section 3.2, with the exponent of Mahendran and Vedaldi
    (arXiv:1412.0035) as the Keras example of neural style transfer uses it.

    Parameters
    ----------
    images : 4-D tensor
        Of shape (N, C, H, W).

    Returns
    -------
    vector
        One loss for each image.
    """
    here = images[:, :, :-1, :-1]
    down = T.sqr(here - images[:, :, 1:, :-1])
    right = T.sqr(here - images[:, :, :-1, 1:])
    return T.pow(down + right, 1.25).sum(axis=(1, 2, 3))


def stability_loss(pastiches, of_moved, shift, margin=8):
    """How other the pastiches of moved photos are than the moved pastiches: the mean squared difference for each image.

    What makes clips flicker, and what a network can unlearn: textures that belong to the frame and not to what is seen.

    Parameters
    ----------
    pastiches, of_moved : 4-D tensor
        Of the photos, and of the same photos moved, both (N, 3, H, W), RGB in [0, 1].
    shift : vector of two integers
        By how many pixels the photos were moved down and to the right.
    margin : int
        Pixels at each border of what both show that do not count: they are near what only one of the photos has.

    Returns
    -------
    vector
        One loss for each image.
    """
    here, there = [], []
    for axis, size in enumerate(pastiches.shape[2:]):
        start, end = T.maximum(shift[axis], 0) + margin, size + T.minimum(shift[axis], 0) - margin
        there.append(slice(start, end))
        here.append(slice(start - shift[axis], end - shift[axis]))
    return SquaredDifference()(pastiches[:, :, here[0], here[1]], of_moved[:, :, there[0], there[1]])


# ---------------------------------------------------------------------------------------------
# The perceptual loss over a loss network
# ---------------------------------------------------------------------------------------------

# For each pixel of an image, which is there in several shapes.
IMAGE_BYTES = 100


def perceptual_losses(loss, pastiche, contents, grams, style_coefficients=None):
    r"""The losses of each image of a batch, weighted.

    .. math:: \sum_i \frac{v_i}{I} \ell_{c,i} + \sum_j \frac{w_j}{J} \ell_{s,j} + w_{tv} \ell_{tv}

    for I content layers and J style layers: the objective of arXiv:1603.08155 (equation 5), of arXiv:1610.07629
    (section 2) and, over the pixels of one image, of arXiv:1508.06576 (equation 7).

    Parameters
    ----------
    loss : Objective
    pastiche : 4-D tensor
        Of shape (N, 3, H, W), RGB in [0, 1].
    contents : list of 4-D tensor
        For each content layer the features of the content images.
    grams : list of 3-D tensor
        For each style layer the Gram matrices of the style of each image, (N, C, C).
    style_coefficients : vector, optional
        What the style loss of each image is multiplied by.

    Returns
    -------
    list of vectors
        Total, content, style and total variation, then the style loss of each layer: what `loss_names` names.

    Notes
    -----
    Total variation is taken in the units of the loss network, 0-255, whatever the range of the pastiche.
    """
    features = models.loss_network(pastiche, loss.networks, _layers(loss), loss.pool)

    by_content_layer = []
    for (layer, weight), target in zip(loss.content_layers, contents):
        term = content_loss(features[layer], target)
        if loss.normalize:
            term = term / T.sqr(target).mean(axis=(1, 2, 3))
        by_content_layer.append(numpy.float32(weight / len(contents)) * term)
    content_term = sum(by_content_layer)

    by_layer = []
    # Without styles, as for networks that enlarge photos, there is no style loss, nor a name for it.
    for (layer, weight), target in zip(loss.style_layers, grams):
        term = style_loss(gram_matrix(features[layer], loss.divide_by_channels), target)
        if loss.normalize:
            term = term / T.sqr(target).mean(axis=(1, 2))
        term = numpy.float32(weight / len(grams)) * term
        by_layer.append(term if style_coefficients is None else style_coefficients * term)
    tv_term = (
        numpy.float32(loss.tv_weight) * total_variation_loss(255 * pastiche)
        if loss.tv_weight
        else T.zeros_like(content_term)
    )
    style_term = [sum(by_layer)] if by_layer else []
    return [sum([*style_term, tv_term], content_term), content_term, *style_term, tv_term] + by_layer


def _layers(loss):
    """The layers of the loss networks that a loss needs, each once."""
    return list(dict.fromkeys(layer for layer, _ in loss.style_layers + loss.content_layers))


def loss_names(loss):
    """Names of what `perceptual_losses` returns."""
    by_layer = [f'style_{layer}' for layer, _ in loss.style_layers]
    return ['total', 'content'] + ['style'] * bool(by_layer) + ['tv'] + by_layer


def target_function(loss):
    """Compile the function that makes targets of images.

    Parameters
    ----------
    loss : Objective

    Returns
    -------
    callable
        Of a float32 batch of images (N, 3, H, W), RGB in [0, 1]; returns two lists: for each content
        layer the features, and for each style layer the Gram matrices.
    """
    image = T.tensor4('image')
    features = models.loss_network(image, loss.networks, _layers(loss), loss.pool)
    contents = [features[layer] for layer, _ in loss.content_layers]
    grams = [gram_matrix(features[layer], loss.divide_by_channels) for layer, _ in loss.style_layers]
    function = theano.function([image], contents + grams)

    def targets(image):
        values = function(image)
        return values[: len(contents)], values[len(contents) :]

    return targets


def image_bytes(loss, device, gradient=False):
    """About how much memory the features of an image take in the loss networks.

    Without the gradient those of two layers and what is kept of a third are there at once; for the gradient all
    are kept, until the one with respect to the largest has been computed. oneDNN's layout rounds channels up to 16;
    Theano's own convolutions write all windows of their input out first.

    Parameters
    ----------
    loss : Objective
    device : devices.Device
        What computes.
    gradient : bool

    Returns
    -------
    float
        Bytes for each pixel of the image; `utils.FIXED_BYTES` come on top.
    """
    if device.name != 'cpu':
        return IMAGE_BYTES
    wanted, maps, windows = set(_layers(loss)), [], []
    for weights in loss.networks:
        found = {name for name in wanted if f'{name}_W' in weights}
        wanted -= found
        for name in sorted(key[:-2] for key in weights if re.fullmatch(r'conv[1-5]_[1-4]_W', key)):
            if name <= max(found, default=''):
                channels, inputs = weights[f'{name}_W'].shape[:2]
                pixels = 4.0 ** (1 - int(name[4]))
                maps.append(-(-channels // 16) * 16 * pixels)
                windows.append(9 * inputs * pixels)
                if name.endswith('_1'):
                    maps.append(-(-inputs // 16) * 16 * pixels)  # the image, or what was pooled
    largest = sorted(maps)[-3:]
    return IMAGE_BYTES + 4 * (
        (sum(maps) + max(maps) if gradient else sum(largest)) + (max(windows) if device.backend == 'plain' else 0)
    )


def style_grams(function, paths, size, bytes_per_pixel):
    """Gram matrices of style images, once and for all.

    Parameters
    ----------
    function : callable
        Of `target_function`.
    paths : list of str
    size : int
        Shorter side that the images are resized to.
    bytes_per_pixel : float
        Of `image_bytes`.

    Returns
    -------
    list of numpy array
        For each style layer, of shape (styles, C, C).

    Raises
    ------
    utils.UserError
        For an image that cannot be read, or whose features do not fit into the memory.
    """
    rows = [
        grams_of_style(function, path, size, bytes_per_pixel)
        for path in utils.progress(paths, desc='style images', unit='image')
    ]
    return [numpy.concatenate(grams) for grams in zip(*rows)]


def grams_of_style(function, path, size, bytes_per_pixel):
    """The Gram matrices of a single style image, each of shape (1, C, C); see `style_grams`."""
    image = files.read_image(path, size=size)
    utils.check_memory(path, image, bytes_per_pixel, '--style-size', devices.held_memory())
    return function(files.to_float(image))[1]
