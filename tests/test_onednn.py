"""The native library's operations against float64 references, on shapes that hypothesis draws."""

import os
import shutil
import subprocess
import sys

import numpy
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import reference

from backend.onednn import library  # noqa: E402

try:
    library.load()
except library.Unavailable as reason:
    pytest.skip(f'the oneDNN backend cannot run here: {reason}', allow_module_level=True)

from backend.onednn import ops  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sizes, channels, images = st.integers(1, 19), st.integers(1, 40), st.integers(1, 3)
few_or_many = st.one_of(st.integers(1, 4), channels)
ARM_COMPILER = 'aarch64-linux-gnu-g++'
draws = settings(max_examples=40, deadline=None)


def blocked(x):
    return ops.ToBlocked().run(x.astype('float32'))


def plain(x, c):
    """From blocked; the lanes beyond c have to be zero."""
    n, blocks, h, w, block = x.shape
    full = x.transpose(0, 1, 4, 2, 3).reshape(n, blocks * block, h, w)
    assert not full[:, c:].any()
    return full[:, :c]


def random(*shape, seed=0):
    return numpy.random.RandomState(seed).randn(*shape).astype('float32')


def assert_close(x, expected, tolerance=1e-5, scale=None):
    """Equal up to a part of `scale`, or else of the largest expected value."""
    assert x.shape == expected.shape
    if scale is None:
        scale = numpy.abs(expected).max(initial=0)
    assert numpy.abs(x - expected).max(initial=0) <= tolerance * max(scale, 1e-6)


@draws
@given(images, channels, sizes, sizes)
def test_transfers_are_inverse(n, c, h, w):
    x = random(n, c, h, w)
    y = blocked(x)
    numpy.testing.assert_array_equal(plain(y, c), x)
    numpy.testing.assert_array_equal(ops.FromBlocked().run(y, c), x)


def frame(x, scale, mirror):
    x = x.astype('float64').repeat(scale, 2).repeat(scale, 3)
    return numpy.pad(x, [(0, 0), (0, 0), (mirror, mirror), (mirror, mirror)], mode='reflect') if mirror else x


def taps(padded, k, stride, out):
    """The part of an image that each tap of a k×k filter sees."""
    h, w = out
    for i in range(k):
        for j in range(k):
            yield (
                i,
                j,
                (Ellipsis, slice(i, i + (h - 1) * stride + 1, stride), slice(j, j + (w - 1) * stride + 1, stride)),
            )


# Of the sum of absolute products, which bounds what rounding can do to a sum of products that cancel.
PRODUCTS = 2e-6


