"""optimize.py against a float64 implementation in numpy and scipy, and as a user runs it."""

import argparse
import csv
import dataclasses
import os
import subprocess
import sys
import time

import numpy
import pytest
import scipy.optimize
import scipy.signal

import colors
import files
import losses
import optimization
import optimize
import utils
from objective import POOLS, Objective
from backend import devices

LAYERS = ('conv1_1', 'conv1_2', 'conv2_1', 'conv2_2')
WIDTHS = dict(zip(LAYERS, (4, 4, 5, 6)))
MEAN = numpy.array([103.939, 116.779, 123.68])


@pytest.fixture(scope='module')
def weights():
    """A tiny VGG: its first four convolutions with a few maps each."""
    generator, channels, values = numpy.random.RandomState(1), 3, {}
    for name in LAYERS:
        scale = (0.02 if name == 'conv1_1' else 1) * numpy.sqrt(2.0 / (9 * channels))
        values[f'{name}_W'] = generator.normal(0, scale, (WIDTHS[name], channels, 3, 3)).astype('float32')
        values[f'{name}_b'] = generator.normal(0, 0.1, WIDTHS[name]).astype('float32')
        channels = WIDTHS[name]
    return values


@pytest.fixture(scope='module')
def loss(weights):
    """One content layer is a style layer as well, the other is none."""
    return Objective(
        [weights], [('conv2_1', 0.5), ('conv1_2', 0.2)], [('conv1_2', 3.0), ('conv2_2', 5.0)], 1e-6, False, True, 'max'
    )


@pytest.fixture(scope='module')
def images():
    generator = numpy.random.RandomState(2)
    return [generator.uniform(0.1, 0.9, (1, 3, 8, 12)).astype('float32') for _ in range(3)]


@pytest.fixture(scope='module')
def objective(loss, images):
    """The compiled objective with targets made of the first two images, on the default backend."""
    devices.use(devices.Device(backend=os.environ.get('GOGH_BACKEND') or 'onednn'))
    targets_of = losses.target_function(loss)
    content, style = images[:2]
    targets = targets_of(content)[0] + targets_of(style)[1]
    function = optimization.objective_function(loss)
    return lambda image: function(image, *targets)


