"""Several processes as one training, over MPI: which share is whose, and what they tell each other.

``mpirun -n 4 python train.py ...`` starts them, on one machine or on many; without mpirun there is one process, and
nothing of MPI is imported.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
import traceback
from typing import Any, Iterator

import numpy

import utils

__all__ = ['Processes', 'joined']

# How many processes there are, by the names that the launchers of MPICH, Open MPI, Slurm and Intel give it.
COUNTS = ('PMI_SIZE', 'OMPI_COMM_WORLD_SIZE', 'SLURM_NTASKS')
# And on this machine.
LOCAL_COUNTS = ('MPI_LOCALNRANKS', 'OMPI_COMM_WORLD_LOCAL_SIZE', 'SLURM_NTASKS_PER_NODE')
INSTALL = 'pip install mpi4py mpich, or python install.py mpi'
# Seconds that the others leave to the first process to say what befell all.
GRACE = 2


class Processes:
    """The processes of a training; without a communicator, this one alone.

    Parameters
    ----------
    communicator : mpi4py.MPI.Comm, optional

    Attributes
    ----------
    size : int
        How many there are.
    rank : int
        Which one this is, from 0. The first alone writes files, and speaks.
    """

    def __init__(self, communicator: Any = None) -> None:
        self._communicator = communicator
        self.size = communicator.Get_size() if communicator else 1
        self.rank = communicator.Get_rank() if communicator else 0

    def share(self, count: int) -> slice:
        """The slice of a batch of `count` images that this process takes.

        Raises
        ------
        utils.UserError
            If the shares were not equal, so that the mean of their gradients were not that of the batch.
        """
        if count % self.size:
            raise utils.UserError(f'--batch-size {count}: {self.size} processes cannot share it equally')
        each = count // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def average(self, arrays: list[numpy.ndarray]) -> list[numpy.ndarray]:
        """The means of float32 arrays over all processes, the same bits in each."""
        if self.size == 1:
            return arrays
        packed = numpy.concatenate([numpy.ravel(array) for array in arrays]).astype('float32')
        total = numpy.empty_like(packed)
        self._communicator.Allreduce(packed, total)
        total /= self.size
        ends = numpy.cumsum([array.size for array in arrays])
        return [part.reshape(array.shape) for part, array in zip(numpy.split(total, ends[:-1]), arrays)]

    def any(self, flag: object) -> bool:
        """Whether a flag is true in one of them."""
        return bool(self._communicator.allreduce(bool(flag)) if self.size > 1 else flag)

    def spread(self, value: Any) -> Any:
        """The first process's value, in all of them."""
        return self._communicator.bcast(value) if self.size > 1 else value


@contextlib.contextmanager
def joined() -> Iterator[Processes]:
    """Context manager around a script: the `Processes` of this training. If one of them fails, all end.

    Those but the first are silent, unless they fail alone. Where several are on one machine, its cores are shared
    among their threads, unless OMP_NUM_THREADS says otherwise.
    """
    if not any(os.environ.get(name, '1') != '1' for name in COUNTS):
        yield Processes()
        return
    here = next((int(os.environ[name]) for name in LOCAL_COUNTS if os.environ.get(name, '').isdigit()), 1)
    os.environ.setdefault('OMP_NUM_THREADS', str(max(1, len(os.sched_getaffinity(0)) // here)))
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        sys.exit(f'error: several processes need mpi4py and an MPI ({INSTALL}): {utils.reason(error)}')
    processes, streams, said = Processes(MPI.COMM_WORLD), (sys.stdout, sys.stderr), io.StringIO()
    if processes.rank:
        sys.stdout, sys.stderr = io.StringIO(), said
    try:
        yield processes
    except BaseException as error:
        code = error.code if isinstance(error, SystemExit) else 1
        if not code:
            raise
        if processes.rank:
            time.sleep(GRACE)
        sys.stdout, sys.stderr = streams
        # The others wait for this one, which cannot leave by itself.
        if isinstance(error, SystemExit):
            sys.stderr.write(''.join(said.getvalue().splitlines(True)[-1:]))
        else:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        MPI.COMM_WORLD.Abort(code if isinstance(code, int) else 1)
    finally:
        sys.stdout, sys.stderr = streams
