"""Photos spread over many processes and machines, by Dask.

The workers read the photos and write the pastiches themselves, in folders that all of them see; what goes through the
scheduler is names, and what became of them. If a worker dies, another one makes what was not made yet.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from typing import Any, Iterable, Iterator, Sequence

import files
import utils
from albums import Album, Entry, store
from controls import Controls

__all__ = ['check', 'connected', 'is_wanted', 'make', 'spread']

INSTALL = 'pip install "distributed", or python install.py dask'
# Seconds to wait for a scheduler.
PATIENCE = 20
# Workers that may die over one photo before it is given up: the scheduler cannot tell which one they died of.
DEATHS = 10

# What this process, a worker, has compiled, by its settings. One photo at a time: Theano's functions know no threads.
_stylists: dict[Any, Any] = {}
_lock = threading.Lock()


def is_wanted(scheduler: str | None, workers: int | None) -> bool:
    """Whether the options --scheduler and --workers ask for a cluster.

    Raises
    ------
    utils.UserError
        If they contradict each other.
    """
    if scheduler and workers:
        raise utils.UserError('--scheduler and --workers contradict each other: the scheduler has its workers')
    return bool(scheduler or workers)


def check(new_styles: Sequence[Any], names: Sequence[str]) -> None:
    """Refuse what the processes of a cluster do not have: styles that are to be made, standard input and output.

    Parameters
    ----------
    new_styles : list of newstyles.NewStyle
    names : list of str
        Of the photos and of the output.

    Raises
    ------
    utils.UserError
    """
    if new_styles or '-' in names:
        raise utils.UserError(
            '--scheduler and --workers are for files, and styles that the network has: --save-style adds one to it'
        )


@contextlib.contextmanager
def connected(scheduler: str | None, workers: int | None) -> Iterator[Any]:
    """Context manager around the client of a cluster: of Dask's scheduler at an address, or of so many local workers.

    Raises
    ------
    utils.UserError
        If Dask is not installed, or nobody answers.
    """
    try:
        import dask
        import distributed
    except ImportError as error:
        raise utils.UserError(f'--scheduler and --workers need Dask ({INSTALL}): {utils.reason(error)}')
    with contextlib.ExitStack() as stack:
        try:
            if not scheduler:
                # Each worker has its share of the cores.
                threads = max(1, len(os.sched_getaffinity(0)) // workers)
                stack.enter_context(dask.config.set({'distributed.scheduler.allowed-failures': DEATHS}))
                scheduler = stack.enter_context(
                    distributed.LocalCluster(
                        n_workers=workers,
                        threads_per_worker=1,
                        memory_limit=0,
                        dashboard_address=':0',
                        silence_logs=logging.CRITICAL,
                        env={'OMP_NUM_THREADS': os.environ.get('OMP_NUM_THREADS', str(threads))},
                    )
                )
            client = stack.enter_context(distributed.Client(scheduler, timeout=PATIENCE))
        except (OSError, ValueError) as error:
            raise utils.UserError(f'{scheduler or "--workers"}: no cluster of Dask: {utils.reason(error)}')
        utils.say_once(f'the dashboard of the cluster: {client.dashboard_link}')
        yield client


def spread(client: Any, function: Any, items: Iterable[tuple]) -> Iterator[tuple[tuple, Any]]:
    """What a function returns for each of many tuples of arguments, in the order in which the workers are done.

    Parameters
    ----------
    client : distributed.Client
    function : callable
        Known to the workers by its name. It may be called again with the same arguments, if a worker dies.
    items : iterable of tuple

    Yields
    ------
    item : tuple
    result
        Or a `utils.UserError`, if workers died over it again and again.
    """
    import distributed

    waiting = {client.submit(function, *item, pure=False): item for item in items}
    for future in distributed.as_completed(list(waiting)):
        item = waiting.pop(future)
        error = future.exception()
        if isinstance(error, distributed.scheduler.KilledWorker):
            yield item, utils.UserError('the workers that it was given to died')
        elif isinstance(error, ModuleNotFoundError) or 'deserializ' in str(error):
            folder = os.path.dirname(os.path.abspath(__file__))
            raise utils.UserError(f'the scheduler or a worker lacks this project: start them with PYTHONPATH={folder}')
        elif error is not None:
            raise error
        else:
            yield item, future.result()
        future.release()


def make(
    client: Any,
    album: Album,
    settings: tuple,
    styles: list[tuple[str, Any]],
    size: int | None,
    batch_size: int,
    controls: Controls,
) -> None:
    """Make the pastiches of an album on the workers of a cluster.

    Parameters
    ----------
    client : distributed.Client
    album : albums.Album
    settings : tuple
        The arguments of `pastiches.Stylist`.
    styles, size, batch_size, controls
        As `pastiches.Stylist.stylize_files` takes them.
    """
    settings = (os.path.abspath(settings[0]), *settings[1:])
    wanted: dict[str, dict[str, tuple[str, Any]]] = {}
    for (photo, label), path in album.outputs.items():
        wanted.setdefault(photo, {})[label] = os.path.abspath(path), _stamp(path)

    def items():
        for photo, outputs in wanted.items():
            chosen = [(label, mixture) for label, mixture in styles if label in outputs]
            yield os.path.abspath(photo), outputs, settings, chosen, size, batch_size, controls, bool(album.grid)

    def entries():
        names = {os.path.abspath(photo): photo for photo in wanted}
        for (photo, *_), result in spread(client, make_photo, items()):
            photo = names[photo]
            if isinstance(result, utils.UserError):
                error = utils.UserError(f'{photo}: {result}')
                yield store('', photo, None, None, error, '', 0)
                continue
            for entry in result:
                report = dict(entry.report, photo=photo)
                if 'pastiche' in report:
                    report['pastiche'] = album.outputs[photo, entry.label]
                if 'error' in report:
                    report['error'] = report['error'].replace(os.path.abspath(photo), photo)
                yield entry._replace(photo=photo, report=report)

    try:
        album.note(entries())
    finally:
        files.remove_leftovers(album.outputs.values())


def make_photo(
    photo: str,
    outputs: dict[str, tuple[str, Any]],
    settings: tuple,
    styles: list[tuple[str, Any]],
    size: int | None,
    batch_size: int,
    controls: Controls,
    for_sheet: bool,
) -> list[Entry]:
    """Make the pastiches of a photo, on a worker, but for those that another one has made before it died.

    Parameters
    ----------
    photo : str
    outputs : dict
        {label: (path, stamp)}, the stamp of what was at the path before.
    settings, styles, size, batch_size, controls
        As for `make`.
    for_sheet : bool
        As for `albums.store`.

    Returns
    -------
    list of albums.Entry
    """
    made, entries = {label for label, (path, stamp) in outputs.items() if _stamp(path) != stamp}, []
    for label in made:
        path = outputs[label][0]
        picture = files.read_picture(path)
        height, width = picture.frames[0].shape[:2]
        report = dict(photo=photo, style=label, pastiche=path, width=width, height=height, seconds=0, device='')
        entry = store('', photo, label, picture, utils.UserError(''), '', 0, for_sheet)
        entries.append(entry._replace(report=report, small=entry.photo_small))
    if len(made) == len(outputs):
        return entries
    with _lock:
        stylist = _stylist(settings)
        start = time.perf_counter()
        skip = {(photo, label) for label in made}
        for _, label, picture, pastiche in stylist.stylize_files([photo], styles, size, batch_size, controls, skip):
            path = outputs[label][0] if label is not None else ''
            seconds = time.perf_counter() - start
            entries.append(store(path, photo, label, picture, pastiche, stylist.device.name, seconds, for_sheet))
            start = time.perf_counter()
    return entries


def _stamp(path):
    """What changes when a file is written anew; None if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _stylist(settings):
    """The stylist of these settings, compiled once in this process."""
    if settings not in _stylists:
        from pastiches import Stylist

        _stylists[settings] = Stylist(*settings)
    return _stylists[settings]
