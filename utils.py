"""The ground: errors that the user can mend, limits, memory, progress. It imports nothing of the project."""

from __future__ import annotations

import collections
import contextlib
import errno
import functools
import math
import os
import re
import sys
import time
from typing import Any, Callable, Iterable, NoReturn, Sequence

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

from tqdm import tqdm

FIXED_BYTES = 2**27  # that computing takes, whatever the size of the image


class UserError(Exception):
    """An error that the user can mend: shown as one line, without a traceback."""


def run_script(main: Callable[[], int | None]) -> NoReturn:
    """Run a script's `main` and exit as a command should.

    A `UserError` becomes the line ``error: ...`` on stderr and exit status 1, and so does a lack of memory;
    an interrupt (Ctrl-C) is one line and status 130; a closed pipe (``... | head``) ends the script quietly. Any
    other exception is a mistake of ours and keeps its traceback.

    Parameters
    ----------
    main : callable
        Called without arguments. What it returns is the exit status; None means 0.
    """
    sys.stderr = _Stderr(sys.stderr)
    if sys.stdout is None:  # closed
        sys.stdout = open(os.devnull, 'w')
    if hasattr(sys.stdout, 'reconfigure'):
        # A terminal of few letters shows the others by their numbers, as it does on stderr.
        sys.stdout.reconfigure(errors='backslashreplace')
    try:
        status = main()
        sys.stdout.flush()
    except UserError as error:
        print(f'error: {one_line(error)}', file=sys.stderr)
        status = 1
    except MemoryError as error:
        print(
            'error: not enough memory%s; smaller images or batches take less'
            % (f': {one_line(error)}' if str(error) else ''),
            file=sys.stderr,
        )
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
        print(f'error: cannot write to the standard output: {reason(error)}', file=sys.stderr)
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


def one_line(text: object) -> str:
    """A text without line breaks, and without what a file or server put in it to steer a terminal."""
    return ''.join(c if c.isprintable() else '?' for c in ' '.join(str(text).split()))


def reason(error: BaseException) -> str:
    """What went wrong, in one line: the system's own words for an `OSError`, else the exception's."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else error
    return one_line(text) or type(error).__name__


def limit(name: str, default: int) -> int:
    """A limit that the environment variable `name` overrides, as an int."""
    text = os.environ.get(name)
    if not text:
        return default
    if not re.fullmatch(r'[0-9]{1,18}', text) or int(text) == 0:
        raise UserError(f'{name}={text}: expected a positive whole number')
    return int(text)


def available_memory(root: str = '/', held: float = 0) -> float:
    """Bytes of memory that this process can still take, or infinity where that cannot be found out.

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
        return limit('GOGH_MAX_MEMORY', 0)
    kilobytes = dict(
        re.findall(
            r'^(\w+):\s+([0-9]+) kB$', contents(root, 'proc/meminfo') + contents(root, 'proc/self/status'), re.MULTILINE
        )
    )
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
            mount, names = (
                'sys/fs/cgroup/memory',
                ('memory.limit_in_bytes', 'memory.usage_in_bytes', 'total_inactive_file'),
            )
        else:
            continue
        # Inside a container the path may be the host's, of which only the root is there to be seen.
        parts = [part for part in path.split('/') if part not in ('', '..')]
        for depth in range(len(parts) + 1):
            folder = os.path.join(root, mount, *parts[:depth])
            most, used = (contents(folder, name).strip() for name in names[:2])
            if most.isdigit() and used.isdigit():
                # Pages of files that were not used for long are given up when memory is short.
                idle = re.search(rf'^{names[2]} ([0-9]+)$', contents(folder, 'memory.stat'), re.MULTILINE)
                left = min(left, int(most) - int(used) + (int(idle.group(1)) if idle else 0))
    return left


def needed_memory(image: Any, bytes_per_pixel: float, added: int = 0, fixed: float = 0) -> float:
    """Bytes of memory that computing with an image takes; see `check_memory`."""
    height, width = (side + 2 * added for side in image.shape[:2])
    return bytes_per_pixel * height * width + FIXED_BYTES + fixed


def check_memory(
    path: str,
    image: Any,
    bytes_per_pixel: float,
    option: str = '--size',
    held: float = 0,
    added: int = 0,
    smallest: int = 16,
    fixed: float = 0,
) -> None:
    """Refuse an image that would take more memory than is available.

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
    fixed : float
        Bytes that come on top of all that.

    Raises
    ------
    UserError
        Naming the size that would fit.
    """
    height, width = (side + 2 * added for side in image.shape[:2])
    needed, available = needed_memory(image, bytes_per_pixel, added, fixed), available_memory(held=held)
    if needed > available:
        pixels = max(0, available - FIXED_BYTES - fixed) / bytes_per_pixel
        # Sides are rounded, at most to the next multiple of 4.
        fits = int(math.sqrt(pixels * min(height, width) / max(height, width))) - 4 - 2 * added
        raise UserError(
            '%s: %d x %d pixels take about %.1f GB of memory, and %.1f GB are available; %s'
            % (
                path,
                image.shape[1],
                image.shape[0],
                needed / 1e9,
                available / 1e9,
                f'{option} {fits} would fit' if fits >= smallest else 'GOGH_MAX_MEMORY allows more',
            )
        )


def contents(folder: str, name: str) -> str:
    """The text of a file of the system's, empty if there is none."""
    with contextlib.suppress(OSError), open(os.path.join(folder, name)) as file:
        return file.read()
    return ''


def unique(names: Sequence[str], what: str = 'name') -> list[str]:
    """Names that are all different: a name that came before is followed by ``-2``, ``-3``, ...

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
            new = f'{name}-{number[name]}'
            number[name] += new in taken
        if new != name:
            say_once(
                f'{one_line(what)} {one_line(name)} is there more than once: a further one is called {one_line(new)}'
            )
        taken.add(new)
        result.append(new)
    return result


@functools.lru_cache(maxsize=None)
def say_once(line: str) -> None:
    """Print a line on stderr, unless the same was printed before."""
    print(line, file=sys.stderr)


class _LogBar(tqdm):
    """A bar for logs: a plain line every minute and one at the end, instead of one line redrawn."""

    shown = -math.inf

    def display(self, msg=None, pos=None):
        if msg is None and time.monotonic() - self.shown >= 60:
            self.shown = time.monotonic()
            self.fp.write(f'{self!s}\n')
            self.fp.flush()

    def clear(self, nolock=False):
        pass

    def close(self):
        if not self.disable:
            self.shown = -math.inf
            self.display()
        self.leave = False
        super().close()


def progress(iterable: Iterable | None = None, **options: Any) -> tqdm:
    """A tqdm progress bar on stderr.

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
