"""Work spread over many processes and machines, by Dask.

Photos are read and pastiches written by the workers themselves, in folders that all of them see; what goes through the
scheduler is names, and what became of them. Frames of clips go through it, a few at a time. If a worker dies, or does
not answer, another one makes what was not made yet.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import logging
import os
import signal
import threading
import time
import uuid
from typing import Any, Callable, Iterable, Iterator, Sequence

import files
import utils
from albums import Album, Entry, store
from controls import Controls

__all__ = ['check', 'compiled', 'connected', 'in_order', 'make', 'spread', 'stylize_frames']

INSTALL = 'pip install "distributed", or python install.py dask'
# Seconds to wait for a scheduler.
PATIENCE = 20
# Workers that may die over one photo before it is given up: the scheduler cannot tell which one they died of.
DEATHS = 10
# Seconds after which a worker that does not answer is given up, which Dask takes for five at least.
SILENCE = 300
# What each worker may have before it at a time, when results are wanted in order.
AHEAD = 3
# Of what was compiled for different settings, so much is kept in a worker.
KEPT = 4

# What this process, a worker, has compiled, by its settings. One thing at a time: Theano's functions know no threads.
_compiled: dict[Any, Any] = {}
_lock = threading.Lock()


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
        If Dask is not installed, or nobody answers, from the beginning or later on.
    """
    try:
        import dask
        import distributed
        from distributed.comm import CommClosedError
    except ImportError as error:
        raise utils.UserError(f'--scheduler and --workers need Dask ({INSTALL}): {utils.reason(error)}')
    for logger in ('distributed', 'distributed.client'):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    with contextlib.ExitStack() as stack:
        try:
            # A frame is large, and sent once.
            stack.enter_context(dask.config.set({'distributed.admin.large-graph-warning-threshold': '1 TB'}))
            if not scheduler:
                # Each worker has its share of the cores.
                threads = max(1, len(os.sched_getaffinity(0)) // workers)
                limits = {
                    'distributed.scheduler.allowed-failures': DEATHS,
                    'distributed.scheduler.worker-ttl': f'{SILENCE} s',
                    # One that died, and is not there again after so long, would never be started again.
                    'distributed.deploy.lost-worker-timeout': '1000 days',
                }
                stack.enter_context(dask.config.set(limits))
                scheduler = stack.enter_context(
                    distributed.LocalCluster(
                        n_workers=workers,
                        threads_per_worker=1,
                        memory_limit=0,
                        dashboard_address=':0',
                        silence_logs=logging.CRITICAL,
                        preload=[__name__],
                        env={'OMP_NUM_THREADS': os.environ.get('OMP_NUM_THREADS', str(threads))},
                    )
                )
            client = stack.enter_context(distributed.Client(scheduler, timeout=PATIENCE))
        except (OSError, ValueError) as error:
            raise utils.UserError(f'{scheduler or "--workers"}: no cluster of Dask: {utils.reason(error)}')
        utils.say_once(f'the dashboard of the cluster: {client.dashboard_link}')
        try:
            yield client
        except (concurrent.futures.CancelledError, CommClosedError):
            raise utils.UserError(f'{scheduler}: the scheduler no longer answers; what was made is kept')


def dask_setup(worker: Any) -> None:
    """What Dask calls in a worker that `connected` starts: what ends the script ends its workers, at its time."""
    for name in ('SIGINT', 'SIGHUP'):  # the second not on Windows
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def spread(client: Any, function: Callable, items: Iterable[tuple]) -> Iterator[tuple[tuple, Any]]:
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

    waiting = {_submit(client, function, item): item for item in items}
    for future in distributed.as_completed(list(waiting)):
        yield waiting.pop(future), _result(future)


def in_order(client: Any, function: Callable, items: Iterable[tuple]) -> Iterator[tuple[tuple, Any]]:
    """As `spread`, in the order of the items, of which no more are taken than the workers have to do at a time."""
    items, waiting = iter(items), collections.deque()
    while True:
        # Workers come and go.
        while len(waiting) < AHEAD * max(1, len(client.nthreads())):
            item = next(items, None)
            if item is None:
                break
            waiting.append((_submit(client, function, item), item))
        if not waiting:
            return
        future, item = waiting.popleft()
        yield item, _result(future)


def _submit(client, function, item):
    """The future of what a function returns for a tuple of arguments, under the limits of this process."""
    # By its key the dashboard calls it, and no two are the same.
    key = f'{function.__name__}-{uuid.uuid4().hex}'
    return client.submit(_limited, function, files.pixel_limit(), *item, key=key)


def _limited(function, pixels, *arguments):
    """What a function returns, on a worker, where pictures may have so many pixels."""
    os.environ['GOGH_MAX_PIXELS'] = str(pixels)
    return function(*arguments)


def _result(future):
    """What a future has come to, for which its worker need not keep it any longer; see `spread`."""
    import distributed

    try:
        return future.result()
    except distributed.scheduler.KilledWorker:
        return utils.UserError('the workers that it was given to died')
    except utils.UserError:
        raise
    except Exception as error:
        if not isinstance(error, ModuleNotFoundError) and 'deserializ' not in str(error):
            raise
        folder = os.path.dirname(os.path.abspath(__file__))
        raise utils.UserError(f'the scheduler or a worker lacks this project: start them with PYTHONPATH={folder}')
    finally:
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
    with compiled(_stylist, settings, _stamp(settings[0])) as stylist:
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


def _stylist(settings, stamp):
    """The stylist of these settings; the stamp is that of the network's file."""
    from pastiches import Stylist

    return Stylist(*settings)


@contextlib.contextmanager
def compiled(make: Callable, *settings: Any) -> Iterator[Any]:
    """Context manager around what a function makes of settings, once in this process, for one thread at a time."""
    key = make.__name__, repr(settings)
    with _lock:
        if key not in _compiled:
            while len(_compiled) >= KEPT:
                del _compiled[next(iter(_compiled))]
            _compiled[key] = make(*settings)
        yield _compiled[key]


def stylize_frames(
    client: Any, settings: tuple, name: str, controls: Controls, frames: Iterable[tuple[Any, Any]]
) -> Iterator[Any]:
    """What `pastiches.Stylist.stylize_frames` yields, made on the workers of a cluster.

    Parameters
    ----------
    client : distributed.Client
    settings : tuple
        The arguments of `pastiches.Stylist`.
    name, controls, frames
        As for the method.
    """
    settings = (os.path.abspath(settings[0]), *settings[1:])
    for _, pastiche in in_order(client, make_frame, ((settings, name, controls, *frame) for frame in frames)):
        if isinstance(pastiche, utils.UserError):
            raise utils.UserError(f'{name}: a frame: {pastiche}')
        yield pastiche


def make_frame(settings: tuple, name: str, controls: Controls, image: Any, mixture: Any) -> Any:
    """The pastiche of a frame, on a worker."""
    with compiled(_stylist, settings, _stamp(settings[0])) as stylist:
        return next(stylist.stylize_frames(name, controls, [(image, mixture)]))
