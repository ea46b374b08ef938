"""Facts of data/make_styles.py and of the styles that ship in data/styles/misc32."""

import io
import json
import os
import re
import subprocess
import sys

import numpy
import pytest
from PIL import Image
from scipy import ndimage

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCRIPT = os.path.join(ROOT, 'data', 'make_styles.py')
MISC32 = os.path.join(ROOT, 'data', 'styles', 'misc32')
FILES = sorted(name for name in os.listdir(MISC32) if name.endswith('.jpg'))
NAMES = json.load(open(os.path.join(MISC32, 'styles.json')))


def run(*arguments):
    return subprocess.run([sys.executable, SCRIPT] + list(arguments), capture_output=True, text=True, timeout=300)


def pixels(source):
    with Image.open(source) as image:
        return numpy.asarray(image.convert('RGB'))


def fingerprint(image):
    """Palette and texture of an image, at half its size, in 25 numbers of about the same range.

    Means of the channels; the 5th, 50th and 95th percentile of luma; for luma, red-green and blue-yellow twice the
    standard deviation and four times that of each of five octaves of differences of Gaussians; and the logarithm
    of how much stronger horizontal changes are than vertical ones.
    """
    height, width, _ = image.shape
    image = image.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3), dtype=numpy.float32) / 255
    red, green, blue = numpy.moveaxis(image, -1, 0)
    planes = 0.299 * red + 0.587 * green + 0.114 * blue, red - green, blue - (red + green) / 2
    numbers = list(image.mean((0, 1))) + list(numpy.percentile(planes[0], [5, 50, 95]))
    for plane in planes:
        numbers.append(2 * plane.std())
        for sigma in (1, 2, 4, 8, 16):
            blurred = ndimage.gaussian_filter(plane, sigma)
            numbers.append(4 * (plane - blurred).std())
            plane = blurred
    down, across = numpy.gradient(ndimage.gaussian_filter(planes[0], 1))
    return numpy.array(numbers + [numpy.log(across.std() / down.std())])


@pytest.fixture(scope='module')
def images():
    return [pixels(os.path.join(MISC32, name)) for name in FILES]


def test_misc32_has_32_styles_whose_names_are_listed_in_the_order_of_the_files():
    assert len(FILES) == len(set(NAMES)) == 32
    assert [re.sub(r'^\d+_', '', name[: -len('.jpg')]) for name in FILES] == NAMES
    assert all(re.match(r'[a-z]+(-[a-z]+)*$', name) for name in NAMES)


def test_readme_lists_the_styles_in_index_order():
    with open(os.path.join(ROOT, 'data', 'styles', 'README.md'), encoding='utf-8') as readme:
        assert re.findall(r'^\| (\d+) \| `([a-z-]+)` \|', readme.read(), re.M) == [
            (str(index), name) for index, name in enumerate(NAMES)
        ]


def test_images_are_large_enough_to_train_on_and_small_enough_to_ship(images):
    assert all(512 <= min(image.shape[:2]) <= max(image.shape[:2]) <= 768 for image in images)
    assert sum(os.path.getsize(os.path.join(MISC32, name)) for name in FILES) <= 6e6


def test_every_style_has_darks_lights_and_texture_up_to_the_border(images):
    for name, image in zip(FILES, images):
        luma = image @ numpy.array([0.299, 0.587, 0.114])
        dark, bright = numpy.percentile(luma, [5, 95])
        assert bright - dark > 90, name
        for strip in (luma[:48], luma[-48:], luma[:, :48], luma[:, -48:]):
            assert strip.std() > 12, name


def test_styles_are_pairwise_distinct(images):
    # Measured: the closest two styles are 0.25 apart, two halves of one style 0.13 (median).
    prints = numpy.array([fingerprint(image) for image in images])
    distances = numpy.linalg.norm(prints[:, None] - prints[None], axis=-1)
    distances[numpy.diag_indices(32)] = numpy.inf
    first, second = numpy.unravel_index(distances.argmin(), distances.shape)
    assert distances.min() > 0.2, (FILES[first], FILES[second])


def test_each_half_of_an_image_tells_its_style(images):
    left, right = (
        numpy.array([fingerprint(half) for half in halves])
        for halves in zip(*[numpy.array_split(image, 2, axis=1) for image in images])
    )
    nearest = numpy.linalg.norm(left[:, None] - right[None], axis=-1).argmin(1)
    assert [FILES[i] for i in numpy.flatnonzero(nearest != numpy.arange(32))] == []


# A painting (bent strokes), a print (drawn with Pillow) and a craft (cells).
@pytest.mark.parametrize('name', ['cubist-facets', 'woodcut-waves', 'stained-glass'])
def test_the_script_draws_what_ships(name, tmp_path):
    done = run('--only', name, '--output', str(tmp_path))
    assert done.returncode == 0, done.stderr
    (file,) = [file for file in FILES if file.endswith(f'{name}.jpg')]
    assert sorted(os.listdir(str(tmp_path))) == [file, 'styles.json']
    assert json.load(open(str(tmp_path / 'styles.json'))) == NAMES
    # Other versions may round, or draw the edge of a circle, a little differently: 0.016 between Pillow 13 with
    # numpy 1.23 and Pillow 9 with numpy 2.4.
    difference = numpy.abs(pixels(str(tmp_path / file)).astype(int) - pixels(os.path.join(MISC32, file)))
    assert difference.mean() < 1


def test_a_style_is_the_same_whatever_is_drawn_beside_it(tmp_path):
    for folder, names in (('alone', ['batik']), ('beside', ['kilim', 'batik', 'agate'])):
        done = run('--size', '96', '--output', str(tmp_path / folder), '--jobs', '2', '--only', *names)
        assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(str(tmp_path / 'beside'))) == [
        '10_batik.jpg',
        '11_kilim.jpg',
        '31_agate.jpg',
        'styles.json',
    ]
    alone, beside = ((tmp_path / folder / '10_batik.jpg').read_bytes() for folder in ('alone', 'beside'))
    assert alone == beside
    assert pixels(io.BytesIO(alone)).shape == (96, 96, 3)


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['--only', 'batik', 'rococo'], 'rococo'),
        (['--size', '10'], '--size'),
        (['--jobs', '0'], '--jobs'),
        (['--output', os.path.join(SCRIPT, 'inside-a-file')], 'inside-a-file'),
    ],
)
def test_bad_arguments_give_one_line_and_draw_nothing(arguments, words, tmp_path):
    done = run(*(['--output', str(tmp_path / 'new')] + arguments))
    assert done.returncode != 0
    assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1 and words in done.stderr
    assert not os.listdir(str(tmp_path))
