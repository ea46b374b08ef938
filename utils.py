"""
Files in and out: images, arrays, progress and errors.

Everything that reads a file of a stranger's or writes a file of ours goes through here. Reading is done under
limits (pixels before an image is decoded, bytes before an archive is inflated) and never runs code that a
file names; writing is atomic, so that a crash, a full disk or a power cut leaves either the old file or the
new one. Nothing in this module knows of Theano.

Images are uint8 arrays of shape (height, width, 3), RGB, 0-255. Batches for the networks are float32 arrays
of shape (images, 3, height, width), RGB, in [0, 1]; `to_float` and `to_uint8` convert.
"""

import collections
import contextlib
import errno
import functools
import glob
import hashlib
import io
import logging
import math
import os
import re
import secrets
import stat
import sys
import time
import warnings

try:
    import resource
except ImportError:        # Windows
    resource = None

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps, PngImagePlugin
from tqdm import tqdm

import arrays

# Pillow's remarks on odd files are of no use to whoever stylizes a photo: either it can be read or it is an
# error.
warnings.filterwarnings('ignore', module=r'PIL\.')
logging.getLogger('PIL').setLevel(logging.CRITICAL)

MAX_PIXELS = 200 * 10**6       # of one image, unless GOGH_MAX_PIXELS says otherwise
MAX_BYTES = 2 * 2**30          # of the arrays in one file, unless GOGH_MAX_BYTES says otherwise
FIXED_BYTES = 2**27            # that computing takes, whatever the size of the image
READ_FORMATS = ('JPEG', 'PNG', 'WEBP', 'GIF', 'TIFF', 'BMP', 'PPM')
READ_EXTENSIONS = ('.jpg', '.jpeg', '.jfif', '.jpe', '.mpo', '.png', '.webp', '.gif', '.tif', '.tiff', '.bmp', '.ppm', '.pgm', '.pbm')
# Images that are not read, which a folder should not hide, and what reads them.
OTHER_EXTENSIONS = dict.fromkeys(('.heic', '.heif', '.hif', '.avif'), 'the package pillow-heif converts it')
OTHER_EXTENSIONS.update(dict.fromkeys(
    '.jp2 .jxl .jxr .psd .svg .eps .ico .tga .exr .hdr .dng .cr2 .cr3 .nef .arw .orf .rw2 .raf .raw'.split(),
    'convert it first'))
_JPEG = ('JPEG', dict(quality=95, subsampling=0))
WRITE_FORMATS = {'.jpg': _JPEG, '.jpeg': _JPEG, '.png': ('PNG', {}), '.webp': ('WEBP', dict(quality=95)),
                 '.tif': ('TIFF', {}), '.tiff': ('TIFF', {}), '.bmp': ('BMP', {}), '.ppm': ('PPM', {})}
MOST_PIXELS = {'.jpg': 65535, '.jpeg': 65535, '.webp': 16383}       # of a side
_SOFTWARE = 0x0131             # the EXIF tag


# ---------------------------------------------------------------------------------------------------- errors

class UserError(Exception):
    """An error that the user can mend: shown as one line, without a traceback."""


def run_script(main):
    """
    Run a script's `main` and exit as a command should.

    A `UserError` becomes the line ``error: ...`` on stderr and exit status 1, and so does a lack of memory;
    an interrupt (Ctrl-C) is one line and status 130; a closed pipe (``... | head``) ends the script quietly. Any
    other exception is a mistake of ours and keeps its traceback.

    Parameters
    ----------
    main : callable
        Called without arguments. What it returns is the exit status; None means 0.
    """
    sys.stderr = _Stderr(sys.stderr)
    if sys.stdout is None:      # closed
        sys.stdout = open(os.devnull, 'w')
    if hasattr(sys.stdout, 'reconfigure'):
        # A terminal of few letters shows the others by their numbers, as it does on stderr.
        sys.stdout.reconfigure(errors='backslashreplace')
    try:
        status = main()
        sys.stdout.flush()
    except UserError as error:
        print('error: ' + one_line(error), file=sys.stderr)
        status = 1
    except MemoryError as error:
        print('error: not enough memory%s; smaller images or batches take less'
              % (': ' + one_line(error) if str(error) else ''), file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        print('\ninterrupted', file=sys.stderr)
        status = 130
    except BrokenPipeError:
        # Python would complain again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    except OSError as error:
        if not _has_folder():
            print('error: the current folder was removed: change to another one', file=sys.stderr)
            sys.exit(1)
        # What is written to files has become a UserError where it was written.
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EIO, errno.EBADF):
            raise
        print('error: cannot write to the standard output: %s' % reason(error), file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)


