"""Images in and out, and from and to what networks take.

Images are uint8 arrays of shape (height, width, 3), RGB, 0-255. Batches for the networks are float32 arrays
of shape (images, 3, height, width), RGB, in [0, 1]; `to_float` and `to_uint8` convert. Reading is done under limits, of
the pixels before an image is decoded.
"""

import contextlib
import glob
import hashlib
import io
import logging
import os
import sys
import warnings

import numpy
from PIL import Image, ImageFilter, ImageOps, PngImagePlugin, features

import utils
from files.arrays import MAX_BYTES
from files.atomic import atomic_write, check_regular

# Pillow's remarks on odd files are of no use to whoever stylizes a photo: either it can be read or it is an
# error.
warnings.filterwarnings('ignore', module=r'PIL\.')
logging.getLogger('PIL').setLevel(logging.CRITICAL)

MAX_PIXELS = 200 * 10**6  # of one image, unless GOGH_MAX_PIXELS says otherwise
MORE_PIXELS = '--max-pixels or GOGH_MAX_PIXELS allows more'
try:
    import pillow_heif
except ImportError:
    pillow_heif = None
else:
    pillow_heif.register_heif_opener()
HEIF = {'HEIF': ('.heic', '.heif', '.hif')} if pillow_heif else {}
AVIF = {'AVIF': ('.avif',)} if 'avif' in features.modules and features.check('avif') else {}
READ_FORMATS = ('JPEG', 'PNG', 'WEBP', 'GIF', 'TIFF', 'BMP', 'PPM', *AVIF, *HEIF)
READ_EXTENSIONS = (
    '.jpg',
    '.jpeg',
    '.jfif',
    '.jpe',
    '.mpo',
    '.png',
    '.webp',
    '.gif',
    '.tif',
    '.tiff',
    '.bmp',
    '.ppm',
    '.pgm',
    '.pbm',
    *AVIF.get('AVIF', ()),
    *HEIF.get('HEIF', ()),
)
# Images that are not read, which a folder should not hide, and what reads them.
OTHER_EXTENSIONS = {
    extension: f'{reader} reads it'
    for reader, extensions in (('the package pillow-heif', ('.heic', '.heif', '.hif')), ('Pillow 11.3', ('.avif',)))
    for extension in extensions
    if extension not in READ_EXTENSIONS
}
OTHER_EXTENSIONS.update(
    dict.fromkeys(
        '.jp2 .jxl .jxr .psd .svg .eps .ico .tga .exr .hdr .dng .cr2 .cr3 .nef .arw .orf .rw2 .raf .raw'.split(),
        'convert it first',
    )
)
_JPEG = ('JPEG', dict(quality=95, subsampling=0))
WRITE_FORMATS = {
    '.jpg': _JPEG,
    '.jpeg': _JPEG,
    '.png': ('PNG', {}),
    '.webp': ('WEBP', dict(quality=95)),
    '.gif': ('GIF', {}),
    '.tif': ('TIFF', {}),
    '.tiff': ('TIFF', {}),
    '.bmp': ('BMP', {}),
    '.ppm': ('PPM', {}),
}
MOST_PIXELS = {'.jpg': 65535, '.jpeg': 65535, '.webp': 16383}  # of a side
SOFTWARE = 0x0131  # the EXIF tag
# EXIF orientation (tag 0x0112) to the operation that makes the image upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(source, size=None, max_pixels=None):
    """Read an image as 8-bit RGB, whatever it is stored as.

    The first frame of an animation; EXIF orientation applied; transparency composited over white; palette,
    CMYK, 1-bit and greyscale images converted; 16-bit and floating-point greyscale scaled to 8 bits, not
    clipped. ICC profiles are ignored.

    Parameters
    ----------
    source : str or binary file
        JPEG, PNG, WebP, GIF, TIFF, BMP or PPM; AVIF and HEIF where Pillow reads them. The contents decide, and not
        the name.
    size : int, optional
        Length of the shorter side, to which the image is resized (Lanczos), keeping its aspect.
    max_pixels : int, optional
        Images of more pixels are refused before they are decoded. 200 million by default, or what the
        environment variable GOGH_MAX_PIXELS says.

    Returns
    -------
    uint8 array of shape (height, width, 3)

    Raises
    ------
    utils.UserError
        For a file that is missing, empty, truncated, too large or not an image; one line, naming the file.
    """
    name, max_pixels = source_name(source), pixel_limit(max_pixels)
    with open_image(source, max_pixels) as image:
        image.load()
        image = make_upright(to_rgb(image), orientation(image))
        if size is not None:
            image = resize_shorter_side(name, image, size, max_pixels)
        return to_array(image)


