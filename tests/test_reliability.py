"""Runs that are killed, stopped or out of disk or memory lose nothing: real processes, faults put in from outside."""

import csv
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time

import numpy
import pytest

import files
import models
from support import tiny
from conftest import ROOT

# train.py with something done to it first.
TRAIN = (
    """
import os, signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)     # which the tests inherit ignored under nohup
sys.path.insert(0, %r)
import backend, files, numpy, train, utils
%%s
sys.argv[0] = 'train.py'
utils.run_script(train.main)
"""
    % ROOT
)
# A disk that takes its time, so that much of the training is writing and kills hit that as well.
SLOW_DISK = """
fsync = os.fsync
os.fsync = lambda handle: (time.sleep(.03), fsync(handle))
"""
# No file may grow larger than this, once the code is compiled.
SMALL_DISK = """
import resource
function = backend.theano.function
def limited(*args, **options):
    compiled = function(*args, **options)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40000, 40000))
    return compiled
backend.theano.function = limited
"""
# A disk that keeps only what was synced. Each time a file or folder is synced or renamed, folders cut/0, cut/1, ...
# get the files that a power cut would leave: a renamed file may be there already under its new name, and may be not.
POWER_CUTS = """
import shutil
synced, names = {}, {}
number = [0]

def cut(current):
    folder = os.path.join('cut', str(number[0]))
    os.makedirs(folder)
    number[0] += 1
    for file in ('checkpoint.npz', 'metrics.csv'):
        path = os.path.join('power', file)
        inode = os.stat(path).st_ino if current and os.path.exists(path) else names.get(file)
        if inode:
            with open(os.path.join(folder, file), 'wb') as copy:
                copy.write(synced.get(inode, b''))

def cuts():
    cut(True)
    cut(False)

def fsync(handle, real=os.fsync):
    real(handle)
    path = os.readlink('/proc/self/fd/%d' % handle)
    if os.path.isdir(path):
        if os.path.samefile(path, 'power'):
            names.update({name: os.stat(os.path.join(path, name)).st_ino for name in os.listdir(path)})
    else:
        with open(path, 'rb') as file:
            synced[os.fstat(handle).st_ino] = file.read()
    cuts()

def replace(old, new, real=os.replace):
    real(old, new)
    cuts()

os.fsync, os.replace = fsync, replace
"""
# Content images that no photo could hold, from the sixth iteration on.
POISONED_IMAGES = """
batches = train.photos.batches
def poisoned(split, batch_size, seed, start, *more):
    for i, batch in enumerate(batches(split, batch_size, seed, start, *more), start):
        yield batch if i < 5 else batch * numpy.float32('%s')
train.photos.batches = poisoned
"""
# A loss that is not a number, at the sixth iteration.
POISONED_LOSS = """
import training
gradient, calls = training.Training.gradient, []
def poisoned(self, images, styles):
    calls.append(0)
    return [value * float('%s' if len(calls) == 6 else 1) for value in gradient(self, images, styles)]
training.Training.gradient = poisoned
"""
FOREVER = 10**6


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder with what the smallest of trainings needs."""
    place = tmp_path_factory.mktemp('reliability')
    tiny.training_data(place)
    return place


def start_training(place, name, iterations, prepare='', **options):
    command = [
        sys.executable,
        '-c',
        TRAIN % prepare,
        *(
            '--style-dir styles --content content.h5 --loss-weights vgg.npz --content-layers conv1_2 '
            '--style-layers conv1_2 --width 4 --residual-blocks 0 --image-size 16 --style-size 16 --batch-size 2 '
            '--checkpoint-every 2 --resume --output'
        ).split(),
        f'{name}.npz',
        '--iterations',
        str(iterations),
    ]
    return subprocess.Popen(
        command,
        cwd=str(place),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        env=dict(os.environ, OMP_NUM_THREADS='1'),
        **options,
    )


def finish(process, status=0):
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == status, stderr
    assert 'Traceback' not in stderr and 'Exception' not in stderr, stderr
    return stderr


def wait_for(condition, process):
    end = time.time() + 300
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.time() < end
        time.sleep(0.001)


def names_in(folder):
    return os.listdir(str(folder)) if folder.exists() else []


def metrics(place, name):
    with open(str(place / name / 'metrics.csv'), newline='') as file:
        return [dict(row, seconds=None) for row in csv.DictReader(file)]


def done(place, name):
    """Iterations that the newest checkpoint holds; fails if it is damaged."""
    path = str(place / name / 'checkpoint.npz')
    if not os.path.exists(path):
        return 0
    arrays = files.load_npz(path)
    assert all(numpy.isfinite(value).all() for key, value in arrays.items() if key.startswith('value'))
    return int(arrays['iteration'])


def assert_like_an_uninterrupted_run(place, name, iterations):
    """Run to the end, and compare with a run that nothing happened to: all bits but the seconds."""
    finish(start_training(place, name, iterations))
    whole = f'whole-{iterations}'
    if not (place / whole).exists():
        finish(start_training(place, whole, iterations))
    for file in ('%s/checkpoint.npz', '%s.npz'):
        got, expected = (files.load_npz(str(place / (file % run))) for run in (name, whole))
        assert list(got) == list(expected)
        for key in got:
            assert got[key].tobytes() == expected[key].tobytes(), key
    rows = metrics(place, name)
    assert [int(row['iteration']) for row in rows] == list(range(1, iterations + 1))
    assert rows == metrics(place, whole)
    assert not [file for file in names_in(place) + names_in(place / name) if file.endswith('.tmp')]


# How many times a training is killed; 100 take some seven minutes.
KILLS = int(os.environ.get('GOGH_KILLS', 20))


@pytest.mark.slow
def test_training_survives_kills_in_a_row(place):
    chance = random.Random(0)
    name, folder = 'killed', place / 'killed'
    rows = folder / 'metrics.csv'
    before, cut_off, steps = 0, 0, 0
    for turn in range(KILLS):
        process = start_training(place, name, FOREVER, SLOW_DISK)
        if turn % 4 == 0:
            # While it starts, or not long after.
            time.sleep(chance.uniform(0, 6))
        elif turn % 4 == 1:
            # After an iteration, whatever it does then.
            size = rows.stat().st_size if rows.exists() else 0
            wait_for(lambda: rows.exists() and rows.stat().st_size > size, process)
            time.sleep(chance.uniform(0, 1))
        else:
            # While it writes a checkpoint, or the network or the plot that follow.
            where, stem = [
                (folder, '.checkpoint.npz.'),
                (folder, '.checkpoint.npz.'),
                (place, '.killed.npz.'),
                (folder, '.losses.png.'),
            ][turn // 2 % 4]
            stem += f'{process.pid}-'
            wait_for(lambda: any(file.startswith(stem) for file in names_in(where)), process)
            time.sleep(chance.uniform(0, 0.03))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        cut_off += any(file.startswith(f'.checkpoint.npz.{process.pid}-') for file in names_in(folder))
        assert done(place, name) >= before
        steps += done(place, name) > before
        before = done(place, name)
    assert cut_off >= KILLS // 7, 'checkpoints that were being written when the process was killed'
    assert steps >= KILLS // 4, 'runs that brought the training further'
    assert_like_an_uninterrupted_run(place, name, before + 4 - before % 2)


def test_a_power_cut_at_any_moment_leaves_a_checkpoint_and_its_metrics(place):
    finish(start_training(place, 'power', 6, POWER_CUTS))
    cuts = sorted(os.listdir(str(place / 'cut')), key=int)
    iterations = []
    for cut in cuts:
        iterations.append(done(place / 'cut', cut))
        if iterations[-1]:
            # Whole rows only, and at least as many as the checkpoint has iterations.
            assert [int(row['iteration']) for row in metrics(place / 'cut', cut)][: iterations[-1]] == list(
                range(1, iterations[-1] + 1)
            )
    # What is certain after the last sync is everything.
    assert iterations[-1] == 6 and set(iterations) == {0, 2, 4, 6}
    assert all(b >= a for a, b in zip(iterations[1::2], iterations[3::2]))
    # Carry on from a moment between two checkpoints, where the table is ahead.
    cut = max(cut for cut in cuts if done(place / 'cut', cut) == 2)
    os.rename(str(place / 'cut' / cut), str(place / 'cut-off'))
    assert_like_an_uninterrupted_run(place, 'cut-off', 6)


@pytest.mark.parametrize(
    'poison, factor, words',
    [
        (POISONED_LOSS, 'nan', 'the loss is nan at iteration 6'),
        (POISONED_IMAGES, '1e30', 'the loss is inf at iteration 6'),
        # Rectifying lets no NaN through, so that the loss hides what the gradient has done to the parameters.
        (POISONED_IMAGES, 'nan', 'a parameter is not finite after iteration 6'),
    ],
    ids=['nan', 'inf', 'parameter'],
)
def test_numbers_that_are_not_finite_stop_the_run_at_its_last_good_checkpoint(place, poison, factor, words):
    name = f'poisoned-{words.split()[3]}'
    stderr = finish(start_training(place, name, 20, poison % factor), 1)
    line = stderr.splitlines()[-1]
    checkpoint = os.path.join(name, 'checkpoint.npz')
    assert line == f'error: {words}: stopped; the last good checkpoint is {checkpoint}'
    assert done(place, name) == 4
    assert models.load_network(str(place / f'{name}.npz')).meta['training']['iterations'] == 4
    if 'loss' in words:
        assert [int(row['iteration']) for row in metrics(place, name)] == [1, 2, 3, 4, 5]
        assert sorted(os.listdir(str(place / name / 'samples'))) == ['000002.jpg', '000004.jpg']
    assert_like_an_uninterrupted_run(place, name, 6)


@pytest.mark.slow
def test_signals_and_a_full_disk_stop_training_with_a_checkpoint(place):
    name, folder = 'stopped', place / 'stopped'
    rows = folder / 'metrics.csv'

    def started(process):
        # The run before may have left rows that are newer than its checkpoint.
        checkpoint, left = done(place, name), len(metrics(place, name)) if rows.exists() else 0
        wait_for(lambda: rows.exists() and left != len(metrics(place, name)) > checkpoint, process)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        process = start_training(place, name, FOREVER, SLOW_DISK)
        started(process)
        process.send_signal(number)
        stderr = finish(process, 128 + number)
        assert 'carry on with the same command and --resume' in stderr.splitlines()[-1]
        assert done(place, name) == len(metrics(place, name)) > 0

    # No room for a checkpoint; then not even for a row of the metrics.
    before = done(place, name)
    process = start_training(place, name, FOREVER, SLOW_DISK + SMALL_DISK)
    line = finish(process, 1).splitlines()[-1]
    assert line.startswith('error: stopped/checkpoint.npz: cannot write: '), line
    assert done(place, name) == before
    process = start_training(place, name, FOREVER, SLOW_DISK)
    started(process)
    size = rows.stat().st_size
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, size))
    stderr = finish(process, 1)
    assert [line for line in stderr.splitlines() if 'error' in line] == stderr.splitlines()[-1:]
    assert stderr.splitlines()[-1].startswith('error: stopped/') and 'cannot write' in stderr
    before = done(place, name)
    assert before > 0
    assert_like_an_uninterrupted_run(place, name, before + 4 - before % 2)


# Somebody removes the run folder after the third iteration.
VANISHING = """
import shutil
append_row = train.runs.append_row
def append(table, row, sync=False):
    append_row(table, row, sync)
    if row[0] == 3:
        shutil.rmtree('vanished')