def _has_folder():
    """Whether the folder that this process works in is still there."""
    try:
        os.getcwd()
    except OSError:
        return False
    return True


class _Stderr:
    """What a script says while it works; a terminal or pipe that is gone, or a full disk, does not end the work."""

    def __init__(self, file):
        self.file = file

    def write(self, text):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self.file.write(text)
        return len(text)

    def flush(self):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self.file.flush()

    def isatty(self):
        return self.file is not None and self.file.isatty()

    def __getattr__(self, name):
        return getattr(self.file, name)


def one_line(text):
    """A text without line breaks, and without what a file or server put in it to steer a terminal."""
    return ''.join(c if c.isprintable() else '?' for c in ' '.join(str(text).split()))


def reason(error):
    """What went wrong, in one line: the system's own words for an `OSError`, else the exception's."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else error
    return one_line(text) or type(error).__name__


def limit(name, default):
    """A limit that the environment variable `name` overrides, as an int."""
    text = os.environ.get(name)
    if not text:
        return default
    if not re.fullmatch(r'[0-9]{1,18}', text) or int(text) == 0:
        raise UserError('%s=%s: expected a positive whole number' % (name, text))
    return int(text)


def available_memory(root='/', held=0):
    """
    Bytes of memory that this process can still take, or infinity where that cannot be found out.

    What the environment variable GOGH_MAX_MEMORY says, or else the least of what the limit on the address space
    (``ulimit -v``), the system's free memory (Linux) and the limits of the container (cgroups) leave.

    Parameters
    ----------
    root : str
        Where the folders ``proc`` and ``sys`` lie.
    held : float
        Bytes that the process holds without using them now, which count as available.
    """
    if os.environ.get('GOGH_MAX_MEMORY'):
        return limit('GOGH_MAX_MEMORY', None)
    kilobytes = dict(re.findall(r'^(\w+):\s+([0-9]+) kB$', contents(root, 'proc/meminfo')
                                + contents(root, 'proc/self/status'), re.MULTILINE))
    left = [_container_memory(root)]
    if 'MemAvailable' in kilobytes:
        left.append(1024 * int(kilobytes['MemAvailable']))
    if resource and resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        left.append(resource.getrlimit(resource.RLIMIT_AS)[0] - 1024 * int(kilobytes.get('VmSize', 0)))
    return max(0, min(left)) + held


def _container_memory(root):
    """Bytes that the memory limits of this process's control group, and of those above it, leave."""
    left = math.inf
    for line in contents(root, 'proc/self/cgroup').splitlines():
        _, controllers, path = line.split(':', 2)
        if controllers == '':
            mount, names = 'sys/fs/cgroup', ('memory.max', 'memory.current', 'inactive_file')
        elif 'memory' in controllers.split(','):
            mount, names = 'sys/fs/cgroup/memory', ('memory.limit_in_bytes', 'memory.usage_in_bytes',
                                                    'total_inactive_file')
        else:
            continue
        # Inside a container the path may be the host's, of which only the root is there to be seen.
        parts = [part for part in path.split('/') if part not in ('', '..')]
        for depth in range(len(parts) + 1):
            folder = os.path.join(root, mount, *parts[:depth])
            most, used = (contents(folder, name).strip() for name in names[:2])
            if most.isdigit() and used.isdigit():
                # Pages of files that were not used for long are given up when memory is short.
                idle = re.search(r'^%s ([0-9]+)$' % names[2], contents(folder, 'memory.stat'), re.MULTILINE)
                left = min(left, int(most) - int(used) + (int(idle.group(1)) if idle else 0))
    return left


