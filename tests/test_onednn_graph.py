"""The rewrites: what they make of networks, and that values and gradients are those of references in float64."""

import collections

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import layers
import losses
import models
import reference
from objective import Objective
from support.tiny import transformer
from training import Training
from backend import T, lasagne, theano
from backend.onednn import library, ops, rewrites

try:
    rewrites.register()
except library.Unavailable as reason:
    pytest.skip(f'the oneDNN backend cannot run here: {reason}', allow_module_level=True)

from backend.onednn import library  # noqa: E402

FAST = theano.Mode(linker='py', optimizer='fast_run')  # the ops are Python: no wait for the C compiler


def count(function):
    return collections.Counter(type(node.op).__name__ for node in function.maker.fgraph.apply_nodes)


def network(kind, widths, up_widths, blocks, styles, generator):
    net = transformer(
        kind, [f'style {i}' for i in range(styles)], widths=widths, up_widths=up_widths, residual_blocks=blocks
    )
    for param in lasagne.layers.get_all_params(net.output):
        value = param.get_value()
        param.set_value((value + 0.3 * generator.randn(*value.shape)).astype('float32'))
    return net


def stylizing(net, mode=FAST):
    image, style = T.tensor4(), T.matrix()
    inputs = {net.image: image}
    if net.style is not None:
        inputs[net.style] = style
    return theano.function(
        [image, style], lasagne.layers.get_output(net.output, inputs), mode=mode, on_unused_input='ignore'
    )


def test_bfloat16_changes_a_pastiche_by_little():
    net = network('cin', (16, 32, 32), (32, 16), 2, 2, numpy.random.RandomState(0))
    image, style = numpy.random.RandomState(1).rand(1, 3, 40, 48).astype('float32'), layers.style_weights(1, 2)
    exact = stylizing(net)
    rewrites.register(bf16=True)
    try:
        low = stylizing(net)
    finally:
        rewrites.register()
    assert {node.op.bf16 for node in low.maker.fgraph.apply_nodes if isinstance(node.op, ops.Conv)} == {True}
    assert {node.op.bf16 for node in exact.maker.fgraph.apply_nodes if isinstance(node.op, ops.Conv)} == {False}
    error = numpy.mean((low(image, style) - exact(image, style)) ** 2)
    assert 0 < error < 1e-4  # at least 40 dB


def test_bfloat16_turns_a_gradient_by_little():
    net = network('cin', (16, 32, 32), (32, 16), 2, 2, numpy.random.RandomState(0))
    generator = numpy.random.RandomState(1)
    image, wanted = [generator.rand(2, 3, 40, 48).astype('float32') for _ in range(2)]
    loss = ((lasagne.layers.get_output(net.output) - wanted) ** 2).mean()
    slopes = theano.grad(loss, lasagne.layers.get_all_params(net.output, trainable=True))

    def gradient(bf16):
        rewrites.register(bf16=bf16)
        try:
            function = theano.function([net.image.input_var, net.style.input_var], slopes, mode=FAST)
        finally:
            rewrites.register()
        kinds = ops.Conv, ops.ConvInputGradient, ops.ConvWeightGradient
        convolutions = [node.op for node in function.maker.fgraph.apply_nodes if isinstance(node.op, kinds)]
        assert {type(op) for op in convolutions} == set(kinds)
        assert {op.bf16 for op in convolutions} == {bf16}
        return numpy.concatenate([slope.ravel() for slope in function(image, layers.style_weights([0, 1], 2))])

    exact, low = gradient(False), gradient(True)
    assert (low != exact).any()
    assert low @ exact > 0.98 * numpy.linalg.norm(low) * numpy.linalg.norm(exact)


@settings(max_examples=12)
@given(
    st.sampled_from(['cin', 'fns']),
    st.integers(1, 4),
    st.integers(20, 41),
    st.integers(20, 41),
    st.tuples(*[st.integers(1, 20)] * 3),
    st.tuples(*[st.integers(1, 20)] * 2),
    st.integers(0, 2),
    st.integers(0, 9),
)
def test_stylizing_equals_the_papers_formulas(kind, n, h, w, widths, up_widths, blocks, seed):
    generator = numpy.random.RandomState(seed)
    net = network(kind, widths, up_widths, blocks, 3, generator)
    image = generator.rand(n, 3, h, w).astype('float32')
    style = layers.style_weights([i % 3 for i in range(n)], 3)
    result = stylizing(net)(image, style)
    params = lasagne.layers.get_all_param_values(net.output)
    x = image.astype('float64')
    if kind == 'fns':
        expected = reference.transformer(reference.preprocess(x), params, None, blocks)
        expected = reference.deprocess(expected)
    else:
        expected = reference.transformer(x, params, style.astype('float64'), blocks)
    numpy.testing.assert_allclose(result, expected, atol=1e-4)


