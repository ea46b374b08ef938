"""No slip of the user's costs work: what people do, and what must not come of it."""

import cProfile
import os
import re
import subprocess
import sys

import h5py
import numpy
import pytest
from PIL import Image

import evaluate
import evaluation
import files
import losses
import mixtures
import models
import optimization
import optimize
import options
import runs
import stylize
import albums
import train
import utils
from backend import cache, devices
from formats import networks
from conftest import ROOT
from data import photos
from runs import load_checkpoint, save_checkpoint
from support.tiny import NAMES, transformer


@pytest.fixture
def main(monkeypatch):
    """Run a script's main in this process, without waiting for a compiler; returns what it returned."""

    def main(script, *arguments):
        monkeypatch.setattr(sys, 'argv', [f'{script.__name__}.py'] + [str(argument) for argument in arguments])
        return script.main()

    return main


@pytest.fixture
def refuses(main):
    """Run a script's main, which must refuse; returns its line."""

    def refuses(script, *arguments):
        with pytest.raises(utils.UserError) as caught:
            main(script, *arguments)
        return str(caught.value)

    return refuses


@pytest.fixture
def instant(monkeypatch):
    """Stylizing that gives the negative, at once."""
    monkeypatch.setattr(models, 'pastiche_function', lambda network: lambda image, *style: 1 - image)


def contents(*paths):
    return [open(path, 'rb').read() for path in paths]


# Outputs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['photo.png', '--grid', 'photo.png'], 'the input photo.png'),
        (['photo.png', '--grid', './link.png'], 'the input photo.png'),
        (['photo.png', '--output', 'link.png'], 'the input photo.png'),
        (['photo.png', '--output', 'a.png', '--grid', 'a.png'], 'a.png is the name of a pastiche'),
        (['photo.png', '--grid', 'foreign.png'], '--overwrite'),
        (['photo.png', '--output', 'foreign.png'], '--overwrite'),
        (['photo.png', '--grid', 'sheet.txt'], 'sheet.txt'),
        (['photo.png', '--output', 'a.txt'], 'a.txt'),
    ],
)
def test_stylize_writes_over_no_input_and_nothing_foreign(place, refuses, arguments, message):
    (place / 'link.png').symlink_to('photo.png')
    files.write_image('foreign.png', numpy.zeros((3, 3, 3), 'uint8'))
    before = contents('photo.png', 'foreign.png', 'cin.npz')
    assert message in refuses(stylize, '--model', 'cin.npz', '--style', 'waves', *arguments)
    assert contents('photo.png', 'foreign.png', 'cin.npz') == before


def test_overwrite_allows_all_but_inputs(place, main, refuses, instant):
    files.write_image('foreign.png', numpy.zeros((3, 3, 3), 'uint8'))
    command = stylize, '--model', 'cin.npz', '--style', 'waves', 'photo.png', '--overwrite', '--output'
    assert not main(*command, 'foreign.png')
    assert files.read_image('foreign.png').shape == (20, 24, 3)
    assert 'the input' in refuses(*command, 'photo.png')


@pytest.mark.parametrize('extension', ['.png', '.jpg', '.webp', '.tif'])
def test_a_pastiche_and_a_sheet_are_made_again_under_their_own_names(place, main, instant, extension):
    command = (
        stylize,
        '--model',
        'cin.npz',
        '--style',
        'waves',
        'photo.png',
        '--output',
        f'a{extension}',
        '--grid',
        f'sheet{extension}',
    )
    assert not main(*command) and not main(*command)
    assert files.read_origin(f'a{extension}') == files.origin('stylize', 'photo.png')