def check_memory(path, image, bytes_per_pixel, option='--size', held=0, added=0, smallest=16):
    """
    Refuse an image that would take more memory than is available.

    Parameters
    ----------
    path : str
    image : uint8 array (H, W, 3)
        As it is to be computed with.
    bytes_per_pixel : float
        What comes on top of `FIXED_BYTES` in all.
    option : str
        What resizes the image to a shorter side.
    held : float
        Bytes that the process holds and will use again; see `available_memory`.
    added : int
        Pixels that are computed with beyond each side of the image.
    smallest : int
        Least shorter side that can be computed with.

    Raises
    ------
    UserError
        Naming the size that would fit.
    """
    height, width = (side + 2 * added for side in image.shape[:2])
    needed, available = bytes_per_pixel * height * width + FIXED_BYTES, available_memory(held=held)
    if needed > available:
        pixels = max(0, available - FIXED_BYTES) / bytes_per_pixel
        # Sides are rounded, at most to the next multiple of 4.
        fits = int(math.sqrt(pixels * min(height, width) / max(height, width))) - 4 - 2 * added
        raise UserError('%s: %d x %d pixels take about %.1f GB of memory, and %.1f GB are available; %s'
                        % (path, image.shape[1], image.shape[0], needed / 1e9, available / 1e9,
                           '%s %d would fit' % (option, fits) if fits >= smallest else 'GOGH_MAX_MEMORY allows more'))


def contents(folder, name):
    """The text of a file of the system's, empty if there is none."""
    with contextlib.suppress(OSError), open(os.path.join(folder, name)) as file:
        return file.read()
    return ''


# -------------------------------------------------------------------------------------------- atomic writing

@contextlib.contextmanager
def atomic_path(path):
    """
    Context manager for writing a file that is there either whole or not at all.

    Yields the name of a temporary file in the folder of `path`, to be written and closed inside the block
    (h5py wants a name, not an object). When the block ends, the file is synced to disk, renamed to `path`,
    and the folder is synced. When it fails, for whatever reason, the temporary file is removed and what was
    at `path` stays as it was. A file that was there keeps its mode, and a link goes on pointing to the file,
    which is written. What a process that was killed has left behind is removed by the next write to the same path.

    Parameters
    ----------
    path : str

    Raises
    ------
    UserError
        Naming `path`, for any `OSError`: a folder that is missing or not writable, a full disk.
    """
    path = os.fspath(path)
    temporary = None
    try:
        if os.path.isdir(path):
            raise UserError('%s: cannot write: it is a folder' % path)
        target = os.path.realpath(path) if os.path.islink(path) else path
        folder = os.path.dirname(target) or '.'
        stem = '.%s.' % cut_name(os.path.basename(target), 100)
        _remove_leftovers(folder, stem)
        temporary = os.path.join(folder, '%s%d-%s.tmp' % (stem, os.getpid(), secrets.token_hex(4)))
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        with contextlib.suppress(OSError):      # a new file, or a file system without modes
            os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode) | stat.S_IRUSR | stat.S_IWUSR)
        yield temporary
        with open(temporary, 'rb+') as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
        temporary = None
        sync_folder(folder)
    except OSError as error:
        raise UserError('%s: cannot write: %s' % (path, reason(error)))
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.remove(temporary)


@contextlib.contextmanager
def atomic_write(path):
    """
    As `atomic_path`, but yields a binary file open for writing and reading.

    Examples
    --------
    >>> with atomic_write('cin.npz') as file:
    ...     np.savez(file, *arrays)
    """
    with atomic_path(path) as temporary:
        with open(temporary, 'wb+') as file:
            yield file


def cut_name(name, most):
    """The beginning of a file's name that has at most so many bytes, which are what file systems count."""
    return os.fsencode(name)[:most].decode(sys.getfilesystemencoding(), 'ignore') if len(os.fsencode(name)) > most else name


# The temporary files that lay in a folder when this process first wrote there, and the stems of what it wrote.
_leftovers, _stems = {}, set()


def _remove_leftovers(folder, stem):
    """Remove the temporary files of processes that are gone."""
    # A folder that many files are written to is listed once, not once for each; one that a file is written to again is
    # listed again.
    key = os.path.abspath(folder)
    if key not in _leftovers or (key, stem) in _stems:
        _leftovers[key] = [name for name in os.listdir(folder) if name.endswith('.tmp')]
    _stems.add((key, stem))
    for name in _leftovers[key]:
        match = re.fullmatch(re.escape(stem) + r'(\d+)-[0-9a-f]{8}\.tmp', name)
        if match:
            try:
                os.kill(int(match.group(1)), 0)
            except (ProcessLookupError, OverflowError):
                with contextlib.suppress(OSError):
                    os.remove(os.path.join(folder, name))
            except PermissionError:
                pass


