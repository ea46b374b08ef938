"""Photos in, larger photos out.

from upscaling import Enhancer
large = Enhancer()(photo)
"""

import dataclasses

import numpy
from PIL import Image

import files
import models
import utils
from backend import devices
from formats import networks

__all__ = ['Enhancer', 'match_histogram']

# The fewest pixels of a side that the first convolution can reflect.
SMALLEST = 8
# Sides of the squares that photos are computed in, at most and at least. What a small one shares with its neighbours is
# half as much again as itself, and it takes less time still than one whose feature maps leave the caches.
MOST, LEAST = 128, 64
# For each pixel of the result: itself, and what it is written from.
RESULT_BYTES = 16


class Enhancer:
    """A trained network, compiled, that makes photos larger (arXiv:1603.08155, section 4.2).

    Parameters
    ----------
    model : str, optional
        A network's file, or the name of one in data/models; see `formats.networks.find_upscaling`.
    device : backend.devices.Device, optional
        What computes, in this process and from now on.

    Attributes
    ----------
    factor : int
        How many times as high and wide photos become.
    architecture : Architecture
    device : backend.devices.Device
        The one that was chosen.

    Raises
    ------
    utils.UserError
        If there is no such network, it does something else, its file is damaged, or the device cannot be used.
    """

    def __init__(self, model=None, device=None):
        path = networks.find_upscaling(model)
        self.device = devices.use(device or devices.Device())
        network = models.load_network(path)
        self.architecture, self.factor = network.architecture, network.architecture.factor
        self._function = models.pastiche_function(models.without_batch_norm(network))
        self._bytes_per_pixel = self.architecture.pastiche_bytes(
            self.device.backend if self.device.name == 'cpu' else 'onednn'
        )

    def __call__(self, image, histogram_matching=False, deep=False):
        """A photo, made larger.

        Parameters
        ----------
        image : uint8 array (H, W, 3), RGB, or PIL image
        histogram_matching : bool
            Whether each colour of the result is to be as frequent as in the photo; see `match_histogram`.
        deep : bool
            Whether to return 16 bits of each colour.

        Returns
        -------
        uint8 or uint16 array or PIL image
            Of the kind that was given.

        Raises
        ------
        utils.UserError
            If the photo is too small, or the result too large, or not finite.
        """
        photo = numpy.asarray(image.convert('RGB') if isinstance(image, Image.Image) else image)
        if photo.dtype != numpy.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
            raise utils.UserError(
                f'expected an image of uint8 and shape (height, width, 3), and this is {photo.dtype} of {photo.shape}'
            )
        result = self._enlarge('the image', photo, deep)
        if histogram_matching:
            result = match_histogram(result, photo)
        return Image.fromarray(result) if isinstance(image, Image.Image) else result

    def enhance_files(self, paths, histogram_matching=False):
        """The photos in files, made larger, one after the other.

        Parameters
        ----------
        paths : list of str or binary file
        histogram_matching : bool

        Yields
        ------
        path : str or binary file
        photo, enlarged : files.Picture
            Frames of an animation are enlarged one by one, transparency by the bicubic filter. Or a `utils.UserError`
            in the place of the enlarged one; photo is None then, if it cannot be read.
        """
        for path in paths:
            picture = None
            try:
                picture = files.read_picture(path)
                yield path, picture, self._picture(files.source_name(path), picture, histogram_matching)
            except utils.UserError as error:
                yield path, picture, error
            except MemoryError:
                error = utils.UserError(f'{files.source_name(path)}: not enough memory to enlarge this photo')
                yield path, picture, error

    def _picture(self, name, picture, histogram_matching):
        deep, frames = picture.deep and len(picture.frames) == 1, []
        self._check_pixels(name, picture.frames[0].shape, len(picture.frames))
        for photo in picture.frames:
            large = self._enlarge(name, photo, deep)
            frames.append(match_histogram(large, photo) if histogram_matching else large)
        alphas = picture.alphas and [files.resize_bicubic(alpha, *frames[0].shape[:2]) for alpha in picture.alphas]
        return dataclasses.replace(picture, frames=frames, alphas=alphas)

    def _check_pixels(self, name, shape, frames=1):
        """Refuse what would become larger than any image that is read."""
        (height, width), most = (self.factor * side for side in shape[:2]), files.pixel_limit()
        if frames * height * width > most:
            raise utils.UserError(
                f'{name}: it would have {width} x {height} pixels{f" in {frames} frames" if frames > 1 else ""}, more '
                f'than the {most} that are read at most; {files.MORE_PIXELS}'
            )

    def _enlarge(self, name, photo, deep):
        """A photo (H, W, 3), uint8, in integers; whole, where the memory suffices, or else in squares."""
        height, width = photo.shape[:2]
        if min(height, width) < SMALLEST:
            raise utils.UserError(f'{name}: {width} x {height} pixels: each side takes {SMALLEST} at least')
        self._check_pixels(name, photo.shape)
        beyond = self.architecture.reach if self.architecture.norm != 'instance' else 0
        result_bytes = RESULT_BYTES * self.factor**2
        least = self._bytes_per_pixel * min(height, LEAST + 2 * beyond) * min(width, LEAST + 2 * beyond)
        if not beyond:
            # The moments are those of the whole photo.
            result_bytes, least = result_bytes + self._bytes_per_pixel, 0
        held = devices.held_memory()
        utils.check_memory(name, photo, result_bytes, 'a photo of the shorter side', held, fixed=least)
        room = utils.available_memory(held=held) - utils.needed_memory(photo, RESULT_BYTES * self.factor**2)
        side = int(numpy.sqrt(room / self._bytes_per_pixel)) - 2 * beyond if beyond else max(height, width)
        side = max(LEAST, min(side, MOST)) if beyond else side
        white = 65535 if deep else 255
        result = numpy.empty((self.factor * height, self.factor * width, 3), 'uint16' if deep else 'uint8')
        for rows in _pieces(height, side, beyond):
            for columns in _pieces(width, side, beyond):
                large = self._function(files.to_float(photo[rows.seen, columns.seen]))[0]
                if not numpy.isfinite(large).all():
                    raise utils.UserError(f'{name}: the result holds numbers that are not finite')
                own = large[:, rows.within(self.factor), columns.within(self.factor)]
                target = result[rows.times(self.factor), columns.times(self.factor)]
                target[...] = numpy.rint(own.transpose(1, 2, 0) * white)
        return result


