"""Style maps: weights of styles for each pixel, so that one photo has several styles in different places."""

import numpy
from PIL import Image

import files
import utils

__all__ = ['StyleMap', 'of_masks', 'checkerboard', 'read_mask', 'resize']

# How far the channels of a mask may differ that is grey: JPEGs round.
GREY = 8
# Of a style map that are drawn at once.
ROWS = 64


class StyleMap:
    """Weights of styles for each pixel, of the sum one.

    Parameters
    ----------
    numbers : list of int
        The styles.
    draw : callable
        Of height and width, and of the first row and that after the last one; returns the weights of these rows, an
        array (styles, rows, W) that need not sum to one.

    See Also
    --------
    of_masks, checkerboard : make them
    """

    def __init__(self, numbers, draw):
        self.numbers, self._draw = list(numbers), draw

    def weights(self, height, width, start=0, end=None):
        """The weights for a photo of this size, or for some rows of it, a float32 array (styles, rows, W)."""
        end = height if end is None else end
        result = numpy.empty((len(self.numbers), end - start, width), 'float32')
        for first in range(start, end, ROWS):
            last = min(end, first + ROWS)
            weights = self._draw(height, width, first, last)
            result[:, first - start : last - start] = weights / weights.sum(axis=0)
        return result


def of_masks(masks, rest=None):
    """The style map that masks make together.

    Parameters
    ----------
    masks : dict
        {number: array (H, W)}, weights from 0; all of one shape. They are resized to the photo's size.
    rest : dict, optional
        A mixture for what they leave of 1.

    Returns
    -------
    StyleMap

    Raises
    ------
    utils.UserError
        If weights are negative or not finite, or if there are pixels without any style.
    """
    masks = {number: numpy.asarray(mask, 'float64') for number, mask in masks.items()}
    shapes = {mask.shape for mask in masks.values()}
    if len(shapes) > 1 or len(next(iter(shapes))) != 2:
        raise utils.UserError(f'a style map has weights of one shape (height, width), not {sorted(shapes)}')
    if not all(numpy.isfinite(mask).all() and (mask >= 0).all() for mask in masks.values()):
        raise utils.UserError('a style map has weights that are negative or not finite')
    total = sum(masks.values())
    for number, weight in (rest or {}).items():
        masks[number] = masks.get(number, 0) + weight * numpy.clip(1 - total, 0, 1)
    empty = int((sum(masks.values()) <= 0).sum())
    if empty:
        raise utils.UserError(f'{empty} pixels of a style map have no style: one of the styles is to be for the rest')

    def draw(height, width, start, end):
        return numpy.stack([resize(mask, height, width, start, end) for mask in masks.values()])

    return StyleMap(masks, draw)


def checkerboard(numbers, squares):
    """A board of styles in turns.

    Parameters
    ----------
    numbers : list of int
        The styles, two or more.
    squares : int
        How many lie along the shorter side of a photo.

    Returns
    -------
    StyleMap
    """

    def draw(height, width, start, end):
        side = max(1.0, min(height, width) / squares)
        y, x = ((numpy.arange(*ends) // side).astype(int) for ends in ((start, end), (0, width)))
        board = (y[:, numpy.newaxis] + x) % len(numbers)
        return (board == numpy.arange(len(numbers))[:, numpy.newaxis, numpy.newaxis]).astype('float64')

    return StyleMap(numbers, draw)


def read_mask(path):
    """A grey picture as weights, from 0 where it is black to 1 where it is white.

    Raises
    ------
    utils.UserError
        If it cannot be read, or has colours.
    """
    mask = files.read_image(path)
    if numpy.ptp(mask, axis=2).max() > GREY:
        raise utils.UserError(f'{path}: not grey: the mask of a style is white where the style is to be, else black')
    return mask[..., 1] / 255.0


def resize(mask, height, width, start=0, end=None):
    """A mask in another size: means of its weights where it becomes smaller, in between where it becomes larger.

    Parameters
    ----------
    mask : array (h, w)
    height, width : int
    start, end : int, optional
        The rows that are wanted of it.
    """
    end = height if end is None else end
    if mask.shape == (height, width):
        return mask[start:end]
    h, w = mask.shape
    size, box = (width, end - start), (0, start * h / height, w, end * h / height)
    image = Image.fromarray(mask.astype('float32')).resize(size, Image.Resampling.BILINEAR, box)
    return numpy.maximum(numpy.asarray(image, 'float64'), 0)