def sync_folder(folder):
    """Make a rename in `folder` last through a power cut, where folders can be synced (not on some network drives)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def check_outputs(outputs, inputs=(), overwrite=False):
    """
    Refuse to write where that would cost the user a file: the one rule for the outputs of all scripts.

    No output is an input, and no two outputs are one file. What is there already is overwritten only where it is
    ours, or if the user has said so.

    Parameters
    ----------
    outputs : dict
        For each path whether a file that may be there is one that the same command wrote before.
    inputs : iterable of str
    overwrite : bool
        Whether files of any other kind may be overwritten, too; inputs never are.

    Raises
    ------
    UserError
    """
    folders = {}
    taken = {_identity(path, folders): 'the input %s' % path for path in inputs}
    for path, ours in outputs.items():
        identity = _identity(path, folders)
        if identity in taken:
            raise UserError('%s would overwrite %s: choose another name' % (path, taken[identity]))
        taken[identity] = 'the output %s' % path
        if os.path.lexists(path) and not os.path.isdir(path) and not ours and not overwrite:
            raise UserError('%s exists, and is not what this command wrote before: choose another name, or allow it '
                            'by --overwrite' % path)


def _identity(path, folders):
    """What two names of one file have in common; `folders` is a dict of the real paths of folders, which it fills."""
    try:
        status = os.stat(path)
        return status.st_dev, status.st_ino
    except OSError:
        if os.path.islink(path):
            path = os.path.realpath(path)
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        return os.path.join(folders[folder], name)


def unique(names, what='name'):
    """
    Names that are all different: a name that came before is followed by ``-2``, ``-3``, ...

    Parameters
    ----------
    names : list of str
    what : str
        What they name, for the line on stderr that says which were changed.

    Returns
    -------
    list of str
        In the order of `names`.
    """
    taken, result, number = set(names), [], collections.Counter()
    for name in names:
        number[name] += 1
        new = name
        while number[name] > 1 and new in taken:
            new = '%s-%d' % (name, number[name])
            number[name] += new in taken
        if new != name:
            say_once('%s %s is there more than once: a further one is called %s'
                      % (one_line(what), one_line(name), one_line(new)))
        taken.add(new)
        result.append(new)
    return result


@functools.lru_cache(maxsize=None)
def say_once(line):
    """Print a line on stderr, unless the same was printed before."""
    print(line, file=sys.stderr)


def make_folder(path):
    """
    Make a folder and those above it, unless they are there.

    Raises
    ------
    UserError
        If that cannot be done.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise UserError('%s: cannot make this folder: %s' % (path, reason(error)))


def append_line(file, line, sync=False):
    """
    Write a line at the end of an open text file, and have it on disk if `sync`.

    Raises
    ------
    UserError
        If that cannot be done (a full disk).
    """
    try:
        file.write(line + '\n')
        file.flush()
        if sync:
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError('%s: cannot write: %s' % (file.name, reason(error)))


# ---------------------------------------------------------------------------------------------------- images

# EXIF orientation (tag 0x0112) to the operation that makes the image upright.
_UPRIGHT = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270,
            7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90}


def read_image(source, size=None, max_pixels=None):
    """
    Read an image as 8-bit RGB, whatever it is stored as.

    The first frame of an animation; EXIF orientation applied; transparency composited over white; palette,
    CMYK, 1-bit and greyscale images converted; 16-bit and floating-point greyscale scaled to 8 bits, not
    clipped. ICC profiles are ignored.

    Parameters
    ----------
    source : str or binary file
        JPEG, PNG, WebP, GIF, TIFF, BMP or PPM. The contents decide, not the name.
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
    UserError
        For a file that is missing, empty, truncated, too large or not an image; one line, naming the file.
    """
    name = os.fspath(source) if isinstance(source, (str, os.PathLike)) else getattr(source, 'name', 'image')
    if max_pixels is None:
        max_pixels = limit('GOGH_MAX_PIXELS', MAX_PIXELS)
    # Pillow's own guard against decompression bombs also covers frames and thumbnails inside a file.
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with contextlib.ExitStack() as stack:
            if isinstance(source, (str, os.PathLike)):
                check_regular(source)
                source = stack.enter_context(open(source, 'rb'))
            source.seek(0, os.SEEK_END)
            if source.tell() == 0:
                raise UserError('%s: the file is empty' % name)
            source.seek(0)
            image = stack.enter_context(Image.open(source, formats=READ_FORMATS))
            _check_pixels(name, image, max_pixels)
            image.load()
            image = _upright(_to_rgb(image), _orientation(image))
            if size is not None:
                image = _resize_shorter_side(name, image, size, max_pixels)
            return _to_array(image)
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise UserError('%s: more than %s pixels; set GOGH_MAX_PIXELS to allow more' % (name, max_pixels))
    except Image.UnidentifiedImageError:
        hint = OTHER_EXTENSIONS.get(os.path.splitext(str(name))[1].lower())
        raise UserError('%s: not an image of a kind that can be read (%s)%s'
                        % (name, ', '.join(READ_FORMATS), '; ' + hint if hint else ''))
    except IsADirectoryError:
        raise UserError('%s: is a folder, not an image' % name)
    except MemoryError:
        raise UserError('%s: not enough memory to read this image' % name)
    except FileNotFoundError:
        raise UserError('%s: no such file' % name)
    except PermissionError:
        raise UserError('%s: permission denied' % name)
    except Exception as error:
        # On a damaged file Pillow raises nearly anything: OSError, SyntaxError, struct.error, IndexError, ...
        raise UserError('%s: cannot read this image: %s' % (name, reason(error)))


