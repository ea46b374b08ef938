"""Large pictures read and written strip by strip, so that none is in memory twice: PNG, TIFF and PPM.

Pillow decodes and encodes whole images, at four bytes a pixel beside the array's three. Strips that are more than
deflated are decoded by Pillow all the same: each is handed to it as a small file of its own.
"""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from typing import Any, BinaryIO, Iterator

import numpy
from PIL import Image, TiffImagePlugin

from files.images import orientation

__all__ = ['LARGE', 'read', 'write_png', 'write_ppm', 'write_tiff']

# Pixels from which on it is worth while.
LARGE = 2**24
# Of a strip.
STRIP_PIXELS = 2**20
PIECE = 2**18  # bytes that are read at once
SIGNATURE = b'\x89PNG\r\n\x1a\n'
# Compressions of TIFF whose strips stand for themselves: deflate has two numbers; LZW, deflate, PackBits.
DEFLATE = 8, 32946
COMPRESSIONS = (5, *DEFLATE, 32773)
TRUNCATED = 'image file is truncated'  # as Pillow says it
MOST_DESCRIPTION = 2**24  # bytes of a PNG beside its pixels


def _heights(height: int, width: int) -> Iterator[tuple[int, int]]:
    """First row, and that after the last one, of the strips of an image."""
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        yield top, min(height, top + rows)


# Reading --------------------------------------------------------------------------------------------------------


def read(image: Any) -> tuple[numpy.ndarray, Any] | None:
    """The pixels of an image that Pillow has opened and not decoded yet, if it can be read by strips.

    Parameters
    ----------
    image : PIL image

    Returns
    -------
    uint8 array (H, W, 3), and PIL image; or None
        The image is one that says of the file what `image` does, and can be asked without decoding. None for all but
        upright RGB of 8 bits without transparency, as PNG that is not interlaced, as binary PPM, or as TIFF that is
        plain, deflated, or of several strips.

    Raises
    ------
    OSError, zlib.error
        If the file is damaged.
    """
    readers = {'PNG': _png_strips, 'TIFF': _tiff_strips, 'PPM': _ppm_strips}
    if image.mode != 'RGB' or image.size[0] * image.size[1] < LARGE or image.format not in readers:
        return None
    described = _without_pixels(image) if image.format == 'PNG' else image
    if described is None or 'transparency' in described.info or orientation(described) != 1:
        return None
    strips = readers[image.format](image)
    if strips is None:
        return None
    pixels, top = numpy.empty((image.size[1], image.size[0], 3), 'uint8'), 0
    for strip in strips:
        pixels[top : top + len(strip)] = strip
        top += len(strip)
    if top < len(pixels):
        raise OSError(TRUNCATED)
    return pixels, described


def _decoded(data: bytes) -> numpy.ndarray:
    with Image.open(io.BytesIO(data), formats=('PNG', 'TIFF')) as image:
        return numpy.array(image)


def _pieces(file: BinaryIO, length: int) -> Iterator[bytes]:
    """What comes next in a file, of this length, some of it at a time."""
    while length:
        piece = file.read(min(length, PIECE))
        if not piece:
            raise OSError(TRUNCATED)
        length -= len(piece)
        yield piece


def _inflated(pieces: Iterator[bytes], length: int) -> Iterator[bytes]:
    """What was deflated, in rows of this length."""
    inflater, rows = zlib.decompressobj(), bytearray()
    for piece in pieces:
        inflated = inflater.decompress(piece, PIECE)
        while inflated:
            rows += inflated
            whole = len(rows) // length * length
            for first in range(0, whole, length):
                yield bytes(rows[first : first + length])
            del rows[:whole]
            inflated = inflater.decompress(inflater.unconsumed_tail, PIECE)


def _joined(rows: Iterator[bytes], count: int) -> bytes:
    joined = list(itertools.islice(rows, count))
    if len(joined) < count:
        raise OSError(TRUNCATED)
    return b''.join(joined)


