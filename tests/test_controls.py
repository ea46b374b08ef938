"""The artist's controls, and albums of photos: what each of them promises."""

import io
import json
import os
import sys

import numpy
import pytest
from PIL import Image

import colors
import controls
import files
import models
import stylize
import utils
from backend.devices import Device
from conftest import ROOT
from controls import Controls
from pastiches import Stylist
from support.tiny import transformer
from test_models import randomize

STYLES = ['waves', 'sun', 'ink']


@pytest.fixture(scope='module')
def stylist(tmp_path_factory):
    """A network of three styles that differ, on Theano's own operations."""
    network = transformer(styles=STYLES)
    randomize(network)
    path = str(tmp_path_factory.mktemp('controls') / 'cin.npz')
    models.save_network(path, network)
    return Stylist(path, device=Device())


@pytest.fixture(scope='module')
def photo():
    """Smooth and textured parts, of sides that are no multiples of four."""
    y, x = numpy.mgrid[:37, :50]
    waves = numpy.stack([numpy.sin(x / 5), numpy.cos(y / 4), numpy.sin((x + y) / 7)], axis=2)
    noise = numpy.random.RandomState(0).uniform(-30, 30, (37, 50, 3)) * (x > 25)[..., None]
    return numpy.uint8(numpy.clip(128 + 80 * waves + noise, 0, 255))


@pytest.fixture
def main(monkeypatch, capsys):
    """Run stylize.py's main with networks that give the negative, at once; returns its status and what it printed."""
    monkeypatch.setattr(models, 'pastiche_function', lambda network: lambda image, *style: 1 - image)

    def main(*arguments):
        monkeypatch.setattr(sys, 'argv', ['stylize.py', '--model', 'cin.npz'] + [str(item) for item in arguments])
        capsys.readouterr()
        status = stylize.main()
        return status, capsys.readouterr()

    return main


def psnr(a, b):
    return 10 * numpy.log10(255**2 / max(1e-12, numpy.mean((a.astype(float) - b) ** 2)))


# What is done around the network --------------------------------------------------------------------------------


def test_strength_goes_from_the_photo_to_the_plain_pastiche(stylist, photo):
    plain = stylist(photo, 'sun')
    numpy.testing.assert_array_equal(stylist(photo, 'sun', strength=1), plain)
    assert psnr(stylist(photo, 'sun', strength=0), photo) > 40
    half = stylist(photo, 'sun', strength=0.5)
    numpy.testing.assert_allclose(half, (photo.astype(float) + plain) / 2, atol=1)


@pytest.mark.parametrize('style', ['stained-glass', 'golden-spirals', 'fns-udnie'])
def test_the_style_loss_falls_with_strength(style):
    """By Gram matrices of rectified random filters of 3 × 3, of a photo and the pastiche of it in the docs."""
    photo = files.read_image(os.path.join(ROOT, 'data', 'samples', 'pavilion.jpg'), size=96)
    pastiche = files.cover(files.read_image(os.path.join(ROOT, 'docs', f'gallery-{style}.jpg')), *photo.shape[:2])
    filters = numpy.random.RandomState(1).normal(0, 1, (8, 27))

    def gram(image):
        windows = numpy.lib.stride_tricks.sliding_window_view(image / 255.0, (3, 3), axis=(0, 1))
        features = numpy.maximum(filters @ windows.reshape(-1, 27).T, 0)
        return features @ features.T / features.shape[1]

    images = [Controls(strength=s).finish(files.to_float(pastiche)[0], photo) for s in numpy.linspace(0, 1, 6)]
    losses = [((gram(image) - gram(pastiche)) ** 2).sum() for image in images]
    assert all(b < a for a, b in zip(losses, losses[1:])) and losses[-1] == 0


