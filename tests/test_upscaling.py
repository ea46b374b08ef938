"""Super-resolution (arXiv:1603.08155, section 4.2): the networks, what they learn from, and their training."""

import csv
import io
import json
import os

import numpy
import pytest
import scipy.ndimage
import scipy.signal
from PIL import Image

import files
import losses
import models
import reference
import scores
import training
import utils
from architecture import Architecture
from backend import T, lasagne, theano
from backend.onednn import library, rewrites
from conftest import ROOT
from data import photos
from formats import networks
from objective import PIXELS, Objective, parse_layers
from support.tiny import loss_network, transformer, upscaler

SAMPLES = os.path.join(ROOT, 'data', 'samples')
CAT = os.path.join(SAMPLES, 'cat.jpg')
try:
    rewrites.register()
except library.Unavailable:
    FAST = None  # Theano's default
else:
    FAST = theano.Mode(linker='py', optimizer='fast_run')  # no wait for the C compiler


def made_by(network, small):
    """What a network makes of images, with the statistics of their batch."""
    image = T.tensor4()
    return theano.function([image], lasagne.layers.get_output(network.output, image), mode=FAST)(small)


# The networks --------------------------------------------------------------------------------


def test_the_network_is_that_of_the_supplement():
    """Four residual blocks of 64 maps at the size of the photo, upsampling, 9 by 9 at both ends."""
    for factor, stages in ((2, 1), (4, 2), (8, 3)):
        architecture = Architecture.for_upscaling(factor, norm='batch', output='linear')
        assert architecture.factor == factor
        network = models.transformer_network(architecture)
        shapes = [param.get_value(borrow=True).shape for param in lasagne.layers.get_all_params(network.output)]
        assert shapes == [shape for _, shape in architecture.shapes(1)]
        filters = [shape for shape in shapes if len(shape) == 4]
        assert filters == [(64, 3, 9, 9)] + [(64, 64, 3, 3)] * (8 + stages) + [(3, 64, 9, 9)]
        assert shapes[-1] == (3,)
        assert lasagne.layers.get_output_shape(network.output, {network.image: (1, 3, 10, 12)}) == (
            (1, 3, factor * 10, factor * 12)
        )


@pytest.mark.parametrize('factor', [1, 3, 6, 16])
def test_other_factors_are_no_network(factor):
    with pytest.raises(ValueError):
        Architecture.for_upscaling(factor)


@pytest.mark.parametrize(
    'settings', [dict(pad='none'), dict(norm='group'), dict(widths=(4, 4)), dict(last='norm'), dict(output='tanh')]
)
def test_settings_that_are_no_network_are_refused(settings):
    good = dict(network='upscale', widths=(4,), up_widths=(4,), filter_sizes=(9,), last='bias', output='linear')
    Architecture(**good, preprocessing='none')
    with pytest.raises(ValueError):
        Architecture(**dict(good, **settings), preprocessing='none')


@pytest.mark.parametrize('norm', ['batch', 'instance', 'none'])
@pytest.mark.parametrize('factor, output', [(2, 'linear'), (4, 'residual')])
def test_images_are_those_of_the_formulas(factor, norm, output, generator):
    network = upscaler(factor, norm=norm, output=output)
    image = generator.rand(2, 3, 7, 9).astype('float32')
    params = lasagne.layers.get_all_param_values(network.output)
    expected = reference.upscaler(image.astype('float64'), params, factor, norm, output=output)
    assert 0.05 < expected.std() < 2
    output = lasagne.layers.get_output(network.output, deterministic=True)
    got = theano.function([network.image.input_var], output, mode=FAST)(image)
    assert got.shape == (2, 3, 7 * factor, 9 * factor)
    numpy.testing.assert_allclose(got, expected, atol=1e-4)


