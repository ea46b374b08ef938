"""One problem does not end the whole job: photos, batches and outputs that do not fit or cannot be written."""

import cProfile
import os
import re
import subprocess
import sys

import numpy
import pytest

import evaluate
import files
import losses
import models
import optimization
import optimize
import stylize
import albums
import utils
from backend import cache, devices
from formats import networks
from conftest import ROOT
from data import photos
from support.tiny import transformer


@pytest.mark.parametrize(
    'options, message',
    [
        (['--image-size', '30'], 'multiples of 4'),
        (['--style-size', '3'], '--style-size 3'),
        (['--output', 'content.npz', '--run-dir', 'run'], 'it is a folder'),
    ],
)
def test_sizes_and_outputs_of_a_training_are_tried_at_once(training, refuses, options, message):
    os.mkdir('content.npz')
    assert message in refuses(*training, '--output', 'new.npz', *options)


def test_an_output_that_cannot_be_written_stops_a_training_before_it_starts(training, refuses):
    name = f'{"n" * 252}.npz'
    assert name in refuses(*training, '--output', name, '--run-dir', 'run')


def test_a_pastiche_that_cannot_be_written_is_that_photos_failure(place, main, instant, monkeypatch, capsys):
    files.write_image('wide.webp', numpy.zeros((20, 40, 3), 'uint8'))
    files.write_image('z.png', numpy.zeros((20, 20, 3), 'uint8'))
    read, wide = files.read_picture, files.Picture([numpy.zeros((20, 16384, 3), 'uint8')])
    monkeypatch.setattr(
        files, 'read_picture', lambda path, size=None: wide if path == 'wide.webp' else read(path, size)
    )
    assert (
        main(stylize, *'--model cin.npz --style waves photo.png wide.webp z.png --output out --grid sheet.png'.split())
        == 1
    )
    assert sorted(os.listdir('out')) == ['photo_waves.png', 'z_waves.png']
    assert 'wide_waves.webp' in capsys.readouterr().err and os.path.exists('sheet.png')


@pytest.fixture
def batch_sizes(monkeypatch):
    """The sizes of the batches that were stylized at once; more than three run out of memory."""
    sizes = []

    def pastiche_function(network):
        def stylize(images, *style):
            sizes.append(len(images))
            if len(images) > 3:
                raise MemoryError
            return 1 - images

        return stylize

    monkeypatch.setattr(models, 'pastiche_function', pastiche_function)
    utils.say_once.cache_clear()
    return sizes


def test_a_batch_that_does_not_fit_becomes_smaller_ones(place, main, monkeypatch, batch_sizes, capsys):
    photo = numpy.random.RandomState(0).randint(0, 256, (400, 600, 3)).astype('uint8')
    for i in range(7):
        files.write_image(f'{i}.png', photo)
    photos = [f'{i}.png' for i in range(7)]
    command = stylize, '--model', 'cin.npz', '--style', 'waves', *photos, '--batch-size', 8, '--output'
    one = models.load_network('cin.npz').architecture.pastiche_bytes() * 400 * 600
    monkeypatch.setenv('GOGH_MAX_MEMORY', str(int(utils.FIXED_BYTES + 2.5 * one)))
    assert not main(*command, 'out')
    assert batch_sizes == [2, 2, 2, 1]
    error = capsys.readouterr().err
    assert error.count('computing 2 at once') == 1 and '--batch-size 7' in error
    # Room for none, not even in bands, is an error.
    monkeypatch.setenv('GOGH_MAX_MEMORY', str(utils.FIXED_BYTES))
    assert main(*command, 'refused') == 1 and '7 of 7 photos' in capsys.readouterr().err and not os.listdir('refused')
    # More was promised than there is.
    del batch_sizes[:]
    monkeypatch.setenv('GOGH_MAX_MEMORY', str(10**12))
    assert not main(*command, 'halves')
    assert batch_sizes == [7, 3, 4, 2, 2]
    error = capsys.readouterr().err
    assert 'not enough memory for 7' in error and 'error' not in error
    for name in os.listdir('out'):
        numpy.testing.assert_array_equal(files.read_image(f'out/{name}'), 255 - photo)
        numpy.testing.assert_array_equal(files.read_image(f'halves/{name}'), 255 - photo)
    assert len(os.listdir('out')) == len(os.listdir('halves')) == 7