def source_name(source):
    """What to call a path or a file in a complaint."""
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else getattr(source, 'name', 'image')


def standard_input():
    """What comes by the standard input, as a binary file; no more than GOGH_MAX_BYTES allows."""
    limit = utils.limit('GOGH_MAX_BYTES', MAX_BYTES)
    data = sys.stdin.buffer.read(limit + 1)
    if len(data) > limit:
        raise utils.UserError(f'standard input: more than {limit} bytes; set GOGH_MAX_BYTES to allow more')
    file = io.BytesIO(data)
    file.name = 'standard input'
    return file


def extension_of(file):
    """What the name of an image would end in that a binary file holds: '.png' also for what is none."""
    try:
        with Image.open(file, formats=READ_FORMATS) as image:
            kind = image.format
    except Exception:  # as many kinds as there are ways not to be an image
        kind = None
    return next((extension for extension, (name, _) in WRITE_FORMATS.items() if name == kind), '.png')


def pixel_limit(max_pixels=None):
    """How many pixels an image may have: what was asked for, what GOGH_MAX_PIXELS says, or `MAX_PIXELS`."""
    return utils.limit('GOGH_MAX_PIXELS', MAX_PIXELS) if max_pixels is None else max_pixels


@contextlib.contextmanager
def open_image(source, max_pixels):
    """Open an image with Pillow, not decoded yet, and turn all that goes wrong meanwhile into one line.

    Parameters
    ----------
    source : str or binary file
    max_pixels : int
        Images of more pixels are refused.

    Raises
    ------
    utils.UserError
        Naming the file.
    """
    name = source_name(source)
    # Pillow's own guard against decompression bombs also covers frames and thumbnails inside a file.
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with contextlib.ExitStack() as stack:
            if isinstance(source, (str, os.PathLike)):
                check_regular(source)
                source = stack.enter_context(open(source, 'rb'))
            source.seek(0, os.SEEK_END)
            if source.tell() == 0:
                raise utils.UserError(f'{name}: the file is empty')
            source.seek(0)
            image = stack.enter_context(Image.open(source, formats=READ_FORMATS))
            _check_pixels(name, image, max_pixels)
            yield image
    except utils.UserError:
        raise
    except Image.DecompressionBombError:
        raise utils.UserError(f'{name}: more than {max_pixels} pixels; {MORE_PIXELS}')
    except Image.UnidentifiedImageError:
        hint = OTHER_EXTENSIONS.get(os.path.splitext(str(name))[1].lower())
        raise utils.UserError(
            f'{name}: not an image of a kind that can be read '
            f'({", ".join(READ_FORMATS)}){("; " + hint if hint else "")}'
        )
    except IsADirectoryError:
        raise utils.UserError(f'{name}: is a folder, not an image')
    except MemoryError:
        raise utils.UserError(f'{name}: not enough memory to read this image')
    except FileNotFoundError:
        raise utils.UserError(f'{name}: no such file')
    except PermissionError:
        raise utils.UserError(f'{name}: permission denied')
    except Exception as error:
        # On a damaged file Pillow raises nearly anything: OSError, SyntaxError, struct.error, IndexError, ...
        raise utils.UserError(f'{name}: cannot read this image: {utils.reason(error)}')