def check_regular(path):
    """Refuse a pipe or a device, which one could wait for, or read from, for ever."""
    kind = os.stat(path).st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        raise UserError('%s: a pipe or a device, and not a file' % path)


def _check_pixels(name, image, max_pixels):
    """Refuse an image that is opened but not decoded yet, when decoding it would take too much memory."""
    sizes = [image.size]
    if image.format == 'TIFF':
        # A tile is inflated whole, however small the image is that it belongs to.
        sizes.append((image.tag_v2.get(322, 1), image.tag_v2.get(323, 1)))
    for width, height in sizes:
        if width * height > max_pixels:
            raise UserError('%s: %d x %d pixels are more than the %s that are read at most; set '
                            'GOGH_MAX_PIXELS to allow more' % (name, width, height, max_pixels))


def _orientation(image):
    """The EXIF orientation of a loaded image, 1 (upright) when there is none or it cannot be read."""
    try:
        return image.getexif().get(0x0112, 1)
    except Exception:
        # The picture is intact even where its EXIF block is damaged.
        return 1


def _upright(image, orientation):
    """Apply an EXIF orientation."""
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _to_rgb(image):
    """Convert a loaded Pillow image of any mode to RGB."""
    if image.mode.startswith('I') or image.mode == 'F':
        grey = np.asarray(image)
        if image.format == 'TIFF' and grey.dtype == np.int32:
            # Pillow has no mode for them, and reads unsigned integers of 32 bits as signed ones.
            bits, kinds = (image.tag_v2.get(tag, default) for tag, default in ((258, 1), (339, 1)))
            if (bits, kinds) in ((32, 1), ((32,), 1), (32, (1,)), ((32,), (1,))):
                grey = grey.view(np.uint32)
        grey = _scale_to_8_bit(grey, image.info.get('transparency'))
        return Image.fromarray(grey).convert('RGB')
    if image.mode in ('La', 'RGBa'):
        image = image.convert({'La': 'LA', 'RGBa': 'RGBA'}[image.mode])
    if image.mode in ('LA', 'PA', 'RGBA') or 'transparency' in image.info:
        image = image.convert('RGBA')
        white = Image.new('RGBA', image.size, 'white')
        return Image.alpha_composite(white, image).convert('RGB')
    return image if image.mode == 'RGB' else image.convert('RGB')


def _to_array(image):
    """An RGB image as an array, without the two further copies in memory that np.array(image) takes."""
    width, height = image.size
    array = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, 64):
        array[top:top + 64] = image.crop((0, top, width, min(top + 64, height)))
    return array


def _scale_to_8_bit(grey, transparent=None):
    """
    Scale integers of 16 or 32 bits, or floats, to uint8.

    The file does not say where white is, so the values do: white is the smallest of 65535, 2^31 - 1 and
    2^32 - 1 (integers), or of 1, 255, 65535 and the maximum (floats) that no value exceeds. `transparent` is the grey
    value that a PNG declares to be transparent; it becomes white.
    """
    values = np.nan_to_num(grey.astype(np.float64), nan=0, posinf=0, neginf=0)
    top = values.max()
    candidates = (1, 255, 65535, top) if grey.dtype.kind == 'f' else (65535, 2**31 - 1, 2**32 - 1)
    white = next(candidate for candidate in candidates if top <= candidate)
    scaled = np.rint(np.clip(values / white, 0, 1) * 255).astype(np.uint8)
    if isinstance(transparent, int):
        scaled[grey == transparent] = 255
    return scaled


