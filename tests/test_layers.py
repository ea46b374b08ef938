"""The layers against numpy and scipy in float64, their gradients by finite differences, their shapes."""

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import layers
import reference
from backend import T, formulas, lasagne, theano

from lasagne.layers import InputLayer, get_output


def output_of(compile, layer, *arrays):
    """What a layer makes of arrays, in their precision."""
    variables = [T.TensorType(a.dtype, [False] * a.ndim)() for a in arrays]
    return compile(variables, layer.get_output_for(variables[0] if len(arrays) == 1 else variables))(*arrays)


@pytest.mark.parametrize('pad', [1, 4])
@pytest.mark.parametrize('size', [(5, 5), (6, 9), (12, 7)])
def test_reflection_padding_is_numpys(compile, generator, pad, size):
    x = generator.rand(2, 3, *size)
    layer = layers.ReflectPadLayer((None, 3, None, None), pad)
    expected = numpy.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)], mode='reflect')
    numpy.testing.assert_array_equal(output_of(compile, layer, x), expected)


def test_reflection_padding_refuses_images_that_are_too_small(compile):
    x = T.tensor4()
    pad = compile([x], formulas.reflect_pad(x, 4))
    with pytest.raises(AssertionError, match='too small'):
        pad(numpy.zeros((1, 1, 4, 9), 'float32'))
    with pytest.raises(ValueError, match='too small'):
        layers.ReflectPadLayer((None, 3, 4, 9), 4)