def _png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Kinds and lengths of the chunks of a PNG; the file stands where the content begins."""
    place, kind = len(SIGNATURE), b''
    while kind != b'IEND':
        file.seek(place)
        start = file.read(8)
        if len(start) < 8:
            raise OSError(TRUNCATED)
        length, kind = struct.unpack('>I4s', start)
        yield kind, length
        place += length + 12


def _without_pixels(image):
    """A PNG as large as one pixel with all that another says of itself; None if that is very much."""
    small, left = SIGNATURE, MOST_DESCRIPTION
    for kind, length in _png_chunks(image.fp):
        if kind == b'IHDR':
            small += _chunk(kind, struct.pack('>II', 1, 1) + image.fp.read(length)[8:])
        elif kind != b'IDAT':
            left -= length
            if left < 0:
                return None
            small += _chunk(b'IDAT', zlib.compress(bytes(7))) if kind == b'IEND' else b''
            small += _chunk(kind, image.fp.read(length))
    return Image.open(io.BytesIO(small), formats=('PNG',))


def _png_strips(image):
    file = image.fp
    file.seek(16)
    width, height, bits, color, _, _, interlaced = struct.unpack('>IIBBBBB', file.read(13))
    if (bits, color, interlaced) != (8, 2, 0):
        return None
    pieces = (piece for kind, length in _png_chunks(file) if kind == b'IDAT' for piece in _pieces(file, length))

    def strips():
        rows, above = _inflated(pieces, 1 + 3 * width), bytes(3 * width)
        for top, end in _heights(height, width):
            # A row may be stored as the difference from the one above it, which stands on top as it is.
            data = b'\0' + above + _joined(rows, end - top)
            small = struct.pack('>IIBBBBB', width, 1 + end - top, 8, 2, 0, 0, 0)
            chunks = _chunk(b'IHDR', small) + _chunk(b'IDAT', zlib.compress(data, 0)) + _chunk(b'IEND', b'')
            pixels = _decoded(SIGNATURE + chunks)
            above = pixels[-1].tobytes()
            yield pixels[1:]

    return strips()


def _tiff_strips(image):
    tags, (width, height) = image.tag_v2, image.size
    offsets, counts, rows = tags.get(273), tags.get(279), min(height, tags.get(278, height))
    plain = tags.get(258) == (8, 8, 8) and tags.get(262) == 2 and tags.get(284, 1) == 1 and tags.get(266, 1) == 1
    if not (plain and offsets and counts and rows) or 322 in tags or 338 in tags or len(offsets) != -(-height // rows):
        return None
    compression, predictor = tags.get(259, 1), tags.get(317, 1)
    ours = compression == 1 or (compression in DEFLATE and predictor == 1)
    if not ours and (compression not in COMPRESSIONS or len(offsets) < 2):
        return None

    def strips():
        for top, offset, count in zip(range(0, height, rows), offsets, counts):
            high = min(rows, height - top)
            image.fp.seek(offset)
            if ours:
                deflated = compression in DEFLATE
                yield from _raw(_inflated(_pieces(image.fp, count), 3 * width) if deflated else image.fp, high, width)
            else:
                values = {tag: tags[tag] for tag in (259, 317) if tag in tags}
                yield _decoded(_tiff_file(width, high, image.fp.read(count), values))

    return strips()


def _raw(source, height, width):
    """Strips of plain pixels, of an iterator over rows or of a file."""
    for top, end in _heights(height, width):
        size = (end - top) * width * 3
        data = source.read(size) if hasattr(source, 'read') else _joined(source, end - top)
        if len(data) < size:
            raise OSError(TRUNCATED)
        yield numpy.frombuffer(data, 'uint8').reshape(end - top, width, 3)


def _tiff_file(width, height, data, values):
    """A TIFF of one strip."""
    file = io.BytesIO()
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=b'II')
    values = {256: width, 257: height, 258: (8, 8, 8), 262: 2, 273: 0, 277: 3, 278: height, 279: len(data), **values}
    for tag, value in values.items():
        directory[tag] = value
    directory.save(file)
    file.write(data)
    return file.getvalue()


def _ppm_strips(image):
    kind, _, offset, *_ = image.tile[0]
    if kind != 'raw' or len(image.tile) > 1:
        return None
    image.fp.seek(offset)
    return _raw(image.fp, image.size[1], image.size[0])


# Writing --------------------------------------------------------------------------------------------------------


def _with_alpha(frame, alpha, rows):
    """Rows of a frame, with the opacity as one of the channels."""
    pixels = frame[rows]
    if alpha is None:
        return pixels
    opacity = alpha[rows].astype(frame.dtype)
    return numpy.dstack([pixels, opacity * 257 if frame.dtype == numpy.uint16 else opacity])


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def write_png(file: BinaryIO, frame: numpy.ndarray, alpha: numpy.ndarray | None, options: dict[str, Any]) -> None:
    """Write a PNG (ISO 15948) of 8 bits a channel or of 16, which Pillow does not write.

    Each row is stored as the difference from the one above it.

    Parameters
    ----------
    file : binary file
    frame : uint8 or uint16 array (H, W, 3)
    alpha : uint8 array (H, W), optional
    options : dict
        Pillow's: icc_profile, exif, pnginfo.
    """
    height, width = frame.shape[:2]
    bits = 8 * frame.dtype.itemsize
    file.write(SIGNATURE)
    file.write(_chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, bits, 2 if alpha is None else 6, 0, 0, 0)))
    if 'icc_profile' in options:
        file.write(_chunk(b'iCCP', b'ICC Profile\0\0' + zlib.compress(options['icc_profile'])))
    if 'exif' in options:
        file.write(_chunk(b'eXIf', options['exif'].tobytes()[6:]))
    if 'pnginfo' in options:
        for kind, data, *_ in options['pnginfo'].chunks:
            file.write(_chunk(kind, data))
    deflater, above = zlib.compressobj(6), numpy.uint8(0)
    for top, end in _heights(height, width):
        pixels = _with_alpha(frame, alpha, slice(top, end))
        rows = numpy.ascontiguousarray(pixels, '>u2' if bits == 16 else 'u1').view(numpy.uint8).reshape(end - top, -1)
        filtered = numpy.empty((len(rows), rows.shape[1] + 1), numpy.uint8)
        filtered[:, 0] = 2  # the filter "up"
        filtered[0, 1:] = rows[0] - above
        filtered[1:, 1:] = rows[1:] - rows[:-1]
        above = rows[-1].copy()
        data = deflater.compress(filtered.data)
        if data:
            file.write(_chunk(b'IDAT', data))
    file.write(_chunk(b'IDAT', deflater.flush()) + _chunk(b'IEND', b''))


def write_ppm(file: BinaryIO, frame: numpy.ndarray) -> None:
    """Write a binary PPM of 8 bits a channel."""
    height, width = frame.shape[:2]
    file.write(b'P6\n%d %d\n255\n' % (width, height))
    for top, end in _heights(height, width):
        file.write(frame[top:end].tobytes())


def write_tiff(file: BinaryIO, frame: numpy.ndarray, alpha: numpy.ndarray | None, options: dict[str, Any]) -> None:
    """Write a TIFF of 8 or 16 bits a channel, deflated, in one strip; its directory is written by Pillow.

    Parameters
    ----------
    file : binary file
        Which can be sought in.
    frame, alpha, options
        As for `write_png`.

    Raises
    ------
    ValueError
        If it would be larger than 4 GB.
    """
    height, width = frame.shape[:2]
    channels, bits = 3 if alpha is None else 4, 8 * frame.dtype.itemsize
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=b'II')
    if 'exif' in options:
        for tag, value in options['exif'].items():
            directory[tag] = dict(value) if isinstance(value, dict) else value
        for tag in (0x8769, 0x8825):
            block = options['exif'].get_ifd(tag)
            if block:
                directory[tag] = dict(block)
    values = {256: width, 257: height, 258: (bits,) * channels, 259: 8, 262: 2, 273: 0, 277: channels, 278: height}
    values.update({279: 0, 284: 1})
    if channels == 4:
        values[338] = 2
    if 'icc_profile' in options:
        values[34675] = options['icc_profile']
    for tag, value in values.items():
        directory[tag] = value
    directory.tagtype[34675] = 7
    directory.save(file)
    start, deflater = file.tell(), zlib.compressobj(6)
    for top, end in _heights(height, width):
        pixels = numpy.ascontiguousarray(_with_alpha(frame, alpha, slice(top, end)), '<u2' if bits == 16 else 'u1')
        file.write(deflater.compress(pixels.data))
    file.write(deflater.flush())
    size = file.tell() - start
    if size >= 2**32:
        raise ValueError('a TIFF has 4 GB at most')
    # Now that the length of the strip is known, which is a number of as many bytes.
    directory[279] = size
    file.seek(0)
    directory.save(file)
    file.seek(0, io.SEEK_END)