def _check_pixels(name, image, max_pixels):
    """Refuse an image that is opened but not decoded yet, when decoding it would take too much memory."""
    sizes = [image.size]
    if image.format == 'TIFF':
        # A tile is inflated whole, however small the image is that it belongs to.
        sizes.append((image.tag_v2.get(322, 1), image.tag_v2.get(323, 1)))
    for width, height in sizes:
        if width * height > max_pixels:
            raise utils.UserError(
                f'{name}: {width} x {height} pixels are more than the {max_pixels} that are read at most; {MORE_PIXELS}'
            )


def orientation(image):
    """The EXIF orientation of a loaded image, 1 (upright) when there is none or it cannot be read."""
    try:
        return image.getexif().get(0x0112, 1)
    except Exception:
        # The picture is intact even where its EXIF block is damaged.
        return 1


def make_upright(image, turned):
    """Apply an EXIF orientation."""
    return image.transpose(_UPRIGHT[turned]) if turned in _UPRIGHT else image


def to_rgb(image):
    """Convert a loaded Pillow image of any mode to RGB."""
    if image.mode.startswith('I') or image.mode == 'F':
        grey = numpy.asarray(image)
        if image.format == 'TIFF' and grey.dtype == numpy.int32:
            # Pillow has no mode for them, and reads unsigned integers of 32 bits as signed ones.
            bits, kinds = (image.tag_v2.get(tag, default) for tag, default in ((258, 1), (339, 1)))
            if (bits, kinds) in ((32, 1), ((32,), 1), (32, (1,)), ((32,), (1,))):
                grey = grey.view(numpy.uint32)
        grey = _scale_to_8_bit(grey, image.info.get('transparency'))
        return Image.fromarray(grey).convert('RGB')
    if image.mode in ('La', 'RGBa'):
        image = image.convert({'La': 'LA', 'RGBa': 'RGBA'}[image.mode])
    if image.mode in ('LA', 'PA', 'RGBA') or 'transparency' in image.info:
        image = image.convert('RGBA')
        white = Image.new('RGBA', image.size, 'white')
        return Image.alpha_composite(white, image).convert('RGB')
    return image if image.mode == 'RGB' else image.convert('RGB')


def to_array(image):
    """An RGB image as an array, without the two further copies in memory that numpy.array(image) takes."""
    width, height = image.size
    array = numpy.empty((height, width, 3), numpy.uint8)
    for top in range(0, height, 64):
        array[top : top + 64] = image.crop((0, top, width, min(top + 64, height)))
    return array


def _scale_to_8_bit(grey, transparent=None):
    """Scale integers of 16 or 32 bits, or floats, to uint8.

    The file does not say where white is, so the values do: white is the smallest of 65535, 2^31 - 1 and
    2^32 - 1 (integers), or of 1, 255, 65535 and the maximum (floats) that no value exceeds. `transparent` is the grey
    value that a PNG declares to be transparent; it becomes white.
    """
    values = numpy.nan_to_num(grey.astype(numpy.float64), nan=0, posinf=0, neginf=0)
    top = values.max()
    candidates = (1, 255, 65535, top) if grey.dtype.kind == 'f' else (65535, 2**31 - 1, 2**32 - 1)
    white = next(candidate for candidate in candidates if top <= candidate)
    scaled = numpy.rint(numpy.clip(values / white, 0, 1) * 255).astype(numpy.uint8)
    if isinstance(transparent, int):
        scaled[grey == transparent] = 255
    return scaled


def resize_shorter_side(name, image, size, max_pixels):
    """Resize so that the shorter side is `size`, keeping the aspect."""
    shorter = min(image.size)
    width, height = (max(1, int(round(side * size / shorter))) for side in image.size)
    if width * height > max_pixels:
        raise utils.UserError(
            f'{name}: resized to {width} x {height} it would have more than the {max_pixels} pixels '
            f'that are read at most; {MORE_PIXELS}'
        )
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.LANCZOS)