def test_memory_that_the_pool_holds_is_available(monkeypatch):
    library = pytest.importorskip('backend.onednn.library')
    try:
        library.load()
    except library.Unavailable as reason:
        pytest.skip(str(reason))
    library.trim()
    array = library.empty(50 * 10**6)
    before = devices.held_memory()
    del array
    assert devices.held_memory() - before >= 2 * 10**8
    library.trim()
    monkeypatch.delenv('GOGH_MAX_MEMORY', raising=False)
    assert utils.available_memory('/nowhere', held=10) == numpy.inf
    monkeypatch.setattr(utils, '_container_memory', lambda root: 100)
    assert utils.available_memory('/nowhere', held=10) in (110, 10)
    monkeypatch.setenv('GOGH_MAX_MEMORY', '1000')
    assert utils.available_memory(held=10) == 1000


@pytest.mark.parametrize(
    'photo, painting, message',
    [
        ((800, 900), (20, 20), r'photo.png: 900 x 800 pixels take .*; --size [1-7]\d\d would fit'),
        ((20, 20), (900, 900), r'painting.png: 900 x 900 pixels take .*; --style-size [1-8]\d\d would fit'),
    ],
)
def test_an_optimization_that_would_not_fit_is_refused_with_the_size_that_would(
    place, vgg, refuses, monkeypatch, photo, painting, message
):
    files.write_image('photo.png', numpy.zeros(photo + (3,), 'uint8'))
    files.write_image('painting.png', numpy.zeros(painting + (3,), 'uint8'))
    monkeypatch.setenv('GOGH_MAX_MEMORY', str(utils.FIXED_BYTES + 200 * 10**6))
    line = refuses(
        optimize,
        '--content',
        'photo.png',
        '--style',
        'painting.png',
        *vgg,
        '--size',
        min(photo),
        '--style-size',
        min(painting),
    )
    assert re.match(message, line), line


def test_a_style_image_that_would_not_fit_is_refused_with_the_size_that_would(place, training, refuses, monkeypatch):
    monkeypatch.setenv('GOGH_MAX_MEMORY', str(utils.FIXED_BYTES + 100 * 10**6))
    line = refuses(
        *training[:-6], *'--style-size 900 --backend plain --width 4 --residual-blocks 0 --output new.npz'.split()
    )
    assert re.match(r'styles/a.png: 900 x 900 pixels take .*; --style-size [1-8]\d\d would fit', line), line
    os.rename('styles/a.png', 'styles/waves.png')
    for module, name in (
        (models, 'pastiche_function'),
        (optimization, 'objective_function'),
        (losses, 'target_function'),
    ):
        monkeypatch.setattr(module, name, lambda argument: None)
    line = refuses(
        evaluate,
        *(
            '--model cin.npz --style-dir styles --photos photo.png --style-size 900 --image-size 16 --output evaluated'
        ).split(),
        *training[5:11],
    )
    assert 'styles/waves.png: 900 x 900' in line and '--style-size' in line


def test_long_names_of_photos_and_styles_become_names_that_fit(place, main, instant):
    style, photo = '波' * 90, f'{"照" * 80}.png'
    models.save_network('long.npz', transformer('cin', [style, 'b']))
    os.rename('photo.png', photo)
    assert not main(stylize, '--model', 'long.npz', '--style', 'all', photo, '--output', 'out')
    assert len(os.listdir('out')) == 2
    # The temporary name fits where the name itself does.
    name = f'{"照" * 83}.png'
    files.write_image(name, numpy.zeros((3, 3, 3), 'uint8'))
    assert os.path.exists(name)


def test_a_sheet_that_its_format_cannot_hold_is_refused_at_once(place, refuses):
    os.mkdir('album')
    for i in range(65):
        files.write_image(f'album/{i}.ppm', numpy.zeros((16, 16, 3), 'uint8'))
    assert '65 photos' in refuses(stylize, '--model', 'cin.npz', '--style', 'waves', 'album', '--grid', 'sheet.webp')


def test_a_sheet_keeps_thumbnails_only(place, main, instant, monkeypatch):
    files.write_image('large.png', numpy.zeros((600, 900, 3), 'uint8'))
    sizes = set()
    monkeypatch.setattr(
        files,
        'style_sheet',
        lambda rows, labels: (
            sizes.update(image.shape[0] for row in rows for image in row),
            numpy.zeros((3, 3, 3), 'uint8'),
        )[1],
    )
    assert not main(
        stylize, '--model', 'cin.npz', '--style', 'waves', 'large.png', '--output', 'a.png', '--grid', 'sheet.png'
    )
    assert sizes == {albums.THUMBNAIL}


def test_a_folder_does_not_hide_the_network_of_that_name(place):
    os.mkdir('misc32')
    assert os.path.isfile(networks.find('misc32'))