train.runs.append_row = append
"""


def test_a_run_folder_that_vanishes_does_not_cost_the_network(place):
    stderr = finish(start_training(place, 'vanished', 6, VANISHING))
    assert 'metrics.csv is gone' in stderr
    assert done(place, 'vanished') == 6 and [row['iteration'] for row in metrics(place, 'vanished')] == ['4', '5', '6']
    assert models.load_network(str(place / 'vanished.npz')).meta['training']['iterations'] == 6


def test_a_closed_terminal_ends_a_training_with_a_checkpoint(place):
    """Its pipe breaks first, which ends nothing; then comes SIGHUP."""
    name = 'hung-up'
    process = start_training(place, name, FOREVER, SLOW_DISK)
    wait_for(lambda: done(place, name) >= 2, process)
    process.stderr.close()
    rows = len(metrics(place, name))
    wait_for(lambda: len(metrics(place, name)) > rows + 2, process)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=300) == 128 + signal.SIGHUP
    process.stdout.close()
    assert done(place, name) == len(metrics(place, name)) > rows


@pytest.fixture(scope='module')
def networks(tmp_path_factory):
    """A folder with a network of the papers' size, one that is as wide and not as deep, and a small one."""
    folder = tmp_path_factory.mktemp('networks')
    models.save_network(str(folder / 'wide.npz'), tiny.transformer('cin', ['style'], (32, 4, 4), (4, 32)))
    models.save_network(str(folder / 'full.npz'), models.transformer_network(styles=['style']))
    models.save_network(str(folder / 'small.npz'), tiny.transformer('cin', ['style']))
    return folder