def test_a_transformer_stays_blocked_from_its_first_to_its_last_convolution(generator):
    function = stylizing(network('cin', (8, 16, 24), (16, 8), 2, 2, generator))
    nodes = count(function)
    # 3 + 2 * 2 + 2 + 1 convolutions, each with its padding, upsampling and normalization
    assert (nodes['Conv'], nodes['Norm'], nodes['ToBlocked'], nodes['FromBlocked']) == (10, 10, 1, 1)
    assert not any(nodes[name] for name in ('Expand', 'Add', 'Rectify', 'Elemwise', 'CorrMM', 'AbstractConv2d'))
    norms = [node for node in function.maker.fgraph.apply_nodes if isinstance(node.op, ops.Norm)]
    assert all(node.op.inplace for node in norms)
    assert sum(len(node.inputs) == 4 for node in norms) == 2  # the sums of the residual blocks
    assert sum(node.op.activation == ops.SIGMOID for node in norms) == 1


def test_the_tag_switches_the_rewrites_off(generator):
    nodes = count(
        stylizing(
            network('cin', (4, 4, 4), (4, 4), 0, 1, generator),
            theano.Mode(linker='py', optimizer='fast_compile').excluding('onednn'),
        )
    )
    assert not set(nodes) & set(ops.__all__)


def loss_weights(generator):
    weights = {}
    for name, (c, oc) in dict(conv1_1=(3, 8), conv1_2=(8, 12), conv2_1=(12, 9), conv2_2=(9, 20)).items():
        weights[f'{name}_W'] = (generator.randn(oc, c, 3, 3) * (2.0 / (9 * c)) ** 0.5).astype('float32')
        weights[f'{name}_b'] = generator.randn(oc).astype('float32')
    return weights


@pytest.mark.parametrize('kind, size, n', [('cin', (32, 36), 2), ('fns', (44, 28), 1)])
def test_a_training_has_the_slopes_of_a_loss_in_float64(generator, kind, size, n):
    """Of three networks at least one: where rounding turns a rectifier off or on, float32 has another slope."""
    for _ in range(3):
        errors = errors_of_slopes(generator, kind, size, n)
        if max(errors) <= 1e-4:
            return
    pytest.fail(f'{errors} of the lengths of the gradients')


def errors_of_slopes(generator, kind, size, n):
    """What the gradients of a training's parameters are off by, along some directions, as parts of their lengths."""
    net, weights = network(kind, (6, 9, 12), (9, 7), 1, 2, generator), loss_weights(generator)
    grams = [generator.randn(2, c, c).astype('float32') for c in (12, 20)]
    layers_of_style = [('conv1_2', 1e-2), ('conv2_2', 1.0)]
    training = Training(net, Objective([weights], [('conv2_2', 1.0)], layers_of_style), grams)
    images, styles = generator.rand(n, 3, *size).astype('float32'), numpy.arange(n) % 2
    values = training.gradient(images, styles)
    one_hot = numpy.eye(2)[styles] if kind == 'cin' else None

    def loss(params):
        image = images.astype('float64') if kind == 'cin' else reference.preprocess(images.astype('float64'))
        pastiche = reference.transformer(image, params, one_hot, residual_blocks=1)
        pastiche = pastiche if kind == 'cin' else reference.deprocess(pastiche)
        features = reference.vgg(reference.preprocess(pastiche), weights, 'conv2_2')
        target = reference.vgg(reference.preprocess(images.astype('float64')), weights, 'conv2_2')['conv2_2']
        total = numpy.mean((features['conv2_2'] - target) ** 2)
        for (layer, weight), gram in zip(layers_of_style, grams):
            total += weight / 2 * numpy.mean((reference.gram(features[layer]) - gram[styles]) ** 2)
        return total

    params = [param.get_value().astype('float64') for param in lasagne.layers.get_all_params(net.output)]
    gradients = [numpy.asarray(gradient.get_value(), 'float64') for gradient in training.gradients]
    numpy.testing.assert_allclose(values[0], loss(params), rtol=1e-5)
    norm = numpy.sqrt(sum(numpy.sum(gradient**2) for gradient in gradients))
    # Along the gradient, and along random directions of filters, gamma and beta.
    directions = [[gradient / norm for gradient in gradients]]
    names = [param.name for param in lasagne.layers.get_all_params(net.output)]
    for some in ('W', 'gamma', 'beta'):
        directions.append([generator.randn(*p.shape) * (name == some) for p, name in zip(params, names)])
    errors = []
    for direction in directions:
        ahead, behind = (loss([p + step * d for p, d in zip(params, direction)]) for step in (1e-8, -1e-8))
        parts = [numpy.sum(gradient * d) for gradient, d in zip(gradients, direction)]
        length = numpy.sqrt(sum(numpy.sum((gradient * d) ** 2) for gradient, d in zip(gradients, direction)))
        errors.append(abs((ahead - behind) / 2e-8 - sum(parts)) / length)
    return errors


