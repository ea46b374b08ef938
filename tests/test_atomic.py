"""Files that are written whole or not at all."""

import os
import random
import signal
import stat
import subprocess
import time

import numpy
import pytest
from support.processes import python

import files
import utils


def test_atomic_write_has_the_permissions_of_open(tmp_path):
    # A new file has those that the umask leaves, and one that is there keeps its own.
    for umask, expected in ((0o077, 0o600), (0o022, 0o600), (0o022, 0o644)):
        old = os.umask(umask)
        try:
            with files.atomic_write(tmp_path / 'file') as file:
                file.write(b'new')
        finally:
            os.umask(old)
        assert (tmp_path / 'file').read_bytes() == b'new'
        assert stat.S_IMODE(os.stat(tmp_path / 'file').st_mode) == expected
        assert os.listdir(tmp_path) == ['file']
        if umask == 0o022:
            os.remove(tmp_path / 'file')


def test_what_is_renamed_is_on_disk_and_the_rename_follows(tmp_path, monkeypatch):
    # A power cut may undo what was not synced, in any order.
    path, events = str(tmp_path / 'file'), []

    def fsync(handle, sync=os.fsync):
        sync(handle)
        name = os.readlink(f'/proc/self/fd/{handle}')
        events.append(('sync', name, os.path.getsize(name) if os.path.isfile(name) else None))

    def replace(old, new, rename=os.replace):
        rename(old, new)
        events.append(('rename', old, new))

    monkeypatch.setattr(os, 'fsync', fsync)
    monkeypatch.setattr(os, 'replace', replace)
    for write in (
        lambda: files.save_npz(path, [numpy.zeros(10**5)]),
        lambda: files.write_image(f'{path}.png', numpy.zeros((9, 7, 3), 'uint8')),
    ):
        events.clear()
        write()
        (_, temporary, size), (_, old, new), folder = events
        assert old == temporary and size == os.path.getsize(new)
        assert folder == ('sync', str(tmp_path), None)


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt, OSError(28, 'No space left on device')])
def test_a_failed_write_keeps_what_was_there(tmp_path, error):
    path = tmp_path / 'file'
    path.write_bytes(b'old')
    with pytest.raises(utils.UserError if isinstance(error, OSError) else error):
        with files.atomic_write(path) as file:
            file.write(b'ne')
            raise error
    assert path.read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['file']


def test_what_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'file').write_bytes(b'')
    for path in (
        tmp_path / 'folder',
        tmp_path / 'missing' / 'file',
        tmp_path / 'file' / 'file',
        tmp_path / ('long' * 100),
    ):
        with pytest.raises(utils.UserError, match='cannot write') as error:
            with files.atomic_write(path) as file:
                file.write(b'new')
        assert str(path) in str(error.value)
    assert sorted(os.listdir(tmp_path)) == ['file', 'folder']


def test_the_file_is_synced_before_it_gets_its_name_and_the_folder_after(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os,
        'fsync',
        lambda handle: (
            events.append('folder' if stat.S_ISDIR(os.fstat(handle).st_mode) else os.fstat(handle).st_size),
            fsync(handle),
        ),
    )
    monkeypatch.setattr(os, 'replace', lambda a, b: (events.append('rename'), replace(a, b)))
    with files.atomic_write(tmp_path / 'file') as file:
        file.write(b'x' * 1000)
    assert events == [1000, 'rename', 'folder']


def test_a_full_disk_loses_nothing(tmp_path):
    # A limit on the size of files stands for the disk: the write fails half-way, in the same place.
    path = tmp_path / 'net.npz'
    files.save_npz(str(path), [numpy.arange(10)])
    old = path.read_bytes()
    code = (
        'import files, resource, signal, numpy, utils\n'
        'signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n'
        'resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))\n'
        f'utils.run_script(lambda: files.save_npz({str(path)!r}, [numpy.zeros(10**6)]))'
    )
    done = python(code)
    assert done.returncode == 1
    assert done.stderr.startswith(f'error: {path}: cannot write') and done.stderr.count('\n') == 1
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ['net.npz']


@pytest.mark.skipif(
    not os.path.isdir('/dev/shm') or not hasattr(os, 'geteuid') or os.geteuid() != 0,
    reason='mounting a small file system takes root',
)
def test_a_full_file_system_loses_nothing(tmp_path):
    if subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', str(tmp_path)], stderr=subprocess.DEVNULL
    ).returncode:
        pytest.skip('mounting is not allowed here')
    try:
        path = str(tmp_path / 'net.npz')
        files.save_npz(path, [numpy.arange(10)])
        with pytest.raises(utils.UserError, match='No space left'):
            files.save_npz(path, [numpy.random.RandomState(0).rand(10**5)])
        assert (files.load_npz(path)['arr_0'] == numpy.arange(10)).all()
        assert os.listdir(tmp_path) == ['net.npz']
    finally:
        subprocess.run(['umount', str(tmp_path)], check=True)


def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path):
    path = str(tmp_path / 'net.npz')
    delays = random.Random(0)
    for _ in range(25):
        child = os.fork()
        if child == 0:
            try:
                for value in range(10**6):
                    files.save_npz(path, [numpy.full(20000, value)])
            finally:
                os._exit(1)
        while not os.path.exists(path):
            time.sleep(0.001)
        time.sleep(delays.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        values = files.load_npz(path)['arr_0']
        assert values.shape == (20000,) and (values == values[0]).all()
    files.save_npz(path, [numpy.zeros(3)])
    assert os.listdir(tmp_path) == ['net.npz'], 'what killed writers left behind is removed'


def test_the_file_of_a_writer_that_lives_is_not_removed(tmp_path):
    with files.atomic_write(tmp_path / 'file') as file:
        file.write(b'first')
        with files.atomic_write(tmp_path / 'file') as other:
            other.write(b'second')
    assert (tmp_path / 'file').read_bytes() == b'first'