def test_folders_that_cannot_be_synced_are_written_to(place, monkeypatch):
    def fsync(handle, real=os.fsync):
        if os.path.isdir(f'/proc/self/fd/{handle}'):
            raise OSError(22, 'Invalid argument')
        real(handle)

    monkeypatch.setattr(os, 'fsync', fsync)
    files.save_npz('new.npz', [numpy.zeros(3)])
    assert list(files.load_npz('new.npz')) == ['arr_0']


def test_overwriting_keeps_the_mode_and_follows_links(place):
    os.mkdir('elsewhere')
    files.save_npz('elsewhere/target.npz', [numpy.zeros(3)])
    os.chmod('elsewhere/target.npz', 0o640)
    os.symlink('elsewhere/target.npz', 'link.npz')
    os.symlink('elsewhere/new.npz', 'ahead.npz')
    for path in ('link.npz', 'ahead.npz'):
        files.save_npz(path, [numpy.ones(3)])
        assert os.path.islink(path) and files.load_npz(path)['arr_0'].sum() == 3
    assert os.stat('elsewhere/target.npz').st_mode & 0o777 == 0o640
    assert sorted(os.listdir('elsewhere')) == ['new.npz', 'target.npz']


def test_many_files_are_written_to_a_folder_without_listing_it_for_each(place, monkeypatch):
    listed, listdir = [], os.listdir
    monkeypatch.setattr(os, 'listdir', lambda folder: listed.append(folder) or listdir(folder))
    os.mkdir('out')
    for i in range(50):
        files.save_npz(f'out/{i}.npz', [])
    assert listed == ['out']
    # What a killed process leaves is removed nevertheless.
    (place / 'out' / '.7.npz.999999999-0123abcd.tmp').write_bytes(b'')
    files.save_npz('out/7.npz', [])
    assert len(listdir('out')) == 50


def test_finding_photos_takes_a_few_calls_for_each(place, monkeypatch):
    counts = []
    for count in (50, 100):
        os.mkdir(str(count))
        for i in range(count):
            (place / str(count) / f'{i}.jpg').write_bytes(b'x')
        profile = cProfile.Profile()
        profile.enable()
        content = photos.open_content(str(count), 16, validation_split=0.5)
        profile.disable()
        assert content.train.size == content.val.size == count // 2
        counts.append(sum(entry.callcount for entry in profile.getstats()))
    assert counts[1] < 2.2 * counts[0]


SCRIPT = f'import sys; sys.path.insert(0, {ROOT!r}); import utils\n'


@pytest.mark.parametrize('redirection', ['2>&-', '2>/dev/full', '2> >(true)', '>&- 2>&-'])
def test_a_lost_stderr_ends_no_work(place, redirection):
    script = SCRIPT + (
        'import time\n'
        'def main():\n'
        '    with utils.progress(total=3) as bar:\n'
        '        for i in range(3):\n'
        "            bar.shown = -9; bar.update(); print('x' * 9999, file=sys.stderr); time.sleep(.05)\n"
        "    open('done', 'w')\n"
        'utils.run_script(main)\n'
    )
    (place / 'script.py').write_text(script)
    assert subprocess.run(['bash', '-c', f'{sys.executable} script.py {redirection}']).returncode == 0
    assert os.path.exists('done')


def test_a_full_stdout_is_one_line(place):
    (place / 'script.py').write_text(f"{SCRIPT}utils.run_script(lambda: print('done'))\n")
    result = subprocess.run(['bash', '-c', f'{sys.executable} script.py > /dev/full'], stderr=subprocess.PIPE)
    assert result.returncode == 1 and result.stderr.count(b'\n') == 1 and b'standard output' in result.stderr


def test_names_that_a_terminal_cannot_show_are_shown_by_numbers(place):
    (place / 'script.py').write_text(SCRIPT + "utils.run_script(lambda: print('\\u6ce2'))\n")
    result = subprocess.run(
        [sys.executable, 'script.py'], stdout=subprocess.PIPE, env=dict(os.environ, PYTHONIOENCODING='ascii')
    )
    assert result.returncode == 0 and result.stdout == b'\\u6ce2\n'


def test_a_damaged_library_in_the_cache_is_not_loaded(tmp_path):
    path = str(tmp_path / 'library.so')
    assert not cache.is_whole(path)
    (tmp_path / 'library.so').write_bytes(b'code' * 1000)
    assert not cache.is_whole(path)
    cache.seal(path)
    assert cache.is_whole(path)
    data = (tmp_path / 'library.so').read_bytes()
    for damaged in (data[:-1], data[:100], b'', bytes(len(data)), data[:50] + b'?' + data[51:]):
        (tmp_path / 'library.so').write_bytes(damaged)
        assert not cache.is_whole(path)
