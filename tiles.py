"""Pastiches of photos that do not fit into the memory, computed in bands: exactly what the whole photo would give.

Instance normalization needs the moments of whole feature maps, so that one pass over the bands does not do. The
convolutions are gone through in order, each over all bands, and the moments are gathered on the way. What is narrow
is kept for the next one: the feature maps of the residual blocks, at a quarter of the size, and the three of the last
convolution. What is wide (a full-sized map of the first convolution takes 128 bytes for a pixel) is computed anew from
what was kept last, by filters that the normalization has been multiplied into as soon as it was known: the first
convolution three times, the second and the last but one twice, which is half as much work again as the network's own.

Gamma and beta of a style map differ from pixel to pixel, and cannot be multiplied into filters: there only mean and
deviation are, and gamma and beta are mixed for each band, of the weights of its pixels.
"""

from __future__ import annotations

import collections
import tempfile
from typing import Any, Iterator, Union

import numpy

import models
import utils
from architecture import Architecture
from backend import T, lasagne, theano
from backend.formulas import ROUNDING, rectify
from layers import ConvLayer, FractionalConvLayer, UpsampleNearestLayer, mean_pool
from stylemaps import StyleMap

from lasagne.layers import InputLayer, NonlinearityLayer

__all__ = ['Tiler', 'least_bytes']

Mixture = Union['dict[int, float]', StyleMap]

# Sides that the network keeps, and the fewest pixels that its inner layers can reflect.
MULTIPLE, SMALLEST = 4, 16
# Rows of a feature map that those of the first upsampled one, of the second, and of the last convolution depend on
# beyond their own.
HALOS = 1, 1, 2
# Rows that a band is computed with beyond its own, about.
BEYOND = 16
# Columns whose moments are taken at once, in single precision.
PIECE = 4096


class Map:
    """Feature maps (C, H, W) that are written and read by rows: in memory, or in a file that nobody else sees.

    The file is gone with the process, however that ends.

    Parameters
    ----------
    shape : tuple
    on_disk : bool

    Raises
    ------
    utils.UserError
        If the disk is full.
    """

    def __init__(self, shape: tuple[int, int, int], on_disk: bool) -> None:
        channels, self.height, self.columns = shape
        self._row = (channels, self.columns)
        self._bytes = 4 * channels * self.columns
        self._file: Any = tempfile.TemporaryFile(buffering=0) if on_disk else None
        self._rows: Any = None if on_disk else numpy.empty((self.height, *self._row), 'float32')

    def write(self, start: int, maps: numpy.ndarray) -> None:
        """Write rows from `start` on: maps of shape (C, rows, W)."""
        rows = numpy.ascontiguousarray(maps.transpose(1, 0, 2), 'float32')
        if self._rows is not None:
            self._rows[start : start + len(rows)] = rows
            return
        try:
            self._file.seek(start * self._bytes)
            view = memoryview(rows).cast('B')
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise utils.UserError(
                f'{tempfile.gettempdir()}: cannot keep feature maps: {utils.reason(error)}; TMPDIR names another folder'
            )

    def read(self, start: int, end: int) -> numpy.ndarray:
        """Rows from `start` to before `end`, (C, rows, W)."""
        if self._rows is not None:
            rows = self._rows[start:end]
        else:
            self._file.seek(start * self._bytes)
            rows = numpy.empty((end - start, *self._row), 'float32')
            view = memoryview(rows).cast('B')
            while view:
                count = self._file.readinto(view)
                if not count:
                    raise OSError('a temporary file was cut off')
                view = view[count:]
        return numpy.ascontiguousarray(rows.transpose(1, 0, 2))


