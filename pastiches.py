"""Photos in, pastiches out.

from pastiches import Stylist
pastiche = Stylist('misc32')(photo, style='stained-glass')
"""

import collections
import dataclasses
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
# For each pixel of a photo in bands: the photo and the pastiche; and what Pillow makes of the latter where it writes
# the file, when the bands are done with.
BAND_BYTES, WRITING_BYTES = 6, 4
# For each pixel and style of a style map.
MAP_BYTES = 12
# The shorter side of what moments of feature maps are taken of for a preview.
THUMBNAIL = 512
# For each pixel of a photo, while its pastiche is finished.
FINISHING_BYTES = 30


class Job(collections.namedtuple('Job', 'name label picture frame seen mixture in_bands')):
    """A frame of a picture that is to be stylized, what the network is shown of it, and whether in bands."""

    @property
    def deep(self):
        """Whether its pastiche is to have 16 bits."""
        return self.picture.deep and len(self.picture.frames) == 1

    @property
    def photo(self):
        return self.picture.frames[self.frame]

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
        Whether to compute in bands, which takes far less memory and gives the same: see `tiles.Tiler`. Photos that do
        not fit into the memory otherwise are computed so in any case.
    statistics : {'exact', 'thumbnail'}
        In bands, what the moments of feature maps are taken of. 'thumbnail': a small version of the photo, for
        previews, which are computed in less time and are not quite the pastiches.

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

    def __init__(self, model, network=None, device=None, tile=False, statistics='exact'):
        path = networks.find(model)
        self.device = devices.use(device or devices.Device())
        self.network = models.load_network(path, network)
        self.architecture = self.network.architecture
        networks.check_task(path, self.architecture)
        self._backend = 'onednn' if self.device.name != 'cpu' else self.device.backend
        self.styles = self.network.styles or ['style']
        self._function = models.pastiche_function(self.network)
        self._map_network: Any = None
        self._map_function: Any = None
        self._tiler: Any = None
        self.tile, self.statistics = tile, statistics
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
                    f'image {number}: expected uint8 of shape (height, width, 3), and this is '
                    f'{photo.dtype} of {photo.shape}'
                )
            name = f'image {number}'
            in_bands = self.check(name, photo, wished, mixture)
            jobs.append(Job(name, '', files.Picture([photo]), 0, wished.seen(photo), mixture, in_bands))
        results = []
        for batch in self._batches(jobs, batch_size):
            for job, pastiche in zip(batch, self._compute(batch, wished)):
                if pastiche is None:
                    raise utils.UserError(f'{job.name}: its pastiche holds numbers that are not finite')
                results.append(pastiche)
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
                    name, first = files.source_name(path), picture.frames[0]
                    in_bands = [self.check(name, first, controls, mixture) for _, mixture in wanted]
                except utils.UserError as error:
                    failed.append((path, None, None, error))
                else:
                    for (label, mixture), tiled in zip(wanted, in_bands):
                        for number, photo in enumerate(picture.frames):
                            yield Job(path, label, picture, number, controls.seen(photo), mixture, tiled)

        for batch in self._batches(jobs(), min(batch_size, len(paths) * len(styles)) if batch_size > 1 else 1):
            yield from failed
            failed.clear()
            try:
                pastiches = self._compute(batch, controls)
            except MemoryError:
                for path in dict.fromkeys(job.name for job in batch):
                    name = files.source_name(path)
                    error = utils.UserError(f'{name}: not enough memory to stylize this photo; try a smaller --size')
                    yield path, None, None, error
                continue
            for job, pastiche in zip(batch, pastiches):
                # Batches are in the order of the jobs; frames are missing where memory ran out.
                finished = finished if job.frame else []
                finished.append(pastiche)
                if len(finished) == len(job.picture.frames):
                    yield job.name, job.label, job.picture, job.together(finished)
        yield from failed

    def stylize_frames(self, name, controls, frames):
        """The pastiches of the frames of a clip, one after the other.

        Parameters
        ----------
        name : str
            Of the clip, for complaints.
        controls : controls.Controls
        frames : iterable of pairs (array, dict)
            Of uint8 (H, W, 3), each with its mixture or style map.

        Yields
        ------
        uint8 array (h, w, 3)
        """
        for frame, mixture in frames:
            self.check(name, frame, controls)
            yield self(frame, mixture, **dataclasses.asdict(controls))

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

    def check(self, name, photo, controls=Controls(), mixture=None):  # noqa: B008, it is frozen
        """See whether a photo (H, W, 3) is to be computed in bands.

        Returns
        -------
        bool
            True if `tile` is set, or if the memory does not suffice for the whole.

        Raises
        ------
        utils.UserError
            If the photo is too small, or does not fit into the memory in bands either: naming the size that would.
        """
        shape = controls.seen_shape(*photo.shape[:2])
        if shape != photo.shape[:2]:
            name = f'{name} at the scale {controls.stroke_scale:g} of strokes'
            photo = numpy.broadcast_to(numpy.uint8(0), shape + (3,))
        check_size(name, photo, self.architecture)
        maps = MAP_BYTES * len(mixture.numbers) if isinstance(mixture, StyleMap) else 0
        added, held = self.architecture.border - self.architecture.lost, devices.held_memory()
        whole = self._bytes_per_pixel + finishing_bytes(controls) + maps
        if not self.tile and utils.needed_memory(photo, whole, added) <= utils.available_memory(held=held):
            return False
        in_bands = band_bytes(controls) + WRITING_BYTES
        least = tiles.least_bytes(self.architecture.pastiche_bytes(self._backend), photo.shape[1] + 2 * added)
        least = max(0, least - WRITING_BYTES * photo[..., 0].size)
        smallest = SMALLEST + 2 * self.architecture.lost
        utils.check_memory(name, photo, in_bands, held=held, added=added, smallest=smallest, fixed=least)
        return True

    def _batches(self, jobs, most):
        """Lists of jobs whose photos have the same padded shape."""

        def alone(job):
            return job.in_bands or isinstance(job.mixture, StyleMap)

        batch, limit = [], 0
        for job in jobs:
            if batch and (len(batch) >= limit or pad_image(batch[0].seen).shape != pad_image(job.seen).shape):
                yield batch
                batch = []
            if not batch:
                limit = 1 if alone(job) else self._fitting(job.seen, most)
            elif alone(job):
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
                f'--batch-size {most}: so many pastiches of {photo.shape[1]} x {photo.shape[0]} pixels '
                f'do not fit into the memory, computing {fit} '
                'at once'
            )
        return fit

    def _compute(self, batch, controls):
        """The pastiches of a batch, as integers (H, W, 3); None where what the network makes is not finite.

        Half by half where memory runs out after all.
        """
        try:
            if batch[0].in_bands:
                return [self._in_bands(job, controls) for job in batch]
            images = files.to_float(numpy.stack([pad_image(job.seen) for job in batch]))
            if isinstance(batch[0].mixture, StyleMap):
                pastiches = self._mapped(images, batch[0].seen.shape[:2], batch[0].mixture)
            elif self.network.style:
                rows = [layers.style_weights(job.mixture, len(self.styles)) for job in batch]
                pastiches = self._function(images, numpy.concatenate(rows))
            else:
                pastiches = self._function(images)
            finite, lost = numpy.isfinite(pastiches).all(axis=(1, 2, 3)), self.architecture.lost
            results = []
            for pastiche, good, job in zip(pastiches, finite, batch):
                kept = pastiche[:, : job.seen.shape[0] - 2 * lost, : job.seen.shape[1] - 2 * lost]
                results.append(controls.finish(kept, job.photo, lost, job.deep) if good else None)
            return results
        except MemoryError:
            if len(batch) == 1:
                raise
        # Not in the handler, which keeps what was computed so far.
        utils.say_once(f'not enough memory for {len(batch)} pastiches at once: computing them half by half')
        half = len(batch) // 2
        return self._compute(batch[:half], controls) + self._compute(batch[half:], controls)

    def _in_bands(self, job, controls):
        """The pastiche of a photo, computed in bands, as integers (H, W, 3); None where it is not finite."""
        if not self.tile:
            height, width = job.seen.shape[:2]
            utils.say_once(
                f'{files.source_name(job.name)}: {width} x {height} pixels do not fit into the memory at once: '
                'computing them in bands'
            )
        self._tiler = self._tiler or tiles.Tiler(self.network, self._backend)
        # The photo is in memory already; what its pastiche takes is kept free.
        kept = utils.FIXED_BYTES + (band_bytes(controls) + 3 * job.deep) * job.seen[..., 0].size
        room = max(0, utils.available_memory(held=devices.held_memory()) - kept)
        small = None
        if self.statistics == 'thumbnail':
            height, width = job.seen.shape[:2]
            small = files.thumbnail(job.seen, height * min(THUMBNAIL, height, width) // min(height, width))
        bands = self._tiler.bands(job.seen, job.mixture, room=room, moments_of=small)
        return controls.finish_bands(bands, job.photo, self.architecture.lost, job.deep)

    def _mapped(self, images, shape, style_map):
        """The pastiche of a photo, which was padded, by a style map for its size before."""
        if self._map_network is None:
            # Shares nothing with the other: its styles are those of a map.
            self._map_network = models.with_styles(self.network, self.styles)
            self._map_function = models.mapped_function(self._map_network)
        models.copy_styles(self.network, self._map_network, style_map.numbers)
        weights = pad_image(style_map.weights(*shape).transpose(1, 2, 0))
        return self._map_function(images, numpy.ascontiguousarray(weights.transpose(2, 0, 1))[numpy.newaxis])


def finishing_bytes(controls):
    """How much memory each pixel takes while a pastiche is finished whole."""
    return 0 if controls.is_plain else FINISHING_BYTES * max(1, controls.stroke_scale**2)


def band_bytes(controls):
    """How much each pixel of a photo in bands takes; what is finished band by band takes no more for that."""
    return BAND_BYTES + (finishing_bytes(controls) if controls.stroke_scale != 1 else 0)


def pad_image(image):
    """Extend an image (H, W, C) at the bottom and right to sides that the network keeps."""
    extra = [max(SMALLEST, -(-side // MULTIPLE) * MULTIPLE) - side for side in image.shape[:2]]
    return numpy.pad(image, [(0, extra[0]), (0, extra[1]), (0, 0)], mode='symmetric')


def check_size(name, photo, architecture):
    """Refuse a photo (H, W, 3) that a network leaves next to nothing of."""
    lost = architecture.lost
    if lost and min(photo.shape[:2]) < SMALLEST + 2 * lost:
        raise utils.UserError(
            f'{name}: {photo.shape[1]} x {photo.shape[0]} pixels, of which the network loses {lost} on '
            f'each side: it takes {SMALLEST + 2 * lost} at least; '
            '--size enlarges photos'
        )
