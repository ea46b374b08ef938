"""Stylizing as a user does it."""

import os
import re

import numpy
import pytest
from PIL import Image

import files
import models
import reference
import pastiches
import utils
from architecture import Architecture
from backend import lasagne
from conftest import ROOT
from layers import style_weights
from support.tiny import transformer
from test_models import randomize

STYLES = ['waves', 'night sky', '../dots']


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder with a network of three styles and photos of odd sizes, of which one is broken."""
    place = tmp_path_factory.mktemp('stylizing')
    network = transformer('cin', STYLES)
    randomize(network)
    models.save_network(str(place / 'cin.npz'), network)
    numpy.savez(str(place / 'original.npz'), *lasagne.layers.get_all_param_values(network.output))
    (place / 'photos').mkdir()
    photo = files.read_image(os.path.join(ROOT, 'data', 'samples', 'cat.jpg'))
    files.write_image(str(place / 'photos' / 'a.png'), photo[100:137, 150:200])
    files.write_image(str(place / 'photos' / 'b.jpg'), photo[100:136, 100:152])
    (place / 'photos' / 'broken.jpg').write_bytes((place / 'photos' / 'b.jpg').read_bytes()[:500])
    # A tiny photo, taken with the camera on its side.
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo[:3, :7]).save(str(place / 'photos' / 'tiny.png'), exif=exif)
    return place


def stylize(run, place, *options, status=0):
    result = run('stylize.py', *options, cwd=str(place))
    assert result.returncode == status, result.stderr
    assert 'Traceback' not in result.stderr and 'Warning' not in result.stderr, result.stderr
    return result


def expected(place, photo, weights):
    """The pastiche according to the paper, of a photo whose sides are multiples of 4."""
    network = models.load_network(str(place / 'cin.npz'))
    image = files.to_float(files.read_image(str(place / 'photos' / photo))).astype('float64')
    return files.to_uint8(
        reference.transformer(image, lasagne.layers.get_all_param_values(network.output), weights, residual_blocks=1)
    )[0]


def difference(path, image):
    return abs(files.read_image(str(path)).astype(int) - image).max()


def test_a_median_filter_smooths_the_pastiche(run, place):
    for name, more in (('plain', []), ('smooth', ['--median-filter', 3])):
        stylize(
            run, place, '--model', 'cin.npz', '--style-index', 1, 'photos/b.jpg', '--output', f'out/{name}.png', *more
        )
    plain, smooth = (files.read_image(str(place / 'out' / f'{name}.png')) for name in ('plain', 'smooth'))
    for y, x in ((1, 1), (7, 20), (20, 7)):
        square = plain[y - 1 : y + 2, x - 1 : x + 2].reshape(9, 3)
        assert (smooth[y, x] == numpy.median(square, axis=0)).all()


def test_one_photo_in_one_style_is_the_papers_network(run, place):
    stylize(run, place, '--model', 'cin.npz', '--style-index', 1, 'photos/b.jpg', '--output', 'out/b.png')
    assert difference(place / 'out' / 'b.png', expected(place, 'b.jpg', style_weights(1, 3))) <= 1


def test_bfloat16_gives_nearly_the_same(run, place):
    pytest.importorskip('backend.onednn')
    result = run(
        *'stylize.py --model cin.npz --style-index 1 photos/b.jpg --output out/low.png --precision bf16'.split(),
        cwd=str(place),
    )
    if 'error: --precision bf16: ' in result.stderr:
        pytest.skip(result.stderr)
    assert result.returncode == 0, result.stderr
    image = files.read_image(str(place / 'out' / 'low.png')) / 255.0
    error = image - expected(place, 'b.jpg', style_weights(1, 3)) / 255.0
    assert numpy.mean(error**2) < 1e-4  # 40 dB


def test_a_blend_mixes_gamma_and_beta(run, place):
    stylize(run, place, '--model', 'cin.npz', '--blend', 'waves=0.25,1=0.75', 'photos/b.jpg', '--output', 'blend.png')
    assert difference(place / 'blend.png', expected(place, 'b.jpg', style_weights({0: 0.25, 1: 0.75}, 3))) <= 1


def test_all_styles_of_a_folder_with_a_broken_photo(run, place):
    result = stylize(
        run, place, *'--model cin.npz --style all photos --output all --batch-size 2 --grid sheet.png'.split(), status=1
    )
    assert 'broken.jpg' in result.stderr and '1 of 4 photos' in result.stderr
    # The names of styles come from a file, and are made harmless.
    names = {
        photo % style
        for photo in ('a_%s.png', 'b_%s.jpg', 'tiny_%s.png')
        for style in ('waves', 'night-sky', '..-dots')
    }
    assert set(os.listdir(str(place / 'all'))) == names
    for name in names:
        height, width = {'a': (37, 50), 'b': (36, 52), 't': (7, 3)}[name[0]]
        assert files.read_image(str(place / 'all' / name)).shape == (height, width, 3)
    image = files.read_image(str(place / 'all' / 'b_night-sky.jpg')).astype(int)
    assert abs(image - expected(place, 'b.jpg', style_weights(1, 3))).mean() < 8
    assert files.read_image(str(place / 'sheet.png')).shape[0] > 3 * 256


def test_a_network_that_loses_its_border(run, place):
    """Its pastiches are of the middle of the photos; a photo that is all border is refused."""
    network = transformer('cin', ['waves'], pad='none')
    params = randomize(network)
    models.save_network(str(place / 'none.npz'), network)
    result = stylize(
        run,
        place,
        *'--model none.npz photos/a.png photos/b.jpg photos/tiny.png --output none --grid none.png'.split(),
        status=1,
    )
    assert 'tiny.png: 3 x 7 pixels' in result.stderr and 'takes 32 at least' in result.stderr
    assert files.read_image(str(place / 'none' / 'a_waves.png')).shape == (37 - 16, 50 - 16, 3)
    image = files.to_float(files.read_image(str(place / 'photos' / 'b.jpg'))).astype('float64')
    middle = files.to_uint8(reference.transformer(image, params, numpy.ones((1, 1)), residual_blocks=1, pad='none'))[0]
    assert abs(files.read_image(str(place / 'none' / 'b_waves.jpg')).astype(int) - middle).mean() < 8
    assert 'lacks 8 pixels' in run('stylize.py', '--info', 'none.npz', cwd=str(place)).stdout


@pytest.mark.parametrize('pad, added', [('reflect', 0), ('reflect-start', 16), ('none', 0)])
def test_the_memory_estimate_counts_what_the_network_adds_to_the_photo(pad, added, monkeypatch):
    stylist = pastiches.Stylist.__new__(pastiches.Stylist)
    stylist.architecture, stylist.tile, stylist._backend = Architecture(pad=pad, residual_blocks=2), False, 'onednn'
    stylist._bytes_per_pixel = 300
    photo = numpy.zeros((400, 204, 3), 'uint8')
    needed = 300 * (400 + 2 * added) * (204 + 2 * added) + utils.FIXED_BYTES
    monkeypatch.setenv('GOGH_MAX_MEMORY', str(needed))
    assert not stylist.check('a.png', photo)
    monkeypatch.setenv('GOGH_MAX_MEMORY', str(needed - 1))
    assert stylist.check('a.png', photo)
    monkeypatch.setenv('GOGH_MAX_MEMORY', str(utils.FIXED_BYTES + 2_600_000))
    with pytest.raises(utils.UserError, match='a.png: 204 x 400 pixels take') as caught:
        stylist.check('a.png', photo)
    # What it advises fits.
    size = int(re.search(r'--size ([0-9]+) would fit', str(caught.value)).group(1))
    stylist.check('a.png', numpy.zeros((round(size * 400 / 204), size, 3), 'uint8'))


def test_default_names_and_size(run, place):
    stylize(run, place, '--model', 'cin.npz', '--style', 'waves', 'photos/a.png', '--size', 20)
    assert files.read_image(str(place / 'a_waves.png')).shape == (20, 27, 3)


def test_a_photo_of_one_colour_becomes_one_colour(run, place):
    # Each normalization amplified the rounding of the convolution before it, up to a pattern.
    files.write_image(str(place / 'flat.png'), numpy.broadcast_to(numpy.uint8([200, 90, 40]), (36, 52, 3)))
    stylize(run, place, '--model', 'paintings16', '--style-index', 3, 'flat.png', '--output', 'one-colour.png')
    network = models.load_network(os.path.join(ROOT, 'data', 'models', 'paintings16.npz'))
    beta = lasagne.layers.get_all_param_values(network.output)[-2][3]
    image = files.read_image(str(place / 'one-colour.png'))
    numpy.testing.assert_array_equal(image, numpy.broadcast_to(numpy.rint(255 / (1 + numpy.exp(-beta))), image.shape))


def test_a_file_of_the_original_repository(run, place):
    stylize(run, place, '--model', 'original.npz', '--style-index', 2, 'photos/a.png', '--output', 'original.png')
    assert files.read_image(str(place / 'original.png')).shape == (37, 50, 3)


def test_without_photos_those_of_the_samples_are_stylized_and_the_pastiches_named(run, place):
    result = stylize(run, place, '--model', 'cin.npz', '--style-index', 1, '--size', 32, '--output', 'samples')
    assert 'data/samples' in result.stderr
    assert result.stdout.split() == [
        os.path.join('samples', f'{name}_night-sky.jpg') for name in ('astronaut', 'cat', 'pavilion')
    ]
    assert all(os.path.exists(str(place / path)) for path in result.stdout.split())


def test_what_needs_no_theano_does_not_wait_for_it(without_theano, place):
    """Nor for a compiler: --list-styles, --info, and errors that nothing has to be computed for."""
    for arguments in (
        ['--model', 'misc32', '--list-styles'],
        ['--info', 'misc32'],
        ['--model', 'nothing.npz'],
        ['--model', 'misc32', '--style', 'nothing'],
    ):
        without_theano('stylize.py', *arguments, cwd=str(place))


def test_a_missing_network_is_told_with_those_that_ship_and_the_way_to_train_one(fails, place):
    line = fails('stylize.py', '--model', 'nothing.npz', '--style-index', 3, cwd=str(place))
    assert 'misc32' in line and 'paintings16' in line and 'python train.py' in line and '--output nothing.npz' in line
    assert 'misc32' in fails('stylize.py', '--style-index', 3, cwd=str(place))


def test_info_says_what_a_network_is_and_how_it_was_trained(run, place):
    out = run('stylize.py', '--info', 'misc32').stdout
    for word in ('1610.07629', '9×9 → 32', '5 residual blocks', 'learning rate', ' 31  agate', 'epsilon 1e-05'):
        assert word in out
    out = run('stylize.py', '--info', 'original.npz', cwd=str(place)).stdout
    assert 'epsilon 0.0001' in out and 'training' not in out


def test_styles_are_listed(run, place):
    assert (
        run('stylize.py', '--model', 'cin.npz', '--list-styles', cwd=str(place)).stdout.split('\n')[1]
        == '  1  night sky'
    )
    # Their names come from a file, and cannot steer the terminal.
    models.save_network(str(place / 'steers.npz'), transformer('cin', ['a\x1b[2Jb\nc']))
    assert run('stylize.py', '--model', 'steers.npz', '--list-styles', cwd=str(place)).stdout == '  0  a?[2Jb c\n'


def test_two_photos_of_one_name_get_two_pastiches(run, place):
    (place / 'more').mkdir()
    (place / 'more' / 'a.png').write_bytes((place / 'photos' / 'a.png').read_bytes())
    stylize(run, place, '--model', 'cin.npz', '--style', 'waves', 'photos/a.png', 'more/a.png', '--output', 'two')
    assert sorted(os.listdir(str(place / 'two'))) == ['a_waves-2.png', 'a_waves.png']


@pytest.mark.parametrize(
    'options, message',
    [
        (['--style-index', '3', 'photos/a.png'], '0 to 2'),
        (['--style-index', 'x', 'photos/a.png'], 'list of numbers'),
        (['--style', 'nothing', 'photos/a.png'], '--list-styles'),
        (['photos/a.png'], '3 styles'),
        (['--style', 'waves', '--blend', '0=1', 'photos/a.png'], 'contradict'),
        (['--blend', '0=-1', 'photos/a.png'], '0=-1'),
        (['--blend', '0=0', 'photos/a.png'], 'zero'),
        (['--style', 'waves', 'nothing.jpg'], 'nothing.jpg'),
        (['--style', 'waves', 'photos/*.gif'], 'photos/*.gif'),
        (['--style', 'all', 'photos/a.png', '--output', 'x.png'], 'one file'),
        (['--style', 'waves', 'photos/a.png', '--output', 'photos/a.png'], 'overwrite'),
        (['--style', 'waves', 'photos/a.png', '--output', 'cin.npz/x.png'], 'cin.npz'),
        (['--style', 'waves', 'photos/a.png', '--batch-size', '0'], 'whole number from 1'),
        (['--style', 'waves', 'photos/a.png', '--model', 'nothing.npz'], 'nothing.npz'),
        (['--style', 'waves', 'photos/a.png', '--model', 'photos/a.png'], 'a.png'),
        (['--style', 'waves', 'photos/a.png', '--device', 'nothing'], 'nothing'),
        (['--style', 'waves', 'photos/a.png', '--precision', 'bf16', '--backend', 'plain'], 'onednn'),
    ],
    ids=lambda value: ' '.join(value) if isinstance(value, list) else None,
)
def test_bad_options_and_files_get_one_line(fails, place, options, message):
    before = (place / 'photos' / 'a.png').read_bytes()
    assert message in fails('stylize.py', '--model', 'cin.npz', *options, cwd=str(place))
    assert (place / 'photos' / 'a.png').read_bytes() == before
