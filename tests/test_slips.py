"""No slip of the user's costs work: what people do, and what must not come of it."""

import os
import subprocess
import sys

import h5py
import numpy
import pytest
from PIL import Image

import evaluation
import files
import mixtures
import models
import optimize
import options
import runs
import stylize
import utils
from conftest import ROOT, contents
from data import photos
from runs import load_checkpoint, save_checkpoint
from support.tiny import NAMES, transformer


# Styles and photos by name --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'option, text, chosen',
    [
        ('--style-index', '1', ['1']),
        ('--style-index', '0,2', ['waves', 'sun, rising']),
        ('--style', '1', ['1']),
        ('--style', 'sun, rising', ['sun, rising']),
        ('--style', 'sun,sun, rising,waves', ['sun', 'sun, rising', 'waves']),
        ('--blend', 'sun, rising=1,sun=3', ['sun, rising-0.25+sun-0.75']),
    ],
)
def test_a_number_is_an_index_and_a_name_may_have_commas(monkeypatch, option, text, chosen):
    monkeypatch.setattr(sys, 'argv', ['stylize.py', '--model', 'cin.npz', option, text])
    assert [label for label, _ in options.styles(stylize.parse_arguments(), NAMES)] == chosen


def test_a_style_named_like_another_ones_number_is_not_chosen_by_it(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['stylize.py', '--model', 'cin.npz', '--style-index', '1'])
    assert options.styles(stylize.parse_arguments(), ['1', '0']) == [('0', {1: 1.0})]
    monkeypatch.setattr(sys, 'argv', ['stylize.py', '--model', 'cin.npz', '--style', '0'])
    with pytest.raises(utils.UserError):
        options.styles(stylize.parse_arguments(), ['waves', 'sun'])


def test_styles_of_one_name_are_told_apart(place, capsys):
    assert models.style_names(
        ['01_waves.jpg', '02_waves.jpg', 'waves-2.png', '2023-01.jpg', '2024-01.jpg', '7_.png']
    ) == ['waves', 'waves-3', 'waves-2', '01', '01-2', '7_']
    assert 'waves-3' in capsys.readouterr().err
    paths = ['01_waves.jpg', '02_waves.jpg']
    assert evaluation.find_styles(paths, models.style_names(paths)) == list(enumerate(paths))
    models.save_network('doubled.npz', transformer('cin', ['a', 'a']))
    assert models.load_network('doubled.npz').styles == ['a', 'a-2']


def test_photos_of_one_name_are_all_evaluated(place):
    os.mkdir('other')
    files.write_image('other/photo.png', numpy.zeros((16, 16, 3), 'uint8'))
    assert list(evaluation.read_photos(['photo.png', 'other/photo.png'], 16)) == ['photo', 'photo-2']


def test_a_loop_of_links_shows_each_photo_once(place):
    os.mkdir('album')
    files.write_image('album/a.png', numpy.zeros((16, 16, 3), 'uint8'))
    os.symlink('.', 'album/again')
    assert files.find_images('album/**/*.png') == ['album/a.png']


# Numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'text, weights',
    [
        ('waves=70,sun=30', {0: 0.7, 3: 0.3}),
        ('waves=3e38,sun=3e38', {0: 0.5, 3: 0.5}),
        ('waves=1.7e308,sun=1.7e308', {0: 0.5, 3: 0.5}),
        ('waves=5e-324', {0: 1.0}),
    ],
)
def test_the_weights_of_a_blend_sum_to_one(capsys, text, weights):
    blend = mixtures.parse_blend(text, NAMES)
    assert blend == pytest.approx(weights)
    assert '--blend' in capsys.readouterr().err
    mixtures.parse_blend('waves=0.7,sun=0.3', NAMES)
    assert not capsys.readouterr().err


def test_a_pastiche_that_is_not_finite_is_an_error(place, main, monkeypatch, capsys):
    monkeypatch.setattr(models, 'pastiche_function', lambda network: lambda image, *style: image * numpy.float32('nan'))
    assert main(stylize, '--model', 'cin.npz', '--style', 'waves', 'photo.png', '--output', 'a.png') == 1
    assert 'not finite' in capsys.readouterr().err and not os.path.exists('a.png')