@settings(max_examples=60, deadline=None)
@given(
    images,
    few_or_many,
    st.integers(3, 19),
    st.integers(3, 19),
    few_or_many,
    st.sampled_from([1, 2, 3, 3, 3, 5, 9]),
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(0, 4),
    st.integers(1, 2),
    st.booleans(),
)
# The only gradient is a sum of 360 products, which cancel to 3e-5 of their absolute values.
@example(n=2, c=1, h=13, w=17, oc=1, k=1, stride=3, pad=1, mirror=4, scale=2, flip=True)
def test_convolution_and_its_gradients(n, c, h, w, oc, k, stride, pad, mirror, scale, flip):
    mirror = min(mirror, h * scale - 1, w * scale - 1)
    k = min(k, h * scale + 2 * mirror + 2 * pad, w * scale + 2 * mirror + 2 * pad)
    x, filters, bias = random(n, c, h, w), random(oc, c, k, k, seed=1), random(oc, seed=2)
    settings = dict(scale=scale, mirror=mirror, border_mode=(pad, pad), subsample=(stride, stride), flip=flip)

    framed = frame(x, scale, mirror)
    padded = numpy.pad(framed, [(0, 0), (0, 0), (pad, pad), (pad, pad)])
    correlated = filters[:, :, ::-1, ::-1] if flip else filters
    correlated = correlated.astype('float64')
    out = [(size - k) // stride + 1 for size in padded.shape[2:]]

    def correlate(padded, filters):
        return sum(
            numpy.einsum('nchw,oc->nohw', padded[part], filters[:, :, i, j])
            for i, j, part in taps(padded, k, stride, out)
        )

    expected, bound = correlate(padded, correlated), correlate(abs(padded), abs(correlated)).max()
    assert_close(plain(ops.Conv(**settings).run(blocked(x), filters), oc), expected, PRODUCTS, bound)
    rectified = ops.Conv(rectify=True, **settings).run(blocked(x), filters, bias)
    assert_close(
        plain(rectified, oc),
        numpy.maximum(expected + bias[:, numpy.newaxis, numpy.newaxis], 0),
        PRODUCTS,
        bound + abs(bias).max(),
    )

    dy = random(*expected.shape, seed=3).astype('float64')

    def gradients(dy, padded, filters):
        d_filters, d_padded = numpy.zeros(filters.shape), numpy.zeros(padded.shape)
        for i, j, part in taps(padded, k, stride, out):
            d_filters[:, :, i, j] = numpy.einsum('nohw,nchw->oc', dy, padded[part])
            d_padded[part] += numpy.einsum('nohw,oc->nchw', dy, filters[:, :, i, j])
        return d_filters[:, :, ::-1, ::-1] if flip else d_filters, d_padded

    d_filters, d_padded = gradients(dy, padded, correlated)
    bounds = [bound.max() for bound in gradients(abs(dy), abs(padded), abs(correlated))]
    assert_close(
        ops.ConvWeightGradient(**settings).run(blocked(x), blocked(dy), oc, c, k, k), d_filters, PRODUCTS, bounds[0]
    )
    settings.update(scale=1, mirror=0)
    d_frame = ops.ConvInputGradient(**settings).run(filters, blocked(dy), framed.shape[2], framed.shape[3])
    expected = d_padded[:, :, pad : pad + framed.shape[2], pad : pad + framed.shape[3]]
    assert_close(plain(d_frame, c), expected, PRODUCTS, bounds[1])
    rectified = numpy.maximum(random(*framed.shape, seed=4), 0)
    d_frame = ops.ConvInputGradient(**settings).run(
        filters, blocked(dy), framed.shape[2], framed.shape[3], blocked(rectified)
    )
    assert_close(plain(d_frame, c), expected * (rectified > 0), PRODUCTS, bounds[1])


@pytest.mark.parametrize('k', [3, 5])
def test_a_batch_too_large_for_the_caches_is_convolved_as_its_images_are(k):
    x, filters = blocked(random(10, 8, 120, 130)), random(48, 8, k, k, seed=1)
    op = ops.Conv(mirror=k // 2, rectify=True)
    together = op.run(x, filters)
    assert together.nbytes > 16 << 20
    numpy.testing.assert_array_equal(
        together, numpy.concatenate([op.run(image, filters) for image in numpy.split(x, 10)])
    )


def with_gradients(op_settings, bf16, x, filters, dy):
    """A convolution of an unenlarged image and its gradients to the image and to the filters."""
    oc, c, k, _ = filters.shape
    conv, to_image, to_filters = [
        op(**op_settings, bf16=bf16) for op in (ops.Conv, ops.ConvInputGradient, ops.ConvWeightGradient)
    ]
    return (
        plain(conv.run(blocked(x), filters), oc),
        plain(to_image.run(filters, blocked(dy), *x.shape[2:]), c),
        to_filters.run(blocked(x), blocked(dy), oc, c, k, k),
    )


@settings(max_examples=40, deadline=None)
@given(
    images,
    st.one_of(st.integers(8, 40), st.sampled_from([32, 64, 96])),
    st.integers(4, 40),
    st.integers(4, 40),
    st.one_of(st.integers(8, 40), st.sampled_from([32, 64, 96])),
    st.booleans(),
)
def test_bfloat16_in_winograds_method_is_near_float32(n, c, h, w, oc, flip):
    x, filters, dy = random(n, c, h, w), random(oc, c, 3, 3, seed=1), random(n, oc, h, w, seed=2)
    settings = dict(border_mode=(1, 1), flip=flip)
    for low, exact in zip(*[with_gradients(settings, bf16, x, filters, dy) for bf16 in (True, False)]):
        assert_close(low, exact, 0.08)
        assert numpy.sqrt(numpy.mean((low - exact) ** 2)) <= 0.02 * numpy.sqrt(numpy.mean(exact**2))


@pytest.mark.parametrize('oc', [32, 48])
def test_bfloat16_is_the_same_with_channels_of_zeros(oc):
    """Of 32 channels processors with a matrix unit make matrices, of 40 all take vectors."""
    x, filters = random(2, 32, 23, 21), random(oc, 32, 3, 3, seed=1)
    more_x, more_filters = [numpy.concatenate([a, 0 * a[:, :8]], 1) for a in (x, filters)]
    low, wider = [
        plain(ops.Conv(bf16=True).run(blocked(x), filters), oc) for x, filters in ((x, filters), (more_x, more_filters))
    ]
    assert_close(low, wider, 2e-6)


@draws
@given(
    images, channels, st.integers(9, 19), st.integers(9, 19), channels, st.sampled_from([1, 2, 3, 5, 9]), st.booleans()
)
def test_bfloat16_leaves_other_convolutions_alone(n, c, h, w, oc, k, flip):
    x, filters = random(n, c, h, w), random(oc, c, k, k, seed=1)
    settings = dict(subsample=(2, 2), flip=flip)
    dy = random(n, oc, (h - k) // 2 + 1, (w - k) // 2 + 1, seed=2)
    for low, exact in zip(*[with_gradients(settings, bf16, x, filters, dy) for bf16 in (True, False)]):
        numpy.testing.assert_array_equal(low, exact)


@pytest.mark.parametrize('bf16', [False, True])
def test_filters_that_change_in_place_are_transformed_anew(bf16):
    op, x, filters = ops.Conv(bf16=bf16), blocked(random(1, 16, 12, 12)), random(16, 16, 3, 3, seed=1)
    first = numpy.array(op.run(x, filters))
    numpy.testing.assert_array_equal(op.run(x, filters), first)
    filters[3, 5, 1, 1] += 1
    second = numpy.array(op.run(x, filters))
    assert not numpy.array_equal(second, first)
    numpy.testing.assert_array_equal(op.run(x, filters.copy()), second)


@pytest.mark.parametrize('c', [16, 32])
def test_bfloat16_in_winograds_method_is_not_float32(c):
    x, filters = random(1, c, 12, 12), random(16, c, 3, 3, seed=1)
    low, exact = [plain(ops.Conv(bf16=bf16).run(blocked(x), filters), 16) for bf16 in (True, False)]
    assert numpy.sqrt(numpy.mean((low - exact) ** 2)) >= 1e-3 * numpy.sqrt(numpy.mean(exact**2))


@pytest.mark.slow
@pytest.mark.parametrize(
    'processor, source, instruction',
    [
        ('cooperlake', 'winograd.cpp', 'vdpbf16ps'),
        ('sapphirerapids', 'winograd.cpp', 'tdpbf16ps'),
        ('sapphirerapids', 'winograd_weights.cpp', 'tdpbf16ps'),
    ],
)
def test_compiles_to_the_bfloat16_instruction(processor, source, instruction):
    """For a processor that has it, whatever runs the test."""
    flags = [flag for flag in library.FLAGS if not flag.startswith('-march')]
    assembly = subprocess.run(
        ['g++', f'-march={processor}', '-S', '-o', '-', os.path.join(ROOT, 'backend', 'onednn', source)] + flags,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    assert instruction in assembly


@draws
@given(
    images,
    channels,
    st.integers(2, 40),
    st.integers(2, 40),
    st.booleans(),
    st.sampled_from(['', 'relu', 'sigmoid']),
    st.booleans(),
)
def test_norm_and_its_gradient(n, c, h, w, conditional, activation, residual):
    x = 2 + random(n, c, h, w)
    rows = n if conditional else 1
    gamma, beta = 1 + random(rows, c, seed=1), random(rows, c, seed=2)
    other = random(n, c, h, w, seed=3)
    code = {'': ops.LINEAR, 'relu': ops.RECTIFY, 'sigmoid': ops.SIGMOID}[activation]
    y, stats = ops.Norm(1e-5, code).run(blocked(x), gamma, beta, *([blocked(other)] if residual else []))
    x, gamma, beta = [v.astype('float64') for v in (x, gamma, beta)]
    linear = reference.instance_norm(x, numpy.broadcast_to(gamma, (n, c)), numpy.broadcast_to(beta, (n, c)))
    expected = {'': linear, 'relu': numpy.maximum(linear, 0), 'sigmoid': 1 / (1 + numpy.exp(-linear))}[activation]
    assert_close(plain(y, c), expected + other if residual else expected)
    if activation == 'sigmoid' or residual:
        return

    dy = random(n, c, h, w, seed=4)
    dx, dgamma, dbeta = ops.NormGradient(activation == 'relu').run(
        blocked(x), gamma.astype('float32'), beta.astype('float32'), stats, blocked(dy)
    )
    g = dy.astype('float64') * ((linear > 0) if activation else 1)
    deviation = numpy.sqrt(x.var(axis=(2, 3), keepdims=True) + 1e-5)
    unit = (x - x.mean(axis=(2, 3), keepdims=True)) / deviation
    mean = dict(axis=(2, 3), keepdims=True)
    expected = (
        (g - g.mean(**mean) - unit * (g * unit).mean(**mean)) * gamma[:, :, numpy.newaxis, numpy.newaxis] / deviation
    )
    assert_close(plain(dx, c), expected, 1e-4)
    over = (2, 3) if conditional else (0, 2, 3)
    assert_close(dgamma, (g * unit).sum(axis=over).reshape(rows, c), 1e-4)
    assert_close(dbeta, g.sum(axis=over).reshape(rows, c), 1e-4)


@draws
@given(images, channels, st.integers(2, 40), st.integers(2, 40), st.booleans())
def test_batch_norm_and_its_gradient(n, c, h, w, rectified):
    """That of one image as high as all of them, which are under each other there."""
    x, dy = 2 + random(n, c, h, w), random(n, c, h, w, seed=4)
    x += numpy.arange(n, dtype='float32').reshape(-1, 1, 1, 1)  # images whose moments differ
    gamma, beta = 1 + random(1, c, seed=1), random(1, c, seed=2)

    def together(values):
        return numpy.ascontiguousarray(values.transpose(1, 0, 2, 3)).reshape(1, c, n * h, w)

    activation = ops.RECTIFY if rectified else ops.LINEAR
    y, stats = ops.Norm(1e-5, activation, batch=True).run(blocked(x), gamma, beta)
    one_y, one_stats = ops.Norm(1e-5, activation).run(blocked(together(x)), gamma, beta)
    assert_close(together(plain(y, c)), plain(one_y, c), 1e-4)
    moments = ops.BatchMoments().run(blocked(x), c)
    assert_close(moments, numpy.stack([v(x.astype('float64'), axis=(0, 2, 3)) for v in (numpy.mean, numpy.var)]))
    got = ops.NormGradient(rectified, batch=True).run(blocked(x), gamma, beta, stats, blocked(dy))
    expected = ops.NormGradient(rectified).run(blocked(together(x)), gamma, beta, one_stats, blocked(together(dy)))
    assert_close(together(plain(got[0], c)), plain(expected[0], c), 1e-3)
    for a, b in zip(got[1:], expected[1:]):
        assert_close(a, b, 1e-3)


def test_norm_keeps_its_digits_under_a_large_mean():
    x = 1e3 + random(1, 8, 64, 64)
    y, _ = ops.Norm(1e-5).run(blocked(x), numpy.ones((1, 8), 'float32'), numpy.zeros((1, 8), 'float32'))
    assert_close(
        plain(y, 8), reference.instance_norm(x.astype('float64'), numpy.ones((1, 8)), numpy.zeros((1, 8))), 1e-4
    )


@pytest.mark.parametrize('mean', [0, 1, -300])
def test_norm_takes_a_variance_at_the_level_of_rounding_for_zero(mean):
    deviations = numpy.float32([abs(mean) * 2.0**-19 + 1e-7, abs(mean) * 1e-3 + 1e-3, 0]).reshape(1, 3, 1, 1)
    x, dy = mean + deviations * random(1, 3, 50, 60), random(1, 3, 50, 60, seed=3)
    gamma, beta = random(1, 3, seed=1), random(1, 3, seed=2)
    y, stats = ops.Norm(1e-5).run(blocked(x), gamma, beta)
    expected = reference.instance_norm(x.astype('float64'), gamma, beta)
    numpy.testing.assert_array_equal(plain(y, 3)[0, ::2], expected[0, ::2])
    numpy.testing.assert_allclose(plain(y, 3), expected, rtol=1e-2, atol=1e-3)
    dx, dgamma, dbeta = ops.NormGradient(False).run(blocked(x), gamma, beta, stats, blocked(dy))
    assert not plain(dx, 3)[0, ::2].any() and not dgamma[0, ::2].any()
    assert plain(dx, 3)[0, 1].any() and dgamma[0, 1] != 0
    numpy.testing.assert_allclose(dbeta[0], dy[0].sum(axis=(1, 2)), rtol=1e-3, atol=1e-3)


@draws
@given(images, channels, st.integers(5, 19), st.integers(5, 19), st.integers(1, 3), st.integers(0, 4))
def test_upsampling_with_padding_and_its_gradient(n, c, h, w, scale, mirror):
    x = random(n, c, h, w)
    y = ops.Expand(scale, mirror).run(blocked(x))
    expected = frame(x, scale, mirror)
    assert_close(plain(y, c), expected)
    # The transpose of a linear map A: <A x, dy> = <x, A' dy>, here for each pixel of x.
    dy = random(*expected.shape, seed=1)
    rows = frame(numpy.arange(h).reshape(1, 1, h, 1).repeat(w, 3), scale, mirror)[0, 0].astype(int)
    columns = frame(numpy.arange(w).reshape(1, 1, 1, w).repeat(h, 2), scale, mirror)[0, 0].astype(int)
    gradient = numpy.zeros((n, c, h, w))
    numpy.add.at(gradient, (slice(None), slice(None), rows, columns), dy.astype('float64'))
    assert_close(plain(ops.ExpandGradient(scale, mirror).run(blocked(dy)), c), gradient)


@draws
@given(images, channels, st.integers(2, 19), st.integers(2, 19))
def test_max_pooling_and_its_gradient(n, c, h, w):
    x = numpy.round(random(n, c, h, w))  # with ties
    y = reference.max_pool(x)
    pooled = ops.MaxPool((2, 2)).run(blocked(x))
    assert_close(plain(pooled, c), y)
    dy = random(*y.shape, seed=1)
    expected = numpy.zeros(x.shape)
    part = (Ellipsis, slice(0, h // 2 * 2), slice(0, w // 2 * 2))
    expected[part] = dy.repeat(2, 2).repeat(2, 3) * (x[part] == y.repeat(2, 2).repeat(2, 3))
    assert_close(plain(ops.MaxPoolGradient((2, 2)).run(blocked(x), pooled, blocked(dy)), c), expected)


@draws
@given(images, channels, st.integers(2, 19), st.integers(2, 19))
def test_average_pooling_and_its_gradient(n, c, h, w):
    x = random(n, c, h, w)
    y = ops.AveragePool((2, 2)).run(blocked(x))
    part = (Ellipsis, slice(0, h // 2 * 2), slice(0, w // 2 * 2))
    assert_close(plain(y, c), x[part].astype('float64').reshape(n, c, h // 2, 2, w // 2, 2).mean(axis=(3, 5)))
    dy = random(n, c, h // 2, w // 2, seed=1)
    expected = numpy.zeros(x.shape)
    expected[part] = dy.repeat(2, 2).repeat(2, 3) / 4
    assert_close(plain(ops.AveragePoolGradient((2, 2)).run(blocked(dy), h, w), c), expected)


def test_pointwise_operations():
    a, b = random(2, 11, 5, 7), random(2, 11, 5, 7, seed=1)
    numpy.testing.assert_array_equal(plain(ops.Add().run(blocked(a), blocked(b)), 11), a + b)
    numpy.testing.assert_array_equal(plain(ops.Rectify().run(blocked(a)), 11), numpy.maximum(a, 0))
    numpy.testing.assert_array_equal(plain(ops.RectifyGradient().run(blocked(a), blocked(b)), 11), b * (a > 0))


@settings(max_examples=40, deadline=None)
@given(images, st.integers(1, 70), st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_gram_matrices_and_their_gradient(n, c, h, w, divide_by_channels):
    x, dy = random(n, c, h, w), random(n, c, c, seed=1)  # which is not symmetric
    result = ops.Gram(divide_by_channels).run(blocked(x), c)
    assert_close(result, reference.gram(x.astype('float64'), divide_by_channels))
    numpy.testing.assert_array_equal(result, result.transpose(0, 2, 1))
    expected = numpy.einsum('nij,njhw->nihw', dy.astype('float64') + dy.transpose(0, 2, 1), x.astype('float64'))
    gradient = ops.GramGradient(divide_by_channels).run(blocked(x), dy)
    expected /= h * w * (c if divide_by_channels else 1)
    assert_close(plain(gradient, c), expected)
    other = random(n, c, h, w, seed=2)
    gradient = ops.GramGradient(divide_by_channels, rectify=True).run(blocked(x), dy, blocked(other))
    assert_close(plain(gradient, c), (expected + other) * (x > 0))


@draws
@given(images, channels, st.integers(1, 40), st.integers(1, 40))
def test_squared_differences_and_their_gradient(n, c, h, w):
    x, y, dy = random(n, c, h, w), random(n, c, h, w, seed=1), random(n, seed=2)
    difference = x.astype('float64') - y
    size = c * h * w
    assert_close(ops.SquaredDifference().run(blocked(x), blocked(y), size), numpy.mean(difference**2, axis=(1, 2, 3)))
    expected = 2 * dy[:, None, None, None] * difference / size
    assert_close(plain(ops.SquaredDifferenceGradient().run(blocked(x), blocked(y), size, dy), c), expected)
    x, y = x.reshape(n, c, -1), y.reshape(n, c, -1)
    assert_close(ops.SquaredDifference().run(x, y, size), numpy.mean(difference**2, axis=(1, 2, 3)))
    assert_close(ops.SquaredDifferenceGradient().run(x, y, size, dy), expected.reshape(x.shape))


SUMS = f"""
import sys
sys.path.insert(0, {ROOT!r})
import hashlib
import numpy
from backend.onednn import library, ops
library.load()
random = numpy.random.RandomState(0)
x, y, g = [random.randn(2, c, 40, 36, library.block()).astype('float32') for c in (3, 1, 3)]
y[..., 3:] = 0
results = [ops.Gram().run(x, 3 * library.block()), ops.SquaredDifference().run(x, g, 99),
           ops.ConvWeightGradient(mirror=4).run(y, x, 3 * library.block(), 3, 9, 9)]
print([hashlib.sha256(r.tobytes()).hexdigest() for r in results])
"""


def test_the_sums_of_losses_and_large_filters_do_not_depend_on_the_number_of_threads():
    outputs = {
        subprocess.run(
            [sys.executable, '-c', SUMS],
            check=True,
            stdout=subprocess.PIPE,
            env=dict(os.environ, OMP_NUM_THREADS=threads),
        ).stdout
        for threads in '123'
    }
    assert len(outputs) == 1


@draws
@given(st.integers(1, 4), st.integers(1, 70), st.integers(1, 70), st.integers(1, 70), st.booleans(), st.booleans())
def test_batched_product(n, i, k, j, turn_a, turn_b):
    a = random(n, k, i).transpose(0, 2, 1) if turn_a else random(n, i, k)
    b = random(n, j, k, seed=1).transpose(0, 2, 1) if turn_b else random(n, k, j, seed=1)
    assert_close(ops.BatchedProduct().run(a, b), numpy.einsum('nik,nkj->nij', a.astype('float64'), b))


# -- What the ops refuse


def test_ops_refuse_other_types():
    from backend import T

    with pytest.raises(TypeError, match='4-D float32'):
        ops.ToBlocked()(T.dtensor4())
    with pytest.raises(TypeError, match='5-D float32'):
        ops.Rectify()(T.ftensor4())
    with pytest.raises(TypeError, match='filters'):
        ops.Conv()(ops.Blocked(), T.fmatrix())
    with pytest.raises(TypeError, match='integer'):
        ops.FromBlocked()(ops.Blocked(), T.fscalar())
    with pytest.raises(TypeError, match='2 inputs'):
        ops.Add()(ops.Blocked())


def test_ops_refuse_shapes_that_do_not_match():
    x = blocked(random(1, 8, 6, 6))
    with pytest.raises(ValueError, match='does not hold 40 channels'):
        ops.Conv().run(x, random(8, 40, 3, 3))
    with pytest.raises(ValueError, match='larger than the padded image'):
        ops.Conv().run(x, random(8, 8, 9, 9))
    with pytest.raises(ValueError, match='smaller than the image'):
        ops.Conv(mirror=6).run(x, random(8, 8, 3, 3))
    with pytest.raises(ValueError, match='smaller than the image'):
        ops.Expand(1, 6).run(x)
    with pytest.raises(ValueError, match='bias'):
        ops.Conv().run(x, random(8, 8, 3, 3), random(7))
    with pytest.raises(ValueError, match='gamma'):
        ops.Norm(1e-5).run(x, random(3, 8), random(3, 8))
    with pytest.raises(ValueError, match='dy'):
        ops.ConvInputGradient().run(random(8, 8, 3, 3), x, 6, 6)
    with pytest.raises(ValueError, match='an input'):
        ops.Add().run(x, blocked(random(1, 8, 6, 5)))


# -- Memory


def test_memory_that_is_not_there_is_a_memory_error():
    with pytest.raises(MemoryError):
        library.empty(1 << 22, 1 << 20)  # 16 TB
    with pytest.raises(MemoryError):
        library.empty(1 << 31, 1 << 31)


def test_memory_is_reused_and_given_back():
    library.trim()
    before = library.memory()
    x = library.empty(1 << 20)
    x[:] = 1
    assert library.memory()[1] == before[1] + (1 << 22)
    view = x[::2]
    del x
    assert library.memory()[1] == before[1] + (1 << 22)  # the view keeps it
    del view
    assert library.memory()[1] == before[1]
    mapped = library.memory()[0]
    for _ in range(10):
        library.empty(1 << 20)
    assert library.memory()[0] == mapped
    library.trim()
    assert library.memory()[0] <= before[0]


def test_memory_stays_near_its_peak_through_changing_sizes(generator):
    library.trim()
    start, alive, peak = library.memory()[1], [], 0
    for _ in range(2000):
        alive.append(library.empty(generator.randint(1, 1 << 22)))
        peak = max(peak, library.memory()[1] - start)
        if len(alive) > generator.randint(1, 8):
            alive.pop(generator.randint(len(alive)))
    assert library.memory()[0] - start <= 2 * peak + (64 << 20)


# -- Building

COLD = f"""
import sys
sys.path.insert(0, {ROOT!r})
from backend.onednn import library
library.load()
import numpy
x = numpy.arange(24, dtype='float32').reshape(1, 2, 3, 4)
y = library.empty(1, 1, 3, 4, library.block())
library.call('gogh_to_blocked', x, y, 1, 2, 12)
print(y.sum())
"""


def start(folder, **environment):
    return subprocess.Popen(
        [sys.executable, '-c', COLD],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        env=dict(os.environ, XDG_CACHE_HOME=str(folder), **environment),
    )


@pytest.mark.slow
def test_two_processes_may_build_at_once(tmp_path):
    processes = [start(tmp_path), start(tmp_path, OMP_NUM_THREADS='1')]
    for process in processes:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert float(out) == 276
    names = [path.name for path in (tmp_path / 'gogh-figure').iterdir() if not path.name.startswith('theano-')]
    assert sorted(os.path.splitext(name)[1] for name in names) == ['.lock', '.so']


@pytest.mark.slow
def test_where_there_is_no_onednn_the_operations_are_the_same(tmp_path, monkeypatch):
    """Its part in them is written out for such processors; this one can run it as well."""
    monkeypatch.setattr(library, '_library', None)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setattr(library.platform, 'machine', lambda: 'aarch64')
    monkeypatch.setattr(library, 'FLAGS', ['-O1' if flag == '-O3' else flag for flag in library.FLAGS])
    library.load()
    test_convolution_and_its_gradients()
    test_batched_product()


@pytest.mark.skipif(not shutil.which(ARM_COMPILER), reason=f'there is no {ARM_COMPILER}')
@pytest.mark.parametrize('source', library.SOURCES + [library.WITHOUT])
def test_compiles_for_arm(source, tmp_path):
    flags = [flag for flag in library.FLAGS if not flag.startswith('-march')]
    subprocess.run(
        [ARM_COMPILER, '-Werror', '-c', '-o', str(tmp_path / 'o')]
        + flags
        + [os.path.join(ROOT, 'backend', 'onednn', source)],
        check=True,
    )


def test_other_platforms_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(library, '_library', None)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setattr(library.platform, 'system', lambda: 'Darwin')
    monkeypatch.setattr(library.platform, 'machine', lambda: 'arm64')
    with pytest.raises(library.Unavailable, match='for Linux on x86-64 and on 64-bit Arm, and this is Darwin on arm64'):
        library.load()


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(library, '_library', None)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setenv('CXX', 'no-such-compiler')
    with pytest.raises(library.Unavailable, match='not on the PATH'):
        library.load()
    monkeypatch.setattr(library.platform, 'machine', lambda: 'x86_64')
    monkeypatch.setattr(sys, 'prefix', str(tmp_path))
    with pytest.raises(library.Unavailable, match='oneDNN is not installed'):
        library.load()


def test_a_library_that_does_not_compile_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(library, '_library', None)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setattr(library, 'FLAGS', library.FLAGS + ['-Dvec=9'])
    monkeypatch.setattr(library, 'SOURCES', library.SOURCES[:1])
    with pytest.raises(library.Unavailable, match='does not compile: .*error'):
        library.load()
    assert [path.name for path in (tmp_path / 'gogh-figure').iterdir()] == ['onednn.lock']
