"""Long runs: settings to resume with, tables that grow while they last, and interrupts that lose nothing."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import signal
from typing import Any, Iterable, Iterator, Sequence, TextIO

import numpy

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

import files
import utils

__all__ = [
    'lock',
    'fingerprint',
    'check_settings',
    'read_table',
    'open_table',
    'append_row',
    'write_table',
    'catch_interrupts',
]

# Options by the names that they had when files were written which still exist.
RENAMED = {'content_layer': 'content_layers'}
# Settings that stand for the contents of files; checkpoints of former days lack the last two.
FINGERPRINTS = ('content_images', 'style_images', 'content_files', 'loss_networks')


@contextlib.contextmanager
def lock(path: str) -> Iterator[None]:
    """Hold a folder or a file that is to be written for this process alone.

    The file of the lock lies in the folder, or beside the file, and is removed in the end. What counts is the
    system's lock on it, which ends with the process: the file that a killed one left holds nobody up.

    Parameters
    ----------
    path : str

    Raises
    ------
    utils.UserError
        Naming the process that holds it, or if nothing can be written there.
    """
    folder, name = os.path.split(path)
    lock_path = os.path.join(path, '.lock') if os.path.isdir(path) else os.path.join(folder, f'.{name}.lock')
    with contextlib.ExitStack() as stack:
        try:
            while True:
                handle = os.open(lock_path, os.O_RDWR | os.O_CREAT, 0o666)
                with contextlib.ExitStack() as opened:
                    opened.callback(os.close, handle)
                    if fcntl:
                        _lock_file(handle, path)
                    # The process that held it may have removed the file after it was opened here.
                    with contextlib.suppress(FileNotFoundError):
                        if os.path.samestat(os.fstat(handle), os.stat(lock_path)):
                            stack.enter_context(opened.pop_all())
                            break
        except OSError as error:
            raise utils.UserError(f'{path}: cannot write: {utils.reason(error)}')
        with contextlib.suppress(OSError):  # a full disk: it is for the message of another process only
            os.ftruncate(handle, 0)
            os.write(handle, b'%d' % os.getpid())
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.remove(lock_path)


def _lock_file(handle, path):
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(handle, 20).decode('ascii', 'replace')
        raise utils.UserError(
            '%s is being written by another run%s: wait for its end, or choose another --output'
            % (path, f', process {utils.one_line(holder)}' if holder else '')
        )
    except OSError:
        pass  # a file system without locks


def fingerprint(paths: Iterable[str]) -> str:
    """A hash of the contents of files, in their order, so that a run is not resumed with other ones."""
    whole = hashlib.sha256()
    for path in paths:
        digest = hashlib.sha256()
        with open(path, 'rb') as file:
            for block in iter(lambda: file.read(1 << 20), b''):
                digest.update(block)
        whole.update(digest.digest())
    return whole.hexdigest()[:16]


def current_names(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings that a former version wrote down, a dict, by the names that the options have now."""
    return {RENAMED.get(name, name): value for name, value in settings.items()}


def check_settings(path: str, settings: dict[str, Any], defaults: dict[str, Any] | None = None) -> None:
    """Note what a run is made with, or make sure that a run to be resumed was made with the same.

    Parameters
    ----------
    path : str
        Of a JSON file in the run's folder.
    settings : dict
        Of numbers, strings and lists of them.
    defaults : dict
        What a run had that does not name a setting, since it was made before there was a choice.

    Raises
    ------
    utils.UserError
        If the file is there and says something else.
    """
    settings = json.loads(json.dumps(settings))
    if os.path.exists(path):
        try:
            with open(path, encoding='utf-8') as file:
                before = json.load(file)
        except (OSError, ValueError, RecursionError) as error:
            raise utils.UserError(f'{path}: cannot read: {utils.reason(error)}')
        # What is neither noted nor has a default is what former versions did not ask for.
        before = dict(defaults or {}, **current_names(before)) if isinstance(before, dict) else None
        changed = ['all'] if before is None else [name for name in before if before[name] != settings.get(name)]
        if changed:
            raise utils.UserError(
                f'{os.path.dirname(path) or "."} was made with other settings '
                f'({", ".join(changed).replace("_", " ")}): give the same, or another folder'
            )
    with files.atomic_write(path) as file:
        file.write(json.dumps(settings, sort_keys=True, indent=1).encode())