class Moments:
    """Mean and variance of each feature map, gathered band by band."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, numpy.float64(0), numpy.float64(0)

    def add(self, maps: numpy.ndarray) -> None:
        """Count in maps of shape (C, rows, W)."""
        flat = maps.reshape(len(maps), -1)
        for start in range(0, flat.shape[1], PIECE):
            piece = flat[:, start : start + PIECE]
            mean = piece.mean(axis=1)
            away = piece - mean[:, numpy.newaxis]
            squares = numpy.einsum('ij,ij->i', away, away).astype('float64')
            # Chan, Golub, LeVeque: the moments of two sets from those of each.
            count, total = piece.shape[1], self.count + piece.shape[1]
            difference = mean.astype('float64') - self.mean
            self.squares = self.squares + squares + difference**2 * (self.count * count / total)
            self.mean = self.mean + difference * (count / total)
            self.count = total


# A convolution after those before it, compiled; its layer, which has the filters; the `_Mixer` after it; and whether it
# takes the weights of a style map.
_Link = collections.namedtuple('_Link', 'function convolution mixer mapped')

# What a normalization does with a feature map: scale and shift of each channel; with a style map these are of mean and
# deviation alone, and what is then mixed for each pixel are the rows of gamma and beta (styles, C).
_Norm = collections.namedtuple('_Norm', 'scale shift gamma beta', defaults=(None, None))


class _Mixer(lasagne.layers.Layer):
    """Scales and shifts each pixel by gamma and beta, mixed by the weights of its styles."""

    def __init__(self, incoming, weights, stride):
        super().__init__(incoming)
        self.weights, self.stride = weights, stride
        self.gamma, self.beta = (theano.shared(numpy.zeros((1, self.input_shape[1]), 'float32')) for _ in range(2))

    def get_output_for(self, input, **kwargs):
        weights = mean_pool(self.weights, self.stride)
        gamma, beta = (
            T.tensordot(weights, rows, [[1], [0]]).dimshuffle(0, 3, 1, 2) for rows in (self.gamma, self.beta)
        )
        return input * gamma + beta


class Tiler:
    """A network that stylizes in bands.

    Parameters
    ----------
    network : models.Network
    backend : {'onednn', 'plain'}
        What computes on the CPU, for the memory that it takes.
    """

    def __init__(self, network: models.Network, backend: str = 'onednn') -> None:
        self.network, self.architecture = network, network.architecture
        self._bytes = self.architecture.pastiche_bytes(backend)
        self._crops = self.architecture.pad in ('reflect-start', 'none')
        self._convolutions = _parameters(network)
        self._compiled: dict[bool, Any] = {}

    def _links(self, mapped):
        """The `_Link` of each convolution: on the way down, of the residual blocks, and up; for style maps or not."""
        if mapped in self._compiled:
            return self._compiled[mapped]
        a = self.architecture
        pad = 'zero' if self._crops or a.pad == 'same' else a.pad
        (c1, c2, c3), (u1, u2), (k1, k2, k3) = a.widths, a.up_widths, a.filter_sizes

        def conv(layer, filters, size, stride=1, pad=pad):
            return ConvLayer(layer, filters, size, stride, pad, b=numpy.zeros(filters, 'float32'))

        def up(layer, filters):
            if a.upsampling == 'nearest':
                return conv(UpsampleNearestLayer(layer, 2), filters, 3)
            return FractionalConvLayer(layer, filters, 3, b=numpy.zeros(filters, 'float32'))

        def chain(channels, strides, *steps):
            """What compiles the first steps, the last of them neither mixed nor rectified."""
            image = layer = InputLayer((1, channels, None, None))
            weights, links = T.tensor4('weights'), []
            for step, stride in zip(steps, strides):
                layer = convolution = step(layer)
                inputs = [image.input_var, weights] if mapped and links else [image.input_var]
                function = theano.function(inputs, lasagne.layers.get_output(layer))
                mixer = _Mixer(layer, weights, stride) if mapped else None
                links.append(_Link(function, convolution, mixer, len(inputs) > 1))
                layer = NonlinearityLayer(mixer or layer, rectify)
            return links

        down = [lambda x: conv(x, c1, k1), lambda x: conv(x, c2, k2, 2), lambda x: conv(x, c3, k3, 2)]
        up_again = [lambda x: up(x, u1), lambda x: up(x, u2), lambda x: conv(x, 3, 9)]
        residual = lambda x: conv(x, c3, 3, pad='none' if self._crops else pad)  # noqa: E731, as the others
        self._compiled[mapped] = (
            chain(3, (1, 2, 4), *down),
            chain(c3, (4,), residual)[0],
            chain(c3, (2, 1, 1), *up_again),
        )
        return self._compiled[mapped]

    def bands(
        self,
        photo: numpy.ndarray,
        mixture: Mixture,
        rows: int | None = None,
        room: float | None = None,
        moments_of: numpy.ndarray | None = None,
    ) -> Iterator[tuple[int, numpy.ndarray]]:
        """The pastiche of a photo, some rows at a time.

        Parameters
        ----------
        photo : uint8 array (H, W, 3), RGB
        mixture : dict or stylemaps.StyleMap
            {number of a style: weight}
        rows : int, optional
            Rows of a band, a multiple of 4 at least; by default as many as there is room for.
        room : float, optional
            Bytes to compute with; by default what is available. Feature maps that do not fit in go to temporary files.
        moments_of : uint8 array (h, w, 3), optional
            A small version of the photo, to take the moments of feature maps from: not exact, and faster, since
            nothing is computed anew.

        Yields
        ------
        start : int
            The first of the rows, in the pastiche.
        band : float32 array (rows, W, 3), RGB in [0, 1]
        """
        room = max(utils.available_memory() - utils.FIXED_BYTES, 2**26) if room is None else room
        norms = None if moments_of is None else self._run(moments_of, mixture, rows, room, None)[1]
        maps, _ = self._run(photo, mixture, rows, room, norms)
        yield from self._finished(maps, photo.shape, max(MULTIPLE, rows or 64))

    def _run(self, photo, mixture, rows, room, norms):
        """The maps of the last convolution, and the `_Norm` after each one, which may be given."""
        a = self.architecture
        source, weights = _Photo(photo, a), None
        if isinstance(mixture, StyleMap):
            models.check_mapped(self.network)
            weights = _Weights(mixture, photo.shape, a)
        down, residual, up = self._links(weights is not None)
        # At most four maps of the residual blocks are there at once, and one beside those of the last convolution.
        kept_bytes = max(4 * a.widths[2] / MULTIPLE, a.widths[2] / MULTIPLE + 12)
        on_disk = kept_bytes * source.height * source.columns > room / 3
        if rows is None:
            row = _row_bytes(self._bytes, a, mixture) * source.columns
            rows = int(room * (2 / 3 if on_disk else 1 / 3) / row) - BEYOND
        rows = max(2 * MULTIPLE, min(rows, source.height) // MULTIPLE * MULTIPLE)
        given, norms, number = norms is not None, list(norms or []), 0

        def sweep(link, source, rows, ratio, halo, lost=0, kept=None):
            """Compute a convolution, the number of which is next, of all rows; settles the norm that follows it."""
            moments, pixels = Moments(), MULTIPLE if source.height < photo_rows else 1
            self._set(link, number)
            for start in range(0, source.height - lost, rows) if kept or not given else ():
                end = min(source.height - lost, start + rows)
                low, high = max(0, start - halo), min(source.height, end + (lost or halo))
                inputs = [source.read(low, high)[numpy.newaxis]]
                if link.mapped:
                    inputs.append(weights.read(low * pixels, high * pixels, lost=cropped)[numpy.newaxis])
                maps = link.function(*inputs)[0]
                first = int((start - low) * ratio)
                maps = maps[:, first : first + int((end - start) * ratio)]
                if not given:
                    moments.add(maps)
                if kept:
                    kept.write(int(start * ratio), maps)
                bar.update()
            if not given:
                norms.append(self._convolutions[number][1](mixture, moments))
            self._set(link, number, norms[number])

        def bands(rows, height):
            return -(-height // rows)

        # Pixels of what the network sees that feature maps lack on each side.
        wide, photo_rows, cropped = 1 if given else 3, source.height, 0
        quarter = rows // MULTIPLE
        total = wide * bands(rows, source.height) + (2 * a.residual_blocks + wide) * bands(quarter, source.height // 4)
        with utils.progress(total=total, desc='in bands', unit='band', leave=False) as bar:
            # To a quarter of the size.
            (k1, k2, k3), quarter_size = a.filter_sizes, (source.height // MULTIPLE, source.columns // MULTIPLE)
            reach = k1 // 2, k1 // 2 + k2 // 2, k1 // 2 + k2 // 2 + k3 // 2 * 2
            for step, link in enumerate(down):
                kept = Map((a.widths[2], *quarter_size), on_disk) if step == 2 else None
                halo = -(-reach[step] // MULTIPLE) * MULTIPLE
                sweep(link, source, rows, 0.5**step, halo, kept=kept)
                number += 1
            source = _Normalized(kept, norms[2], weights, MULTIPLE, rectified=True)

            # The residual blocks.
            lost = 2 if self._crops else 0
            for _ in range(a.residual_blocks):
                before = source
                for rectified in (True, False):
                    kept = Map((a.widths[2], source.height - lost, source.columns - lost), on_disk)
                    sweep(residual, source, quarter, 1, 0 if lost else 1, lost, kept)
                    cropped += MULTIPLE * lost // 2
                    source = _Normalized(kept, norms[number], weights, MULTIPLE, cropped, rectified)
                    number += 1
                summed = Map((a.widths[2], source.height, source.columns), on_disk)
                for start in range(0, summed.height, quarter):
                    end = min(summed.height, start + quarter)
                    other = before.read(start + lost, end + lost)
                    other = other[:, :, lost : other.shape[2] - lost]
                    summed.write(start, source.read(start, end) + other)
                source = _Normalized(summed)

            # And back to its size.
            for step, link in enumerate(up):
                ratio = (2, 4, 4)[step]
                kept = Map((3, ratio * source.height, ratio * source.columns), on_disk) if step == 2 else None
                sweep(link, source, quarter, ratio, HALOS[step], kept=kept)
                number += 1
        return _Normalized(kept, norms[-1], weights, 1, cropped), norms

    def _set(self, link, number, norm=None):
        """Give a link the filters of a convolution, which the normalization may be multiplied into."""
        (filters, bias), _ = self._convolutions[number]
        layer = link.convolution
        if norm is not None and norm.scale is not None:
            spread = (1, -1, 1, 1) if isinstance(layer, FractionalConvLayer) else (-1, 1, 1, 1)
            filters, bias = filters * norm.scale.reshape(spread), norm.shift
        layer.W.set_value(filters)
        layer.b.set_value(bias)
        if norm is not None and link.mixer:
            link.mixer.gamma.set_value(norm.gamma)
            link.mixer.beta.set_value(norm.beta)

    def _finished(self, maps, shape, rows):
        """The bands of the pastiche from the last convolution's maps."""
        a = self.architecture
        lost = a.lost
        height, width = shape[0] - 2 * lost, shape[1] - 2 * lost
        for start in range(0, height, rows):
            end = min(height, start + rows)
            if a.pad == 'same':
                band = maps.read(maps.height - end, maps.height - start)[:, ::-1, ::-1]
            else:
                band = maps.read(start, end)
            band = band[numpy.newaxis, :, :, :width]
            if a.network == 'cin':
                band = 1 / (1 + numpy.exp(-band))
            else:
                if a.output == 'tanh':
                    band = numpy.float32(a.tanh_constant) * numpy.tanh(band)
                band = models.vgg_deprocess(band) if a.preprocessing == 'vgg' else models.from_middle(band)
            yield start, numpy.clip(band[0].transpose(1, 2, 0), 0, 1).astype('float32')