@pytest.mark.parametrize('option', ['--content-weight', '--style-weight', '--tv-weight', '--style-layers'])
def test_weights_of_losses_have_an_upper_bound(place, vgg, refuses, option):
    files.write_image('painting.jpg', numpy.zeros((20, 20, 3), 'uint8'))
    value = 'conv1_2=1e38' if option == '--style-layers' else '1e38'
    assert '1e38' in refuses(
        optimize, '--content', 'photo.png', '--style', 'painting.jpg', *vgg, option, value
    ).replace('1e+38', '1e38')
    assert not os.path.exists('pastiche.png')


def test_unsigned_grey_of_32_bits_does_not_wrap(tmp_path):
    grey = numpy.linspace(0, 2**32 - 1, 64).astype('<u4').reshape(8, 8)
    tags = [(256, 8), (257, 8), (258, 32), (259, 1), (262, 1), (273, 8), (278, 8), (279, 256), (339, 1)]
    directory = numpy.uint16(len(tags)).tobytes() + b''.join(
        numpy.array([tag, 4 if tag in (273, 279) else 3], '<u2').tobytes() + numpy.array([1, value], '<u4').tobytes()
        for tag, value in tags
    )
    (tmp_path / 'grey.tif').write_bytes(
        b'II*\0' + numpy.uint32(8 + 256).tobytes() + grey.tobytes() + directory + bytes(4)
    )
    expected = numpy.rint(grey / (2**32 - 1) * 255)
    assert abs(files.read_image(str(tmp_path / 'grey.tif'))[..., 0] - expected).max() <= 1


# Training -------------------------------------------------------------------------------------------------------


def test_resume_without_a_checkpoint_spares_a_finished_network(training, refuses):
    before = contents('cin.npz')
    assert 'no mistyped/checkpoint.npz' in refuses(
        *training, '--output', 'cin.npz', '--resume', '--run-dir', 'mistyped'
    )
    assert contents('cin.npz') == before


@pytest.mark.parametrize('option', ['--finetune', '--start-from'])
@pytest.mark.parametrize('resume', [['--resume'], []])
def test_a_network_is_not_trained_into_its_own_base(training, refuses, option, resume):
    command = [argument for argument in training if argument not in ('--width', '4', '--residual-blocks', '0')]
    before = contents('cin.npz')
    assert 'the input cin.npz' in refuses(*command, option, 'cin.npz', '--output', './cin.npz', *resume)
    assert contents('cin.npz') == before


def test_a_run_folder_is_no_folder_of_images(training, refuses):
    assert 'styles holds images' in refuses(*training, '--output', 'styles.npz')
    assert 'content holds images' in refuses(*training, '--output', 'more.npz', '--run-dir', 'content')
    assert os.listdir('styles') == ['a.png'] and len(os.listdir('content')) == 3


def test_a_second_training_is_refused(training, refuses):
    holder = (
        f'import sys, time; sys.path.insert(0, {ROOT!r}); import runs\n'
        "with runs.lock(sys.argv[1]): print('held', flush=True); time.sleep(600)"
    )
    os.mkdir('new')
    for held in ('new', 'new.npz'):
        process = subprocess.Popen([sys.executable, '-c', holder, held], stdout=subprocess.PIPE)
        try:
            assert process.stdout.readline() == b'held\n'
            line = refuses(*training, '--output', 'new.npz')
            assert line.startswith(f'{held} ') and f'process {process.pid}' in line
        finally:
            process.kill()
            process.communicate()
        # What the killed process left holds nobody up, and nothing stays behind.
        with runs.lock(held):
            pass
        assert not [name for name in os.listdir('.') + os.listdir('new') if name.endswith('.lock')]


