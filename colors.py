"""Keeping a photo's colours while its style changes (arXiv:1606.05897)."""

import numpy

__all__ = ['luminance', 'match_luminance', 'restore_color', 'match_color']

# The projection of the RGB primaries on luminance (ITU-R BT.601, as in YIQ).
LUMINANCE = numpy.array([0.299, 0.587, 0.114])


def luminance(image):
    """The luminance of an image (3, H, W), RGB in [0, 1], as a grey image (3, H, W)."""
    return numpy.repeat(numpy.tensordot(LUMINANCE, image, 1)[numpy.newaxis], 3, axis=0)


def match_luminance(style, content):
    """Scale and shift the grey levels of the painting to the mean and deviation of the photo's (section 4)."""
    deviation = style.std()
    scale = content.std() / deviation if deviation else 0.0
    return scale * (style - style.mean()) + content.mean()


def restore_color(pastiche, content):
    """The luminance of the pastiche with the chrominance of the photo, both (3, H, W), RGB in [0, 1].

    In YIQ, or any other space of luminance and two chrominances that is linear in RGB, replacing the
    luminance is adding the same difference to red, green and blue.
    """
    return numpy.clip(content + luminance(pastiche) - luminance(content), 0, 1)


def match_color(style, content, floor=1e-5):
    r"""Give the painting the mean and covariance of the photo's colours (section 3).

    .. math:: x \mapsto \Sigma_C^{1/2} \Sigma_S^{-1/2} (x - \mu_S) + \mu_C

    with symmetric square roots, which the paper takes from Image Analogies.

    Parameters
    ----------
    style, content : arrays (3, H, W)
        RGB in [0, 1].
    floor : float
        Least variance of the painting's colours in any direction, for paintings of fewer than three
        colours.

    Returns
    -------
    array (3, H, W)
        Its values are not clipped.
    """

    def moments(image):
        pixels = image.reshape(3, -1).astype('float64')
        mean = pixels.mean(axis=1, keepdims=True)
        values, vectors = numpy.linalg.eigh(numpy.cov(pixels, bias=True))
        return mean, values, vectors

    style_mean, values, vectors = moments(style)
    whiten = vectors.dot(numpy.diag(numpy.maximum(values, floor) ** -0.5)).dot(vectors.T)
    content_mean, values, vectors = moments(content)
    color = vectors.dot(numpy.diag(numpy.maximum(values, 0) ** 0.5)).dot(vectors.T)
    matched = color.dot(whiten).dot(style.reshape(3, -1) - style_mean) + content_mean
    return matched.reshape(style.shape)