class Reference:
    """The same objective in float64, forwards and backwards by hand."""

    def __init__(self, loss, content, style):
        self.loss, self.weights = loss, {k: v.astype('float64') for k, v in loss.networks[0].items()}
        self.contents = {name: self.features(content)[name][0] for name, _ in loss.content_layers}
        self.grams = {name: self.gram(self.features(style)[name][0]) for name, _ in loss.style_layers}

    def features(self, image):
        """{layer: (rectified features, what came in, the share of each pixel in the pooling before it or None)}."""
        x, found = 255 * image[0, ::-1].astype('float64') - MEAN.reshape(3, 1, 1), {}
        for name in LAYERS:
            shares = None
            if name == 'conv2_1':
                c, h, w = x.shape
                blocks = x.reshape(c, h // 2, 2, w // 2, 2)
                pooled = blocks.max(axis=(2, 4), keepdims=True)
                shares = blocks == pooled
                if self.loss.pool != 'max':
                    pooled, shares = blocks.mean(axis=(2, 4), keepdims=True), numpy.full(blocks.shape, 0.25)
                x = pooled[:, :, 0, :, 0]
            W, b = self.weights[f'{name}_W'], self.weights[f'{name}_b']
            y = numpy.array(
                [sum(scipy.signal.correlate2d(a, k, mode='same') for a, k in zip(x, kernels)) for kernels in W]
            )
            found[name] = numpy.maximum(y + b.reshape(-1, 1, 1), 0), x, shares
            x = found[name][0]
        return found

    @staticmethod
    def gram(f):
        return numpy.einsum('ihw,jhw->ij', f, f) / f.size

    def __call__(self, image):
        """The losses in the order of `losses.loss_names`, and the gradient of the total."""
        loss, found = self.loss, self.features(image)
        slopes = {name: 0.0 for name in LAYERS}
        content = 0.0
        for name, weight in loss.content_layers:
            difference = found[name][0] - self.contents[name]
            weight = weight / len(loss.content_layers)
            content += weight * numpy.mean(difference**2)
            slopes[name] = slopes[name] + 2 * weight * difference / difference.size
        by_layer = []
        for name, weight in loss.style_layers:
            f = found[name][0]
            difference = self.gram(f) - self.grams[name]
            weight = weight / len(loss.style_layers)
            by_layer.append(weight * numpy.mean(difference**2))
            slopes[name] = (
                slopes[name] + 4 * weight / difference.size * numpy.einsum('ij,jhw->ihw', difference, f) / f.size
            )

        gradient = 0.0
        for name in reversed(LAYERS):
            f, x, shares = found[name]
            gradient = (gradient + slopes[name]) * (f > 0)
            W = self.weights[f'{name}_W']
            gradient = numpy.array(
                [
                    sum(scipy.signal.convolve2d(g, W[o, i], mode='same') for o, g in enumerate(gradient))
                    for i in range(W.shape[1])
                ]
            )
            if shares is not None:
                c, h, _, w, _ = shares.shape
                gradient = (shares * gradient[:, :, numpy.newaxis, :, numpy.newaxis]).reshape(c, 2 * h, 2 * w)
        gradient = 255 * gradient[::-1]

        x = 255 * image[0].astype('float64')
        down, right = x[:, :-1, :-1] - x[:, 1:, :-1], x[:, :-1, :-1] - x[:, :-1, 1:]
        square = down**2 + right**2
        tv = loss.tv_weight * numpy.sum(square**1.25)
        slope = loss.tv_weight * 255 * 2.5 * square**0.25
        gradient[:, :-1, :-1] += slope * (down + right)
        gradient[:, 1:, :-1] -= slope * down
        gradient[:, :-1, 1:] -= slope * right
        return numpy.array([content + sum(by_layer) + tv, content, sum(by_layer), tv] + by_layer), gradient[
            numpy.newaxis
        ]


@pytest.fixture(scope='module')
def reference(loss, images):
    return Reference(loss, *images[:2])


def test_reference_gradient_is_the_slope_of_its_loss(reference, images):
    """The yardstick itself: finite differences along random directions."""
    generator, image = numpy.random.RandomState(3), images[2].astype('float64')
    gradient = reference(image)[1]
    for _ in range(3):
        direction = generator.normal(size=image.shape)
        step = 1e-6
        slope = (reference(image + step * direction)[0][0] - reference(image - step * direction)[0][0]) / (2 * step)
        numpy.testing.assert_allclose(numpy.sum(gradient * direction), slope, rtol=1e-4)


def test_losses_and_gradient(objective, reference, images):
    for image in images:
        values, gradient = objective(image)
        expected, slopes = reference(image)
        numpy.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6)
        numpy.testing.assert_allclose(gradient, slopes, rtol=1e-3, atol=1e-4 * abs(slopes).max())


def test_average_pooling(objective, loss, images):
    loss = dataclasses.replace(loss, pool=POOLS['average'])
    targets_of, function = losses.target_function(loss), optimization.objective_function(loss)
    values, gradient = function(images[2], *targets_of(images[0])[0], *targets_of(images[1])[1])
    expected, slopes = Reference(loss, *images[:2])(images[2])
    numpy.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6)
    numpy.testing.assert_allclose(gradient, slopes, rtol=1e-3, atol=1e-4 * abs(slopes).max())
    assert abs(values / objective(images[2])[0] - 1)[1:3].min() > 0.01


def test_normalized_terms_are_relative_to_the_target_of_each_layer(loss, reference, images):
    loss = dataclasses.replace(loss, normalize=True)
    targets_of, function = losses.target_function(loss), optimization.objective_function(loss, gradient=False)
    (values,) = function(images[2], *targets_of(images[0])[0], *targets_of(images[1])[1])
    found = {name: features for name, (features, _, _) in reference.features(images[2]).items()}
    content = sum(
        weight
        / 2
        * numpy.mean((found[name] - reference.contents[name]) ** 2)
        / numpy.mean(reference.contents[name] ** 2)
        for name, weight in loss.content_layers
    )
    style = [
        weight
        / 2
        * numpy.mean((reference.gram(found[name]) - reference.grams[name]) ** 2)
        / numpy.mean(reference.grams[name] ** 2)
        for name, weight in loss.style_layers
    ]
    numpy.testing.assert_allclose(values[[1, 2, 4, 5]], [content, sum(style)] + style, rtol=1e-4)


