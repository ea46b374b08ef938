"""Photos over many processes, by Dask: none is lost and none is made twice, whatever dies."""

import os
import signal
import subprocess
import sys
import time
import types

import numpy
import pytest

import albums
import cluster
import files
import utils
from conftest import ROOT
from controls import Controls

distributed = pytest.importorskip('distributed')


def deadly(folder, number):
    """The square of a number; of 3 the first worker dies that is asked, and of 5 every one."""
    path = os.path.join(folder, str(number))
    if number == 5 or (number == 3 and not os.path.exists(path)):
        open(path, 'w').close()
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2


def test_what_a_dead_worker_was_given_is_done_by_another(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cluster, 'DEATHS', 2)
    with cluster.connected(None, 2) as client:
        results = dict(cluster.spread(client, deadly, [(str(tmp_path), number) for number in range(7)]))
    squares = {number: result for (_, number), result in results.items()}
    assert isinstance(squares.pop(5), utils.UserError)
    # Another one may have been with the worker each time that it died of 5.
    assert len(squares) == 6
    assert sum(squares[number] == number**2 for number in squares) >= 5
    assert 'the dashboard of the cluster: http' in capsys.readouterr().err


def workers_of(process):
    """The process ids of the workers of a script that was started with --workers."""
    found = []
    for name in filter(str.isdigit, os.listdir('/proc')):
        status, command = utils.contents(f'/proc/{name}', 'stat'), utils.contents(f'/proc/{name}', 'cmdline')
        if status and int(status.rpartition(')')[2].split()[1]) == process.pid and 'spawn_main' in command:
            found.append(int(name))
    return found


@pytest.mark.slow
def test_pastiches_are_those_of_a_run_without_a_cluster_though_workers_are_killed(place):
    (place / 'photos').mkdir()
    for number in range(8):
        photo = numpy.random.RandomState(number).randint(0, 256, (40, 36, 3)).astype('uint8')
        files.write_image(str(place / 'photos' / f'{number}.png'), photo)
    (place / 'photos' / 'bad.png').write_bytes(b'no picture')
    command = [sys.executable, os.path.join(ROOT, 'stylize.py'), '--model', 'cin.npz', '--style', 'waves,sun', 'photos']
    environment = dict(os.environ, OMP_NUM_THREADS='1')
    alone = subprocess.run(command + ['--output', 'alone'], capture_output=True, text=True, env=environment)
    assert alone.returncode == 1 and '1 of 9 photos could not be stylized' in alone.stderr, alone.stderr
    spread = subprocess.Popen(
        command + ['--output', 'spread', '--workers', '2', '--grid', 'sheet.png'],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    while spread.poll() is None and not (os.path.isdir('spread') and os.listdir('spread')):
        time.sleep(0.02)
    victims = workers_of(spread)
    os.kill(victims[0], signal.SIGKILL)
    said, complaints = spread.communicate(timeout=600)
    assert spread.returncode == 1 and 'Traceback' not in complaints, complaints
    assert 'bad.png: not an image' in complaints and '1 of 9 photos could not be stylized' in complaints
    names = sorted(os.listdir('alone'))
    assert len(names) == 16 and sorted(os.listdir('spread')) == names
    assert sorted(said.split()) == sorted([os.path.join('spread', name) for name in names] + ['sheet.png'])
    for name in names:
        assert (place / 'spread' / name).read_bytes() == (place / 'alone' / name).read_bytes()


class Counting:
    """A stylist whose pastiches are the photos; tells which it was asked for."""

    device = types.SimpleNamespace(name='cpu')

    def __init__(self):
        self.asked = []

    def stylize_files(self, paths, styles, size, batch_size, controls, skip):
        for path in paths:
            for label, _ in styles:
                if (path, label) not in skip:
                    self.asked.append(label)
                    yield path, label, files.read_picture(path), files.read_picture(path)


def test_what_a_worker_made_before_it_died_is_not_made_again(place, monkeypatch):
    stylist = Counting()
    monkeypatch.setattr(cluster, '_stylist', lambda settings: stylist)
    files.write_image('b.png', numpy.zeros((16, 16, 3), 'uint8'))
    outputs = {label: (f'{label}.png', cluster._stamp(f'{label}.png')) for label in 'abc'}
    assert outputs['a'][1] is None and outputs['b'][1] is not None
    arguments = [(label, {0: 1.0}) for label in 'abc'], None, 1, Controls(), True
    files.write_image('a.png', numpy.zeros((20, 24, 3), 'uint8'), albums._origin('photo.png'))
    entries = cluster.make_photo('photo.png', outputs, 'settings', *arguments)
    assert stylist.asked == ['b', 'c']
    assert {entry.label: entry.report.get('width') for entry in entries} == dict.fromkeys('abc', 24)
    assert all(entry.small.shape[0] == albums.THUMBNAIL for entry in entries)
    cluster.make_photo('photo.png', outputs, 'settings', *arguments)
    assert stylist.asked == ['b', 'c']


def test_a_scheduler_that_nobody_is_at_is_one_line(monkeypatch):
    monkeypatch.setattr(cluster, 'PATIENCE', 0.5)
    with pytest.raises(utils.UserError, match='^tcp://127.0.0.1:9: no cluster of Dask: '):
        with cluster.connected('tcp://127.0.0.1:9', None):
            pass


def test_without_dask_one_line_says_what_to_install_and_nothing_is_imported(place, fails, tmp_path_factory):
    folder = tmp_path_factory.mktemp('without')
    (folder / 'distributed.py').write_text('raise ImportError("No module named distributed")')
    command = 'stylize.py', '--model', 'cin.npz', '--style', 'waves', 'photo.png'
    line = fails(*command, '--workers', '2', cwd=str(place), PYTHONPATH=str(folder))
    assert 'need Dask (pip install "distributed", or python install.py dask)' in line
    line = fails(*command, '--workers', '2', '--scheduler', 'tcp://host:8786', cwd=str(place))
    assert 'contradict each other' in line
    subprocess.check_call(
        [sys.executable, '-c', "import sys, cluster; assert not {'dask', 'distributed'} & set(sys.modules)"], cwd=ROOT
    )


def test_a_scheduler_that_lacks_the_project_is_one_line(monkeypatch):
    class Future:
        def exception(self):
            return RuntimeError('Error during deserialization of the task graph')

    class Client:
        def submit(self, function, *arguments, pure):
            return Future()

    monkeypatch.setattr(distributed, 'as_completed', list)
    with pytest.raises(utils.UserError, match=f'start them with PYTHONPATH={ROOT}$'):
        list(cluster.spread(Client(), len, [('a',)]))