def save_checkpoint(path: str, iteration: int, settings: dict[str, Any], variables: Sequence[Any]) -> None:
    """Write what `load_checkpoint` needs to carry on exactly, atomically; refuse parameters that are not finite."""
    values = [variable.get_value(borrow=True) for variable in variables]
    if not all(numpy.isfinite(value).all() for value in values):
        raise utils.UserError(f'a parameter is not finite after iteration {iteration}: stopped; {last_good(path)}')
    arrays = {f'value_{i}': value for i, value in enumerate(values)}
    arrays.update(iteration=numpy.array(iteration), settings=numpy.array(json.dumps(settings, sort_keys=True)))
    files.save_npz(path, arrays)


def last_good(path: str) -> str:
    """Where a run that had to stop can carry on from."""
    return f'the last good checkpoint is {path}' if os.path.exists(path) else 'there is no checkpoint yet'


def load_checkpoint(path: str, settings: dict[str, Any], defaults: dict[str, Any], variables: Sequence[Any]) -> int:
    """Set the variables as they were and return the number of iterations done.

    A setting that the checkpoint does not name was no option yet: the run had what is its default now.
    """
    arrays = files.load_npz(path)
    try:
        saved = current_names(json.loads(str(arrays['settings'][()])))
        for name in settings:
            before = saved.get(name, defaults.get(name))
            if before == settings[name] or (name not in saved and name in FINGERPRINTS[2:]):
                continue
            if name in FINGERPRINTS:
                raise utils.UserError(f'{path} was made with other {name.replace("_", " ")}: resume with the same')
            raise utils.UserError(
                f'{path} was made with {name.replace("_", " ")} {before}, and not {settings[name]}: '
                'resume with the same settings'
            )
        values = [arrays[f'value_{i}'] for i in range(len(variables))]
        if any(value.shape != variable.get_value(borrow=True).shape for value, variable in zip(values, variables)):
            raise ValueError
        iteration = int(arrays['iteration'])
        # isfinite refuses what are no numbers with a TypeError.
        if iteration < 0 or not all(numpy.isfinite(value).all() for value in values):
            raise ValueError
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError):
        raise utils.UserError(f'{path}: not a checkpoint of this network')
    for variable, value in zip(variables, values):
        variable.set_value(value.astype(variable.dtype))
    return iteration


def read_table(path: str) -> list[dict[str, Any]]:
    """The rows of a CSV file with a header, as dicts of str.

    Raises
    ------
    utils.UserError
        If it cannot be read.
    """
    try:
        with open(path, newline='', encoding='utf-8') as file:
            return list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise utils.UserError(f'{path}: cannot read this table: {utils.reason(error)}')


def open_table(path: str, columns: Sequence[str], rows: Iterable[dict[str, Any]] = ()) -> TextIO:
    """Write a CSV file with its header, atomically, and open it to append to (`append_row`).

    Parameters
    ----------
    path : str
    columns : list of str
    rows : list of dict
        Rows of an earlier run to keep. One that lacks a column is left out: the run was cut off
        while it wrote that row.

    Returns
    -------
    text file
    """
    whole = [
        [row[column] for column in columns] for row in rows if all(row.get(column) is not None for column in columns)
    ]
    with files.atomic_write(path) as file:
        file.write(''.join(f'{_line(row)}\n' for row in [columns] + whole).encode())
    return open(path, 'a', newline='', encoding='utf-8')


def write_table(path: str, columns: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Write a whole CSV file: rows are lists, in the order of the columns."""
    with open_table(path, columns) as table:
        for row in rows:
            append_row(table, row)


def append_row(table: TextIO, values: Sequence, sync: bool = False) -> None:
    """Write a row at the end of a table that `open_table` opened; see `files.append_line`."""
    files.append_line(table, _line(values), sync)


def _line(values):
    text = io.StringIO()
    csv.writer(text, lineterminator='').writerow(values)
    return text.getvalue()


def catch_interrupts() -> list[int]:
    """Let Ctrl-C, SIGTERM and a terminal that is closed (SIGHUP) wait for a good moment.

    Returns
    -------
    list of int
        The numbers of the signals that have come since; a second one of a kind acts at once.
    """
    caught = []

    def interrupted(number, frame):
        caught.append(number)
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    hangup = getattr(signal, 'SIGHUP', None)  # not on Windows
    for number in (signal.SIGINT, signal.SIGTERM, hangup):
        # nohup has the hangup ignored, and so it stays.
        if number is not None and not (number == hangup and signal.getsignal(number) == signal.SIG_IGN):
            signal.signal(number, interrupted)
    return caught
