"""Style maps: several styles in one photo, by weights for each pixel."""

import sys

import numpy
import pytest

import files
import layers
import models
import options
import reference
import stylemaps
import stylize
import utils
from backend import T, lasagne, theano
from backend.devices import Device
from backend.formulas import InstanceNorm, MappedInstanceNorm
from pastiches import Stylist
from support.tiny import NAMES, transformer
from test_models import randomize

STYLES = ['waves', 'sun', 'ink']


def norm_values(generator, styles=3):
    x = generator.normal(0, 2, (2, 5, 6, 7))
    gamma, beta = generator.normal(1, 0.5, (2, styles, 5))
    weights = generator.uniform(0, 1, (2, styles, 6, 7))
    return [value.astype('float32') for value in (x, gamma, beta, weights / weights.sum(axis=1, keepdims=True))]


def mapped_norm(x, gamma, beta, weights, epsilon):
    """The formula, in float64."""
    x, gamma, beta, weights = (numpy.asarray(value, 'float64') for value in (x, gamma, beta, weights))
    mean, variance = x.mean(axis=(2, 3), keepdims=True), x.var(axis=(2, 3), keepdims=True)
    slope, shift = (numpy.einsum('nshw,sc->nchw', weights, rows) for rows in (gamma, beta))
    return slope * (x - mean) / numpy.sqrt(variance + epsilon) + shift


def test_gamma_and_beta_are_mixed_at_each_pixel(compile, generator):
    values = norm_values(generator)
    inputs = [T.ftensor4(), T.fmatrix(), T.fmatrix(), T.ftensor4()]
    result = compile(inputs, MappedInstanceNorm(1e-5)(*inputs))(*values)
    numpy.testing.assert_allclose(result, mapped_norm(*values, 1e-5), rtol=1e-4, atol=1e-5)


def test_the_gradient_is_that_of_the_formula(compile, generator):
    values = norm_values(generator)
    direction = generator.normal(0, 1, values[0].shape).astype('float32')
    inputs = [T.ftensor4(), T.fmatrix(), T.fmatrix(), T.ftensor4()]
    total = (MappedInstanceNorm(1e-5)(*inputs) * direction).sum()
    gradients = compile(inputs, theano.grad(total, inputs))(*values)
    for number, gradient in enumerate(gradients):
        for place in [tuple(generator.randint(0, n) for n in gradient.shape) for _ in range(4)]:
            sums = []
            for step in (1e-4, -1e-4):
                moved = [numpy.array(value, 'float64') for value in values]
                moved[number][place] += step
                sums.append((mapped_norm(*moved, 1e-5) * direction).sum())
            numpy.testing.assert_allclose(gradient[place], (sums[0] - sums[1]) / 2e-4, rtol=2e-3, atol=2e-3)


def random_stylist(folder, backend, **settings):
    """A network of three styles that differ, on a backend."""
    if backend == 'onednn':
        pytest.importorskip('backend.onednn')
    network = transformer(styles=STYLES, **settings)
    randomize(network)
    path = str(folder / 'cin.npz')
    models.save_network(path, network)
    stylist = Stylist(path, device=Device(backend=backend))
    if stylist.device.backend != backend:
        pytest.skip('oneDNN cannot be had')
    return stylist


@pytest.fixture(scope='module', params=['plain', 'onednn'])
def stylist(request, tmp_path_factory):
    """On each backend, with more maps than a block of channels has."""
    return random_stylist(tmp_path_factory.mktemp('maps'), request.param, widths=(3, 18, 5))


@pytest.fixture(scope='module', params=['plain none', 'onednn none', 'onednn reflect-start'])
def cropping(request, tmp_path_factory):
    """A network whose residual blocks take pixels away: 16 of the photo on each side."""
    backend, pad = request.param.split()
    return random_stylist(tmp_path_factory.mktemp('cropping'), backend, pad=pad, residual_blocks=2)


@pytest.fixture(scope='module')
def photo():
    return numpy.random.RandomState(1).randint(0, 256, (36, 52, 3)).astype('uint8')