@pytest.mark.parametrize('norm', ['batch', 'instance', 'none'])
def test_files_say_what_a_network_is(norm, tmp_path, run):
    path, meta = str(tmp_path / 'net.npz'), {'training': {'factor': 4}}
    network = upscaler(4, norm=norm, meta=meta)
    models.save_network(path, network)
    loaded = models.load_network(path)
    assert (loaded.architecture, loaded.styles, loaded.meta) == (network.architecture, [], meta)
    for a, b in zip(*(lasagne.layers.get_all_param_values(net.output) for net in (network, loaded))):
        numpy.testing.assert_array_equal(a, b)
    lines = networks.describe(*networks.read_settings(path))
    assert '4 times as high and wide' in lines[0] and norm in lines[2] and not any('styles' in line for line in lines)


def test_a_pixel_reaches_as_far_as_the_architecture_says():
    """A pixel of the photo changes nothing beyond that, and something near there."""
    for factor in (2, 4, 8):
        network = upscaler(factor, width=2, norm='none')
        for param in lasagne.layers.get_all_params(network.output):
            # Positive weights: nothing is cut off on the way.
            param.set_value(numpy.abs(param.get_value()))
        output = T.tensor4()
        function = theano.function([output], lasagne.layers.get_output(network.output, output), mode=FAST)
        reach = network.architecture.reach
        black = numpy.zeros((1, 3, 2 * reach + 9, 1), 'float32') + numpy.zeros((1, 1, 1, 9), 'float32')
        dot = black.copy()
        dot[:, :, reach + 4] = 1
        changed = numpy.abs(function(dot) - function(black)).max(axis=(0, 1, 3)) > 0
        first, last = numpy.flatnonzero(changed)[[0, -1]]
        middle = (reach + 4) * factor
        assert middle - first <= reach * factor and last - (middle + factor - 1) <= reach * factor
        assert middle - first > (reach - 2) * factor


# Small photos --------------------------------------------------------------------------------


def bicubic(x, size, axis):
    """Keys' cubic of a = -0.5, made wider where the image becomes smaller, in float64."""
    scale = x.shape[axis] / size
    width, rows = max(scale, 1), []
    for i in range(size):
        center = (i + 0.5) * scale
        places = numpy.arange(max(0, int(center - 2 * width + 0.5)), min(x.shape[axis], int(center + 2 * width + 0.5)))
        t = numpy.abs((places + 0.5 - center) / width)
        weights = numpy.where(t < 1, 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2) * (t < 2)
        rows.append(numpy.tensordot(weights / weights.sum(), x.take(places, axis), [[0], [axis]]))
    return numpy.stack(rows, axis)