def write_image(path, image, origin=None):
    """Write an image atomically, in the format that its extension names.

    Parameters
    ----------
    path : str
        Ends in .jpg, .jpeg (quality 95, no chroma subsampling), .png, .webp, .gif, .tif, .tiff, .bmp or .ppm.
    image : array of shape (height, width, 3)
        RGB, uint8 or floats in [0, 1].
    origin : str, optional
        What the image was made by and of (`origin`), noted in the file; .bmp and .ppm have no place for it.

    Raises
    ------
    utils.UserError
        For another extension, a size that the format cannot hold, or a place that cannot be written.
    """
    name, options = WRITE_FORMATS[check_extension(path)]
    image = numpy.asarray(image)
    if image.dtype != numpy.uint8:
        image = _round(image)
    encoded = io.BytesIO()
    try:
        Image.fromarray(image).save(encoded, name, **options, **origin_options(name, origin))
    except (OSError, ValueError) as error:
        raise utils.UserError(
            f'{path}: cannot write {image.shape[1]} x {image.shape[0]} pixels as {name}: {utils.reason(error)}'
        )
    with atomic_write(path) as file:
        file.write(encoded.getbuffer())


def check_extension(path):
    """The extension of an image that is to be written, in small letters.

    Raises
    ------
    utils.UserError
        For one that `write_image` does not write.
    """
    extension = os.path.splitext(path)[1].lower()
    if extension not in WRITE_FORMATS:
        raise utils.UserError(
            f'{path}: cannot write an image of this kind; the name should end in one of '
            f'{" ".join(sorted(WRITE_FORMATS))}'
        )
    return extension


def origin(script, *paths):
    """What is noted in an image that a script makes of files, so that it can be told from all others."""
    digest = hashlib.sha256('\0'.join(os.path.realpath(path) for path in paths).encode(errors='surrogateescape'))
    return f'gogh-figure {script} {digest.hexdigest()[:16]}'


def read_origin(path):
    """The origin that `write_image` noted in an image, or None for any other file."""
    try:
        with Image.open(path, formats=READ_FORMATS) as image:
            note = image.info.get('comment') or image.info.get('Software') or image.getexif().get(SOFTWARE)
    except Exception:  # as many kinds as there are ways not to be one of our images
        return None
    note = note.decode('latin1') if isinstance(note, bytes) else note
    return note if isinstance(note, str) and note.startswith('gogh-figure ') else None


def origin_options(name, note):
    """Pillow's options that note an origin in an image of the format `name`."""
    if note is None:
        return {}
    if name in ('JPEG', 'GIF'):
        return {'comment': note.encode()}
    if name == 'PNG':
        info = PngImagePlugin.PngInfo()
        info.add_text('Software', note)
        return {'pnginfo': info}
    if name in ('WEBP', 'TIFF'):
        exif = Image.Exif()
        exif[SOFTWARE] = note
        return {'exif': exif}
    return {}


def _round(values):
    """Floats in [0, 1] to uint8, clipped and rounded to the nearest."""
    return numpy.rint(numpy.clip(values, 0, 1) * 255).astype(numpy.uint8)


def to_float(images):
    """Images as the networks take them.

    Parameters
    ----------
    images : uint8 array of shape (images, height, width, 3) or (height, width, 3)

    Returns
    -------
    float32 array of shape (images, 3, height, width), in [0, 1]
    """
    images = numpy.asarray(images)
    if images.ndim == 3:
        images = images[numpy.newaxis]
    return numpy.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(numpy.float32) / numpy.float32(255)


def to_uint8(batch):
    """The inverse of `to_float`, rounded to the nearest and clipped.

    Parameters
    ----------
    batch : float array of shape (images, 3, height, width), in [0, 1]

    Returns
    -------
    uint8 array of shape (images, height, width, 3)
    """
    return numpy.ascontiguousarray(_round(numpy.asarray(batch)).transpose(0, 2, 3, 1))


