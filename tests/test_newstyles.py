"""Styles that a network was not trained with: drawn, mixed by layers, fitted to a painting."""

import os
import sys

import numpy
import pytest

import files
import models
import newstyles
import options
import stylize
import utils
from backend import cache, lasagne
from backend.devices import Device
from formats import networks
from pastiches import Stylist
from support.tiny import NAMES, transformer
from test_models import randomize


@pytest.fixture
def network():
    network = transformer(styles=NAMES)
    randomize(network)
    return network


def flat(rows):
    return numpy.concatenate(rows)


def values_of(network):
    return [param.get_value() for param in newstyles.style_params(network)]


# Drawn and mixed ------------------------------------------------------------------------------------------------


def test_a_style_is_drawn_by_its_seed(network):
    numpy.testing.assert_array_equal(flat(newstyles.draw(network, 7)), flat(newstyles.draw(network, 7)))
    assert abs(flat(newstyles.draw(network, 7)) - flat(newstyles.draw(network, 8))).max() > 0.01


def test_drawn_styles_have_the_mean_and_covariance_of_the_networks(network):
    styles = numpy.concatenate(values_of(network), axis=1)
    drawn = numpy.stack([flat(newstyles.draw(network, seed)) for seed in range(3000)])
    deviation = styles.std(axis=0, ddof=1)
    assert (abs(drawn.mean(axis=0) - styles.mean(axis=0)) < 0.1 * deviation).all()
    numpy.testing.assert_allclose(numpy.cov(drawn.T), numpy.cov(styles.T), atol=0.1 * (deviation**2).max())


def test_strokes_and_palette_of_one_style_are_that_style(network):
    rows = newstyles.mix_layers(network, {1: 1.0}, {1: 1.0})
    for row, value in zip(rows, values_of(network)):
        numpy.testing.assert_array_equal(row, value[1])


def test_the_palette_is_in_the_last_two_layers(network):
    rows, values = newstyles.mix_layers(network, {0: 1.0}, {2: 0.5, 3: 0.5}), values_of(network)
    for row, value in zip(rows[:-4], values):
        numpy.testing.assert_array_equal(row, value[0])
    for row, value in zip(rows[-4:], values[-4:]):
        numpy.testing.assert_allclose(row, (value[2] + value[3]) / 2, rtol=1e-6)


def test_a_network_of_one_style_has_no_distribution_and_one_without_numbers_no_room():
    with pytest.raises(utils.UserError, match='no distribution'):
        newstyles.draw(transformer(styles=['a']), 0)
    with pytest.raises(utils.UserError, match='takes no further ones'):
        newstyles.draw(transformer('fns'), 0)
    with pytest.raises(utils.UserError, match='takes no further ones'):
        models.append_style(transformer('fns'), 'b', [])


def test_a_style_that_is_added_is_one_like_the_others(network, tmp_path):
    models.save_network(str(tmp_path / 'cin.npz'), network)
    stylist = Stylist(str(tmp_path / 'cin.npz'), device=Device())
    photo = numpy.random.RandomState(0).randint(0, 256, (20, 24, 3)).astype('uint8')
    before = stylist(photo, 'sun')
    stylist.add_style('again', newstyles.rows_of(stylist.network, {3: 1.0}))
    numpy.testing.assert_array_equal(stylist(photo, 'again'), before)
    numpy.testing.assert_array_equal(stylist(photo, {'again': numpy.ones((20, 24))}), before)
    with pytest.raises(utils.UserError, match='has a style again already'):
        stylist.add_style('again', [])
    stylist.save(str(tmp_path / 'more.npz'))
    after = models.load_network(str(tmp_path / 'more.npz'))
    assert after.styles == NAMES + ['again']
    for old, new in zip(values_of(network), values_of(after)):
        numpy.testing.assert_array_equal(new, numpy.concatenate([old, old[3:4]]))