def minimized(minimize, objective, start, iterations, *more):
    history = [objective(start)[0]]
    seen = []

    def record(iteration, image, values):
        assert iteration == len(history)
        assert image.dtype == numpy.float32 and image.min() >= 0 and image.max() <= 1
        seen.append(image)
        history.append(values)

    assert minimize(objective, start, iterations, record, *more) == ''
    return numpy.array(history), seen[-1]


def test_lbfgs_takes_the_steps_of_float64(objective, reference, images):
    history, image = minimized(optimization.minimize_lbfgs, objective, images[2], 8)
    start = images[2].astype('float64')
    expected = [reference(start)[0]]
    final = scipy.optimize.fmin_l_bfgs_b(
        lambda x: [f(v) for f, v in zip((lambda v: v[0], numpy.ravel), reference(x.reshape(start.shape)))],
        start.ravel(),
        bounds=[(0, 1)] * start.size,
        callback=lambda x: expected.append(reference(x.reshape(start.shape))[0]),
        maxiter=8,
        factr=0,
        pgtol=0,
    )[0]
    numpy.testing.assert_allclose(history, expected, rtol=5e-3)
    numpy.testing.assert_allclose(image.ravel(), final, atol=5e-3)
    assert history[-1][0] < 0.5 * history[0][0]
    # The losses that are recorded are those of the image that is recorded.
    numpy.testing.assert_allclose(history[-1], objective(image)[0], rtol=1e-5)


def test_adam_takes_the_steps_of_float64(objective, reference, images):
    history, image = minimized(optimization.minimize_adam, objective, images[2], 8, 0.02)
    x, m, v = images[2].astype('float64'), 0.0, 0.0
    expected = [reference(x)[0]]
    for t in range(1, 9):
        g = reference(x)[1]
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        x = numpy.clip(x - 0.02 * (m / (1 - 0.9**t)) / (numpy.sqrt(v / (1 - 0.999**t)) + 1e-8), 0, 1)
        expected.append(reference(x)[0])
    numpy.testing.assert_allclose(history, expected, rtol=5e-3)
    numpy.testing.assert_allclose(image, x, atol=5e-3)


def test_callback_stops_both_optimizers(objective, images):
    for minimize, more in ((optimization.minimize_lbfgs, ()), (optimization.minimize_adam, (0.01,))):
        calls = []
        minimize(
            objective, images[2], 50, lambda iteration, image, values: calls.append(iteration) or iteration == 2, *more
        )
        assert calls == [1, 2]


def test_lbfgs_says_when_it_stops_early():
    """At the minimum there is no step to take."""
    at_minimum = numpy.full((1, 3, 4, 4), 0.5, 'float32')
    reason = optimization.minimize_lbfgs(
        lambda x: (numpy.array([((x - 0.5) ** 2).sum()]), 2 * (x - 0.5)), at_minimum, 5, lambda *_: False
    )
    assert reason


# ---------------------------------------------------------------------------------------------
# Colours
# ---------------------------------------------------------------------------------------------


def colours(seed, shape=(3, 9, 7)):
    generator = numpy.random.RandomState(seed)
    mixed = numpy.tensordot(generator.uniform(-1, 1, (3, 3)), generator.normal(size=shape), 1)
    return 0.5 + 0.1 * mixed


def test_matched_colours_have_the_mean_and_covariance_of_the_photo():
    style, content = colours(0), colours(1, (3, 5, 6))
    matched = colors.match_color(style, content)
    assert matched.shape == style.shape
    numpy.testing.assert_allclose(matched.mean(axis=(1, 2)), content.mean(axis=(1, 2)), atol=1e-6)
    numpy.testing.assert_allclose(
        numpy.cov(matched.reshape(3, -1), bias=True), numpy.cov(content.reshape(3, -1), bias=True), atol=1e-6
    )


def test_colours_match_themselves():
    image = colours(2)
    numpy.testing.assert_allclose(colors.match_color(image, image), image, atol=1e-6)


def test_a_grey_painting_is_no_obstacle():
    grey = numpy.repeat(colours(3)[:1], 3, axis=0)
    for painting in (grey, numpy.full((3, 4, 4), 0.3)):
        assert numpy.isfinite(colors.match_color(painting, colours(4))).all()
        assert numpy.isfinite(colors.match_luminance(colors.luminance(painting), colours(4))).all()


