"""What test_gpu.py compares: computed on a device, in a process of its own, since Theano has one device for good.

python tests/on_device.py DEVICE RESULTS.npz
"""

import json
import os
import sys

import numpy

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import layers  # noqa: E402
import losses  # noqa: E402
import models  # noqa: E402
import training  # noqa: E402
from objective import Objective  # noqa: E402
from backend import T, devices, formulas, lasagne, theano  # noqa: E402
from updates import adam  # noqa: E402
from support.tiny import transformer  # noqa: E402

# Upsampling, then padding: of shapes that no tile divides, some hardly larger than the padding.
EXPANSIONS = [(1, 1), (1, 4), (2, 0), (2, 1), (3, 2)]
# The last planes are of several parts, whose last tile is not full.
NORM_SHAPES = [(1, 1, 1, 2), (2, 3, 5, 7), (3, 2, 64, 65), (1, 2, 131, 173)]
NETWORKS = {
    'cin': dict(network='cin', styles=['a', 'b']),
    'fns': dict(network='fns', styles=['a']),
    'fns_batch': dict(network='fns', styles=['a'], norm='batch', pad='zero', upsampling='deconv'),
}
BLOCKS = {'cin': 1, 'fns': 0, 'fns_batch': 0}


def expansion_inputs(scale, pad):
    """Images, and a gradient with respect to what is made of each."""
    generator = numpy.random.RandomState(10 * scale + pad)
    for n, c, h, w in [(2, 3) + tuple(pad // scale + 1 + generator.randint(0, 3, 2)), (1, 2, 33, 47), (1, 1, 70, 71)]:
        yield (
            generator.randn(n, c, h, w).astype('float32'),
            generator.randn(n, c, h * scale + 2 * pad, w * scale + 2 * pad).astype('float32'),
        )


def norm_inputs(rows):
    """Images with large means, gamma and beta with a row for each or one for all, and a gradient."""
    generator = numpy.random.RandomState(3)
    for n, c, h, w in NORM_SHAPES:
        x = generator.randn(n, c, h, w) * generator.uniform(0.5, 9, (n, c, 1, 1)) + 50 * generator.randn(n, c, 1, 1)
        gamma, beta = generator.randn(2, n if rows == 'each' else 1, c)
        yield [a.astype('float32') for a in (x, gamma, beta, generator.randn(n, c, h, w))]


def flat_inputs():
    """Two maps, of which the first is flat but for the rounding of float32; gamma, beta and a gradient."""
    generator = numpy.random.RandomState(4)
    x = 9 * (1 + numpy.array([2.0**-20, 1]).reshape(1, 2, 1, 1) * generator.randn(1, 2, 33, 47))
    return [a.astype('float32') for a in (x, generator.randn(1, 2), generator.randn(1, 2), generator.randn(*x.shape))]


def expansions(results):
    x, dy = T.tensor4(), T.tensor4()
    for scale, pad in EXPANSIONS:
        y = formulas.upsample_nearest(x, scale) if scale > 1 else x
        y = formulas.reflect_pad(y, pad) if pad else y
        function = theano.function([x, dy], [y, theano.grad(None, x, known_grads={y: dy})])
        results[f'expand_{scale}_{pad}'] = [function(*arrays) for arrays in expansion_inputs(scale, pad)]


def norms(results):
    x, dy = T.tensor4(), T.tensor4()
    for rows, matrix in (('each', T.matrix), ('one', T.row)):
        gamma, beta = matrix(), matrix()
        y = formulas.instance_norm(x, gamma, beta)
        gradients = theano.grad(None, [x, gamma, beta], known_grads={y: dy})
        function = theano.function([x, gamma, beta, dy], [y] + gradients)
        results[f'norm_{rows}'] = [function(*arrays) for arrays in norm_inputs(rows)]
    results['norm_flat'] = [function(*flat_inputs())]  # with one row for all


def loss_inputs():
    generator = numpy.random.RandomState(5)
    return [generator.rand(2, 3, 13, 11).astype('float32') for _ in range(2)]


def loss_values(results):
    x, target = T.tensor4(), T.tensor4()
    grams = losses.gram_matrix(x, divide_by_channels=True), losses.gram_matrix(target)
    values = [losses.content_loss(x, target), losses.style_loss(*grams), losses.total_variation_loss(255 * x)]
    function = theano.function([x, target], values + [theano.grad(value.sum(), x) for value in values])
    results['losses'] = [function(*loss_inputs())]


def vgg_weights():
    generator, weights = numpy.random.RandomState(7), {}
    for name, (c, oc) in dict(conv1_1=(3, 4), conv1_2=(4, 5), conv2_1=(5, 6), conv2_2=(6, 7), conv3_1=(7, 8)).items():
        weights[f'{name}_W'] = (generator.randn(oc, c, 3, 3) * (2.0 / (9 * c)) ** 0.5).astype('float32')
        weights[f'{name}_b'] = generator.randn(oc).astype('float32')
    return weights


def known_to_host(x):
    """Whether a number or a few come from the host's own inputs and from the sizes of arrays, not from the device."""
    return x.ndim < 2 and (
        x.owner is None
        or type(x.owner.op).__name__ in ('Shape', 'Shape_i')
        or (type(x.owner.op).__name__ != 'HostFromGpu' and all(map(known_to_host, x.owner.inputs)))
    )


def transfers(function):
    """The transfers of a function that are neither at an input nor at an output; a few numbers count as inputs."""
    inner = []
    for node in function.maker.fgraph.toposort():
        if type(node.op).__name__ == 'HostFromGpu':
            inner += [str(client) for client, _ in node.outputs[0].clients if client != 'output']
        elif type(node.op).__name__ == 'GpuFromHost' and node.inputs[0].owner and not known_to_host(node.inputs[0]):
            inner.append(f'{node.op} of {node.inputs[0].owner}')
    return inner


def training_steps(results, graphs):
    """Losses, gradients (of which Adam's first moment is a tenth) and moved parameters of single steps."""
    for name, settings in NETWORKS.items():
        lasagne.random.set_rng(numpy.random.RandomState(1))
        network = transformer(residual_blocks=BLOCKS[name], **settings)
        loss = Objective(
            [vgg_weights()],
            [('conv2_2', 1.0)],
            [('conv1_2', 1.0), ('conv3_1', 1.0)],
            1e-6,
            False,
            settings['network'] == 'fns',
            'max',
        )
        generator = numpy.random.RandomState(2)
        grams = [generator.rand(len(settings['styles']), c, c).astype('float32') for c in (5, 8)]
        inputs, _, values = training.loss_expressions(network, loss, grams, deterministic=False)
        params = lasagne.layers.get_all_params(network.output, trainable=True)
        updates = adam(values[0], params, 1e-3)
        function = theano.function(inputs, values, updates=updates)
        graphs[f'training_{name}'] = sorted({type(node.op).__name__ for node in function.maker.fgraph.apply_nodes})
        graphs[f'transfers_{name}'] = transfers(function)
        variables = lasagne.layers.get_all_params(network.output) + list(updates)
        start = [variable.get_value() for variable in variables]
        results[name] = []
        for _ in range(3):
            for variable, value in zip(variables, start):
                variable.set_value(value)
            images = generator.rand(2, 3, 32, 36).astype('float32')
            step = list(function(images, numpy.arange(2, dtype='int32') % len(settings['styles'])))
            moments = [v for v in updates if v not in params and v.get_value(borrow=True).ndim]
            step += [value.get_value() for value in moments[::2]]
            results[name].append(step + [value.get_value() for value in lasagne.layers.get_all_params(network.output)])


def stylizing(results, graphs):
    lasagne.random.set_rng(numpy.random.RandomState(4))
    network = transformer(residual_blocks=1, **NETWORKS['cin'])
    function = models.pastiche_function(network)
    graphs['transfers_stylizing'] = transfers(function)
    images = numpy.random.RandomState(6).rand(2, 3, 40, 28).astype('float32')
    styles = numpy.concatenate([layers.style_weights(style, 2) for style in (0, {0: 0.3, 1: 0.7})])
    results['stylizing'] = [[function(images, styles)]]


def mapped(results, graphs):
    """Style maps, with feature maps of which the residual block takes pixels away."""
    lasagne.random.set_rng(numpy.random.RandomState(4))
    function = models.mapped_function(transformer(residual_blocks=1, pad='none', **NETWORKS['cin']))
    graphs['transfers_mapped'] = transfers(function)
    generator = numpy.random.RandomState(6)
    images, weights = generator.rand(1, 3, 40, 28).astype('float32'), generator.rand(1, 2, 40, 28)
    results['mapped'] = [[function(images, (weights / weights.sum(axis=1, keepdims=True)).astype('float32'))]]


def main():
    device, path = sys.argv[1:]
    devices.use(devices.Device(device))
    results, graphs = {}, {}
    expansions(results)
    norms(results)
    loss_values(results)
    stylizing(results, graphs)
    mapped(results, graphs)
    training_steps(results, graphs)
    arrays = {
        f'{name}/{i}/{j}': numpy.asarray(array)
        for name, calls in results.items()
        for i, call in enumerate(calls)
        for j, array in enumerate(call)
    }
    numpy.savez(path, graphs=numpy.array(json.dumps(graphs)), **arrays)


if __name__ == '__main__':
    main()