# Fitted ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def fitting(place, monkeypatch):
    """A painting, a loss network of two layers, crops of 16 pixels, and an empty cache."""
    generator, weights = numpy.random.RandomState(0), {}
    for name, channels in (('conv1_1', 3), ('conv1_2', 4)):
        weights[f'{name}_W'] = (generator.randn(4, channels, 3, 3) / 8).astype('float32')
        weights[f'{name}_b'] = generator.randn(4).astype('float32')
    numpy.savez('vgg.npz', **weights)
    files.write_image('01_painting.png', generator.randint(0, 256, (64, 70, 3)).astype('uint8'))
    for name, value in dict(CROP=16, SIZE=20, CROPS=3, UPDATES=12, PAINTING_SIZE=64).items():
        monkeypatch.setattr(newstyles, name, value)
    monkeypatch.setattr(options, 'STYLE_LAYERS', 'conv1_2')
    monkeypatch.setitem(options.NETWORK_DEFAULTS, 'cin', dict(content_layers='conv1_2', style_weight=1.0))
    monkeypatch.setattr(cache, 'folder', lambda: str(place / 'cache'))
    (place / 'cache').mkdir()
    return place


def fitted(network, painting='01_painting.png'):
    return newstyles.fitted(network, painting, ['photo.png', 'nothing.png'], ['vgg.npz'], Device())


def test_a_style_is_fitted_and_the_network_stays_as_it_is(fitting, network, monkeypatch, capsys):
    losses = []

    class Bar:
        def __init__(self, **options):
            assert options['total'] == 12 and options['desc'] == 'fitting painting'

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

        def set_postfix_str(self, text, refresh):
            losses.append(float(text.split()[1]))

        def update(self):
            pass

    monkeypatch.setattr(utils, 'progress', Bar)
    before = lasagne.layers.get_all_param_values(network.output)
    rows = fitted(network)
    assert numpy.mean(losses[-3:]) < 0.8 * numpy.mean(losses[:3]), losses
    for old, new in zip(before, lasagne.layers.get_all_param_values(network.output)):
        numpy.testing.assert_array_equal(old, new)
    assert [row.shape for row in rows] == [value.shape[1:] for value in values_of(network)]
    # Kept by the contents of all that it depends on.
    monkeypatch.setattr(newstyles, 'fit', None)
    numpy.testing.assert_array_equal(flat(fitted(network)), flat(rows))
    os.rename('01_painting.png', 'other.png')
    numpy.testing.assert_array_equal(flat(fitted(network, 'other.png')), flat(rows))
    with pytest.raises(TypeError):
        files.write_image('other.png', files.read_image('other.png')[::-1])
        fitted(network, 'other.png')