def _resize_shorter_side(name, image, size, max_pixels):
    """Resize so that the shorter side is `size`, keeping the aspect."""
    shorter = min(image.size)
    width, height = (max(1, int(round(side * size / shorter))) for side in image.size)
    if width * height > max_pixels:
        raise UserError('%s: resized to %d x %d it would have more than the %s pixels that are read at most; '
                        'set GOGH_MAX_PIXELS to allow more' % (name, width, height, max_pixels))
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.LANCZOS)


def write_image(path, image, origin=None):
    """
    Write an image atomically, in the format that its extension names.

    Parameters
    ----------
    path : str
        Ends in .jpg, .jpeg (quality 95, no chroma subsampling), .png, .webp, .tif, .tiff, .bmp or .ppm.
    image : array of shape (height, width, 3)
        RGB, uint8 or floats in [0, 1].
    origin : str, optional
        What the image was made by and of (`origin`), noted in the file; .bmp and .ppm have no place for it.

    Raises
    ------
    UserError
        For another extension, a size that the format cannot hold, or a place that cannot be written.
    """
    name, options = WRITE_FORMATS[check_extension(path)]
    image = np.asarray(image)
    if image.dtype != np.uint8:
        image = _round(image)
    encoded = io.BytesIO()
    try:
        Image.fromarray(image).save(encoded, name, **options, **_origin_options(name, origin))
    except (OSError, ValueError) as error:
        raise UserError('%s: cannot write %d x %d pixels as %s: %s'
                        % (path, image.shape[1], image.shape[0], name, reason(error)))
    with atomic_write(path) as file:
        file.write(encoded.getbuffer())


def check_extension(path):
    """
    The extension of an image that is to be written, in small letters.

    Raises
    ------
    UserError
        For one that `write_image` does not write.
    """
    extension = os.path.splitext(path)[1].lower()
    if extension not in WRITE_FORMATS:
        raise UserError('%s: cannot write an image of this kind; the name should end in one of %s'
                        % (path, ' '.join(sorted(WRITE_FORMATS))))
    return extension


def origin(script, *paths):
    """What is noted in an image that a script makes of files, so that it can be told from all others."""
    digest = hashlib.sha256('\0'.join(os.path.realpath(path) for path in paths).encode(errors='surrogateescape'))
    return 'gogh-figure %s %s' % (script, digest.hexdigest()[:16])


def read_origin(path):
    """The origin that `write_image` noted in an image, or None for any other file."""
    try:
        with Image.open(path, formats=READ_FORMATS) as image:
            note = image.info.get('comment') or image.info.get('Software') or image.getexif().get(_SOFTWARE)
    except Exception:       # as many kinds as there are ways not to be one of our images
        return None
    note = note.decode('latin1') if isinstance(note, bytes) else note
    return note if isinstance(note, str) and note.startswith('gogh-figure ') else None


def _origin_options(name, note):
    """Pillow's options that note an origin in an image of the format `name`."""
    if note is None:
        return {}
    if name == 'JPEG':
        return {'comment': note.encode()}
    if name == 'PNG':
        info = PngImagePlugin.PngInfo()
        info.add_text('Software', note)
        return {'pnginfo': info}
    if name in ('WEBP', 'TIFF'):
        exif = Image.Exif()
        exif[_SOFTWARE] = note
        return {'exif': exif}
    return {}


def _round(values):
    """Floats in [0, 1] to uint8, clipped and rounded to the nearest."""
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def to_float(images):
    """
    Images as the networks take them.

    Parameters
    ----------
    images : uint8 array of shape (images, height, width, 3) or (height, width, 3)

    Returns
    -------
    float32 array of shape (images, 3, height, width), in [0, 1]
    """
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[np.newaxis]
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(np.float32) / np.float32(255)


def to_uint8(batch):
    """
    The inverse of `to_float`, rounded to the nearest and clipped.

    Parameters
    ----------
    batch : float array of shape (images, 3, height, width), in [0, 1]

    Returns
    -------
    uint8 array of shape (images, height, width, 3)
    """
    return np.ascontiguousarray(_round(np.asarray(batch)).transpose(0, 2, 3, 1))


