"""Photos in, pastiches out.

from pastiches import Stylist
pastiche = Stylist('misc32')(photo, style='stained-glass')
"""

import collections
from typing import Any

import numpy
from PIL import Image

import files
import layers
import mixtures
import models
import newstyles
import tiles
import utils
from backend import devices
from controls import Controls
from formats import networks
from stylemaps import StyleMap

__all__ = ['Stylist']

# Sides are padded to a multiple of what the two strides of 2 divide by, and the padding of the inner layers needs
# a few pixels to reflect.
MULTIPLE, SMALLEST = 4, 16
# For each pixel of the photo and the pastiche, when all else is in the memory of a GPU.
HOST_BYTES = 36
# For each pixel of a photo in bands: the photo, what the network makes of it, and the pastiche.
BAND_BYTES = 32
# For each pixel of a photo, while its pastiche is finished.
FINISHING_BYTES = 30


class Job(collections.namedtuple('Job', 'name label picture frame seen mixture')):
    """A frame of a picture that is to be stylized, and what the network is shown of it."""

    def finished(self, pastiche, controls, lost):
        """The frame of the pastiche, of what the network computed; None for what is not finite."""
        deep = self.picture.deep and len(self.picture.frames) == 1
        return None if pastiche is None else controls.finish(pastiche, self.picture.frames[self.frame], lost, deep)

    def together(self, frames):
        """The pastiche of the whole picture, or the error that it is."""
        if any(frame is None for frame in frames):
            name = files.source_name(self.name)
            return utils.UserError(f'{name}: the pastiche in {self.label} holds numbers that are not finite')
        return self.picture.with_frames(frames)


