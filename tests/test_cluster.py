"""Work over many processes, by Dask: nothing is lost and nothing is made twice, whatever dies."""

import concurrent.futures
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
import evaluation
import files
import utils
from conftest import ROOT
from controls import Controls
from formats import vgg
from support import chores, tiny

distributed = pytest.importorskip('distributed')


@pytest.fixture(scope='module')
def client():
    """The client of a cluster of two workers, of one thread each."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv('OMP_NUM_THREADS', '1')
        with cluster.connected(None, 2) as client:
            yield client


def test_what_a_dead_worker_was_given_is_done_by_another(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cluster, 'DEATHS', 2)
    with cluster.connected(None, 2) as client:
        results = dict(cluster.spread(client, chores.deadly, [(str(tmp_path), number) for number in range(7)]))
    squares = {number: result for (_, number), result in results.items()}
    assert isinstance(squares.pop(5), utils.UserError)
    # Another one may have been with the worker each time that it died of 5.
    assert len(squares) == 6
    assert sum(squares[number] == number**2 for number in squares) >= 5
    assert 'the dashboard of the cluster: http' in capsys.readouterr().err


def is_running(process):
    """Whether there is a process of this number that has not ended."""
    state = utils.contents(f'/proc/{process}', 'stat').rpartition(')')[2].split()
    return bool(state) and state[0] != 'Z'


def test_what_a_worker_has_that_does_not_answer_is_done_by_another(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, 'SILENCE', 6)
    with cluster.connected(None, 2) as client:
        results = list(cluster.in_order(client, chores.stopping, [(str(tmp_path), number) for number in range(7)]))
    assert [result for _, result in results] == [number**2 for number in range(7)]
    workers = [int(name) for name in os.listdir(tmp_path) if name != 'stopped']
    assert len(workers) >= 2
    assert not any(map(is_running, workers))


def test_results_come_in_order_and_no_more_items_are_taken_than_workers_have_to_do(client):
    taken, most = [], cluster.AHEAD * 2
    numbers = (taken.append(number) or (number,) for number in range(20))
    for done, (item, result) in enumerate(cluster.in_order(client, chores.slowest_first, numbers)):
        assert item == (done,) and result == done
        assert len(taken) <= done + 1 + most
    assert done == 19


def test_ctrl_c_in_a_terminal_which_workers_get_as_well_leaves_them_at_work(client):
    for worker in client.run(os.getpid).values():
        os.kill(worker, signal.SIGINT)
        os.kill(worker, signal.SIGHUP)
    assert [result for _, result in cluster.in_order(client, chores.slowest_first, [(9,)] * 4)] == [9] * 4


def test_workers_have_the_limit_on_pixels_of_who_asks(client, monkeypatch):
    monkeypatch.setenv('GOGH_MAX_PIXELS', '1234')
    assert [limit for _, limit in cluster.in_order(client, files.pixel_limit, [()] * 4)] == [1234] * 4
    monkeypatch.delenv('GOGH_MAX_PIXELS')
    assert [limit for _, limit in cluster.spread(client, files.pixel_limit, [()] * 4)] == [200 * 10**6] * 4


def everything_in(folder):
    """{name: contents} of the files in a folder and in those in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_an_evaluation_is_that_of_a_run_without_a_cluster(client, place, run):
    tiny.noise(place, ('styles/waves.png', 'styles/sun.png', 'photos/a.png', 'photos/b.png'), numpy.random, (24, 24, 3))
    tiny.loss_network(place / 'vgg.npz', numpy.random, ('conv1_1', 'conv1_2'), 0.05)
    command = (
        'evaluate.py --model cin.npz --style-dir styles --photos photos --image-size 16 --style-size 24 --iterations 2 '
        '--content-layers conv1_1 --style-layers conv1_1,conv1_2 --loss-weights vgg.npz --output'
    ).split()
    spread = '--scheduler', client.scheduler.address
    done = [run(*command, *options, cwd=place, OMP_NUM_THREADS='1') for options in (('alone',), ('spread',) + spread)]
    assert [process.returncode for process in done] == [0, 0], done
    assert done[0].stdout == done[1].stdout
    alone = everything_in(place / 'alone')
    assert len(alone) == 8 + 8 and everything_in(place / 'spread') == alone
    # What is there is not measured again.
    table = place / 'spread' / 'losses.csv'
    lines = table.read_bytes().splitlines(True)
    table.write_bytes(b''.join(lines[:4]) + lines[4][:9])
    resumed = run(*command, 'spread', '--resume', *spread, cwd=place, OMP_NUM_THREADS='1')
    assert resumed.returncode == 0 and everything_in(place / 'spread') == alone, resumed.stderr