def find_images(arguments):
    """The image files that a user means by files, folders and patterns.

    Parameters
    ----------
    arguments : str or list of str
        A file stands for itself, whatever its name. A folder stands for the images in it (by extension,
        sorted by name, without hidden files and subfolders), a pattern (``*``, ``?``, ``[...]``, ``**``) for
        the images that match, sorted, also where the shell has not expanded it.

    Returns
    -------
    list of str
        In the order of the arguments, each file once.

    Raises
    ------
    utils.UserError
        For a path that does not exist, and a folder or pattern without an image.
    """
    if isinstance(arguments, (str, os.PathLike)):
        arguments = [arguments]
    found, folders = {}, {}
    for argument in map(os.fspath, arguments):
        left_out = []
        if os.path.isdir(argument):
            try:
                with os.scandir(argument) as entries:
                    by_path = {entry.path: entry for entry in entries if not entry.name.startswith('.')}
            except OSError as error:
                raise utils.UserError(f'{argument}: cannot read this folder: {utils.reason(error)}')
            paths, left_out = _only_images(sorted(by_path), by_path)
            complaint = 'no images in this folder'
        elif os.path.exists(argument):
            paths = [argument]
        elif glob.has_magic(argument):
            paths, left_out = _only_images(sorted(glob.glob(argument, recursive=True)))
            complaint = 'no images match this pattern'
        else:
            raise utils.UserError(f'{argument}: no such file or folder')
        more = f' and {len(left_out) - 10} more' if len(left_out) > 10 else ''
        without = f'left out {", ".join(left_out[:10])}{more}' if left_out else ''
        if not paths:
            raise utils.UserError(f'{argument}: {complaint}{"; " + without if without else ""}')
        if without:
            print(f'{utils.one_line(argument)}: {without}', file=sys.stderr)
        for path in paths:
            # A photo has one name in each folder, however many links lead there.
            folder, name = os.path.split(path)
            if folder not in folders:
                folders[folder] = os.path.realpath(folder)
            found.setdefault(os.path.join(folders[folder], name), path)
    return list(found.values())


def _only_images(paths, entries=None):
    """The images among the paths, and what may have been meant as one and is left out.

    The `os.DirEntry` of a path, if there is one, knows what it is without asking the system for each.
    """
    images, left_out = [], []
    for path in paths:
        extension = os.path.splitext(path)[1].lower()
        if extension in READ_EXTENSIONS and (entries[path].is_file() if entries else os.path.isfile(path)):
            images.append(path)
            continue
        name = utils.one_line(os.path.basename(path))
        if os.path.isdir(path):
            left_out.append(f'{name} (a folder)')
        elif extension in OTHER_EXTENSIONS:
            left_out.append(f'{name} ({OTHER_EXTENSIONS[extension]})')
        elif extension in READ_EXTENSIONS:
            left_out.append(f'{name} ({("a link to nothing" if os.path.islink(path) else "no file")})')
    return images, left_out


def thumbnail(image, height):
    """An image (uint8, of shape (H, W, 3)) resized to a height, its aspect kept."""
    width = max(1, int(round(image.shape[1] * height / image.shape[0])))
    return numpy.array(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def cover(image, height, width):
    """The largest part of that aspect around the middle of an image, resized; uint8, of shape (H, W, 3)."""
    return numpy.array(ImageOps.fit(Image.fromarray(image), (width, height), Image.Resampling.LANCZOS))


def resize_bicubic(image, height, width):
    """An image resized by Pillow's bicubic filter, which averages where it makes smaller.

    Parameters
    ----------
    image : uint8 array (H, W, 3) or (H, W), or float32 array (H, W, C)
        Of the result's type; floats are not clipped.
    height, width : int
    """
    if image.dtype == numpy.uint8:
        return numpy.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
    channels = [Image.fromarray(channel) for channel in numpy.ascontiguousarray(image.transpose(2, 0, 1))]
    resized = [numpy.asarray(channel.resize((width, height), Image.Resampling.BICUBIC)) for channel in channels]
    return numpy.stack(resized, axis=2)


def median_filter(image, side):
    """The median of each channel in a square of `side` pixels, an odd number, around each pixel of a uint8 image."""
    return numpy.array(Image.fromarray(image).filter(ImageFilter.MedianFilter(side)))