def check_maps_of_one_style(stylist, photo, odd):
    """Maps of one style everywhere are that style to the bit, for each of them, and for a part of odd sizes."""
    ones = numpy.ones(photo.shape[:2])
    for style in STYLES:
        mixed = stylist(photo, {other: ones * (other == style) for other in STYLES})
        numpy.testing.assert_array_equal(mixed, stylist(photo, style))
    part = photo[: odd[0], : odd[1]]
    numpy.testing.assert_array_equal(stylist(part, {'sun': ones[: odd[0], : odd[1]]}), stylist(part, 'sun'))


def test_a_map_of_one_style_everywhere_is_that_style_to_the_bit(stylist, photo):
    check_maps_of_one_style(stylist, photo, (33, 50))


def test_an_even_map_is_a_blend(stylist, photo):
    even = stylist(photo, {'sun': numpy.full((36, 52), 3), 'ink': numpy.full((36, 52), 1)})
    numpy.testing.assert_allclose(even.astype(int), stylist(photo, {'sun': 0.75, 'ink': 0.25}), atol=1)


def reference_pastiche(stylist, photo, weights, monkeypatch):
    """The reference network in float64, whose normalization is replaced by the formula with maps (1, styles, H, W)."""
    params = lasagne.layers.get_all_param_values(stylist.network.output)
    rows = {id(gamma): beta for beta, gamma in zip(params[1::3], params[2::3])}
    assert len(rows) == len(params) // 3
    architecture = stylist.architecture
    blocks = architecture.residual_blocks
    if architecture.pad == 'reflect-start':
        border = [(0, 0), (0, 0)] + [(architecture.border, architecture.border)] * 2
        weights = numpy.pad(weights, border, mode='reflect')
    sides = iter([1, 2, 4] + [4] * 2 * blocks + [2, 1, 1])

    def norm(x, gamma, beta, epsilon=1e-5):
        side = next(sides)
        n, s, h, w = weights.shape
        means = weights.reshape(n, s, h // side, side, w // side, side).mean(axis=(3, 5))
        # Whatever was lost was lost on all sides alike.
        top, left = ((a - b) // 2 for a, b in zip(means.shape[2:], x.shape[2:]))
        means = means[:, :, top : top + x.shape[2], left : left + x.shape[3]]
        return mapped_norm(x, gamma, beta, means, epsilon)

    monkeypatch.setattr(reference, 'instance_norm', norm)
    # The reference takes rows of weights for gamma and beta: as the identity they give all rows.
    image = files.to_float(photo).astype('float64')
    pastiche = reference.transformer(image, params, numpy.eye(3), residual_blocks=blocks, pad=architecture.pad)
    return files.to_uint8(pastiche)[0]


def test_a_map_is_the_papers_network_with_gamma_and_beta_at_each_pixel(stylist, photo, monkeypatch):
    weights = numpy.random.RandomState(2).uniform(0, 1, (1, 3, 36, 52))
    weights /= weights.sum(axis=1, keepdims=True)
    style_map = stylemaps.of_masks(dict(enumerate(weights[0])))
    expected = reference_pastiche(stylist, photo, weights, monkeypatch)
    numpy.testing.assert_allclose(stylist(photo, style_map).astype(int), expected, atol=1)


# Networks that crop ---------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def large():
    return numpy.random.RandomState(3).randint(0, 256, (56, 64, 3)).astype('uint8')


def test_a_map_of_one_style_is_that_style_to_the_bit_where_blocks_crop(cropping, large):
    check_maps_of_one_style(cropping, large, (51, 54))


def test_a_map_is_cropped_and_mirrored_as_feature_maps_are(cropping, large, monkeypatch):
    weights = numpy.random.RandomState(4).uniform(0, 1, (1, 3, 56, 64))
    weights /= weights.sum(axis=1, keepdims=True)
    pastiche = cropping(large, stylemaps.of_masks(dict(enumerate(weights[0])))).astype(int)
    expected = reference_pastiche(cropping, large, weights, monkeypatch)
    numpy.testing.assert_allclose(pastiche, expected, atol=1)
    assert expected.shape == (56 - 2 * cropping.architecture.lost, 64 - 2 * cropping.architecture.lost, 3)


def test_a_seam_is_where_the_photo_has_it(cropping, large):
    """Styles that differ in the last normalization alone have the same feature maps up to there."""
    left = numpy.zeros((56, 64))
    params = lasagne.layers.get_all_params(cropping.network.output)
    values = [param.get_value() for param in params]
    for param in params[:-2]:
        if param.name in ('gamma', 'beta'):
            param.set_value(numpy.repeat(param.get_value()[:1], 3, axis=0))
    left[:, :24] = 1
    a, b, mixed = (cropping(large, style) for style in ('sun', 'ink', {'sun': left, 'ink': 1 - left}))
    for param, value in zip(params, values):
        param.set_value(value)
    seam = 24 - cropping.architecture.lost
    assert (a != b).any(axis=(0, 2)).all()
    numpy.testing.assert_array_equal(mixed, numpy.concatenate([a[:, :seam], b[:, seam:]], axis=1))


def test_small_photos_have_maps_where_the_image_is_mirrored():
    """So small that the network is given more of it to mirror."""
    network = transformer(styles=STYLES, pad='reflect-start', residual_blocks=2)
    assert network.architecture.smallest_side > 16
    randomize(network)
    image = numpy.random.RandomState(5).uniform(0, 1, (1, 3, 16, 32)).astype('float32')
    weights = numpy.zeros((1, 3, 16, 32), 'float32')
    weights[:, 1] = 1
    plain = models.pastiche_function(network)(image, layers.style_weights(1, 3))
    numpy.testing.assert_array_equal(models.mapped_function(network)(image, weights), plain)
    assert plain.shape == (1, 3, 16, 32)


# Edges, sizes, boards -------------------------------------------------------------------------------------------


def test_soft_edges_go_from_one_style_to_the_other(stylist, photo):
    ramp = numpy.tile(numpy.clip(numpy.arange(52) / 51.0, 0, 1), (36, 1))
    mixed, a, b = (stylist(photo, style).astype(float) for style in ({'sun': ramp, 'ink': 1 - ramp}, 'ink', 'sun'))
    # Near each end it is the nearer one's.
    left, right = slice(0, 8), slice(-8, None)
    assert abs(mixed - a)[:, left].mean() < abs(mixed - b)[:, left].mean()
    assert abs(mixed - b)[:, right].mean() < abs(mixed - a)[:, right].mean()


def test_maps_follow_the_size_that_the_network_is_shown(stylist, photo):
    left = numpy.zeros((18, 26))
    left[:, :13] = 1
    for settings in ({}, dict(stroke_scale=2), dict(stroke_scale=0.5, strength=0.9)):
        assert stylist(photo, {'sun': left, 'ink': 1 - left}, **settings).shape == photo.shape


def test_a_checkerboard_has_the_styles_in_turns():
    board = stylemaps.checkerboard([4, 7, 2], 2)
    weights = board.weights(20, 30)
    assert board.numbers == [4, 7, 2] and weights.shape == (3, 20, 30) and (weights.sum(axis=0) == 1).all()
    for row, column, number in ((0, 0, 0), (0, 15, 1), (15, 0, 1), (15, 15, 2), (5, 25, 2)):
        assert weights[number, row, column] == 1


def test_masks_of_other_sizes_are_resized_by_means():
    mask = numpy.zeros((40, 40))
    mask[:, :20] = 1
    weights = stylemaps.of_masks({0: mask}, {1: 1.0}).weights(10, 10)
    assert (weights[0, :, :4] == 1).all() and (weights[1, :, 6:] == 1).all()
    numpy.testing.assert_allclose(weights.sum(axis=0), 1, rtol=1e-6)


def test_rows_of_a_map_are_those_of_the_whole(generator):
    for style_map in (
        stylemaps.of_masks({0: generator.rand(17, 9)}, {1: 1.0}),
        stylemaps.of_masks({0: generator.rand(170, 90) + 1e-3}),
        stylemaps.checkerboard([0, 1, 2], 3),
    ):
        whole = style_map.weights(150, 40)
        numpy.testing.assert_allclose(style_map.weights(150, 40, 31, 111), whole[:, 31:111], atol=1e-6)


@pytest.mark.parametrize(
    'masks, message',
    [
        ({'waves': numpy.zeros((4, 4)), 'sun': numpy.zeros((4, 4))}, '16 pixels of a style map have no style'),
        ({'waves': numpy.ones((4, 4)), 'sun': numpy.ones((4, 5))}, 'one shape'),
        ({'waves': -numpy.ones((4, 4))}, 'negative or not finite'),
        ({'waves': numpy.full((4, 4), numpy.nan)}, 'negative or not finite'),
        ({'oil': numpy.ones((4, 4))}, "there is no style 'oil'"),
    ],
    ids=['black', 'shapes', 'negative', 'nan', 'name'],
)
def test_maps_that_are_none_are_refused(stylist, photo, masks, message):
    with pytest.raises(utils.UserError, match=message):
        stylist(photo, masks)


def test_a_network_of_a_single_style_has_no_maps():
    with pytest.raises(utils.UserError, match='single style'):
        models.mapped_function(transformer(styles=['a'], network='fns'))


@pytest.mark.parametrize(
    'pad, lost',
    [
        ('reflect', [0] * 10),
        ('none', [0, 0, 0, 4, 8, 12, 16, 16, 16, 16]),
        ('reflect-start', [-16, -16, -16, -12, -8, -4, 0, 0, 0, 0]),
    ],
)
def test_layers_know_where_in_the_image_their_pixels_lie(pad, lost):
    network = transformer(styles=STYLES, pad=pad, residual_blocks=2)
    norms = [
        layer.input_layers[0]
        for layer in lasagne.layers.get_all_layers(network.output)
        if isinstance(layer, layers.ConditionalInstanceNormLayer)
    ]
    assert [layers._place(layer) for layer in norms] == list(zip([1, 2, 4, 4, 4, 4, 4, 2, 1, 1], lost))


def test_the_formula_without_maps_is_another_operation():
    # A backend that replaces one of them must not take the other for it.
    assert InstanceNorm(1e-5) != MappedInstanceNorm(1e-5)


# The command line -----------------------------------------------------------------------------------------------


def chosen(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['stylize.py', '--model', 'cin.npz', *arguments])
    return options.styles(stylize.parse_arguments(), NAMES)


@pytest.fixture
def masks(place):
    left = numpy.zeros((20, 24, 3), 'uint8')
    left[:, :12] = 255
    files.write_image('left.png', left)
    files.write_image('right=half.png', 255 - left)
    files.write_image('large.png', numpy.full((40, 30, 3), 255, 'uint8'))
    files.write_image('colours.png', left * numpy.uint8([1, 0, 0]))


def test_a_style_map_is_told_by_styles_and_masks(masks, monkeypatch, capsys):
    ((label, style_map),) = chosen(monkeypatch, '--style-map', 'waves=left.png', '--style', 'sun, rising')
    assert label == 'waves+sun, rising' and style_map.numbers == [0, 2]
    weights = style_map.weights(20, 24)
    assert (weights[0, :, :12] == 1).all() and (weights[1, :, 12:] == 1).all()
    ((label, style_map),) = chosen(monkeypatch, '--style-map', 'sun=left.png', '0=right=half.png')
    assert label == 'sun+waves' and style_map.numbers == [3, 0]
    chosen(monkeypatch, '--style-map', 'sun=left.png', '0=large.png')
    assert 'large.png: 30 x 40 pixels, resized to the 24 x 20 of the first mask' in capsys.readouterr().err
    ((label, board),) = chosen(monkeypatch, '--checkerboard', '3', '--style', 'sun,waves')
    assert label == 'sun+waves' and board.numbers == [3, 0]


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--style-map', 'waves=left.png'], 'no mask covers'),
        (['--style-map', 'waves=nothing.png'], 'nothing.png: no such file'),
        (['--style-map', 'waves=colours.png', '--style', 'sun'], 'colours.png: not grey'),
        (['--style-map', 'waves=left.png', 'photo.png'], "'photo.png' is not STYLE=MASK"),
        (['--style-map', 'waves=left.png', 'photo.png'], 'photos are named before this option'),
        (['--style-map', 'oil=left.png'], 'is not STYLE=MASK'),
        (['--style-map', 'waves=left.png', '0=left.png'], 'two masks'),
        (['--style-map', 'waves=left.png', '--style', 'sun,waves'], 'one style'),
        (['--style-map', 'waves=left.png', '--checkerboard', '3'], 'contradict'),
        (['--checkerboard', '3', '--style', 'sun'], 'two styles'),
    ],
    ids=lambda value: ' '.join(value) if isinstance(value, list) else None,
)
def test_bad_maps_are_one_line(masks, monkeypatch, arguments, message):
    with pytest.raises(utils.UserError) as caught:
        chosen(monkeypatch, *arguments)
    assert message in str(caught.value) and '\n' not in str(caught.value)