def test_content_that_changed_under_the_same_names_is_other_content(training):
    def sample():
        content = photos.open_content('content', 16)
        return content.fingerprint, content.sample

    before = sample()
    assert sample() == before
    files.write_image('content/a.png', numpy.full((32, 32, 3), 9, 'uint8'))
    assert sample()[0] == before[0] and sample()[1] != before[1]
    samples = set()
    for value in (1, 2):
        with h5py.File('content.h5', 'w') as file:
            file['train2014/images'] = numpy.full((3, 3, 16, 16), value, 'uint8')
        samples.add(photos.open_content('content.h5', 16).sample)
    assert len(samples) == 2


@pytest.mark.parametrize('name', ['content_files', 'loss_networks'])
def test_a_run_is_resumed_with_the_same_files_only(place, name):
    settings = {'content_files': '1', 'loss_networks': '2'}
    save_checkpoint('checkpoint.npz', 1, settings, [])
    assert load_checkpoint('checkpoint.npz', settings, {}, []) == 1
    with pytest.raises(utils.UserError, match=f'other {name.replace("_", " ")}'):
        load_checkpoint('checkpoint.npz', dict(settings, **{name: '3'}), {}, [])
    # Checkpoints of former versions do not say.
    save_checkpoint('checkpoint.npz', 1, {}, [])
    assert load_checkpoint('checkpoint.npz', settings, {}, []) == 1


# Folders --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif('.heic' in files.READ_EXTENSIONS, reason='it is read here')
def test_a_folder_says_what_it_leaves_out(place, capsys):
    os.makedirs('album/more')
    for name in ('a.jpg', 'b.HEIC', 'c.jxl', 'notes.txt', '.hidden.heic'):
        (place / 'album' / name).write_bytes(b'x')
    os.symlink('gone.png', 'album/d.png')
    assert files.find_images('album') == ['album/a.jpg']
    assert capsys.readouterr().err == (
        'album: left out b.HEIC (the package pillow-heif reads it), c.jxl (convert it first), '
        'd.png (a link to nothing), more (a folder)\n'
    )
    os.remove('album/a.jpg')
    with pytest.raises(utils.UserError, match='no images in this folder; left out b.HEIC'):
        files.find_images('album')
    with pytest.raises(utils.UserError, match='pillow-heif'):
        files.read_image('album/b.HEIC')


def test_images_with_rarer_extensions_are_read(place):
    image = Image.fromarray(numpy.full((16, 16, 3), 99, 'uint8'))
    os.mkdir('album')
    image.save('album/a.jfif', 'JPEG')
    image.save('album/b.mpo', 'MPO', save_all=True, append_images=[image])
    image.save('album/c.JPE', 'JPEG')
    paths = files.find_images('album')
    assert paths == ['album/a.jfif', 'album/b.mpo', 'album/c.JPE']
    assert all(abs(files.read_image(path).astype(int) - 99).max() <= 2 for path in paths)


# One line instead of a traceback --------------------------------------------------------------------------------


def test_pipes_and_devices_are_no_files(place):
    os.mkfifo('pipe.png')
    for path in ('pipe.png', '/dev/zero'):
        for read in (files.read_image, files.load_npz, files.load_pickle):
            with pytest.raises(utils.UserError, match='a pipe or a device'):
                read(path)


@pytest.mark.parametrize(
    'forged',
    [
        {'iteration': numpy.array(-1)},
        {'iteration': numpy.array(numpy.inf)},
        {'iteration': numpy.array('one')},
        {'value_0': numpy.array(['a', 'b'])},
        {'value_0': numpy.array([1, numpy.nan], 'float32')},
    ],
    ids=lambda forged: ' '.join('%s %s' % item for item in forged.items()),
)
def test_forged_checkpoints_are_refused(place, forged):
    from backend import theano

    variable = theano.shared(numpy.zeros(2, 'float32'))
    save_checkpoint('checkpoint.npz', 1, {}, [variable])
    files.save_npz('forged.npz', dict(files.load_npz('checkpoint.npz'), **forged))
    assert load_checkpoint('checkpoint.npz', {}, {}, [variable]) == 1
    with pytest.raises(utils.UserError, match='not a checkpoint'):
        load_checkpoint('forged.npz', {}, {}, [variable])