def test_restored_colour_keeps_the_chrominance_of_the_photo():
    """Y of the pastiche, I and Q of the photo."""
    yiq = numpy.array([[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
    generator = numpy.random.RandomState(5)
    photo, pastiche = (generator.uniform(0.4, 0.6, (3, 4, 5)) for _ in range(2))
    expected = numpy.tensordot(yiq, photo, 1)
    expected[0] = numpy.tensordot(yiq, pastiche, 1)[0]
    numpy.testing.assert_allclose(numpy.tensordot(yiq, colors.restore_color(pastiche, photo), 1), expected, atol=1e-6)


def test_luminance_is_matched_in_mean_and_deviation():
    style, content = colors.luminance(colours(6)), colors.luminance(colours(7))
    matched = colors.match_luminance(style, content)
    numpy.testing.assert_allclose([matched.mean(), matched.std()], [content.mean(), content.std()], atol=1e-9)


# ---------------------------------------------------------------------------------------------
# The script
# ---------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def folder(tmp_path_factory, weights):
    folder = tmp_path_factory.mktemp('optimize')
    generator = numpy.random.RandomState(8)
    for name, shape in (('photo.png', (24, 20, 3)), ('a.png', (16, 30, 3)), ('b.png', (20, 20, 3))):
        files.write_image(str(folder / name), generator.randint(256, size=shape).astype('uint8'))
    files.save_npz(str(folder / 'vgg.npz'), weights)
    return folder


LOSS = (
    '--loss-weights vgg.npz --style-layers conv1_2=2,conv2_2 --content-layers conv2_1 --normalize-losses '
    '--style-weight 1 --size 16'
).split()


def test_script(run, folder):
    result = run(
        *'optimize.py --content photo.png --style a.png=3 b.png'.split(),
        *LOSS,
        *'--output out/p.png --iterations 4 --image-every 2 --preserve-color luminance --init noise'.split(),
        cwd=str(folder),
    )
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in (folder / 'out').iterdir()) == [
        'p.csv',
        'p.png',
        'p_000002.png',
        'p_000004.png',
    ]
    image = files.read_image(str(folder / 'out' / 'p.png'))
    assert image.shape == (19, 16, 3)
    assert (image == files.read_image(str(folder / 'out' / 'p_000004.png'))).all()
    with open(str(folder / 'out' / 'p.csv')) as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    assert [row['iteration'] for row in rows] == [0, 1, 2, 3, 4]
    assert rows[4]['total'] < rows[0]['total']
    for row in rows:
        numpy.testing.assert_allclose(row['total'], row['content'] + row['style'] + row['tv'], rtol=1e-5)
        numpy.testing.assert_allclose(row['style'], row['style_conv1_2'] + row['style_conv2_2'], rtol=1e-5)
    # Only the luminance was changed: the differences between the channels are those of the photo, but for
    # rounding and for colours beyond black and white.
    photo = files.read_image(str(folder / 'photo.png'), size=16).astype(int)
    inside = ((image > 0) & (image < 255)).all(axis=2)
    assert inside.any()
    assert abs(numpy.diff(image.astype(int), axis=2) - numpy.diff(photo, axis=2))[inside].max() <= 1


def test_bad_input_is_one_line(folder, fails):
    def complaint(*options):
        return fails('optimize.py', '--content', 'photo.png', *options, cwd=str(folder))

    assert 'no.png' in complaint('--style', 'no.png', *LOSS)
    assert 'zero' in complaint('--style', 'a.png=0', *LOSS)
    assert 'pastiche.txt' in complaint('--style', 'a.png', *LOSS, '--output', 'pastiche.txt')
    assert 'conv5_1' in complaint('--style', 'a.png', *LOSS, '--content-layers', 'conv5_1')
    assert not list(folder.glob('pastiche*'))


def test_styles_with_weights(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert optimize.parse_styles(['a.png', 'b.png=3']) == [('a.png', 0.25), ('b.png', 0.75)]
    for bad in ('b.png=x', 'b.png=-1', 'b.png=inf'):
        with pytest.raises(utils.UserError):
            optimize.parse_styles(['a.png', bad])


def test_sigterm_ends_a_run_with_its_image_written(folder):
    """And --init carries on from it."""
    command = [
        sys.executable,
        os.path.join(os.path.dirname(optimize.__file__), 'optimize.py'),
        '--content',
        'photo.png',
        '--style',
        'a.png',
        *LOSS,
    ]
    process = subprocess.Popen(
        command + ['--output', 'long/p.png', '--iterations', '1000000', '--optimizer', 'adam'],
        cwd=str(folder),
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    history = folder / 'long' / 'p.csv'
    while process.poll() is None and not (history.exists() and len(history.read_text().splitlines()) > 3):
        time.sleep(0.05)
    process.terminate()
    said = process.communicate()[1]
    assert process.returncode == 143 and '--init long/p.png carries on' in said, said
    rows = history.read_text().splitlines()
    assert all(len(row.split(',')) == len(rows[0].split(',')) for row in rows)
    before = float(rows[-1].split(',')[1])
    subprocess.run(
        command + ['--output', 'long/q.png', '--iterations', '1', '--init', 'long/p.png'],
        check=True,
        cwd=str(folder),
        stderr=subprocess.PIPE,
    )
    first = float((folder / 'long' / 'q.csv').read_text().splitlines()[1].split(',')[1])
    assert first == pytest.approx(before, rel=0.1)


def test_script_with_the_other_choices(folder, monkeypatch):
    """The photo has no content loss, the painting has; Adam moves no pixel by more than its rate."""
    monkeypatch.chdir(folder)

    def first_loss(init):
        monkeypatch.setattr(
            sys,
            'argv',
            [
                *'optimize.py --content photo.png --style b.png --output'.split(),
                f'{init}.png',
                *(
                    '--optimizer adam --learning-rate 0.1 --iterations 1 --preserve-color match --pool average --init'
                ).split(),
                init,
                *LOSS,
            ],
        )
        assert not optimize.main()
        with open(f'{init}.csv') as file:
            return float(next(csv.DictReader(file))['content'])

    assert first_loss('content') == 0 < first_loss('style')
    photo = files.read_image('photo.png', size=16).astype(int)
    moved = abs(files.read_image('content.png') - photo)
    assert 20 < moved.max() <= 27


def test_a_killed_run_leaves_its_last_checkpoint(folder, monkeypatch):
    """Power fails after the fifth iteration, where every second one is kept."""
    images = numpy.random.RandomState(9).uniform(size=(5, 1, 3, 19, 16)).astype('float32')

    def fail(function, start, iterations, callback):
        for i, image in enumerate(images):
            callback(i + 1, image, function(image)[0])
        raise KeyboardInterrupt

    monkeypatch.chdir(folder)
    monkeypatch.setattr(optimization, 'minimize_lbfgs', fail)
    monkeypatch.setattr(optimize, 'CHECKPOINT_EVERY', 2)
    monkeypatch.setattr(optimize.runs, 'catch_interrupts', list)
    monkeypatch.setattr(
        sys, 'argv', ['optimize.py', '--content', 'photo.png', '--style', 'a.png', '--output', 'killed.png', *LOSS]
    )
    with pytest.raises(KeyboardInterrupt):
        optimize.main()
    numpy.testing.assert_array_equal(files.read_image('killed.png'), files.to_uint8(images[3])[0])
    assert len((folder / 'killed.csv').read_text().splitlines()) == 7


def test_what_the_optimization_starts_from():
    generator = numpy.random.RandomState(10)
    content, style = generator.uniform(size=(3, 6, 8)), generator.uniform(-0.2, 1.2, (3, 12, 16))

    def start(init, preserve_color=None, seed=0):
        return optimize.first_image(
            argparse.Namespace(init=init, preserve_color=preserve_color, seed=seed), content, style
        )

    numpy.testing.assert_allclose(start('content')[0], content, rtol=1e-6)
    noise = start('noise')
    assert noise.shape == (1, 3, 6, 8) and (noise == start('noise')).all() and (noise != start('noise', seed=1)).any()
    assert (start('grey') == 0.5).all() and start('grey').shape == noise.shape
    # The painting is half as large, and within the bounds.
    blocks = numpy.clip(style, 0, 1).reshape(3, 6, 2, 8, 2).mean(axis=(2, 4))
    painted = start('style')
    assert painted.min() >= 0 and painted.max() <= 1 and numpy.corrcoef(painted.ravel(), blocks.ravel())[0, 1] > 0.8
    assert numpy.ptp(start('style', 'luminance')[0], axis=0).max() < 1e-6