def test_photos_of_one_name_get_their_own_pastiches_in_two_runs(place, main, instant):
    for folder in 'xy':
        os.mkdir(folder)
        files.write_image(f'{folder}/a.png', numpy.full((20, 20, 3), ord(folder), 'uint8'))
    command = stylize, '--model', 'cin.npz', '--style', 'waves', '--output', 'out'
    for _ in range(2):
        assert not main(*command, 'x/a.png') and not main(*command, 'y/a.png')
        assert sorted(os.listdir('out')) == ['a_waves-2.png', 'a_waves.png']
        assert [files.read_image(f'out/{name}')[0, 0, 0] for name in ('a_waves.png', 'a_waves-2.png')] == [135, 134]


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--output', 'photo.png'], 'the input photo.png'),
        (['--output', 'painting.jpg'], 'the input painting.jpg'),
        (
            ['--output', 'start.png', '--init', 'start.png', '--overwrite', '--content', 'start.png'],
            'the input start.png',
        ),
        (['--output', 'table.png'], 'table.csv exists'),
        (['--output', 'foreign.png'], 'foreign.png exists'),
    ],
)
def test_optimize_writes_over_no_input_and_nothing_foreign(place, vgg, refuses, arguments, message):
    for name in ('painting.jpg', 'start.png', 'foreign.png'):
        files.write_image(name, numpy.zeros((20, 20, 3), 'uint8'))
    (place / 'table.csv').write_text('name,price\nbread,2\n')
    before = contents('photo.png', 'painting.jpg', 'start.png', 'foreign.png', 'table.csv')
    assert message in refuses(optimize, '--content', 'photo.png', '--style', 'painting.jpg', *vgg, *arguments)
    assert contents('photo.png', 'painting.jpg', 'start.png', 'foreign.png', 'table.csv') == before


@pytest.fixture
def vgg(place):
    """Options for a loss network of two layers."""
    generator, weights = numpy.random.RandomState(0), {}
    for name, channels in (('conv1_1', 3), ('conv1_2', 4)):
        weights[f'{name}_W'] = (generator.randn(4, channels, 3, 3) / 8).astype('float32')
        weights[f'{name}_b'] = generator.randn(4).astype('float32')
    numpy.savez('vgg.npz', **weights)
    return ['--loss-weights', 'vgg.npz', '--content-layers', 'conv1_2', '--style-layers', 'conv1_2']


def test_carrying_on_with_an_optimization_keeps_the_losses_so_far(place, vgg, main, monkeypatch):
    monkeypatch.setattr(losses, 'target_function', lambda loss: lambda image: ([numpy.zeros(1)], [numpy.zeros(1)]))
    monkeypatch.setattr(
        optimization,
        'objective_function',
        lambda loss: lambda image, *targets: (numpy.full(5, float((image**2).sum())), 2 * image),
    )
    monkeypatch.setattr(optimize.runs, 'catch_interrupts', list)
    files.write_image('painting.jpg', numpy.zeros((20, 20, 3), 'uint8'))
    command = (
        optimize,
        '--content',
        'photo.png',
        '--style',
        'painting.jpg',
        '--output',
        'p.png',
        *vgg,
        '--optimizer',
        'adam',
        '--iterations',
        3,
    )
    assert not main(*command)
    before = runs.read_table('p.csv')
    assert not main(*command, '--init', 'p.png')
    rows = runs.read_table('p.csv')
    assert [int(row['iteration']) for row in rows] == list(range(7)) and rows[:4] == before
    # The same command without --init starts anew, and the pastiche is its own.
    assert not main(*command)
    assert len(runs.read_table('p.csv')) == 4


def test_make_dataset_writes_over_nothing(place, run, fails):
    os.mkdir('photos')
    files.write_image('photos/a.png', numpy.zeros((20, 20, 3), 'uint8'))
    before = contents('cin.npz')
    command = 'data/make_dataset.py', '--train', 'photos', '--output', 'cin.npz', '--size', 16
    assert '--overwrite' in fails(*command, cwd=str(place))
    assert contents('cin.npz') == before
    assert run(*command, '--overwrite', cwd=str(place)).returncode == 0
    assert h5py.File('cin.npz', 'r')['train2014/images'].shape == (1, 3, 16, 16)


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


@pytest.fixture
def training(place, vgg):
    """The command of a training that would start."""
    os.mkdir('styles')
    files.write_image('styles/a.png', numpy.zeros((32, 32, 3), 'uint8'))
    os.mkdir('content')
    for name in 'abc':
        files.write_image(f'content/{name}.png', numpy.full((32, 32, 3), ord(name), 'uint8'))
    return [
        train,
        '--style-dir',
        'styles',
        '--content',
        'content',
        *vgg,
        *'--image-size 16 --style-size 16 --width 4 --residual-blocks 0 --backend plain'.split(),
    ]


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


# One problem does not end the whole job -------------------------------------------------------------------------


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
