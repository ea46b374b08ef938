"""Runs that are killed, stopped or out of disk or memory lose nothing: real processes, faults put in from outside."""
import csv
import os
import re
import resource
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

import models
import utils
from conftest import ROOT
from test_models import SMALL

# Training with a disk that takes its time, so that much of it is writing and kills hit that as well.
SLOW_DISK = """
import os, sys, time
sys.path.insert(0, %r)
import train, utils
fsync = os.fsync
os.fsync = lambda handle: (time.sleep(.03), fsync(handle))
sys.argv[0] = 'train.py'
utils.run_script(train.main)
""" % ROOT
FOREVER = 10**6


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder with what the smallest of trainings needs."""
    place = tmp_path_factory.mktemp('reliability')
    generator = np.random.RandomState(0)
    (place / 'styles').mkdir()
    for name in 'ab':
        utils.write_image(str(place / 'styles' / (name + '.png')), generator.randint(0, 256, (32, 32, 3)).astype('uint8'))
    weights, channels = {}, 3
    for name in ('conv1_1', 'conv1_2'):
        weights[name + '_W'] = (generator.randn(4, channels, 3, 3) / (4 * channels ** .5)).astype('float32')
        weights[name + '_b'] = generator.randn(4).astype('float32')
        channels = 4
    np.savez(str(place / 'vgg.npz'), **weights)
    with h5py.File(str(place / 'content.h5'), 'w') as file:
        for name, count in [('train2014', 6), ('val2014', 3)]:
            file[name + '/images'] = generator.randint(0, 256, (count, 3, 16, 16)).astype('uint8')
    return place


def start_training(place, name, iterations, **options):
    command = [sys.executable, '-c', SLOW_DISK, '--style-dir', 'styles', '--content', 'content.h5', '--loss-weights',
               'vgg.npz', '--content-layer', 'conv1_2', '--style-layers', 'conv1_2', '--width', '4',
               '--residual-blocks', '0', '--image-size', '16', '--style-size', '16', '--batch-size', '2',
               '--checkpoint-every', '2', '--resume', '--output', name + '.npz', '--iterations', str(iterations)]
    return subprocess.Popen(command, cwd=str(place), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            universal_newlines=True, env=dict(os.environ, OMP_NUM_THREADS='1'), **options)


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
        time.sleep(.001)


def files(folder):
    return os.listdir(str(folder)) if folder.exists() else []


def metrics(place, name):
    with open(str(place / name / 'metrics.csv'), newline='') as file:
        return [dict(row, seconds=None) for row in csv.DictReader(file)]


def done(place, name):
    """Iterations that the newest checkpoint holds; fails if it is damaged."""
    path = str(place / name / 'checkpoint.npz')
    if not os.path.exists(path):
        return 0
    arrays = utils.load_npz(path)
    assert all(np.isfinite(value).all() for key, value in arrays.items() if key.startswith('value'))
    return int(arrays['iteration'])


def assert_like_an_uninterrupted_run(place, name, iterations):
    """Run to the end, and compare with a run that nothing happened to: all bits but the seconds."""
    finish(start_training(place, name, iterations))
    finish(start_training(place, name + '-whole', iterations))
    for file in ('%s/checkpoint.npz', '%s.npz'):
        got, expected = (utils.load_npz(str(place / (file % run))) for run in (name, name + '-whole'))
        assert list(got) == list(expected)
        for key in got:
            assert got[key].tobytes() == expected[key].tobytes(), key
    rows = metrics(place, name)
    assert [int(row['iteration']) for row in rows] == list(range(1, iterations + 1))
    assert rows == metrics(place, name + '-whole')
    assert not [file for file in files(place) + files(place / name) if file.endswith('.tmp')]


@pytest.mark.slow
def test_signals_and_a_full_disk_stop_training_with_a_checkpoint(place):
    name, folder = 'stopped', place / 'stopped'
    rows = folder / 'metrics.csv'

    def started(process, count=1):
        process_start = done(place, name)
        wait_for(lambda: rows.exists() and len(metrics(place, name)) >= process_start + count, process)

    for number in (signal.SIGTERM, signal.SIGINT):
        process = start_training(place, name, FOREVER)
        started(process)
        process.send_signal(number)
        stderr = finish(process, 128 + number)
        assert 'carry on with the same command and --resume' in stderr.splitlines()[-1]
        assert done(place, name) == len(metrics(place, name)) > 0

    # No room for a checkpoint; then not even for a row of the metrics.
    before = done(place, name)
    process = start_training(place, name, FOREVER, preexec_fn=lambda: resource.setrlimit(
        resource.RLIMIT_FSIZE, (40000, 40000)))
    line = finish(process, 1).splitlines()[-1]
    assert line.startswith('error: stopped/checkpoint.npz: cannot write: '), line
    assert done(place, name) == before
    process = start_training(place, name, FOREVER)
    started(process)
    size = rows.stat().st_size
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, size))
    stderr = finish(process, 1)
    assert [line for line in stderr.splitlines() if 'error' in line] == stderr.splitlines()[-1:]
    assert stderr.splitlines()[-1].startswith('error: stopped/') and 'cannot write' in stderr
    before = done(place, name)
    assert before > 0
    assert_like_an_uninterrupted_run(place, name, before + 4 - before % 2)


@pytest.fixture(scope='module')
def networks(tmp_path_factory):
    """A folder with a network of the papers' size, and a small one."""
    folder = tmp_path_factory.mktemp('networks')
    models.save_network(str(folder / 'full.npz'), models.transformer_network('cin', ['style']))
    models.save_network(str(folder / 'small.npz'), models.transformer_network('cin', ['style'], **SMALL))
    return folder


