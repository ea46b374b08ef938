"""Several processes as one training: shares of a batch, and a training under mpirun as a user starts it."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy
import pytest

import files
import parallel
import utils
from conftest import ROOT
from data import photos
from support import tiny

MPIRUN = shutil.which('mpirun', path=os.path.dirname(sys.executable)) or shutil.which('mpirun')
MISSING = []
if not MPIRUN:
    MISSING.append('mpirun')
try:
    import mpi4py  # noqa: F401
except ImportError:
    MISSING.append('mpi4py')
with_mpi = pytest.mark.skipif(bool(MISSING), reason=f'there is no {" and no ".join(MISSING)} ({parallel.INSTALL})')


class Pair(parallel.Processes):
    """The process of a rank, without the others."""

    def __init__(self, rank, size):
        super().__init__()
        self.rank, self.size = rank, size


def test_the_shares_of_all_processes_are_the_batch(tmp_path):
    generator = numpy.random.RandomState(0)
    for name in 'abcde':
        files.write_image(str(tmp_path / f'{name}.png'), generator.randint(0, 256, (20, 24, 3)).astype('uint8'))
    split = photos.open_content(str(tmp_path), 16, None, 0).train
    whole = photos.batches(split, 4, 7, 3)
    shares = [photos.batches(split, 4, 7, 3, share=Pair(rank, 2).share(4)) for rank in range(2)]
    for _ in range(3):
        numpy.testing.assert_array_equal(next(whole), numpy.concatenate([next(share) for share in shares]))
    with pytest.raises(utils.UserError, match='3 processes cannot share it'):
        Pair(0, 3).share(4)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with what the smallest of trainings needs."""
    folder = tmp_path_factory.mktemp('parallel')
    tiny.training_data(folder)
    return folder


def train(folder, name, processes, iterations, *more, **options):
    """Start a small training on so many processes."""
    command = [sys.executable, os.path.join(ROOT, 'train.py')]
    if processes > 1:
        command = [MPIRUN, '-n', str(processes)] + command
    command += ['--style-dir', 'styles', '--content', 'content.h5', '--loss-weights', 'vgg.npz', '--width', '4']
    command += ['--content-layers', 'conv1_2', '--style-layers', 'conv1_2', '--residual-blocks', '1']
    command += '--image-size 16 --style-size 16 --batch-size 2 --checkpoint-every 10 --learning-rate 1e-5'.split()
    command += ['--output', f'{name}.npz', '--iterations', str(iterations), *more]
    environment = dict(os.environ, OMP_NUM_THREADS='1')
    streams = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    return subprocess.Popen(command, cwd=str(folder), env=environment, **streams, **options)


def finished(process):
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stderr
    return stdout


def arrays(folder, name):
    network = files.load_npz(str(folder / f'{name}.npz'))
    return {key: value for key, value in network.items() if key.startswith('arr_')}


def trains(pid, name):
    """Whether a process is a Python that trains the network of a name."""
    try:
        with open(f'/proc/{pid}/cmdline') as file:
            words = file.read().split('\0')
    except OSError:
        return False
    return words[0] == sys.executable and name in words


@with_mpi
def test_two_processes_train_as_one_and_carry_on_for_each_other(folder):
    """30 updates; the last ten of one run by the processes of the other.

    The steps are small, for Adam makes much of the rounding of gradients that are next to nothing. That of the beta
    which ends the residual block is nothing but rounding: the next normalization takes the shift away again.
    """
    finished(train(folder, 'one', 1, 20))
    both = finished(train(folder, 'both', 2, 20))
    assert both.count('the trained network') == 1
    shutil.copytree(str(folder / 'one'), str(folder / 'handed'))
    finished(train(folder, 'handed', 2, 30, '--resume'))
    finished(train(folder, 'both', 1, 30, '--resume'))
    finished(train(folder, 'one', 1, 30, '--resume'))
    expected = arrays(folder, 'one')
    for name in 'both', 'handed':
        got = arrays(folder, name)
        assert list(got) == list(expected)
        for key in set(got) - {'arr_13'}:
            value = got[key]
            assert abs(value - expected[key]).max() <= 1e-5 * abs(expected[key]).max(), (name, key)
    rows = (folder / 'both' / 'metrics.csv').read_text().splitlines()[1:]
    assert [int(row.split(',')[0]) for row in rows] == list(range(1, 31))


@with_mpi
def test_what_befalls_all_processes_is_one_line(folder):
    for more, words in ((('--batch-size', '3'), '2 processes cannot share it'), (('--network', 'fns'), 'takes one')):
        process = train(folder, 'refused', 2, 5, *more)
        _, stderr = process.communicate(timeout=600)
        assert process.returncode != 0 and not (folder / 'refused.npz').exists()
        assert [words in line for line in stderr.splitlines() if line.startswith('error')] == [True], stderr
        assert 'Traceback' not in stderr


@with_mpi
def test_a_process_that_dies_ends_all_with_a_good_checkpoint(folder):
    process = train(folder, 'dying', 2, 10**6, start_new_session=True)
    checkpoint = folder / 'dying' / 'checkpoint.npz'
    end = time.time() + 300
    while not checkpoint.exists() and time.time() < end and process.poll() is None:
        time.sleep(0.05)
    workers = [pid for pid in os.listdir('/proc') if pid.isdigit() and trains(pid, 'dying.npz')]
    assert len(workers) == 2
    os.kill(int(workers[1]), signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode != 0
    assert int(files.load_npz(str(checkpoint))['iteration']) % 10 == 0
    assert not any(trains(pid, 'dying.npz') for pid in workers)