def test_preserving_colours_changes_the_luminance_only(stylist, photo):
    plain, kept = stylist(photo, 'sun') / 255.0, stylist(photo, 'sun', preserve_color=True) / 255.0
    inside = ((kept > 0.01) & (kept < 0.99)).all(axis=2)
    assert inside.mean() > 0.3
    # Differences of channels are what luminance leaves; clipped colours lose some of them.
    for a, b in ((0, 1), (1, 2)):
        difference = (kept[..., a] - kept[..., b]) - (photo[..., a] / 255.0 - photo[..., b] / 255.0)
        assert abs(difference[inside]).max() < 0.01
    luminance = (kept @ colors.LUMINANCE - plain @ colors.LUMINANCE)[inside]
    assert abs(luminance).max() < 0.01


def test_strokes_of_scale_one_are_the_plain_pastiche_and_others_keep_its_size(stylist, photo):
    numpy.testing.assert_array_equal(stylist(photo, 'sun', stroke_scale=1), stylist(photo, 'sun'))
    for scale in (0.5, 2, 3.3):
        assert stylist(photo, 'sun', stroke_scale=scale).shape == photo.shape
    # What the network is shown is so much smaller.
    assert Controls(stroke_scale=2).seen(photo).shape == (18, 25, 3)


def test_coarse_strokes_keep_some_detail_of_the_photo(stylist, photo, monkeypatch):
    fine = photo - controls._resize(controls._resize(photo, (18, 25)), photo.shape[:2]).astype(float)
    with_detail = stylist(photo, 'sun', stroke_scale=2).astype(float)
    monkeypatch.setattr(controls, 'DETAIL', 0)
    without = stylist(photo, 'sun', stroke_scale=2)
    assert numpy.corrcoef((with_detail - without).ravel(), fine.ravel())[0, 1] > 0.5


def test_a_network_that_loses_its_border_loses_it_with_all_controls(tmp_path, photo):
    network = transformer('cin', ['waves'], pad='none')
    models.save_network(str(tmp_path / 'none.npz'), network)
    stylist = Stylist(str(tmp_path / 'none.npz'), device=Device())
    large = numpy.tile(photo, (2, 2, 1))
    numpy.testing.assert_array_equal(stylist(large, strength=0), large[8:-8, 8:-8])
    assert stylist(large, stroke_scale=2, preserve_color=True).shape == (74 - 32, 100 - 32, 3)


@pytest.mark.parametrize(
    'settings', [dict(strength=1.01), dict(strength=-0.1), dict(stroke_scale=0), dict(strength=float('nan'))]
)
def test_controls_beyond_their_range_are_refused(settings):
    with pytest.raises(utils.UserError):
        Controls(**settings)


def test_photos_at_finer_strokes_are_checked_at_the_size_that_is_computed(stylist, photo, monkeypatch):
    fits = stylist._bytes_per_pixel * photo[..., 0].size * 2 + utils.FIXED_BYTES
    monkeypatch.setenv('GOGH_MAX_MEMORY', str(int(fits)))
    stylist.check('a.png', photo)
    with pytest.raises(utils.UserError, match='a.png at the scale 0.25 of strokes: 200 x 148 pixels take'):
        stylist.check('a.png', photo, Controls(stroke_scale=0.25))


# Albums ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--strength', '1.5'], "'1.5' is not a number from 0 to 1"),
        (['--stroke-scale', '0.1'], "'0.1' is not a number from 0.25 to 8"),
        (['--output', '-', '--json'], '--output - goes with no'),
        (['--skip-existing', '--grid', 'sheet.png'], 'contradict'),
        (['-', '--style', 'waves'], 'stands alone'),
    ],
)
def test_bad_controls_are_one_line(place, main, arguments, message):
    with pytest.raises(utils.UserError, match='.*') as caught:
        main('--style', 'waves', 'photo.png', *arguments)
    assert message in str(caught.value) and '\n' not in str(caught.value)