def stylize(folder, *options, environment=None, **more):
    command = [sys.executable, os.path.join(ROOT, 'stylize.py')] + list(options)
    return subprocess.run(command, cwd=str(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, env=dict(os.environ, **(environment or {})), **more)


def address_space(size):
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (size, size))


def large_photo(path, height, width):
    pixels = np.random.RandomState(0).randint(0, 256, (height // 8, width // 8, 3)).astype('uint8')
    utils.write_image(path, pixels.repeat(8, 0).repeat(8, 1))


def test_a_photo_that_would_not_fit_is_refused_with_the_size_that_would(networks):
    large_photo(str(networks / 'huge.png'), 1600, 2400)
    large_photo(str(networks / 'tiny.png'), 40, 40)
    limited = dict(preexec_fn=address_space(10**9))
    result = stylize(networks, '--model', 'full.npz', 'huge.png', 'tiny.png', '--output', 'refused', **limited)
    lines = [line for line in result.stderr.splitlines() if line.startswith('error')]
    assert result.returncode == 1 and 'Traceback' not in result.stderr and len(lines) == 2, result.stderr
    assert '2400 x 1600 pixels take about 1.3 GB' in lines[0] and '1 of 2 photos' in lines[1]
    assert os.listdir(str(networks / 'refused')) == ['tiny_style.png']
    size = re.search(r'--size (\d+) would fit', lines[0]).group(1)
    assert 400 < int(size) < 1600
    result = stylize(networks, '--model', 'full.npz', 'huge.png', '--output', 'fits.png', '--size', size, **limited)
    assert result.returncode == 0, result.stderr


def test_memory_that_runs_out_after_all_is_that_photos_failure(networks):
    # The user says that there is more than there is.
    large_photo(str(networks / 'huge.png'), 1600, 2400)
    large_photo(str(networks / 'tiny.png'), 40, 40)
    result = stylize(networks, '--model', 'full.npz', 'huge.png', 'tiny.png', '--output', 'short',
                     environment={'GOGH_MAX_MEMORY': '100000000000'}, preexec_fn=address_space(10**9))
    assert result.returncode == 1 and 'Traceback' not in result.stderr, result.stderr
    assert 'huge.png: not enough memory' in result.stderr and '1 of 2 photos' in result.stderr
    assert os.listdir(str(networks / 'short')) == ['tiny_style.png']


@pytest.mark.slow
def test_500_images_with_broken_ones_in_flat_memory(networks):
    code = ("import resource, sys\nsys.path.insert(0, %r)\nimport stylize\nsys.argv[0] = 'stylize.py'\n"
            "status = stylize.main()\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
            "sys.exit(status)" % ROOT)
    peaks = []
    for count in (50, 500):
        photos = networks / ('photos-%d' % count)
        photos.mkdir()
        for i in range(count):
            large_photo(str(photos / ('%03d.png' % i)), 64, 96)
        broken = range(7, count, 50)
        for i in broken:
            path = photos / ('%03d.png' % i)
            path.write_bytes(path.read_bytes()[:i % 100])
        result = subprocess.run([sys.executable, '-c', code, '--model', 'small.npz', photos.name, '--output',
                                 'out-%d' % count], cwd=str(networks), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, universal_newlines=True)
        assert result.returncode == 1 and 'Traceback' not in result.stderr, result.stderr
        assert '%d of %d photos could not be stylized' % (len(broken), count) in result.stderr
        for i in broken:
            assert 'error: photos-%d/%03d.png: ' % (count, i) in result.stderr
        assert sorted(os.listdir(str(networks / ('out-%d' % count)))) == [
            '%03d_style.png' % i for i in range(count) if i not in broken]
        peaks.append(int(result.stdout))
    assert peaks[1] < peaks[0] + 10 * 1024, 'kilobytes: %s' % peaks


@pytest.mark.slow
def test_two_cold_starts_share_an_empty_cache(networks, tmp_path):
    large_photo(str(networks / 'cold.png'), 32, 48)
    runs = [subprocess.Popen(
        [sys.executable, os.path.join(ROOT, 'stylize.py'), '--model', 'small.npz', '--backend', 'onednn', 'cold.png',
         '--output', str(tmp_path / ('%d.png' % i))], cwd=str(networks), stderr=subprocess.PIPE,
        universal_newlines=True, env=dict(os.environ, XDG_CACHE_HOME=str(tmp_path / 'cache'))) for i in range(2)]
    for process in runs:
        _, stderr = process.communicate(timeout=600)
        assert process.returncode == 0 and 'Warning' not in stderr and 'warning' not in stderr, stderr
    assert (tmp_path / '0.png').read_bytes() == (tmp_path / '1.png').read_bytes()