def stylize(folder, *options, environment=None, **more):
    command = [sys.executable, os.path.join(ROOT, 'stylize.py')] + list(options)
    return subprocess.run(
        command, cwd=str(folder), capture_output=True, text=True, env=dict(os.environ, **(environment or {})), **more
    )


def address_space(size):
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (size, size))


def large_photo(path, height, width):
    pixels = numpy.random.RandomState(0).randint(0, 256, (height // 8, width // 8, 3)).astype('uint8')
    files.write_image(path, pixels.repeat(8, 0).repeat(8, 1))


def test_a_photo_that_does_not_fit_into_the_address_space_is_computed_in_bands(networks):
    large_photo(str(networks / 'huge.png'), 1600, 2400)
    large_photo(str(networks / 'tiny.png'), 40, 40)
    limited = dict(preexec_fn=address_space(10**9))
    result = stylize(networks, '--model', 'wide.npz', 'huge.png', 'tiny.png', '--output', 'bands', **limited)
    assert result.returncode == 0 and 'Traceback' not in result.stderr, result.stderr
    said = [line for line in result.stderr.splitlines() if 'computing them in bands' in line]
    assert said == ['huge.png: 2400 x 1600 pixels do not fit into the memory at once: computing them in bands']
    assert files.read_image(str(networks / 'bands' / 'huge_style.png')).shape == (1600, 2400, 3)
    assert sorted(os.listdir(str(networks / 'bands'))) == ['huge_style.png', 'tiny_style.png']


def test_a_photo_that_does_not_fit_in_bands_either_is_refused_with_the_size_that_would(networks):
    large_photo(str(networks / 'huge.png'), 1600, 2400)
    large_photo(str(networks / 'tiny.png'), 40, 40)
    limited = dict(environment={'GOGH_MAX_MEMORY': str(170 * 10**6)})
    result = stylize(networks, '--model', 'small.npz', 'huge.png', 'tiny.png', '--output', 'refused', **limited)
    lines = [line for line in result.stderr.splitlines() if line.startswith('error')]
    assert result.returncode == 1 and 'Traceback' not in result.stderr and len(lines) == 2, result.stderr
    assert '2400 x 1600 pixels take about 0.2 GB' in lines[0] and '1 of 2 photos' in lines[1]
    assert os.listdir(str(networks / 'refused')) == ['tiny_style.png']
    size = re.search(r'--size (\d+) would fit', lines[0]).group(1)
    assert 400 < int(size) < 1600
    result = stylize(networks, '--model', 'small.npz', 'huge.png', '--output', 'fits.png', '--size', size, **limited)
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_24_megapixels_are_done_in_8_gb_of_address_space(networks):
    # How much of it the process takes for itself differs from machine to machine: whole or in bands is a near thing.
    large_photo(str(networks / 'large.jpg'), 4000, 6000)
    command = '--model', 'full.npz', 'large.jpg', '--output', 'large-pastiche.jpg'
    result = stylize(networks, *command, preexec_fn=address_space(8 * 10**9))
    assert result.returncode == 0, result.stderr
    assert files.read_image(str(networks / 'large-pastiche.jpg')).shape == (4000, 6000, 3)


def test_memory_that_runs_out_after_all_is_that_photos_failure(networks):
    # The user says that there is more than there is.
    large_photo(str(networks / 'huge.png'), 1600, 2400)
    large_photo(str(networks / 'tiny.png'), 40, 40)
    result = stylize(
        networks,
        *'--model full.npz huge.png tiny.png --output short'.split(),
        environment={'GOGH_MAX_MEMORY': '100000000000'},
        preexec_fn=address_space(10**9),
    )
    assert result.returncode == 1 and 'Traceback' not in result.stderr, result.stderr
    assert 'huge.png: not enough memory' in result.stderr and '1 of 2 photos' in result.stderr
    assert os.listdir(str(networks / 'short')) == ['tiny_style.png']


# stylize.py, whose memory is looked at after 50 photos and at the end.
MEMORY = f"""
import resource, sys
sys.path.insert(0, {ROOT!r})
import files, stylize, utils
written = []
def write_picture(*arguments, write=files.write_picture):
    write(*arguments)
    written.append(arguments[0])
    if len(written) in (50, 490):
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
files.write_picture = write_picture
sys.argv[0] = 'stylize.py'
utils.run_script(stylize.main)
"""


@pytest.mark.slow
def test_500_photos_of_which_some_are_broken_in_flat_memory(networks):
    photos = networks / 'photos'
    photos.mkdir()
    large_photo(str(photos / '000.png'), 64, 96)
    whole, broken = (photos / '000.png').read_bytes(), range(7, 500, 50)
    for i in range(500):
        (photos / f'{i:03d}.png').write_bytes(whole[: i % 100] if i in broken else whole)
    result = subprocess.run(
        [sys.executable, '-c', MEMORY, '--model', 'small.npz', 'photos', '--output', 'out'],
        cwd=str(networks),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1 and 'Traceback' not in result.stderr, result.stderr
    assert '10 of 500 photos could not be stylized' in result.stderr
    for i in broken:
        assert f'error: photos/{i:03d}.png: ' in result.stderr
    assert sorted(os.listdir(str(networks / 'out'))) == [f'{i:03d}_style.png' for i in range(500) if i not in broken]
    # Between the names of the pastiches.
    after_50, after_all = [int(line) for line in result.stdout.split('\n') if line.isdigit()]
    assert after_all < after_50 + 10 * 1024, 'kilobytes'


@pytest.mark.slow
@pytest.mark.parametrize('backend', ['onednn', 'plain'])
def test_two_cold_starts_share_an_empty_cache(networks, tmp_path, backend):
    large_photo(str(networks / 'cold.png'), 32, 48)
    runs = [
        subprocess.Popen(
            [
                sys.executable,
                os.path.join(ROOT, 'stylize.py'),
                '--model',
                'small.npz',
                '--backend',
                backend,
                'cold.png',
                '--output',
                str(tmp_path / f'{i}.png'),
            ],
            cwd=str(networks),
            stderr=subprocess.PIPE,
            universal_newlines=True,
            env=dict(os.environ, XDG_CACHE_HOME=str(tmp_path / 'cache')),
        )
        for i in range(2)
    ]
    for process in runs:
        _, stderr = process.communicate(timeout=600)
        assert process.returncode == 0 and 'Warning' not in stderr and 'warning' not in stderr, stderr
    assert (tmp_path / '0.png').read_bytes() == (tmp_path / '1.png').read_bytes()
