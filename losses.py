"""The losses of style transfer: Gram matrices, content, style and total variation.

All functions take and return Theano expressions. Features are the rectified outputs of a loss
network (`models.loss_network`), of shape (N, C, H, W).
"""
from backend import T

__all__ = ['gram_matrix', 'content_loss', 'style_loss', 'total_variation_loss']


def gram_matrix(features, divide_by_channels=False):
    r"""The Gram matrix of each image's feature maps.

    .. math:: G_{nij} = \frac{1}{HW} \sum_{hw} F_{nihw} F_{njhw}

    Parameters
    ----------
    features : 4-D tensor
        Of shape (N, C, H, W).
    divide_by_channels : bool
        Divide by C as well, as arXiv:1603.08155 does (equation 3); arXiv:1610.07629 divides by
        the number of positions only (equation 4).

    Returns
    -------
    3-D tensor
        Of shape (N, C, C).
    """
    n, c, h, w = features.shape
    flat = features.reshape((n, c, h * w))
    size = c * h * w if divide_by_channels else h * w
    return T.batched_dot(flat, flat.dimshuffle(0, 2, 1)) / size.astype(features.dtype)


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
    return T.sqr(features - target).mean(axis=(1, 2, 3))


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
    return T.sqr(gram - target).mean(axis=(1, 2))


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