def find_images(arguments):
    """
    The image files that a user means by files, folders and patterns.

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
    UserError
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
                    entries = {entry.path: entry for entry in entries if not entry.name.startswith('.')}
            except OSError as error:
                raise UserError('%s: cannot read this folder: %s' % (argument, reason(error)))
            paths, left_out = _only_images(sorted(entries), entries)
            complaint = 'no images in this folder'
        elif os.path.exists(argument):
            paths = [argument]
        elif glob.has_magic(argument):
            paths, left_out = _only_images(sorted(glob.glob(argument, recursive=True)))
            complaint = 'no images match this pattern'
        else:
            raise UserError('%s: no such file or folder' % argument)
        left_out = 'left out %s%s' % (', '.join(left_out[:10]), ' and %d more' % (len(left_out) - 10)
                                      if len(left_out) > 10 else '') if left_out else ''
        if not paths:
            raise UserError('%s: %s%s' % (argument, complaint, '; ' + left_out if left_out else ''))
        if left_out:
            print('%s: %s' % (one_line(argument), left_out), file=sys.stderr)
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
        name = one_line(os.path.basename(path))
        if os.path.isdir(path):
            left_out.append('%s (a folder)' % name)
        elif extension in OTHER_EXTENSIONS:
            left_out.append('%s (%s)' % (name, OTHER_EXTENSIONS[extension]))
        elif extension in READ_EXTENSIONS:
            left_out.append('%s (%s)' % (name, 'a link to nothing' if os.path.islink(path) else 'no file'))
    return images, left_out


def thumbnail(image, height):
    """An image (uint8, of shape (H, W, 3)) resized to a height, its aspect kept."""
    width = max(1, int(round(image.shape[1] * height / image.shape[0])))
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def cover(image, height, width):
    """The largest part of that aspect around the middle of an image, resized; uint8, of shape (H, W, 3)."""
    return np.array(ImageOps.fit(Image.fromarray(image), (width, height), Image.Resampling.LANCZOS))


def median_filter(image, side):
    """The median of each channel in a square of `side` pixels, an odd number, around each pixel of a uint8 image."""
    return np.array(Image.fromarray(image).filter(ImageFilter.MedianFilter(side)))


def contact_sheet(rows, column_labels=None, row_labels=None, gutter=8, label_size=None):
    """
    Lay images out in a table.

    Parameters
    ----------
    rows : list of lists of uint8 arrays of shape (height, width, 3)
        None leaves a cell empty. A column is as wide as its widest image, a row as high as its highest.
    column_labels, row_labels : list of str, optional
        Written above the columns and to the left of the rows; one that is too wide for its column is cut off
        with an ellipsis.
    gutter : int
        Space between the images and around them, in pixels.
    label_size : int, optional
        Height of the letters in pixels. By default a twelfth of the median cell's height, between 11 and 40.

    Returns
    -------
    uint8 array of shape (height, width, 3)
    """
    columns = max(len(row) for row in rows)
    heights = [max([image.shape[0] for image in row if image is not None] or [0]) for row in rows]
    widths = [max([row[j].shape[1] for row in rows if j < len(row) and row[j] is not None] or [0])
              for j in range(columns)]
    if label_size is None:
        label_size = int(np.clip(np.median(heights) / 12, 11, 40))
    font = ImageFont.load_default(label_size)
    line = int(math.ceil(label_size * 1.3))
    top = line + gutter if column_labels else 0
    left = 0
    if row_labels:
        left = gutter + int(math.ceil(max(font.getlength(str(label)) for label in row_labels)))

    xs = left + gutter + np.cumsum([0] + [width + gutter for width in widths])
    ys = top + gutter + np.cumsum([0] + [height + gutter for height in heights])
    sheet = Image.new('RGB', (int(xs[-1]), int(ys[-1])), 'white')
    draw = ImageDraw.Draw(sheet)
    for row, y in zip(rows, ys):
        for image, x in zip(row, xs):
            if image is not None:
                sheet.paste(Image.fromarray(image), (int(x), int(y)))
    for label, x, width in zip(column_labels or [], xs, widths):
        draw.text((x + width / 2, gutter), _shorten(str(label), font, width), 'black', font, anchor='ma')
    for label, y, height in zip(row_labels or [], ys, heights):
        draw.text((left, y + height / 2), str(label), 'black', font, anchor='rm')
    return np.array(sheet)


def style_sheet(rows, labels, most=8):
    """
    Contact sheets of photos (down) and their pastiches (across), one below the other where there are many styles.

    Parameters
    ----------
    rows : list of lists of uint8 arrays of shape (height, width, 3)
        A photo, then its pastiches.
    labels : list of str
        Of the columns.
    most : int
        Styles in one sheet; each begins with the photos.

    Returns
    -------
    uint8 array of shape (height, width, 3)
    """
    styles = len(labels) - 1
    bands = -(-styles // most)
    each = -(-styles // bands)
    sheets = [contact_sheet([row[:1] + row[first:first + each] for row in rows], labels[:1] + labels[first:first + each])
              for first in range(1, styles + 1, each)]
    width = max(sheet.shape[1] for sheet in sheets)
    return np.concatenate([np.pad(sheet, [(0, 0), (0, width - sheet.shape[1]), (0, 0)], constant_values=255)
                           for sheet in sheets])


def _shorten(text, font, width):
    """Cut `text` off so that it is at most `width` pixels wide."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + '...') > width:
        text = text[:-1]
    return text + '...'


