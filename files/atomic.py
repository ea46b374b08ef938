"""Writing files so that a crash, a full disk or a power cut leaves the old one or the new one; what may be written."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import sys
from typing import BinaryIO, Iterable, Iterator, TextIO

import utils


@contextlib.contextmanager
def atomic_path(path: str) -> Iterator[str]:
    """Context manager for writing a file that is there either whole or not at all.

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
    utils.UserError
        Naming `path`, for any `OSError`: a folder that is missing or not writable, a full disk.
    """
    path = os.fspath(path)
    temporary = None
    try:
        if os.path.isdir(path):
            raise utils.UserError(f'{path}: cannot write: it is a folder')
        target = os.path.realpath(path) if os.path.islink(path) else path
        folder = os.path.dirname(target) or '.'
        stem = _stem(target)
        _remove_leftovers(folder, stem)
        temporary = os.path.join(folder, f'{stem}{os.getpid()}-{secrets.token_hex(4)}.tmp')
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        with contextlib.suppress(OSError):  # a new file, or a file system without modes
            os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode) | stat.S_IRUSR | stat.S_IWUSR)
        yield temporary
        with open(temporary, 'rb+') as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
        temporary = None
        sync_folder(folder)
    except OSError as error:
        raise utils.UserError(f'{path}: cannot write: {utils.reason(error)}')
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.remove(temporary)


@contextlib.contextmanager
def atomic_write(path: str) -> Iterator[BinaryIO]:
    """As `atomic_path`, but yields a binary file open for writing and reading.

    Examples
    --------
    >>> with atomic_write('cin.npz') as file:
    ...     numpy.savez(file, *arrays)
    """
    with atomic_path(path) as temporary:
        with open(temporary, 'wb+') as file:
            yield file


def cut_name(name: str, most: int) -> str:
    """The beginning of a file's name that has at most so many bytes, which are what file systems count."""
    return (
        os.fsencode(name)[:most].decode(sys.getfilesystemencoding(), 'ignore')
        if len(os.fsencode(name)) > most
        else name
    )


def _stem(path):
    """What the names of a file's temporary files begin with."""
    return f'.{cut_name(os.path.basename(path), 100)}.'


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


def remove_leftovers(paths: Iterable[str]) -> None:
    """Remove what processes that were killed have left behind where they wrote these files, which none writes now."""
    _leftovers.clear()
    for path in paths:
        target = os.path.realpath(path) if os.path.islink(path) else path
        with contextlib.suppress(OSError):
            _remove_leftovers(os.path.dirname(target) or '.', _stem(target))


def sync_folder(folder: str) -> None:
    """Make a rename in `folder` last through a power cut, where folders can be synced (not on some network drives)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def check_outputs(outputs: dict[str, bool], inputs: Iterable[str] = (), overwrite: bool = False) -> None:
    """Refuse to write where that would cost the user a file: the one rule for the outputs of all scripts.

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
    utils.UserError
    """
    folders = {}
    taken = {_identity(path, folders): f'the input {path}' for path in inputs}
    for path, ours in outputs.items():
        identity = _identity(path, folders)
        if identity in taken:
            raise utils.UserError(f'{path} would overwrite {taken[identity]}: choose another name')
        taken[identity] = f'the output {path}'
        if os.path.lexists(path) and not os.path.isdir(path) and not ours and not overwrite:
            raise utils.UserError(
                f'{path} exists, and is not what this command wrote before: choose another name, or allow it '
                'by --overwrite'
            )


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


def make_folder(path: str) -> None:
    """Make a folder and those above it, unless they are there.

    Raises
    ------
    utils.UserError
        If that cannot be done.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise utils.UserError(f'{path}: cannot make this folder: {utils.reason(error)}')


def append_line(file: TextIO, line: str, sync: bool = False) -> None:
    """Write a line at the end of an open text file, and have it on disk if `sync`.

    Raises
    ------
    utils.UserError
        If that cannot be done (a full disk).
    """
    try:
        file.write(f'{line}\n')
        file.flush()
        if sync:
            os.fsync(file.fileno())
    except OSError as error:
        raise utils.UserError(f'{file.name}: cannot write: {utils.reason(error)}')


def check_regular(path: str | os.PathLike) -> None:
    """Refuse a pipe or a device, which one could wait for, or read from, for ever."""
    kind = os.stat(path).st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        raise utils.UserError(f'{path}: a pipe or a device, and not a file')
