"""The folder for compiled code, and how something comes into it.

What is built goes through `build`: once, by one process while the others wait, under its final name only when it is
whole and on the disk.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from typing import Callable

import utils

__all__ = ['folder', 'build', 'key', 'seal', 'is_whole']

ROOM = 2**20  # bytes that the folder must have room for


def folder() -> str:
    """The folder for compiled code: ``$XDG_CACHE_HOME/gogh-figure``, or a temporary one if that is unwritable."""
    root = os.environ.get('XDG_CACHE_HOME') or os.path.join(os.path.expanduser('~'), '.cache')
    path = os.path.join(root, 'gogh-figure')
    reason = _unusable(path)
    if reason is None:
        return path
    try:
        path = os.path.join(tempfile.gettempdir(), f'gogh-figure-{os.getuid()}')
        os.makedirs(path, mode=0o700, exist_ok=True)
        if os.stat(path).st_uid != os.getuid():
            reason = 'it belongs to somebody else'
        else:
            reason = _unusable(path)
    except OSError as error:  # no temporary folder either
        reason = utils.reason(error)
    if reason is not None:
        sys.exit(
            f'error: {path} cannot hold compiled code: {reason}; set XDG_CACHE_HOME to a folder of '
            'your own with some room'
        )
    return path


def _unusable(path):
    """Why a folder cannot hold compiled code, or None if it can."""
    try:
        os.makedirs(path, exist_ok=True)
        # Theano waits for ever where it cannot write what it has compiled.
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(bytes(ROOM))
        if hasattr(os, 'ST_NOEXEC') and os.statvfs(path).f_flag & os.ST_NOEXEC:
            return 'nothing in it may be run (mounted noexec)'
        for name in os.listdir(path):
            if name.startswith('theano-') and not os.access(os.path.join(path, name), os.W_OK | os.X_OK):
                return f'{name} in it cannot be written to'
    except OSError as error:
        return utils.reason(error)
    return None


def build(name: str, make: Callable[[str], str], sealed: bool = False) -> str:
    """The path of a file or folder in the cache, which is made if it is not there.

    Parameters
    ----------
    name : str
        Its name in the cache, which stands for all that its contents depend on: see `key`.
    make : callable
        Called with the path of an empty folder; returns the path there of what it has made.
    sealed : bool
        Whether to write a sum at the end of the file, where a loader of libraries does not look, and to build it again
        where that sum is wrong: a library that a power cut damaged could end the process.

    Returns
    -------
    str
    """
    path = os.path.join(folder(), name)
    is_there = is_whole if sealed else os.path.exists
    if is_there(path):
        return path
    with open(os.path.join(os.path.dirname(path), f'{name.split("-")[0]}.lock'), 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the others wait, and find the file when it is theirs
        if is_there(path):
            return path
        work = tempfile.mkdtemp(prefix='gogh-', dir=os.path.dirname(path))
        try:
            made = make(work)
            if sealed:
                seal(made)
            os.rename(made, path)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return path


def key(*parts: object) -> str:
    """Sixteen digits that stand for what something depends on: bytes, or what `repr` tells apart."""
    sum_ = hashlib.sha256()
    for part in parts:
        sum_.update(part if isinstance(part, bytes) else repr(part).encode())
    return sum_.hexdigest()[:16]


def seal(path: str) -> None:
    """Write a sum at the end of a library, where the loader does not look, and have all of it on disk.

    A power cut before that leaves a file with zeros in it, or without its end, which would end the process that
    loads it.
    """
    with open(path, 'rb+') as file:
        file.write(hashlib.sha256(file.read()).digest())
        file.flush()
        os.fsync(file.fileno())


def is_whole(path: str) -> bool:
    """Whether a library is there as it was sealed (`seal`)."""
    try:
        with open(path, 'rb') as file:
            data = file.read()
    except OSError:
        return False
    return data[-32:] == hashlib.sha256(data[:-32]).digest()