def test_a_clip_is_that_of_a_run_without_a_cluster_and_each_carries_on_with_the_frames_of_the_other(client, place, run):
    pytest.importorskip('av')
    pytest.importorskip('cv2')
    from support import clips

    os.mkdir('clip')
    for number in range(60):
        files.write_image(os.path.join('clip', f'{number:02d}.png'), clips.drawing(number))
    command = ('video.py clip --model cin.npz --style-at 0=waves,1=sun --strength 0.75 --steady 0.7 --output').split()
    alone = run(*command, 'alone', cwd=place, OMP_NUM_THREADS='1')
    assert alone.returncode == 0, alone.stderr
    spread = [sys.executable, os.path.join(ROOT, command[0]), *command[1:], 'spread']
    spread += ['--scheduler', client.scheduler.address]
    stopped = subprocess.Popen(spread, stderr=subprocess.PIPE, text=True)
    while stopped.poll() is None and not os.path.exists(os.path.join('spread', '000003.png')):
        time.sleep(0.01)
    stopped.send_signal(signal.SIGINT)
    complaints = stopped.communicate()[1]
    assert stopped.returncode == 130 and 'Traceback' not in complaints, complaints
    assert not os.path.exists(os.path.join('spread', '000060.png'))
    resumed = run(*command, 'spread', cwd=place, OMP_NUM_THREADS='1')
    assert resumed.returncode == 0 and everything_in(place / 'spread') == everything_in(place / 'alone')
    for number in range(6, 61):
        os.remove(os.path.join('spread', f'{number:06d}.png'))
    finished = subprocess.run(spread, capture_output=True, text=True)
    assert finished.returncode == 0 and everything_in(place / 'spread') == everything_in(place / 'alone')


def test_a_frame_or_a_pair_over_which_workers_die_again_and_again_is_one_line(monkeypatch):
    died = utils.UserError('the workers that it was given to died')
    monkeypatch.setattr(cluster, 'in_order', lambda client, function, items: ((item, died) for item in items))
    with pytest.raises(utils.UserError, match='^clip.mp4: a frame: the workers that it was given to died$'):
        list(cluster.stylize_frames(None, ('cin.npz',), 'clip.mp4', Controls(), [(None, None)]))
    with pytest.raises(utils.UserError, match='^a photo and a style: the workers that it was given to died$'):
        list(evaluation.measure_on(None, (), 1, [(None, 0, ['photo'])]))


def test_a_worker_keeps_what_it_compiled_for_the_latest_settings(monkeypatch):
    monkeypatch.setattr(cluster, '_compiled', {})
    made = []

    def make(*settings):
        made.append(settings)
        return settings

    for settings in [(1, 'a'), (1, 'b'), (1, 'a'), (2, 'a'), (3, 'a'), (4, 'a'), (1, 'b'), (1, 'a')]:
        with cluster.compiled(make, *settings) as value:
            assert value == settings
    assert made == [(1, 'a'), (1, 'b'), (2, 'a'), (3, 'a'), (4, 'a'), (1, 'a')]


def test_random_weights_of_a_loss_network_are_the_same_in_each_process_and_named_as_such_once(capsys, monkeypatch):
    monkeypatch.setattr(vgg, 'WIDTHS', (2, 2, 2, 2, 2))
    first, second = vgg.read_all(['random'], warn=False)[0], vgg.read_all(['random'])[0]
    assert all((first[name] == second[name]).all() for name in first) and list(first) == list(second)
    assert capsys.readouterr().err.count('WARNING') == 1


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
    monkeypatch.setattr(cluster, '_compiled', {})
    monkeypatch.setattr(cluster, '_stylist', lambda settings, stamp: stylist)
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


def test_a_scheduler_that_goes_away_is_one_line(client):
    address = client.scheduler.address
    for error in (distributed.comm.CommClosedError(), concurrent.futures.CancelledError()):
        with pytest.raises(
            utils.UserError, match=f'^{address}: the scheduler no longer answers; what was made is kept$'
        ):
            with cluster.connected(address, None):
                raise error


def test_without_dask_one_line_says_what_to_install_and_nothing_is_imported(place, fails, tmp_path_factory):
    folder = tmp_path_factory.mktemp('without')
    (folder / 'distributed.py').write_text('raise ImportError("No module named distributed")')
    command = 'stylize.py', '--model', 'cin.npz', '--style', 'waves', 'photo.png'
    line = fails(*command, '--workers', '2', cwd=str(place), PYTHONPATH=str(folder))
    assert 'need Dask (pip install "distributed", or python install.py dask)' in line
    line = fails(*command, '--workers', '2', '--scheduler', 'tcp://host:8786', cwd=str(place))
    assert 'argument --scheduler: not allowed with argument --workers' in line
    subprocess.check_call(
        [sys.executable, '-c', "import sys, cluster; assert not {'dask', 'distributed'} & set(sys.modules)"], cwd=ROOT
    )


def test_a_scheduler_that_lacks_the_project_is_one_line(monkeypatch):
    class Future:
        def result(self):
            raise RuntimeError('Error during deserialization of the task graph')

        def release(self):
            pass

    class Client:
        def submit(self, function, *arguments, key):
            return Future()

    monkeypatch.setattr(distributed, 'as_completed', list)
    with pytest.raises(utils.UserError, match=f'start them with PYTHONPATH={ROOT}$'):
        list(cluster.spread(Client(), len, [('a',)]))