@pytest.mark.parametrize('epsilon', [1e-5, 1e-1])
def test_instance_norm_is_equation_3(compile, generator, epsilon):
    x = 3 + generator.randn(2, 3, 5, 6)
    gamma, beta = generator.rand(3), generator.rand(3)
    layer = layers.InstanceNormLayer(
        (None, 3, None, None), epsilon, beta=beta.astype('float32'), gamma=gamma.astype('float32')
    )
    expected = reference.instance_norm(x, gamma, beta, epsilon)
    numpy.testing.assert_allclose(output_of(compile, layer, x), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('mean', [0, 1, -300])
def test_a_variance_at_the_level_of_rounding_counts_as_zero(compile, generator, mean):
    x, gamma, beta, dy = T.tensor4(), T.matrix(), T.matrix(), T.tensor4()
    y = formulas.instance_norm(x, gamma, beta)
    function = compile([x, gamma, beta, dy], [y] + theano.grad(None, [x, gamma, beta], known_grads={y: dy}))
    # The first map is flat but for the rounding of float32, the second has a deviation of a thousandth.
    maps = (
        mean
        + numpy.array([abs(mean) * 2.0**-19 + 1e-7, abs(mean) * 1e-3 + 1e-3]).reshape(1, 2, 1, 1)
        * generator.randn(1, 2, 8, 8)
    ).astype('float32')
    parameters = generator.randn(2, 1, 2).astype('float32')
    slope = generator.randn(1, 2, 8, 8).astype('float32')
    out, dx, dgamma, dbeta = function(maps, *parameters, slope)
    numpy.testing.assert_array_equal(out[0, 0], numpy.full((8, 8), parameters[1, 0, 0]))
    assert not dx[0, 0].any() and dgamma[0, 0] == 0
    numpy.testing.assert_allclose(dbeta[0], slope[0].sum(axis=(1, 2)), rtol=1e-4)
    assert dx[0, 1].any() and dgamma[0, 1] != 0
    numpy.testing.assert_allclose(
        out, reference.instance_norm(maps.astype('float64'), *parameters), rtol=1e-2, atol=1e-4
    )


def test_conditional_instance_norm_takes_each_images_style(compile, generator):
    x = generator.randn(3, 4, 5, 6)
    gamma, beta = generator.rand(7, 4).astype('float32'), generator.rand(7, 4).astype('float32')
    layer = layers.ConditionalInstanceNormLayer((None, 4, None, None), (None, 7), beta=beta, gamma=gamma)
    styles = [5, 0, 5]
    got = output_of(compile, layer, x, layers.style_weights(styles, 7).astype('float64'))
    numpy.testing.assert_allclose(got, reference.instance_norm(x, gamma[styles], beta[styles]), rtol=1e-6, atol=1e-6)


def test_conditional_instance_norm_blends_gamma_and_beta(compile, generator):
    x = generator.randn(1, 4, 5, 6)
    gamma, beta = generator.rand(3, 4).astype('float32'), generator.rand(3, 4).astype('float32')
    layer = layers.ConditionalInstanceNormLayer((None, 4, None, None), (None, 3), beta=beta, gamma=gamma)
    got = output_of(compile, layer, x, numpy.array([[0.25, 0, 0.75]]))
    expected = reference.instance_norm(x, 0.25 * gamma[0] + 0.75 * gamma[2], 0.25 * beta[0] + 0.75 * beta[2])
    numpy.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def test_one_row_of_style_weights_serves_the_whole_batch(compile, generator):
    x, row = T.tensor4(), T.row()
    layer = layers.ConditionalInstanceNormLayer((None, 2, None, None), (1, 3), gamma=lasagne.init.Normal(1))
    norm = compile([x, row], layer.get_output_for([x, row]))
    images = generator.randn(4, 2, 3, 3).astype('float32')
    weights = layers.style_weights(1, 3)
    numpy.testing.assert_allclose(norm(images, weights)[2:3], norm(images[2:3], weights), rtol=1e-6)


def test_style_weights():
    numpy.testing.assert_array_equal(layers.style_weights(1, 3, 2), [[0, 1, 0], [0, 1, 0]])
    numpy.testing.assert_array_equal(layers.style_weights([2, 0], 3), [[0, 0, 1], [1, 0, 0]])
    numpy.testing.assert_array_equal(layers.style_weights({0: 0.5, 2: 0.25}, 3), numpy.float32([[0.5, 0, 0.25]]))
    for bad in (3, -1):
        with pytest.raises(IndexError, match='0 to 2'):
            layers.style_weights(bad, 3)


def test_batch_norm_takes_the_batch_then_its_running_average(compile, generator):
    x = T.tensor4()
    layer = layers.BatchNormLayer((None, 3, None, None), average_factor=0.25)
    images = (2 + generator.randn(4, 3, 5, 5)).astype('float32')
    train = compile([x], layer.get_output_for(x))
    mean, variance = images.mean(axis=(0, 2, 3)), images.var(axis=(0, 2, 3))
    spread = (1, 3, 1, 1)
    expected = (images - mean.reshape(spread)) / numpy.sqrt(variance.reshape(spread) + 1e-5)
    numpy.testing.assert_allclose(train(images), expected, rtol=1e-4, atol=1e-5)
    numpy.testing.assert_allclose(layer.mean.get_value(), 0.25 * mean, rtol=1e-5)
    numpy.testing.assert_allclose(layer.variance.get_value(), 0.75 + 0.25 * variance, rtol=1e-5)
    test = compile([x], layer.get_output_for(x, deterministic=True))
    expected = (images - 0.25 * mean.reshape(spread)) / numpy.sqrt(0.75 + 0.25 * variance.reshape(spread) + 1e-5)
    numpy.testing.assert_allclose(test(images), expected, rtol=1e-4, atol=1e-5)
    numpy.testing.assert_allclose(layer.mean.get_value(), 0.25 * mean, rtol=1e-5)


def test_nearest_upsampling_repeats_pixels(compile, generator):
    x = generator.rand(2, 3, 4, 5)
    layer = layers.UpsampleNearestLayer((None, 3, None, None), 3)
    numpy.testing.assert_array_equal(output_of(compile, layer, x), x.repeat(3, axis=2).repeat(3, axis=3))


@pytest.mark.parametrize('flip', [True, False])
@pytest.mark.parametrize('pad', ['reflect', 'zero'])
@pytest.mark.parametrize('size, stride, shape', [(3, 1, (6, 7)), (3, 2, (6, 7)), (9, 1, (8, 11))])
def test_convolution_is_scipys(compile_c, generator, flip, pad, size, stride, shape):
    x = generator.rand(2, 3, *shape)
    W, b = generator.randn(4, 3, size, size), generator.randn(4)
    layer = layers.ConvLayer(
        (None, 3, None, None), 4, size, stride, pad, flip, W.astype('float32'), b.astype('float32')
    )
    expected = reference.conv(x, W, stride, pad, flip, b)
    numpy.testing.assert_allclose(output_of(compile_c, layer, x), expected, rtol=1e-5, atol=1e-5)


def test_fractional_convolution_is_the_transpose_of_the_strided_one(compile_c, generator):
    # <conv(x), y> = <x, fractional(y)> for every x and y, where conv has stride 2, zero padding and no flip.
    x, y = generator.randn(1, 4, 10, 6), generator.randn(1, 3, 5, 3)
    W = generator.randn(3, 4, 3, 3).astype('float32')
    got = output_of(compile_c, layers.FractionalConvLayer((None, 3, None, None), 4, 3, W), y.astype('float32'))
    assert got.shape == x.shape
    flipped = reference.conv(x, W.astype('float64'), 2, 'zero', True)
    numpy.testing.assert_allclose((flipped * y).sum(), (x * got).sum(), rtol=1e-5)


@pytest.mark.parametrize(
    'formula, shapes',
    [
        (formulas.ReflectPad(2), [(2, 2, 4, 3)]),
        (formulas.UpsampleNearest(2), [(2, 2, 2, 3)]),
        (formulas.InstanceNorm(1e-3), [(2, 3, 3, 4), (2, 3), (2, 3)]),
        (formulas.BatchNorm(1e-3), [(2, 3, 3, 4), (1, 3), (1, 3)]),
        (formulas.Rectify(), [(2, 2, 3, 3)]),
    ],
    ids=str,
)
def test_gradients_by_finite_differences(compile, generator, formula, shapes):
    theano.tensor.verify_grad(formula, [generator.randn(*shape) for shape in shapes], rng=generator, mode=compile.mode)


def test_gradient_keeps_inputs_apart_that_depend_on_each_other(compile, generator):
    # beta is made from x: the gradient with respect to x has a part through it, counted once.
    def function(x):
        return formulas.instance_norm(x, x.max(axis=(2, 3)), x.mean(axis=(2, 3)), 1e-2)

    theano.tensor.verify_grad(function, [generator.randn(2, 2, 3, 3)], rng=generator, mode=compile.mode)


def test_formulas_check_their_inputs():
    with pytest.raises(TypeError, match='4-D'):
        formulas.reflect_pad(T.matrix(), 1)
    with pytest.raises(TypeError, match='matrices'):
        formulas.instance_norm(T.tensor4(), T.vector(), T.vector())
    with pytest.raises(ValueError):
        formulas.ReflectPad(0)
    with pytest.raises(ValueError):
        formulas.UpsampleNearest(0)


def test_formulas_with_equal_settings_are_equal():
    assert formulas.ReflectPad(1) == formulas.ReflectPad(1) != formulas.ReflectPad(2)
    assert formulas.InstanceNorm(1e-5) == formulas.InstanceNorm(1e-5) != formulas.InstanceNorm(1e-4)
    assert formulas.FormulaGradient(formulas.ReflectPad(1)) == formulas.FormulaGradient(formulas.ReflectPad(1))


def test_lowering_keeps_the_graph_small():
    # A deep chain of formulas: lowering each one must not copy what lies above it.
    x = T.tensor4()
    y = x
    for _ in range(12):
        y = formulas.rectify(formulas.reflect_pad(y, 1))
    graph = theano.gof.FunctionGraph(*theano.gof.graph.clone([x], [T.grad(y.sum(), x)]))
    formulas._lowering.optimize(graph)
    assert not any(isinstance(n.op, (formulas.Formula, formulas.FormulaGradient)) for n in graph.apply_nodes)
    assert len(graph.apply_nodes) < 12 * 120


BLOCKS = {
    'conv': lambda l: layers.conv_block(l, 4, 3),
    'conv, stride 2': lambda l: layers.conv_block(l, 4, 3, stride=2),
    'conv 9×9, zero padding': lambda l: layers.conv_block(l, 4, 9, pad='zero'),
    'residual': lambda l: layers.residual_block(l),
    'upsampling': lambda l: layers.upsampling_block(l, 4),
    'deconv': lambda l: layers.upsampling_block(l, 4, upsampling='deconv', norm='batch'),
}
_compiled = {}


@pytest.mark.parametrize('name', BLOCKS)
@settings(max_examples=15, deadline=None)
@given(height=st.integers(5, 12), width=st.integers(5, 12), images=st.integers(1, 2))
def test_promised_shapes_are_the_real_ones(compile_c, name, height, width, images):
    if name not in _compiled:
        free = BLOCKS[name](InputLayer((None, 2, None, None)))
        source = lasagne.layers.get_all_layers(free)[0]
        _compiled[name] = free, compile_c([source.input_var], get_output(free).shape)
    free, shape = _compiled[name]
    fixed = BLOCKS[name](InputLayer((images, 2, height, width)))
    real = tuple(shape(numpy.zeros((images, 2, height, width), 'float32')))
    assert fixed.output_shape == real
    assert free.output_shape == (None, real[1], None, None)


def test_blocks_refuse_what_they_do_not_know():
    l = InputLayer((None, 2, None, None))
    for bad in (dict(norm='layer'), dict(pad='edge')):
        with pytest.raises(ValueError):
            layers.conv_block(l, 4, 3, **bad)
    with pytest.raises(ValueError):
        layers.upsampling_block(l, 4, upsampling='bilinear')
    with pytest.raises(ValueError, match='styles'):
        layers.conv_block(l, 4, 3, style=InputLayer((None, 3)), norm='batch')
