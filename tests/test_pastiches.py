"""The Python interface: what `Stylist` makes of arrays and images, and what it refuses."""

import numpy
import pytest
from PIL import Image

import files
import layers
import models
import pastiches
import utils
from backend.devices import Device
from pastiches import Stylist
from support.tiny import transformer

STYLES = ['waves', 'sun', 'ink']


@pytest.fixture(scope='module')
def stylist(tmp_path_factory):
    """A network of three styles that differ, on Theano's own operations."""
    network, generator = transformer(styles=STYLES), numpy.random.RandomState(0)
    for param in models.get_all_params(network.output):
        value = param.get_value()
        param.set_value((value + generator.normal(0, 0.3, value.shape)).astype('float32'))
    path = str(tmp_path_factory.mktemp('pastiches') / 'cin.npz')
    models.save_network(path, network)
    return Stylist(path, device=Device(backend='plain'))


@pytest.fixture(scope='module')
def photos():
    generator = numpy.random.RandomState(1)
    return [generator.randint(0, 256, shape + (3,)).astype('uint8') for shape in ((20, 28), (21, 18), (20, 28))]


def test_a_pastiche_is_what_the_network_computes_of_the_padded_photo(stylist, photos):
    padded = numpy.pad(photos[1], [(0, 3), (0, 2), (0, 0)], mode='symmetric')
    expected = models.pastiche_function(stylist.network)(files.to_float(padded[None]), layers.style_weights(1, 3))
    numpy.testing.assert_array_equal(stylist(photos[1], 'sun'), files.to_uint8(expected)[0, :21, :18])


def test_styles_are_told_by_number_name_or_weights(stylist, photos):
    assert stylist.styles == STYLES
    by_name = stylist(photos[0], 'ink')
    numpy.testing.assert_array_equal(stylist(photos[0], 2), by_name)
    numpy.testing.assert_array_equal(stylist(photos[0], {'ink': 5}), by_name)
    blend = stylist(photos[0], {'waves': 3, 2: 1})
    numpy.testing.assert_array_equal(blend, stylist(photos[0], {0: 0.75, 'ink': 0.25}))
    assert (blend != by_name).any() and (stylist(photos[0], 0) != by_name).any()


def test_several_photos_of_any_sizes_come_back_in_their_order(stylist, photos):
    alone = [stylist(photo, 'waves') for photo in photos]
    for batch_size in (1, 3):
        for one, expected in zip(stylist(photos, 'waves', batch_size), alone):
            numpy.testing.assert_allclose(one.astype(int), expected, atol=1)
    assert stylist([], 'waves') == []


def test_an_image_of_pillow_gives_one(stylist, photos):
    pastiche = stylist(Image.fromarray(photos[0]).convert('RGBA'), 'sun')
    assert isinstance(pastiche, Image.Image)
    numpy.testing.assert_array_equal(numpy.asarray(pastiche), stylist(photos[0], 'sun'))


@pytest.mark.parametrize(
    'style, message',
    [
        (None, 'the network has 3 styles'),
        (3, 'there is no style 3: the styles are 0 to 2'),
        (-1, 'there is no style -1'),
        ('oil', "there is no style 'oil'"),
        ({'waves': -1, 'sun': 2}, 'the weight of the style waves is -1'),
        ({'waves': float('nan')}, 'is nan'),
        ({'waves': 0}, 'all zero'),
        ({}, 'all zero'),
    ],
    ids=str,
)
def test_a_style_that_is_none_is_refused(stylist, photos, style, message):
    with pytest.raises(utils.UserError, match=message):
        stylist(photos[0], style)


@pytest.mark.parametrize(
    'image', [numpy.zeros((20, 20)), numpy.zeros((20, 20, 3)), numpy.zeros((20, 20, 4), 'uint8')], ids=str
)
def test_what_is_no_image_is_refused(stylist, image):
    with pytest.raises(utils.UserError, match='image 0: expected uint8 of shape'):
        stylist(image, 0)


def test_a_photo_that_does_not_fit_in_bands_either_is_refused(stylist, photos, monkeypatch):
    monkeypatch.setenv('GOGH_MAX_MEMORY', str(utils.FIXED_BYTES + 1000))
    with pytest.raises(utils.UserError, match='image 0: 28 x 20 pixels take about'):
        stylist(photos[0], 0)


@pytest.fixture(scope='module')
def in_bands(stylist, tmp_path_factory):
    path = str(tmp_path_factory.mktemp('bands') / 'cin.npz')
    stylist.save(path)
    return Stylist(path, device=Device(backend='plain'), tile=True)


def test_bands_give_the_same(stylist, in_bands, photos):
    left = numpy.linspace(0, 1, 15).reshape(3, 5)
    for style in ('sun', {'ink': 2, 'sun': 1}, {'ink': left, 'waves': 1 - left}):
        for controls in ({}, dict(strength=0.8, median_filter=3), dict(preserve_color=True, stroke_scale=1.5)):
            whole, banded = (s(photos[0], style, **controls).astype(int) for s in (stylist, in_bands))
            assert abs(whole - banded).max() <= 1


def test_a_preview_is_near_and_exact_where_the_thumbnail_is_the_photo(stylist, in_bands, monkeypatch):
    small = numpy.random.RandomState(4).randint(0, 256, (24, 32, 3)).astype('uint8')
    photo = small.repeat(2, axis=0).repeat(2, axis=1)
    monkeypatch.setattr(in_bands, 'statistics', 'thumbnail')
    whole = stylist(photo, 'sun').astype(int)
    assert abs(in_bands(photo, 'sun') - whole).max() <= 1
    monkeypatch.setattr(pastiches, 'THUMBNAIL', 24)
    away = abs(in_bands(photo, 'sun') - whole)
    assert 1 < away.max() and away.mean() < abs(whole - whole.mean(axis=(0, 1))).mean()


def test_a_style_that_is_added_is_there_in_bands(stylist, tmp_path, photos):
    stylist.save(str(tmp_path / 'cin.npz'))
    added = Stylist(str(tmp_path / 'cin.npz'), device=Device(backend='plain'), tile=True)
    added(photos[0], 'ink')
    added.add_style('new', [value.mean(axis=0) for value in layer_rows(added.network)])
    assert (added(photos[0], 'new') != added(photos[0], 'ink')).any()


def test_a_photo_that_does_not_fit_whole_is_computed_in_bands_and_one_line_says_so(stylist, monkeypatch, capsys):
    photo = numpy.random.RandomState(3).randint(0, 256, (240, 60, 3)).astype('uint8')
    whole = stylist(photo, 'sun').astype(int)
    assert capsys.readouterr().err == ''
    least = 0.9 * stylist._bytes_per_pixel * 240 * 60
    monkeypatch.setenv('GOGH_MAX_MEMORY', str(int(utils.FIXED_BYTES + least)))
    assert abs(stylist(photo, 'sun') - whole).max() <= 1
    lines = capsys.readouterr().err.splitlines()
    said = 'image 0: 60 x 240 pixels do not fit into the memory at once: computing them in bands'
    assert lines.count(said) == 1
    monkeypatch.setenv('GOGH_MAX_MEMORY', str(utils.FIXED_BYTES + 10**5))
    with pytest.raises(utils.UserError, match='image 0: 60 x 240 pixels take about .* would fit|allows more'):
        stylist(photo, 'sun')


def layer_rows(network):
    """Gamma and beta of all styles, of each normalization."""
    return [param.get_value() for param in models.get_all_params(network.output) if param.name in ('gamma', 'beta')]