@pytest.mark.parametrize('factor', [2, 4])
def test_small_photos_are_blurred_and_made_small(factor):
    """In float64 throughout, by another blur and another bicubic filter."""
    photo = files.read_image(CAT)[:96, :80]
    places = numpy.arange(-8, 9)
    window = numpy.exp(-(places**2) / 2)
    window /= window.sum()
    x = numpy.pad(photo.astype('float64'), [(8, 8), (8, 8), (0, 0)], mode='symmetric')
    x = scipy.signal.convolve(x, window.reshape(-1, 1, 1), 'valid')
    x = scipy.signal.convolve(x, window.reshape(1, -1, 1), 'valid')
    expected = bicubic(bicubic(x, 96 // factor, 0), 80 // factor, 1)
    small = photos.Reduction(factor)(photo)
    assert small.dtype == numpy.uint8 and small.shape == (96 // factor, 80 // factor, 3)
    assert numpy.abs(small - numpy.clip(expected, 0, 255)).max() < 0.51


def test_noise_blur_and_jpeg_are_drawn_anew_for_each_photo():
    photo = files.read_image(CAT)[:64, :64]
    plain = photos.Reduction(2)(photo).astype(float)
    for changes in (dict(most_noise=20.0), dict(most_blur=3.0), dict(worst_jpeg=10)):
        reduction = photos.Reduction(2, **changes)
        assert (reduction(photo) == plain).all(), 'without a generator nothing is left to chance'
        drawn = [reduction(photo, numpy.random.RandomState(seed)).astype(float) for seed in (0, 0, 1, 2)]
        assert (drawn[0] == drawn[1]).all() and (drawn[2] != drawn[3]).any()
        assert all(0.1 < numpy.abs(image - plain).mean() < 20 for image in drawn), changes
    smoother = photos.Reduction(2, most_blur=3.0)(photo, numpy.random.RandomState(0)).astype(float)
    assert numpy.abs(numpy.diff(smoother, axis=0)).mean() < numpy.abs(numpy.diff(plain, axis=0)).mean()
    encoded = io.BytesIO()
    Image.fromarray(plain.astype('uint8')).save(encoded, 'JPEG', quality=95)
    reduced = photos.Reduction(2, worst_jpeg=95)(photo, numpy.random.RandomState(0))
    assert (reduced == numpy.array(Image.open(encoded))).all()


def test_batches_have_the_small_images_and_the_images():
    content = photos.Reduction(4).of(photos.open_content(SAMPLES, 32))
    small, images = next(photos.batches(content.train, 2, seed=3))
    assert small.shape == (2, 3, 8, 8) and images.shape == (2, 3, 32, 32)
    plain = next(photos.batches(photos.open_content(SAMPLES, 32).train, 2, seed=3))
    numpy.testing.assert_array_equal(images, plain)
    for one, of in zip(small, images):
        numpy.testing.assert_array_equal(files.to_uint8(one[None])[0], photos.Reduction(4)(files.to_uint8(of[None])[0]))


# Scores --------------------------------------------------------------------------------------


def test_psnr_is_that_of_the_luminance_within_the_border(generator):
    image, other = (generator.randint(0, 256, (20, 24, 3)).astype('uint8') for _ in range(2))
    # Another statement of BT.601: differences of the primaries weigh 0.299, 0.587, 0.114, in 219 steps.
    difference = (image.astype(float) - other)[3:-3, 3:-3] @ numpy.array([0.299, 0.587, 0.114]) * 219 / 255
    expected = 20 * numpy.log10(255) - 10 * numpy.log10((difference**2).mean())
    assert scores.psnr(image, other, 3) == pytest.approx(expected, abs=1e-3)
    assert scores.psnr(image, image) == float('inf')
    assert scores.luminance(numpy.array([[[0, 0, 0], [255, 255, 255]]])) == pytest.approx(numpy.array([[16, 235]]))


def test_ssim_is_that_of_wang_et_al(generator):
    """Against sums over each window, written out."""
    image = scipy.ndimage.gaussian_filter(generator.randint(0, 256, (22, 19, 3)).astype(float), (1, 1, 0))
    image = image.astype('uint8')
    other = numpy.clip(image + generator.normal(0, 12, image.shape), 0, 255).astype('uint8')
    window = numpy.outer(*[scipy.signal.windows.gaussian(11, 1.5)] * 2)
    window /= window.sum()
    values = []
    x, y = (scores.luminance(i)[2:-2, 2:-2] for i in (image, other))
    for top in range(x.shape[0] - 10):
        for left in range(x.shape[1] - 10):
            a, b = (v[top : top + 11, left : left + 11] for v in (x, y))
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
            c = (window * (a - ma) * (b - mb)).sum()
            c1, c2 = 2.55**2, 7.65**2
            values.append((2 * ma * mb + c1) * (2 * c + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    assert 0.1 < numpy.mean(values) < 0.99
    assert scores.ssim(image, other, 2) == pytest.approx(numpy.mean(values), rel=1e-9)
    assert scores.ssim(image, image) == pytest.approx(1)


# Training ------------------------------------------------------------------------------------


@pytest.mark.parametrize('norm', ['batch', 'instance', 'none'])
def test_gradients_are_those_of_finite_differences(norm, generator):
    """Along a direction for each kind of parameter, against the formulas in float64."""
    network, objective = upscaler(2, norm=norm), Objective([], [(PIXELS, 1.0)], [])
    small, image = (generator.rand(2, 3, side, side).astype('float32') for side in (7, 14))
    inputs, _, values = training.loss_expressions(network, objective, [], False)
    params = lasagne.layers.get_all_params(network.output, trainable=True)
    loss, *gradients = theano.function(inputs, values[:1] + theano.grad(values[0], params), mode=FAST)(small, image)
    everything = lasagne.layers.get_all_params(network.output)

    def exact(step, directions):
        moved = [param.get_value() + step * directions.get(param, 0) for param in everything]
        return numpy.square(reference.upscaler(small, moved, 2, norm, training=True) - image).mean()

    assert loss == pytest.approx(exact(0, {}), rel=1e-4)
    for kind in {param.name for param in params}:
        directions = {p: generator.randn(*p.get_value().shape) for p in params if p.name == kind}
        expected = (exact(1e-5, directions) - exact(-1e-5, directions)) / 2e-5
        got = sum((gradient * directions[p]).sum() for gradient, p in zip(gradients, params) if p in directions)
        assert got == pytest.approx(expected, rel=1e-3), kind


def test_no_pixel_has_a_fixed_place_in_the_pooled_squares(tmp_path, generator):
    """Both images are shifted before they are compared, in each update by other rows and columns."""
    loss_network(tmp_path / 'vgg.npz', generator, ('conv1_1', 'conv1_2', 'conv2_1'))
    weights = files.load_npz(str(tmp_path / 'vgg.npz'))
    content_layers = parse_layers('--content-layers', 'conv2_1,pixels=3e3', 1.0, pixels=True)
    network, objective = upscaler(2, norm='none'), Objective([weights], content_layers, [])
    assert training.pooling_stride(objective) == 2 and training.pooling_stride(Objective([], [(PIXELS, 1.0)], [])) == 1
    small, image = (generator.rand(1, 3, side, side).astype('float32') for side in (8, 16))
    inputs, _, values = training.loss_expressions(network, objective, [], False)
    function, found = theano.function(inputs, values[0], mode=FAST), []
    large = reference.upscaler(small, lasagne.layers.get_all_param_values(network.output), 2, 'none', training=True)
    for top, left in [(0, 0), (1, 0), (1, 1)]:
        parts = [x[:, :, top : top + 14, left : left + 14] for x in (large, image.astype('float64'))]
        made, wanted = (reference.vgg(reference.preprocess(part), weights, 'conv2_1')['conv2_1'] for part in parts)
        of_features, of_pixels = (numpy.square(a - b).mean() for a, b in [(made, wanted), parts])
        found.append(float(function(small, image, numpy.array([top, left], 'int32'))))
        assert found[-1] == pytest.approx((of_features + 3e3 * of_pixels) / 2, rel=1e-4)
    assert len(set(found)) == 3

    shifts = {tuple(training.draw_shift(2, [0, 5, iteration, 0])) for iteration in range(40)}
    assert shifts == {(0, 0), (0, 1), (1, 0), (1, 1)}


@pytest.mark.parametrize('norm', ['batch', 'instance', 'none'])
def test_no_convolution_of_theano_is_left_in_a_step(norm, tmp_path, generator):
    if not library.loaded():
        pytest.skip('the oneDNN backend cannot run here')
    loss_network(tmp_path / 'vgg.npz', generator, ('conv1_1', 'conv1_2'))
    objective = Objective([files.load_npz(str(tmp_path / 'vgg.npz'))], [('conv1_2', 1.0)], [])
    network = upscaler(4, norm=norm)
    inputs, _, values = training.loss_expressions(network, objective, [], False)
    params = lasagne.layers.get_all_params(network.output, trainable=True)
    step = theano.function(inputs, values + theano.grad(values[0], params), mode=FAST)
    ops = [type(node.op).__name__ for node in step.maker.fgraph.apply_nodes]
    # Of 1 + 2 + 2 + 1 in the network, of one that interpolates the photo, and of two each for what it makes and for
    # what it should make.
    assert ops.count('Conv') == 11 and ops.count('ConvWeightGradient') == 6
    assert ops.count('Norm') == ops.count('NormGradient') == (0 if norm == 'none' else 5)
    # Feature maps leave the layout for the ends of the network, in and out of RGB, and for gradients of biases.
    assert ops.count('FromBlocked') + ops.count('ToBlocked') <= (16 if norm == 'none' else 11)
    assert not [name for name in ops if 'Corr' in name or 'Abstract' in name or 'Gemm' in name]


def command(place, output, **changes):
    given = dict(
        task='upscale',
        factor=2,
        content=SAMPLES,
        width=4,
        residual_blocks=1,
        image_size=32,
        batch_size=2,
        iterations=4,
        checkpoint_every=2,
        output=str(place / output),
        sample_photo=CAT,
        pixel_loss=True,
    )
    given.update(changes)
    line = ['train.py']
    for name, value in given.items():
        if value is not None:
            line += [f'--{name.replace("_", "-")}'] + ([] if value is True else [value])
    return line


@pytest.fixture(scope='module')
def trained(run, tmp_path_factory):
    place = tmp_path_factory.mktemp('upscale')
    result = run(*command(place, 'pixel.npz'))
    assert result.returncode == 0, result.stderr
    assert 'Warning' not in result.stderr, result.stderr
    return place


def rows(path):
    with open(str(path), newline='') as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_everything_behind(trained):
    folder = trained / 'pixel'
    assert sorted(os.listdir(str(folder))) == ['checkpoint.npz', 'losses.png', 'metrics.csv', 'samples']
    names = [f'00000{i}{kind}.jpg' for i in (2, 4) for kind in ('', '_photos')]
    assert sorted(os.listdir(str(folder / 'samples'))) == names
    table = rows(folder / 'metrics.csv')
    assert [row['iteration'] for row in table] == ['1', '2', '3', '4']
    for row in table:
        assert float(row['total']) == float(row['content']) and 'style' not in row
        assert bool(row['val_psnr']) == bool(row['val_ssim']) == (int(row['iteration']) % 2 == 0)
    network = models.load_network(str(trained / 'pixel.npz'))
    assert network.architecture == Architecture.for_upscaling(2, 4, 1, norm='batch')
    noted = network.meta['training']
    assert (noted['task'], noted['factor'], noted['pixel_loss'], noted['iterations']) == ('upscale', 2, True, 4)
    # Bicubic, network and original, of the photo made smaller to 512 pixels at most.
    sheet = files.read_image(str(folder / 'samples' / '000004_photos.jpg'))
    height, width = files.read_image(CAT).shape[:2]
    assert sheet.shape[1] >= 3 * (width // 2 * 2) and sheet.shape[0] >= height // 2 * 2
    sheet = files.read_image(str(folder / 'samples' / '000004.jpg'))
    assert sheet.shape[1] == 4 * 8 + 3 * 32


def test_the_first_loss_is_that_of_the_formulas(trained):
    lasagne.random.set_rng(numpy.random.RandomState(0))
    network = models.transformer_network(Architecture.for_upscaling(2, 4, 1, norm='batch'))
    small, images = next(photos.batches(photos.Reduction(2).of(photos.open_content(SAMPLES, 32)).train, 2, seed=0))
    got = made_by(network, small)
    expected = numpy.square(got.astype('float64') - images).mean()
    assert float(rows(trained / 'pixel' / 'metrics.csv')[0]['total']) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize('norm', ['batch', 'none'])
def test_a_resumed_run_has_the_numbers_of_an_uninterrupted_one(norm, run, trained):
    """Running statistics included; also where chance has a hand in the small photos."""
    more = dict(norm=norm, most_noise=5, most_blur=2, worst_jpeg=60, sample_photo=None)
    assert run(*command(trained, 'whole.npz', **more, run_dir=trained / norm)).returncode == 0
    assert run(*command(trained, 'parts.npz', **more, run_dir=trained / f'{norm}2', iterations=2)).returncode == 0
    result = run(*command(trained, 'parts.npz', **more, run_dir=trained / f'{norm}2', resume=True))
    assert result.returncode == 0, result.stderr
    for a, b in (('whole.npz', 'parts.npz'), (f'{norm}/checkpoint.npz', f'{norm}2/checkpoint.npz')):
        got, expected = (dict(numpy.load(str(trained / name), allow_pickle=False)) for name in (b, a))
        assert got.keys() == expected.keys()
        for key in got:
            numpy.testing.assert_array_equal(got[key], expected[key])
    os.remove(str(trained / 'whole.npz'))
    os.remove(str(trained / 'parts.npz'))


def test_the_features_of_a_loss_network_are_compared(run, trained, generator):
    """From the filters of a trained network, whose settings it has."""
    loss_network(trained / 'vgg.npz', generator, ('conv1_1', 'conv1_2', 'conv2_1', 'conv2_2'))
    changes = dict(pixel_loss=None, loss_weights=trained / 'vgg.npz', start_from=trained / 'pixel.npz', iterations=1)
    result = run(*command(trained, 'features.npz', width=None, residual_blocks=None, sample_photo=None, **changes))
    assert result.returncode == 0, result.stderr
    network = models.load_network(str(trained / 'features.npz'))
    assert network.architecture.widths == (4,) and network.meta['training']['content_layers'] == 'conv2_2'
    before = models.load_network(str(trained / 'pixel.npz'))
    small, images = next(photos.batches(photos.Reduction(2).of(photos.open_content(SAMPLES, 32)).train, 2, seed=0))
    weights, (top, left) = files.load_npz(str(trained / 'vgg.npz')), training.draw_shift(2, [0, 5, 0, 0])
    parts = [x[:, :, top : top + 30, left : left + 30].astype('float64') for x in (made_by(before, small), images)]
    found, target = (reference.vgg(reference.preprocess(part), weights, 'conv2_2')['conv2_2'] for part in parts)
    row = rows(trained / 'features' / 'metrics.csv')[0]
    assert float(row['content']) == pytest.approx(numpy.square(found - target).mean(), rel=1e-3)


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(style_dir='styles'), '--style-dir is not for --task upscale'),
        (dict(task=None), '--factor is not for --task stylize'),
        (dict(factor=3), 'invalid choice: 3'),
        (dict(image_size=33), 'no multiple of the factor 2'),
        (dict(image_size=16), 'at least 32 pixels'),
        (dict(content_layers='conv1_1'), 'needs no loss network'),
        (dict(start_from='stylizing.npz', width=None, residual_blocks=None), 'and does not make photos larger'),
        (dict(start_from='four.npz', width=None, residual_blocks=None), 'a network of the factor 4'),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(fails, tmp_path, changes, message):
    models.save_network(str(tmp_path / 'stylizing.npz'), transformer('cin', ['a']))
    models.save_network(str(tmp_path / 'four.npz'), upscaler(4))
    assert message in fails(*command(tmp_path, 'bad.npz', **changes), cwd=str(tmp_path))


def test_networks_that_enlarge_are_no_networks_that_stylize(fails, tmp_path):
    path = str(tmp_path / 'four.npz')
    models.save_network(path, upscaler(4))
    assert 'python enhance.py --model' in fails('stylize.py', '--model', path, CAT, cwd=str(tmp_path))
    more = '--photos', CAT, '--style-dir', CAT, '--loss-weights', 'random'
    assert 'python enhance.py --model' in fails('evaluate.py', '--model', path, *more, cwd=str(tmp_path))
    with pytest.raises(utils.UserError, match='enhance.py'):
        __import__('pastiches').Stylist(path)


def test_old_settings_stay(tmp_path):
    """Files of networks that stylize say nothing of what came later."""
    path = str(tmp_path / 'net.npz')
    models.save_network(path, transformer('cin', ['a']))
    meta = json.loads(str(numpy.load(path, allow_pickle=False)['meta']))
    assert (meta['widths'], meta['up_widths'], meta['norm']) == ([3, 4, 5], [4, 3], 'instance')
    assert models.load_network(path).architecture.factor == 1
    assert losses.loss_names(Objective([], [('conv1_1', 1.0)], [('conv1_1', 1.0)])) == (
        ['total', 'content', 'style', 'tv', 'style_conv1_1']
    )