# -------------------------------------------------------------------------------------------------- progress

class _LogBar(tqdm):
    """A bar for logs: a plain line every minute and one at the end, instead of one line redrawn."""

    shown = -math.inf

    def display(self, msg=None, pos=None):
        if msg is None and time.monotonic() - self.shown >= 60:
            self.shown = time.monotonic()
            self.fp.write(str(self) + '\n')
            self.fp.flush()

    def clear(self, nolock=False):
        pass

    def close(self):
        if not self.disable:
            self.shown = -math.inf
            self.display()
        self.leave = False
        super().close()


def progress(iterable=None, **options):
    """
    A tqdm progress bar on stderr.

    On a terminal a bar that follows the terminal's width. Elsewhere (a log, a pipe) a plain line every minute
    and one at the end.

    Parameters
    ----------
    iterable : iterable, optional
    **options
        tqdm's own: `total`, `desc`, `unit`, `initial`, ...

    Returns
    -------
    tqdm
    """
    # Some terminals of containers say that they are 0 columns wide; tqdm would draw nothing there.
    if sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns:
        return tqdm(iterable, dynamic_ncols=True, **options)
    return _LogBar(iterable, ncols=100, ascii=True, **options)


# ---------------------------------------------------------------------------------------------------- arrays

def load_npz(path, max_bytes=None):
    """
    Read an .npz file of arrays that need not be trusted (`arrays.read_npz`).

    Parameters
    ----------
    path : str
    max_bytes : int, optional
        Limit for all arrays together, checked before anything is inflated. 2 GiB by default, or what the
        environment variable GOGH_MAX_BYTES says.

    Returns
    -------
    dict of arrays
        In the order of the file.

    Raises
    ------
    UserError
        For a file that is missing, truncated, too large, or no .npz of plain arrays; one line, naming the
        file.
    """
    return _load(path, max_bytes, arrays.read_npz, '.npz file')


def load_pickle(path, max_bytes=None):
    """
    Read a pickle of arrays and plain containers that need not be trusted (`arrays.read_pickle`).

    Such as the Lasagne model zoo's vgg16.pkl. Nothing that the file names is imported or run; Python 2's text
    is decoded as latin1.

    Parameters
    ----------
    path : str
    max_bytes : int, optional
        Limit for the size of the file, as for `load_npz`.

    Returns
    -------
    object
        What was pickled; its arrays are read-only.

    Raises
    ------
    UserError
        For a file that is missing, damaged, too large, or holds anything else; one line, naming the file and
        the function or class that it names.
    """
    return _load(path, max_bytes, arrays.read_pickle, 'pickle of arrays')


def _load(path, max_bytes, reader, kind):
    if max_bytes is None:
        max_bytes = limit('GOGH_MAX_BYTES', MAX_BYTES)
    try:
        check_regular(path)
        with open(path, 'rb') as file:
            return reader(file, max_bytes)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise UserError('%s: cannot read: %s' % (path, reason(error)))
    except arrays.ERRORS as error:
        raise UserError('%s: cannot read this %s: %s' % (path, kind, reason(error)))


def save_npz(path, arrays_):
    """
    Write arrays to an .npz file: atomically, uncompressed, the same bytes for the same arrays.

    Parameters
    ----------
    path : str
    arrays_ : list or dict of arrays
        Those of a list are named arr_0, arr_1, ... as `np.savez` does.
    """
    if not isinstance(arrays_, dict):
        arrays_ = {'arr_%d' % i: array for i, array in enumerate(arrays_)}
    with atomic_write(path) as file:
        arrays.write_npz(file, arrays_)