@dataclasses.dataclass(frozen=True)
class _Piece:
    """Rows or columns of a photo, and what the network sees of it for them, as places in the photo."""

    start: int
    end: int
    first: int
    last: int

    @property
    def seen(self):
        return slice(self.first, self.last)

    def within(self, factor):
        """The piece in what the network makes of what it sees."""
        return slice(factor * (self.start - self.first), factor * (self.end - self.first))

    def times(self, factor):
        """The piece in the result."""
        return slice(factor * self.start, factor * self.end)


def _pieces(size, side, beyond):
    """So many rows or columns in pieces of about that many, which are alike as far as may be."""
    count = -(-size // side)
    ends = [size * i // count for i in range(count + 1)]
    return [_Piece(start, end, max(0, start - beyond), min(size, end + beyond)) for start, end in zip(ends, ends[1:])]


def match_histogram(image, photo):
    """An image whose values are as frequent, in each colour, as those of a photo (arXiv:1603.08155, section 4.2).

    Each value becomes the one that has the same share of all pixels below it.

    Parameters
    ----------
    image : uint8 or uint16 array (H, W, 3)
    photo : uint8 array (h, w, 3)

    Returns
    -------
    array
        Of the type and shape of `image`.
    """
    white, result = numpy.iinfo(image.dtype).max, numpy.empty_like(image)
    for channel in range(3):
        there = _shares(image[..., channel], white)
        wanted = _shares(photo[..., channel], 255)
        values = numpy.interp(there, wanted, numpy.linspace(0, white, 256))
        result[..., channel] = numpy.rint(values).astype(image.dtype)[image[..., channel]]
    return result


def _shares(values, white):
    """For each value up to white the share of the pixels below it, half of those that have it included."""
    counts = numpy.bincount(values.ravel(), minlength=white + 1) / values.size
    return numpy.cumsum(counts) - counts / 2
