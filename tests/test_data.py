"""Facts of data/make_dataset.py: folders and zip files of photos to the HDF5 layout of fast-neural-style."""

import contextlib
import importlib.util
import io
import os
import signal
import subprocess
import sys
import time
import zipfile

import h5py
import numpy
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

import files
import utils

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCRIPT = os.path.join(ROOT, 'data', 'make_dataset.py')
_spec = importlib.util.spec_from_file_location('gogh_make_dataset', SCRIPT)
make_dataset = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_dataset)


def picture(height, width, seed):
    return numpy.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(numpy.uint8)


@pytest.fixture
def photos(tmp_path):
    """Folders of photos of different sizes and kinds, some of them broken."""
    for folder, count in (('train', 12), ('val', 3)):
        (tmp_path / folder).mkdir()
        for i in range(count):
            files.write_image(str(tmp_path / folder / f'{i:02d}.png'), picture(33 + i, 50 - i, i))
    Image.fromarray(picture(40, 40, 50)[..., 0]).save(str(tmp_path / 'train' / 'grey.png'))
    return tmp_path


def run(tmp_path, *arguments):
    """Run the script as a command, within this process: it takes a tenth of the time."""
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = [SCRIPT, '--overwrite', '--output', str(tmp_path / 'out.h5')] + [str(argument) for argument in arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            utils.run_script(make_dataset.main)
    except SystemExit as exit:
        return subprocess.CompletedProcess(sys.argv, exit.code or 0, out.getvalue(), err.getvalue())
    finally:
        sys.argv = argv


def made(tmp_path, *arguments):
    done = run(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    with h5py.File(str(tmp_path / 'out.h5'), 'r') as file:
        names = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        return {name: file[name][:] for name in names}


def break_some(folder):
    (folder / '05.png').write_bytes(b'')
    (folder / '07.png').write_bytes((folder / '06.png').read_bytes()[:500])
    (folder / '99.jpg').write_bytes(b'not an image')


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 40))
def test_squares_are_cut_to_multiples_of_16_and_resized(height, width, size):
    image = picture(height, width, 0)
    square = make_dataset.cut(image, (size, size))
    assert square.shape == (size, size, 3) and square.dtype == numpy.uint8
    cut = Image.fromarray(image).crop((0, 0, width // 16 * 16 or width, height // 16 * 16 or height))
    assert (square == numpy.array(cut.resize((size, size), Image.Resampling.BILINEAR))).all()


def test_a_square_that_fits_is_left_as_it_is():
    image = picture(40, 47, 0)
    assert (make_dataset.cut(image, (32, 32)) == make_dataset.cut(image[:32, :32], (32, 32))).all()
    assert (make_dataset.cut(image[:32, :32], (32, 32)) == image[:32, :32]).all()


def test_the_layout_is_that_of_fast_neural_style(photos):
    datasets = made(photos, '--train', photos / 'train', '--val', photos / 'val', '--size', 32)
    assert sorted(datasets) == ['train2014/images', 'val2014/images']
    train, val = datasets['train2014/images'], datasets['val2014/images']
    assert train.shape == (13, 3, 32, 32) and val.shape == (3, 3, 32, 32)
    assert train.dtype == val.dtype == numpy.uint8
    for i in range(12):
        assert (train[i] == make_dataset.cut(picture(33 + i, 50 - i, i), (32, 32)).transpose(2, 0, 1)).all()
    grey = make_dataset.cut(numpy.repeat(picture(40, 40, 50)[..., :1], 3, 2), (32, 32))
    assert (train[12] == grey.transpose(2, 0, 1)).all()


def test_some_of_the_photos_and_images_that_are_not_square(photos):
    datasets = made(photos, '--train', photos / 'train', '--val', photos / 'val', '--size', '40x24', '--max-images', 2)
    assert datasets['train2014/images'].shape == datasets['val2014/images'].shape == (2, 3, 24, 40)
    for i in range(2):
        expected = make_dataset.cut(picture(33 + i, 50 - i, i), (40, 24))
        assert expected.shape == (24, 40, 3)
        assert (datasets['train2014/images'][i] == expected.transpose(2, 0, 1)).all()


def test_the_script_as_a_command(photos):
    command = [sys.executable, SCRIPT, '--train', str(photos / 'val'), '--output', str(photos / 'out.h5')]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout == f'{photos / "out.h5"}: train2014/images 3\n'
    assert 'train2014' in done.stderr and '3/3' in done.stderr
    done = subprocess.run(command[:2] + ['--train', 'missing'], stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, 'error: missing: no such folder or zip file\n')


def test_the_default_size_is_256_and_the_validation_set_optional(photos):
    datasets = made(photos, '--train', photos / 'val')
    assert {name: data.shape for name, data in datasets.items()} == {'train2014/images': (3, 3, 256, 256)}


def test_unreadable_files_are_left_out_and_listed(photos):
    break_some(photos / 'train')
    done = run(photos, '--train', photos / 'train', '--size', 32)
    assert done.returncode == 0
    assert 'train2014/images 11' in done.stdout
    told = done.stderr.split('3 files could not be read')[1]
    for name in ('05.png', '07.png', '99.jpg'):
        assert str(photos / 'train' / name) in told
    with h5py.File(str(photos / 'out.h5'), 'r') as file:
        train = file['train2014/images'][:]
    expected = [i for i in range(12) if i not in (5, 7)]
    for row, i in zip(train, expected):
        assert (row == make_dataset.cut(picture(33 + i, 50 - i, i), (32, 32)).transpose(2, 0, 1)).all()


def test_the_file_is_the_same_whatever_the_number_of_workers(photos):
    break_some(photos / 'train')
    contents = []
    for workers in (1, 2, 7):
        assert run(photos, '--train', photos / 'train', '--size', 32, '--workers', workers).returncode == 0
        contents.append((photos / 'out.h5').read_bytes())
    assert contents[0] == contents[1] == contents[2]


def test_a_zip_file_gives_what_its_folder_gives(photos):
    break_some(photos / 'train')
    with zipfile.ZipFile(str(photos / 'train.zip'), 'w', zipfile.ZIP_DEFLATED) as archive:
        for name in reversed(os.listdir(str(photos / 'train'))):
            archive.write(str(photos / 'train' / name), f'train2014/{name}')
        archive.writestr('readme.txt', 'not a photo')
    of_folder = made(photos, '--train', photos / 'train', '--size', 32)['train2014/images']
    of_zip = made(photos, '--train', photos / 'train.zip', '--size', 32)['train2014/images']
    assert (of_folder == of_zip).all()


def test_a_zip_file_is_read_without_writing_what_it_names(tmp_path):
    good = io.BytesIO()
    Image.fromarray(picture(32, 32, 0)).save(good, 'PNG')
    with zipfile.ZipFile(str(tmp_path / 'a.zip'), 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('../../escaped.png', good.getvalue())
        archive.writestr('/tmp/gogh-escaped.png', good.getvalue())
        archive.writestr('bomb.png', bytes(250 * 10**6))
    with zipfile.ZipFile(str(tmp_path / 'a.zip'), 'a', zipfile.ZIP_LZMA) as archive:
        archive.writestr('lzma.png', good.getvalue())
    data = bytearray((tmp_path / 'a.zip').read_bytes())
    done = run(tmp_path, '--train', tmp_path / 'a.zip', '--size', 32)
    assert done.returncode == 0 and 'train2014/images 2' in done.stdout
    for words in ('2 files could not be read', 'bomb.png', 'lzma.png'):
        assert words in done.stderr
    assert sorted(os.listdir(str(tmp_path))) == ['a.zip', 'out.h5']
    assert not os.path.exists('/tmp/gogh-escaped.png')
    # a damaged member is left out like any other unreadable file
    place = data.index(good.getvalue()[60:80]) if good.getvalue()[60:80] in data else 100
    data[place : place + 8] = b'\xff' * 8
    (tmp_path / 'a.zip').write_bytes(bytes(data))
    done = run(tmp_path, '--train', tmp_path / 'a.zip', '--size', 32)
    assert done.returncode == 0 and 'train2014/images 1' in done.stdout


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['--train', 'missing'], 'no such folder'),
        (['--train', 'empty'], 'no images'),
        (['--train', 'file.txt'], 'zip'),
        (['--train', 'none.zip'], 'no images'),
        (['--train', 'bad'], 'no photo can be read'),
        (['--train', 'train', '--size', '0'], '--size'),
        (['--train', 'train', '--workers', '0'], '--workers'),
        (['--train', 'train', '--size', 'big'], '--size'),
        (['--train', 'train', '--size', '100000000'], 'free'),
        ([], '--train'),
        (['--train', 'train', '--output', 'missing/out.h5'], 'folder'),
        (['--train', 'train', '--output', '.'], 'folder'),
    ],
)
def test_bad_input_is_one_line_and_the_old_file_stays(photos, arguments, words, monkeypatch):
    monkeypatch.chdir(photos)
    (photos / 'empty').mkdir()
    (photos / 'bad').mkdir()
    (photos / 'bad' / 'a.jpg').write_bytes(b'no photo')
    (photos / 'file.txt').write_bytes(b'hello')
    zipfile.ZipFile(str(photos / 'none.zip'), 'w').close()
    (photos / 'out.h5').write_bytes(b'old')
    before = sorted(os.listdir(str(photos)))
    done = run(photos, *arguments)
    assert done.returncode == 1
    last = done.stderr.strip().split('\n')[-1]
    assert last.startswith('error: ') and words in last and 'Traceback' not in done.stderr
    assert (photos / 'out.h5').read_bytes() == b'old'
    assert sorted(os.listdir(str(photos))) == before


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_an_interrupted_run_leaves_the_old_file(photos, number):
    for i in range(1500):
        (photos / 'train' / f'more{i}.png').write_bytes((photos / 'train' / '00.png').read_bytes())
    (photos / 'out.h5').write_bytes(b'old')
    child = subprocess.Popen(
        [
            sys.executable,
            SCRIPT,
            '--train',
            str(photos / 'train'),
            '--workers',
            '1',
            '--overwrite',
            '--output',
            str(photos / 'out.h5'),
        ],
        stderr=subprocess.PIPE,
        universal_newlines=True,
        # What a shell starts in the background ignores Ctrl-C, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not any(name.endswith('.tmp') for name in os.listdir(str(photos))):
        assert child.poll() is None
        time.sleep(0.005)
    time.sleep(0.1)
    child.send_signal(number)
    _, err = child.communicate()
    assert child.returncode == (130 if number == signal.SIGINT else -number)
    assert 'Traceback' not in err
    assert (photos / 'out.h5').read_bytes() == b'old'
    assert run(photos, '--train', photos / 'val').returncode == 0
    # nothing is left behind by either run
    assert sorted(os.listdir(str(photos))) == ['out.h5', 'train', 'val']


def test_an_interrupt_waits_until_hdf5_has_returned():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        disk = make_dataset.Disk(io.BytesIO())
        with disk.keep_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
            assert disk.write(b'data') == 4
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        with pytest.raises(KeyboardInterrupt):
            disk.check()
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_full_disk_is_told_and_nothing_is_left(photos):
    # a limit on the size of files stands for the disk
    (photos / 'out.h5').write_bytes(b'old')
    code = (
        'import resource, runpy, signal, sys\n'
        'signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n'
        'resource.setrlimit(resource.RLIMIT_FSIZE, (500000, 500000))\n'
        f"sys.argv = ['make_dataset.py', '--overwrite', '--train', {str(photos / 'train')!r}, "
        f"'--output', {str(photos / 'out.h5')!r}]\n"
        f"runpy.run_path({SCRIPT!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    last = done.stderr.strip().split('\n')[-1]
    assert last.startswith(f'error: {photos / "out.h5"}: cannot write') and 'Traceback' not in done.stderr
    assert (photos / 'out.h5').read_bytes() == b'old'
    assert sorted(os.listdir(str(photos))) == ['out.h5', 'train', 'val']


def test_memory_does_not_grow_with_the_number_of_photos(tmp_path):
    (tmp_path / 'train').mkdir()
    files.write_image(str(tmp_path / 'train' / '000.jpg'), picture(64, 64, 0))
    for i in range(1, 600):
        os.link(str(tmp_path / 'train' / '000.jpg'), str(tmp_path / 'train' / f'{i:04d}.jpg'))
    peaks = []
    for start in ('000', ''):
        # 600 photos of 256 x 256 take 118 MB in the file
        pattern = tmp_path / f'some{start}'
        pattern.mkdir()
        for name in os.listdir(str(tmp_path / 'train')):
            if name.startswith(start):
                os.link(str(tmp_path / 'train' / name), str(pattern / name))
        code = (
            'import resource, runpy, sys\n'
            f"sys.argv = ['make_dataset.py', '--train', {str(pattern)!r}, '--output', "
            f"{str(tmp_path / 'out.h5')!r}, '--overwrite', '--workers', '2']\n"
            f"try: runpy.run_path({SCRIPT!r}, run_name='__main__')\n"
            'except SystemExit: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)'
        )
        done = subprocess.run([sys.executable, '-c', code], capture_output=True)
        peaks.append(int(done.stdout.split()[-1]))
    assert os.path.getsize(str(tmp_path / 'out.h5')) > 115 * 10**6
    assert peaks[1] - peaks[0] < 30 * 1024
