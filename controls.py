"""What an artist sets besides the style: strength, colours, the size of strokes.

They act on the photo before the network and on the pastiche after it, so that they are the same for every network.
"""

import dataclasses

import numpy
from PIL import Image

import colors
import files
import utils

__all__ = ['Controls', 'LEAST_SCALE', 'MOST_SCALE']

LEAST_SCALE, MOST_SCALE = 0.25, 8.0
# Of an image that are finished at once; what is in between is of float64.
ROWS = 64
# How much of the detail that a photo loses when it is made smaller its pastiche is given: all of it looks like noise on
# large strokes.
DETAIL = 0.5


@dataclasses.dataclass(frozen=True)
class Controls:
    """What is done with photos and pastiches around the network.

    Parameters
    ----------
    strength : float
        From 0, the photo, to 1, the pastiche: in between each value is so much of the pastiche's and the rest of
        the photo's. (No gamma and beta of a trained network give the photo back, so that there is no way from one to
        the other inside the network.)
    preserve_color : bool
        Take the luminance of the pastiche and the colours of the photo (arXiv:1606.05897).
    stroke_scale : float
        How much larger strokes become, at the same size of the pastiche: the network is shown the photo smaller by
        this factor, and its pastiche is enlarged; of what the photo lost in luminance when it was made smaller half is
        added.
    median_filter : int, optional
        Smooth the pastiche: each value becomes the median of a square of so many pixels.

    Raises
    ------
    utils.UserError
        For numbers beyond these.
    """

    strength: float = 1.0
    preserve_color: bool = False
    stroke_scale: float = 1.0
    median_filter: int = None

    def __post_init__(self):
        if not 0 <= self.strength <= 1:
            raise utils.UserError(f'the strength is a number from 0 to 1, not {self.strength}')
        if not LEAST_SCALE <= self.stroke_scale <= MOST_SCALE:
            raise utils.UserError(
                f'the scale of strokes is a number from {LEAST_SCALE:g} to {MOST_SCALE:g}, not {self.stroke_scale}'
            )

    @property
    def is_plain(self):
        """Whether the pastiche is what the network computes."""
        return self == Controls()

    def seen_shape(self, height, width):
        """The size of what the network is shown of a photo of this size."""
        if self.stroke_scale == 1:
            return height, width
        return tuple(max(1, int(round(side / self.stroke_scale))) for side in (height, width))

    def seen(self, photo):
        """What the network is shown of a photo, uint8 (H, W, 3)."""
        shape = self.seen_shape(*photo.shape[:2])
        return photo if shape == photo.shape[:2] else _resize(photo, shape)

    def finish(self, pastiche, photo, lost=0, deep=False):
        """The pastiche of a photo as it is to be written.

        Parameters
        ----------
        pastiche : float32 array (3, h, w)
            What the network made of what it was shown, RGB in [0, 1].
        photo : uint8 array (H, W, 3)
        lost : int
            Pixels on each side of what the network is shown that are not in its pastiche.
        deep : bool
            Whether to return 16 bits.

        Returns
        -------
        uint8 or uint16 array (H', W', 3)
        """
        white = 65535 if deep else 255
        if self.is_plain:
            return _rounded(pastiche, white)
        lost = int(round(lost * self.stroke_scale))
        photo = photo[lost:-lost, lost:-lost] if lost else photo
        if self.stroke_scale != 1:
            height, width = photo.shape[:2]
            pastiche = numpy.stack(
                [
                    numpy.asarray(Image.fromarray(channel).resize((width, height), Image.Resampling.BICUBIC))
                    for channel in pastiche
                ]
            )
            if self.stroke_scale > 1:
                coarse = _resize(self.seen(photo), photo.shape[:2])
                for rows in _bands(photo):
                    detail = colors.luminance(_values(photo[rows]) - _values(coarse[rows]))
                    pastiche[:, rows] += (DETAIL * detail).astype('float32')
        result = numpy.empty(photo.shape, 'uint16' if deep else 'uint8')
        for rows in _bands(photo):
            result[rows] = self._mixed(pastiche[:, rows], photo[rows], white)
        return files.median_filter(result, self.median_filter) if self.median_filter else result

    def finish_bands(self, bands, photo, lost=0, deep=False):
        """The pastiche of a photo as it is to be written, of what the network makes of it some rows at a time.

        Parameters
        ----------
        bands : iterable of pairs (int, float32 array (rows, w, 3))
            The first of the rows, and their values.
        photo, lost, deep
            As for `finish`.

        Returns
        -------
        uint8 or uint16 array (H', W', 3), or None
            None if there are values that are not finite.
        """
        height, width = (side - 2 * lost for side in self.seen_shape(*photo.shape[:2]))
        resized, kept = self.stroke_scale != 1, photo[lost:-lost, lost:-lost] if lost else photo
        if resized:
            result = numpy.empty((3, height, width), 'float32')
        else:
            result = numpy.empty((height, width, 3), 'uint16' if deep else 'uint8')
        for start, band in bands:
            if not numpy.isfinite(band).all():
                return None
            rows, values = slice(start, start + len(band)), band.transpose(2, 0, 1)
            if resized:
                result[:, rows] = values
            else:
                result[rows] = self._mixed(values, kept[rows], 65535 if deep else 255)
        if resized:
            return self.finish(result, photo, lost, deep)
        return files.median_filter(result, self.median_filter) if self.median_filter else result

    def _mixed(self, values, photo, white):
        """Rows of a pastiche, (3, rows, W), with what strength and colours take from the photo, as integers."""
        values = numpy.clip(values, 0, 1)
        if self.strength < 1 or self.preserve_color:
            content = _values(photo)
            if self.preserve_color:
                values = colors.restore_color(values, content)
            values = content + self.strength * (values - content) if self.strength < 1 else values
        return _rounded(values, white)


def _bands(photo):
    return [slice(top, top + ROWS) for top in range(0, len(photo), ROWS)]


def _values(photo):
    """An image, uint8 (H, W, 3), as (3, H, W) in [0, 1]."""
    return photo.transpose(2, 0, 1) / 255.0


def _rounded(values, white):
    """Values (3, H, W) in [0, 1] as integers (H, W, 3), of which the largest is white."""
    values = numpy.rint(numpy.clip(values, 0, 1) * white).astype('uint16' if white > 255 else 'uint8')
    return numpy.ascontiguousarray(values.transpose(1, 2, 0))


def _resize(image, shape):
    """An image, uint8 (H, W, 3), in another size."""
    return numpy.array(Image.fromarray(image).resize(shape[::-1], Image.Resampling.LANCZOS))