def test_json_is_one_object_for_each_pastiche_also_for_the_failures(place, main):
    (place / 'broken.png').write_bytes(b'x')
    status, out = main('--style', 'waves,sun', 'photo.png', 'broken.png', '--output', 'out', '--json')
    objects = sorted(map(json.loads, out.out.splitlines()), key=lambda one: 'error' in one)
    assert status == 1 and len(objects) == 3
    assert {o['pastiche'] for o in objects[:2]} == {'out/photo_waves.png', 'out/photo_sun.png'}
    for one in objects[:2]:
        assert one['photo'] == 'photo.png' and (one['width'], one['height']) == (24, 20)
        assert one['seconds'] >= 0 and one['device'] == 'cpu' and one['style'] in ('waves', 'sun')
    assert objects[2]['photo'] == 'broken.png' and 'broken.png' in objects[2]['error']


def test_existing_pastiches_are_skipped_unless_their_photo_is_newer(place, main):
    files.write_image('b.png', numpy.zeros((20, 20, 3), 'uint8'))
    command = '--style', 'waves', '--output', 'out', '--skip-existing', 'photo.png'
    assert main(*command)[1].out.split() == ['out/photo_waves.png']
    assert main(*command, 'b.png')[1].out.split() == ['out/b_waves.png']
    status, out = main(*command, 'b.png')
    assert status is None and out.out == '' and 'all pastiches are there' in out.err
    newer = os.path.getmtime('out/photo_waves.png') + 10
    os.utime('photo.png', (newer, newer))
    assert main(*command, 'b.png')[1].out.split() == ['out/photo_waves.png']
    # That of another photo is none of this one's.
    os.mkdir('other')
    files.write_image('other/b.png', numpy.ones((20, 20, 3), 'uint8'))
    assert main('--style', 'waves', '--output', 'out', '--skip-existing', 'other/b.png')[1].out.split() == [
        'out/b_waves-2.png'
    ]


def test_failures_of_a_long_run_are_a_table_at_the_end(place, main):
    os.mkdir('many')
    for number in range(22):
        path = place / 'many' / f'{number:02d}.png'
        path.write_bytes((place / 'photo.png').read_bytes()[: 50 if number in (3, 7) else None])
    status, out = main('--style', 'waves', 'many', '--output', 'out')
    lines = out.err.splitlines()
    assert status == 1 and lines[-1] == 'error: 2 of 22 photos could not be stylized'
    assert [line.split('  ')[0] for line in lines[-3:-1]] == ['many/03.png', 'many/07.png']
    assert 'cannot read this image' in lines[-3]


class Stream:
    def __init__(self, data=b''):
        self.buffer = io.BytesIO(data)

    def isatty(self):
        return False


@pytest.mark.parametrize('form', ['PNG', 'JPEG', 'GIF'])
def test_a_photo_comes_by_the_standard_input_and_goes_by_the_standard_output(place, main, monkeypatch, form):
    data = io.BytesIO()
    Image.open('photo.png').save(data, form)
    monkeypatch.setattr(sys, 'stdin', Stream(data.getvalue()))
    written = io.BytesIO()
    monkeypatch.setattr(
        files, 'write_picture', lambda path, *a, write=files.write_picture, **b: write(written, *a, **b)
    )
    status, out = main('--style', 'waves', '-', '--output', '-')
    assert status is None and out.out == ''
    pastiche = Image.open(written)
    # In the format that it came in; a still GIF has too few colours for a pastiche.
    assert pastiche.format == ('PNG' if form == 'GIF' else form) and pastiche.size == (24, 20)
    if form == 'PNG':
        numpy.testing.assert_array_equal(numpy.asarray(pastiche), 255 - files.read_image('photo.png'))


@pytest.mark.parametrize('data, message', [(b'', 'the file is empty'), (b'no image', 'not an image')])
def test_a_standard_input_that_is_no_image_is_that_photos_failure(place, main, monkeypatch, data, message):
    monkeypatch.setattr(sys, 'stdin', Stream(data))
    status, out = main('--style', 'waves', '-')
    assert status == 1 and f'error: standard input: {message}' in out.err