class _Photo:
    """A photo as the network sees it, read by rows."""

    def __init__(self, photo, a):
        self.photo, self.architecture = photo, a
        self._down, self._across = _indices(photo.shape[0], a), _indices(photo.shape[1], a)
        self.height, self.columns = len(self._down), len(self._across)

    def read(self, start, end):
        band = self.photo[self._down[start:end]][:, self._across].transpose(2, 0, 1) / numpy.float32(255)
        if self.architecture.network == 'fns' and self.architecture.preprocessing == 'vgg':
            band = models.vgg_preprocess(band[numpy.newaxis])[0]
        return numpy.ascontiguousarray(band, 'float32')


class _Weights:
    """The weights of a style map for what the network sees of a photo, read by rows."""

    def __init__(self, style_map, shape, a):
        self.style_map, self.shape = style_map, shape
        self._down, self._across = _indices(shape[0], a), _indices(shape[1], a)

    def read(self, start, end, side=1, lost=0):
        """Means over squares of so many pixels: float32 (styles, rows, W / side).

        Feature maps may have lost so many pixels of the photo on each side.
        """
        rows = self._down[lost + side * start : lost + side * end]
        columns, first = self._across[lost : len(self._across) - lost], rows.min()
        weights = self.style_map.weights(*self.shape[:2], first, rows.max() + 1)[:, rows - first][:, :, columns]
        if side > 1:
            styles, height, width = weights.shape
            weights = weights.reshape(styles, height // side, side, width // side, side).mean(axis=(2, 4))
        return numpy.ascontiguousarray(weights, 'float32')


class _Normalized:
    """A kept map, normalized and rectified as it is read."""

    def __init__(self, kept, norm=None, weights=None, side=1, lost=0, rectified=False):
        self.kept, self.norm, self.rectified = kept, norm, rectified
        self.weights, self.side, self.lost = weights, side, lost
        self.height, self.columns = kept.height, kept.columns

    def read(self, start, end):
        maps = self.kept.read(start, end)
        if self.norm and self.norm.scale is not None:
            maps *= self.norm.scale[:, numpy.newaxis, numpy.newaxis]
            maps += self.norm.shift[:, numpy.newaxis, numpy.newaxis]
            if self.weights:
                weights = self.weights.read(start, end, self.side, self.lost)
                maps *= numpy.tensordot(self.norm.gamma.T, weights, 1)
                maps += numpy.tensordot(self.norm.beta.T, weights, 1)
        return numpy.maximum(maps, 0) if self.rectified else maps


def _indices(size: int, a: Architecture) -> numpy.ndarray:
    """Which row (or column) of a photo each row of what the network sees is."""
    smallest = a.smallest_side if a.pad == 'reflect-start' else SMALLEST
    whole = max(smallest, -(-size // MULTIPLE) * MULTIPLE)
    rows = numpy.pad(numpy.arange(size), (0, -(-whole // MULTIPLE) * MULTIPLE - size), mode='symmetric')
    if a.pad == 'reflect-start':
        rows = numpy.pad(rows, a.border, mode='reflect')
    return rows[::-1] if a.pad == 'same' else rows


def _parameters(network: models.Network) -> list[Any]:
    """For each convolution its filters and bias, and what makes the norm's scale and shift."""
    a = network.architecture
    values = [value for value in lasagne.layers.get_all_param_values(network.output)]
    names = [name for name, _ in a.shapes(max(1, len(network.styles)))]
    starts = [i for i, name in enumerate(names) if name == 'W'] + [len(names)]
    result = []
    for first, following in zip(starts, starts[1:]):
        own = dict(zip(names[first:following], values[first:following]))
        maps = own['W'].shape[1 if len(result) in _deconvolutions(a) else 0]
        result.append(((own['W'], own.get('b', numpy.zeros(maps, 'float32'))), _norm(own, a)))
    return result


def _deconvolutions(a: Architecture) -> tuple[int, ...]:
    first = 3 + 2 * a.residual_blocks
    return (first, first + 1) if a.upsampling == 'deconv' else ()


def _norm(own: dict[str, numpy.ndarray], a: Architecture) -> Any:
    """What makes, of a mixture and the moments of a feature map, the `_Norm` that is to be done with it."""

    def row(values, mixture):
        if values.ndim == 1:
            return values
        return sum(numpy.float32(weight) * values[style] for style, weight in mixture.items())

    def of(mixture, moments):
        if 'gamma' not in own:
            return _Norm(None, None)
        if a.norm == 'batch':
            mean, variance = own['mean'].astype('float64'), own['variance'].astype('float64')
        else:
            mean, variance = moments.mean, moments.squares / moments.count
        scale = 1 / numpy.sqrt(variance + a.epsilon)
        if a.norm == 'instance':
            scale = numpy.where(variance > ROUNDING[0] * a.epsilon + ROUNDING[1] * mean**2, scale, 0)
        if isinstance(mixture, StyleMap):
            rows = [own[name][mixture.numbers] for name in ('gamma', 'beta')]
            return _Norm(scale.astype('float32'), (-mean * scale).astype('float32'), *rows)
        scale = row(own['gamma'], mixture) * scale
        return _Norm(scale.astype('float32'), (row(own['beta'], mixture) - mean * scale).astype('float32'))

    return of


def _row_bytes(bytes_per_pixel: float, a: Architecture, mixture: Mixture) -> float:
    """About how much memory a pixel of a band takes."""
    if isinstance(mixture, StyleMap):
        bytes_per_pixel += 16 * max(a.widths[0], a.up_widths[1]) + 12 * len(mixture.numbers)
    return 1.5 * bytes_per_pixel


def least_bytes(bytes_per_pixel: float, columns: int) -> float:
    """About how much memory the lowest bands of a photo take.

    Parameters
    ----------
    bytes_per_pixel : float
        See `Architecture.pastiche_bytes`.
    columns : int
    """
    return 1.5 * bytes_per_pixel * columns * (2 * MULTIPLE + BEYOND)