class Stylist:
    """A trained network, compiled, that turns photos into pastiches.

    Parameters
    ----------
    model : str
        A network's file, or the name of one in data/models.
    network : {'cin', 'fns'}, optional
        What a file is that does not say it itself; see `formats.networks.read`.
    device : backend.devices.Device, optional
        What computes, in this process and from now on.
    tile : bool
        Whether to compute in bands, which takes far less memory and gives the same: see `tiles.Tiler`.

    Attributes
    ----------
    styles : list of str
        The names of the network's styles.
    architecture : Architecture
    device : backend.devices.Device
        The one that was chosen.

    Raises
    ------
    utils.UserError
        If there is no such network, its file is damaged, or the device cannot be used.
    """

    def __init__(self, model, network=None, device=None, tile=False):
        path = networks.find(model)
        self.device = devices.use(device or devices.Device())
        self.network = models.load_network(path, network)
        self.architecture = self.network.architecture
        self.styles = self.network.styles or ['style']
        self._function = models.pastiche_function(self.network)
        self._map_network: Any = None
        self._map_function: Any = None
        self._tiler: Any = None
        self.tile = tile
        self._bytes_per_pixel = (
            self.architecture.pastiche_bytes(self.device.backend) if self.device.name == 'cpu' else HOST_BYTES
        )

    def __call__(self, images, style=None, batch_size=1, **controls):
        """The pastiches of one photo or several.

        Parameters
        ----------
        images : uint8 array (H, W, 3), RGB, or PIL image; or a list of them
        style : int, str or dict
            A style's number or name, or a blend {number or name: weight}, whose weights are divided by their sum;
            needless for a network of a single style. Weights that are arrays (height, width) say for each pixel how
            much of a style it has; so does a `stylemaps.StyleMap`.
        batch_size : int
            How many photos of one size are computed at once, at most: fewer, where the memory does not suffice.
        **controls
            What `controls.Controls` takes: strength, preserve_color, stroke_scale.

        Returns
        -------
        uint8 array or PIL image, or a list of them
            Of the kind that was given, and of the photo's size, less `Architecture.lost` pixels on each side.

        Raises
        ------
        utils.UserError
            If there is no such style, a photo is too small or does not fit into the memory, or a pastiche is not
            finite.
        """
        if not isinstance(images, (list, tuple)):
            return self([images], style, **controls)[0]
        mixture, wished, jobs = mixtures.of(style, self.styles), Controls(**controls), []
        for number, image in enumerate(images):
            photo = numpy.asarray(image.convert('RGB') if isinstance(image, Image.Image) else image)
            if photo.dtype != numpy.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
                raise utils.UserError(
                    'image %d: expected uint8 of shape (height, width, 3), and this is %s of %s'
                    % (number, photo.dtype, photo.shape)
                )
            self.check('image %d' % number, photo, wished)
            jobs.append(Job('image %d' % number, '', files.Picture([photo]), 0, wished.seen(photo), mixture))
        results = []
        for batch in self._batches(jobs, batch_size):
            for job, pastiche in zip(batch, self._compute(batch)):
                if pastiche is None:
                    raise utils.UserError(f'{job.name}: its pastiche holds numbers that are not finite')
                results.append(wished.finish(pastiche, job.picture.frames[0], self.architecture.lost))
        return [
            Image.fromarray(pastiche) if isinstance(image, Image.Image) else pastiche
            for image, pastiche in zip(images, results)
        ]

    def stylize_files(self, paths, styles, size=None, batch_size=1, controls=Controls(), skip=()):  # noqa: B008, frozen
        """The pastiches of the photos in files, one after the other.

        Parameters
        ----------
        paths : list of str or binary file
        styles : list of pairs (str, dict)
            What each pastiche of a photo is called, and its mixture {number: weight}.
        size : int, optional
            The shorter side that photos are resized to.
        batch_size : int
            As above.
        controls : controls.Controls
        skip : collection of pairs (path, label)
            Pastiches that are not to be made.

        Yields
        ------
        path, label : str
        photo, pastiche : files.Picture
            The frames of an animation are stylized one by one; what belongs to a photo belongs to its pastiche. Or a
            `utils.UserError` in the place of the pastiche; label and photo are None where it is the photo's.
        """
        failed, finished = [], []

        def jobs():
            for path in paths:
                wanted = [(label, mixture) for label, mixture in styles if (path, label) not in skip]
                if not wanted:
                    continue
                try:
                    picture = files.read_picture(path, size=size)
                    self.check(files.source_name(path), picture.frames[0], controls)
                except utils.UserError as error:
                    failed.append((path, None, None, error))
                else:
                    for label, mixture in wanted:
                        for number, photo in enumerate(picture.frames):
                            yield Job(path, label, picture, number, controls.seen(photo), mixture)

        for batch in self._batches(jobs(), min(batch_size, len(paths) * len(styles)) if batch_size > 1 else 1):
            yield from failed
            failed.clear()
            try:
                pastiches = self._compute(batch)
            except MemoryError:
                for path in dict.fromkeys(job.name for job in batch):
                    name = files.source_name(path)
                    error = utils.UserError(f'{name}: not enough memory to stylize this photo; try a smaller --size')
                    yield path, None, None, error
                continue
            for job, pastiche in zip(batch, pastiches):
                # Batches are in the order of the jobs; frames are missing where memory ran out.
                finished = finished if job.frame else []
                finished.append(job.finished(pastiche, controls, self.architecture.lost))
                if len(finished) == len(job.picture.frames):
                    yield job.name, job.label, job.picture, job.together(finished)
        yield from failed

    def add_style(self, name, rows):
        """Give the network one more style, the last one.

        Parameters
        ----------
        name : str
        rows : list of float32 array
            Its gamma and beta, as the functions of `newstyles` return them.

        Raises
        ------
        utils.UserError
            If the network has a style of that name, or is of a single style.
        """
        if name in self.styles:
            raise utils.UserError(f'the network has a style {name} already: give the new one another name')
        models.append_style(self.network, name, rows)
        self._tiler = None

    def make_styles(self, new, photos=(), loss_weights=None):
        """Make and add the styles that a command line asks for: see `newstyles.make`."""
        for style in new:
            rows = newstyles.make(self.network, style, photos, loss_weights, self.device)
            self.add_style(style.name, rows)

    def save(self, path):
        """Write the network, with the styles that were added; see `models.save_network`."""
        models.save_network(path, self.network)

    def check(self, name, photo, controls=Controls()):  # noqa: B008, it is frozen
        """Refuse a photo (H, W, 3) that is too small, or whose pastiche would not fit into the memory.

        Raises
        ------
        utils.UserError
            Naming the size that would fit.
        """
        shape = controls.seen_shape(*photo.shape[:2])
        if shape != photo.shape[:2]:
            name = '%s at the scale %g of strokes' % (name, controls.stroke_scale)
            photo = numpy.broadcast_to(numpy.uint8(0), shape + (3,))
        finishing = 0 if controls.is_plain else FINISHING_BYTES * max(1, controls.stroke_scale**2)
        bytes_per_pixel = (BAND_BYTES if self.tile else self._bytes_per_pixel) + finishing
        remedy = '' if self.tile else ', and --tile takes less'
        check_photo(name, photo, self.architecture, bytes_per_pixel, devices.held_memory(), remedy)

    def _batches(self, jobs, most):
        """Lists of jobs whose photos have the same padded shape."""
        batch, limit = [], 0
        for job in jobs:
            if batch and (len(batch) >= limit or pad_image(batch[0].seen).shape != pad_image(job.seen).shape):
                yield batch
                batch = []
            if not batch:
                alone = self.tile or isinstance(job.mixture, StyleMap)
                limit = 1 if alone else self._fitting(job.seen, most)
            elif isinstance(job.mixture, StyleMap):
                yield batch
                batch, limit = [], 1
            batch.append(job)
        if batch:
            yield batch

    def _fitting(self, photo, most):
        """How many pastiches of a photo are computed at once: at most so many, fewer where those do not fit."""
        added = 2 * (self.architecture.border - self.architecture.lost)
        pixels = (photo.shape[0] + added) * (photo.shape[1] + added)
        room = utils.available_memory(held=devices.held_memory()) - utils.FIXED_BYTES
        fit = max(1, int(min(room / (self._bytes_per_pixel * pixels), most)))
        if fit < most:
            utils.say_once(
                '--batch-size %d: so many pastiches of %d x %d pixels do not fit into the memory, computing %d '
                'at once' % (most, photo.shape[1], photo.shape[0], fit)
            )
        return fit

    def _compute(self, batch):
        """What the network makes of a batch, as arrays (3, H, W); None where it is not finite.

        Half by half where memory runs out after all.
        """
        try:
            if self.tile:
                return [self._in_bands(job) for job in batch]
            images = files.to_float(numpy.stack([pad_image(job.seen) for job in batch]))
            if isinstance(batch[0].mixture, StyleMap):
                pastiches = self._mapped(images, batch[0].seen.shape[:2], batch[0].mixture)
            elif self.network.style:
                rows = [layers.style_weights(job.mixture, len(self.styles)) for job in batch]
                pastiches = self._function(images, numpy.concatenate(rows))
            else:
                pastiches = self._function(images)
            finite, lost = numpy.isfinite(pastiches).all(axis=(1, 2, 3)), 2 * self.architecture.lost
            return [
                pastiche[:, : job.seen.shape[0] - lost, : job.seen.shape[1] - lost] if good else None
                for pastiche, good, job in zip(pastiches, finite, batch)
            ]
        except MemoryError:
            if len(batch) == 1:
                raise
        # Not in the handler, which keeps what was computed so far.
        utils.say_once(f'not enough memory for {len(batch)} pastiches at once: computing them half by half')
        return self._compute(batch[: len(batch) // 2]) + self._compute(batch[len(batch) // 2 :])

    def _in_bands(self, job):
        """What the network makes of a photo, computed in bands, (3, H, W); None where it is not finite."""
        if isinstance(job.mixture, StyleMap):
            raise utils.UserError(f'{files.source_name(job.name)}: style maps are not computed in bands')
        self._tiler = self._tiler or tiles.Tiler(self.network)
        lost = 2 * self.architecture.lost
        pastiche = numpy.empty((3, job.seen.shape[0] - lost, job.seen.shape[1] - lost), 'float32')
        for start, band in self._tiler.bands(job.seen, job.mixture):
            pastiche[:, start : start + len(band)] = band.transpose(2, 0, 1)
        return pastiche if all(numpy.isfinite(channel).all() for channel in pastiche) else None

    def _mapped(self, images, shape, style_map):
        """The pastiche of a photo, which was padded, by a style map for its size before."""
        if self._map_network is None:
            # Shares nothing with the other: its styles are those of a map.
            self._map_network = models.with_styles(self.network, self.styles)
            self._map_function = models.mapped_function(self._map_network)
        models.copy_styles(self.network, self._map_network, style_map.numbers)
        weights = pad_image(style_map.weights(*shape).transpose(1, 2, 0))
        return self._map_function(images, numpy.ascontiguousarray(weights.transpose(2, 0, 1))[numpy.newaxis])


def pad_image(image):
    """Extend an image (H, W, C) at the bottom and right to sides that the network keeps."""
    extra = [max(SMALLEST, -(-side // MULTIPLE) * MULTIPLE) - side for side in image.shape[:2]]
    return numpy.pad(image, [(0, extra[0]), (0, extra[1]), (0, 0)], mode='symmetric')


def check_photo(name, photo, architecture, bytes_per_pixel, held=0, remedy=''):
    """Refuse a photo that a network leaves next to nothing of, or whose pastiche would not fit into the memory.

    Parameters
    ----------
    name : str
        What to call the photo.
    photo : uint8 array (H, W, 3)
    architecture : Architecture
    bytes_per_pixel : float
        See `Architecture.pastiche_bytes`.
    held : int
        Bytes that the process holds and can use again.
    remedy : str
        What else can be done where the memory does not suffice.
    """
    lost = architecture.lost
    if lost and min(photo.shape[:2]) < SMALLEST + 2 * lost:
        raise utils.UserError(
            '%s: %d x %d pixels, of which the network loses %d on each side: it takes %d at least; '
            '--size enlarges photos' % (name, photo.shape[1], photo.shape[0], lost, SMALLEST + 2 * lost)
        )
    added = architecture.border - lost
    utils.check_memory(
        name, photo, bytes_per_pixel, held=held, added=added, smallest=SMALLEST + 2 * lost, remedy=remedy
    )