def test_a_training_graph_is_blocked_from_the_photo_to_the_losses(generator):
    net, weights = network('cin', (6, 9, 12), (9, 7), 1, 2, generator), loss_weights(generator)
    image, style = T.tensor4(), T.matrix()
    pastiche = lasagne.layers.get_output(net.output, {net.image: image, net.style: style})
    features = models.loss_network(pastiche, weights, ['conv1_2', 'conv2_2'])
    target = models.loss_network(image, weights, ['conv2_2'])
    loss = losses.content_loss(features['conv2_2'], target['conv2_2']).sum()
    for value in features.values():
        loss += losses.style_loss(losses.gram_matrix(value), T.zeros_like(losses.gram_matrix(value))).sum()
    params = lasagne.layers.get_all_params(net.output, trainable=True)
    nodes = count(theano.function([image, style], [loss] + theano.grad(loss, params), mode=FAST))
    assert nodes['ConvWeightGradient'] == nodes['NormGradient'] == nodes['Norm'] == 8
    assert nodes['Conv'] == 8 + 4 + 4
    assert nodes['ConvInputGradient'] == 7 + 4
    assert nodes['Gram'] == nodes['GramGradient'] == 2
    # The content loss, and a style loss for each layer
    assert nodes['SquaredDifference'] == nodes['SquaredDifferenceGradient'] == 1 + 2
    # The gradients of rectifiers and the sums before them are made on the way; the sum is the residual block's.
    assert (nodes['RectifyGradient'], nodes['Add']) == (0, 1)
    # What enters is the photo, and the colours that the loss network takes and their gradient; what leaves is beside.
    assert nodes['ToBlocked'] <= 4 and nodes['FromBlocked'] <= 2
    assert not any(
        nodes[name]
        for name in ('Expand', 'Rectify', 'Pool', 'MaxPoolGrad', 'FormulaGradient', 'BatchedDot', 'BatchedProduct')
    )


def test_what_the_library_lacks_stays_plain():
    x, w = T.tensor4(), T.tensor4()
    for output in (T.nnet.conv2d(x, w, filter_dilation=(2, 2)), T.nnet.conv2d(x, w, num_groups=2)):
        fgraph = theano.gof.FunctionGraph([x, w], [output], clone=True)
        theano.compile.optdb.query('+onednn').optimize(fgraph)
        assert not any(isinstance(node.op, ops.Conv) for node in fgraph.apply_nodes)


def test_a_thousand_sizes_need_no_more_memory_than_the_largest(generator):
    function = stylizing(network('cin', (4, 6, 8), (6, 4), 1, 1, generator))
    style = numpy.ones((1, 1), 'float32')
    function(generator.rand(1, 3, 200, 200).astype('float32'), style)
    mapped = library.memory()[0]
    for _ in range(1000):
        h, w = generator.randint(20, 120, 2)
        function(generator.rand(1, 3, h, w).astype('float32'), style)
    assert library.memory()[0] <= mapped + (64 << 20)
    assert library.memory()[1] <= 1 << 20
