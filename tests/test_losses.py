"""The losses against numpy in float64, and their gradients by finite differences."""

import numpy
import pytest

import losses
import reference
from backend import T, theano


@pytest.fixture
def features(generator):
    return generator.rand(2, 4, 5, 6)


def evaluate(compile, function, *arrays):
    variables = [T.TensorType('float64', [False] * a.ndim)() for a in arrays]
    return compile(variables, function(*variables))(*arrays)


@pytest.mark.parametrize('by_channels', [False, True])
def test_gram_matrix(compile, features, by_channels):
    got = evaluate(compile, lambda f: losses.gram_matrix(f, by_channels), features)
    numpy.testing.assert_allclose(got, reference.gram(features, by_channels), rtol=1e-12)


def test_gram_matrix_does_not_see_where_a_feature_is(compile, features, generator):
    flat = features.reshape(2, 4, 30)
    shuffled = flat[:, :, generator.permutation(30)].reshape(2, 4, 6, 5)
    numpy.testing.assert_allclose(
        evaluate(compile, losses.gram_matrix, shuffled), evaluate(compile, losses.gram_matrix, features), rtol=1e-12
    )


def test_content_and_style_loss_are_means_for_each_image(compile, features, generator):
    other = generator.rand(*features.shape)
    expected = [numpy.mean((a - b) ** 2) for a, b in zip(features, other)]
    numpy.testing.assert_allclose(evaluate(compile, losses.content_loss, features, other), expected, rtol=1e-12)
    grams = reference.gram(features), reference.gram(other)
    expected = [numpy.mean((a - b) ** 2) for a, b in zip(*grams)]
    numpy.testing.assert_allclose(evaluate(compile, losses.style_loss, *grams), expected, rtol=1e-12)


def test_total_variation(compile, features):
    got = evaluate(compile, losses.total_variation_loss, features)
    numpy.testing.assert_allclose(got, reference.total_variation(features), rtol=1e-12)
    assert (evaluate(compile, losses.total_variation_loss, numpy.full((1, 3, 4, 4), 0.3)) == 0).all()


@pytest.mark.parametrize('down, right', [(2, 1), (-1, 3), (0, -2), (0, 0)])
def test_the_stability_loss_compares_what_a_photo_and_the_moved_photo_both_show(compile, generator, down, right):
    a, b = generator.rand(2, 3, 12, 14), generator.rand(2, 3, 12, 14)
    image, moved, shift = T.TensorType('float64', [False] * 4)(), T.TensorType('float64', [False] * 4)(), T.ivector()
    function = compile([image, moved, shift], losses.stability_loss(image, moved, shift, margin=2))
    squares = [[], []]
    for i in range(12):
        for j in range(14):
            y, x = i + down, j + right  # where the moved photo shows what the photo shows at i, j
            both = 2 + max(down, 0) <= y < 12 + min(down, 0) - 2 and 2 + max(right, 0) <= x < 14 + min(right, 0) - 2
            for n in range(2) if both else ():
                squares[n] += list((a[n, :, i, j] - b[n, :, y, x]) ** 2)
    got = function(a, b, numpy.array([down, right], 'int32'))
    numpy.testing.assert_allclose(got, [numpy.mean(s) for s in squares], rtol=1e-12)


@pytest.mark.parametrize(
    'loss',
    [
        lambda x: losses.style_loss(losses.gram_matrix(x), T.ones((2, 3, 3))).sum(),
        lambda x: losses.content_loss(x, T.ones_like(x)).sum(),
        lambda x: losses.total_variation_loss(x).sum(),
        lambda x: losses.stability_loss(x, x[:, :, ::-1], T.constant([1, 0], dtype='int32'), margin=0).sum(),
    ],
    ids=['style', 'content', 'total variation', 'stability'],
)
def test_gradients_by_finite_differences(compile, generator, loss):
    theano.tensor.verify_grad(loss, [generator.rand(2, 3, 4, 3)], rng=generator, mode=compile.mode)