def test_an_interrupted_fit_leaves_the_cache_as_it_was_and_a_damaged_one_is_made_again(fitting, network, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(newstyles, 'fit', interrupted)
    with pytest.raises(KeyboardInterrupt):
        fitted(network)
    assert os.listdir('cache') == []
    rows = [value[0] + 1 for value in values_of(network)]
    monkeypatch.setattr(newstyles, 'fit', lambda *arguments, **options: rows)
    fitted(network)
    (name,) = os.listdir('cache')
    with open(os.path.join('cache', name), 'rb+') as file:
        file.truncate(200)
    numpy.testing.assert_array_equal(flat(fitted(network)), flat(rows))
    assert len(files.load_npz(os.path.join('cache', name))) == len(rows)
    files.save_npz(os.path.join('cache', name), [numpy.full(3, numpy.nan, 'float32')])
    numpy.testing.assert_array_equal(flat(fitted(network)), flat(rows))


def test_what_is_fitted_on_are_crops_of_the_photos_in_turns():
    photos = [numpy.full((300, 400, 3), value, 'uint8') for value in (10, 200)]
    images = newstyles.crops(photos)
    assert images.shape == (newstyles.CROPS, 3, newstyles.CROP, newstyles.CROP) and images.dtype == numpy.float32
    numpy.testing.assert_allclose(images.mean(axis=(1, 2, 3)) * 255, [10, 200] * (newstyles.CROPS // 2), rtol=1e-5)
    numpy.testing.assert_array_equal(newstyles.crops(photos), images)


def test_a_painting_of_twenty_pixels_is_refused(fitting, network):
    files.write_image('small.png', numpy.zeros((20, 300, 3), 'uint8'))
    with pytest.raises(utils.UserError, match='small.png: too small for a style'):
        fitted(network, 'small.png')


# The command line -----------------------------------------------------------------------------------------------


@pytest.fixture
def main(monkeypatch, place):
    """Run stylize.py's main with networks that give the negative, at once."""
    monkeypatch.setattr(models, 'pastiche_function', lambda network: lambda image, *style: 1 - image)

    def main(*arguments):
        monkeypatch.setattr(sys, 'argv', ['stylize.py', '--model', 'cin.npz'] + list(arguments))
        return stylize.main()

    return main


def test_a_drawn_style_is_stylized_with_and_saved(main, network, capsys):
    models.save_network('cin.npz', network)
    assert not main('--style', 'random,waves', '--seed', '3', 'photo.png', '--output', 'out')
    assert sorted(os.listdir('out')) == ['photo_random-3.png', 'photo_waves.png']
    assert networks.read_settings('cin.npz')[1] == NAMES
    assert not main('--style', 'random', '--seed', '3', '--save-style', 'dice', 'photo.png', '--output', 'out')
    assert os.path.exists('out/photo_dice.png')
    after = models.load_network('cin.npz')
    assert after.styles == NAMES + ['dice']
    for row, value, old in zip(newstyles.draw(network, 3), values_of(after), values_of(network)):
        numpy.testing.assert_array_equal(value, numpy.concatenate([old, row[numpy.newaxis]]))
    assert not main('--blend', 'dice=0.5,waves=0.5', 'photo.png', '--output', 'blend.png')


def test_new_styles_are_chosen_unless_others_are(main, monkeypatch):
    def chosen(*arguments):
        monkeypatch.setattr(sys, 'argv', ['stylize.py', '--model', 'cin.npz', *arguments])
        args = stylize.parse_arguments()
        new = options.new_styles(args, 'cin.npz', NAMES)
        return options.styles(args, NAMES, new)

    assert chosen('--blend-layers', 'waves', '3') == [('waves-in-sun', {4: 1.0})]
    assert chosen('--blend-layers', 'waves', 'sun', '--style', 'waves') == [('waves', {0: 1.0})]
    assert chosen('--blend-layers', '0', 'sun', '--blend', 'waves-in-sun=1,sun=1')[0][1] == {4: 0.5, 3: 0.5}
    assert chosen('--style', 'random') == [('random-0', {4: 1.0})]


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--style-image', 'nothing.jpg'], 'nothing.jpg: no such file'),
        (['--style-image', 'photo.png', '--loss-weights', 'nothing.npz'], 'python data/download.py vgg16'),
        (['--style-image', 'photo.png', '--loss-weights', 'vgg.npz', 'cat.jpg'], 'cat.jpg is a picture'),
        (['--style-image', 'photo.png', '--loss-weights', 'vgg.npz', '.'], '. is a picture or a folder'),
        (['--style', 'waves', '--save-style', 'new'], '--save-style is for one new style'),
        (['--style', 'random', '--save-style', 'waves'], 'the network has such a style'),
        (['--style', 'random', '--save-style', 'new', '--model', 'misc32'], 'comes with the project'),
        (['--blend-layers', 'waves', 'oil'], "there is no style 'oil'"),
        (['--blend-layers', 'waves', '9'], 'there is no style 9'),
    ],
    ids=lambda value: ' '.join(value) if isinstance(value, list) else None,
)
def test_bad_new_styles_are_one_line(main, arguments, message):
    with pytest.raises(utils.UserError) as caught:
        main('photo.png', *arguments)
    assert message in str(caught.value) and '\n' not in str(caught.value)
