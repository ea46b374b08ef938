"""The networks against the papers in float64, and the files of their weights."""

import dataclasses
import json
import os
import pickle

import h5py
import numpy
import pytest

import models
import reference
import utils
from backend import T, lasagne, theano
from formats import vgg
from layers import style_weights
from support.tiny import transformer


def randomize(network, seed=1):
    """Weights of order one, so that a mistake anywhere shows in the output."""
    generator = numpy.random.RandomState(seed)
    params = lasagne.layers.get_all_params(network.output)
    for param in params:
        shape = param.get_value().shape
        scale = {'W': 1, 'b': 0.3, 'beta': 0.3, 'gamma': 0.3, 'mean': 0.1, 'variance': 0}[param.name]
        shift = 1 if param.name in ('gamma', 'variance') else 0
        param.set_value((shift + scale * generator.randn(*shape)).astype('float32'))
    return [param.get_value() for param in params]


# Transformer networks ------------------------------------------------------------------------


def test_architecture_is_table_1_of_the_paper():
    network = models.transformer_network(styles=['s'] * 32)
    shapes = [p.get_value().shape for p in lasagne.layers.get_all_params(network.output)]
    widths = [(32, 3, 9), (64, 32, 3), (128, 64, 3)] + [(128, 128, 3)] * 10 + [(64, 128, 3), (32, 64, 3), (3, 32, 9)]
    expected = []
    for out, into, size in widths:
        expected += [(out, into, size, size), (32, out), (32, out)]
    assert shapes == expected
    # A style adds two numbers for each feature map, about 0.2 % of the parameters.
    style = 2 * sum(out for out, _, _ in widths)
    convolutions = sum(numpy.prod(shape) for shape in shapes if len(shape) == 4)
    assert round(100 * style / (convolutions + style), 1) == 0.2


def test_weights_start_as_in_the_paper():
    lasagne.random.set_rng(numpy.random.RandomState(0))
    for param in lasagne.layers.get_all_params(transformer('cin', ['a', 'b']).output):
        value = param.get_value()
        if param.name == 'W':
            assert abs(value.std() - 0.01) < 1e-3 and abs(value.mean()) < 1e-3
        else:
            assert (value == (1 if param.name == 'gamma' else 0)).all()


@pytest.mark.parametrize('size', [(16, 16), (17, 23)])
def test_networks_are_the_papers(size, generator):
    image = generator.rand(2, 3, *size).astype('float32')
    network = transformer('cin', ['a', 'b', 'c'])
    params = randomize(network)
    style = style_weights([2, 0], 3)
    expected = reference.transformer(image.astype('float64'), params, style, residual_blocks=1)
    numpy.testing.assert_allclose(models.pastiche_function(network)(image, style), expected, atol=1e-4)

    network = transformer('fns', ['a'])
    params = randomize(network)
    expected = reference.transformer(reference.preprocess(image.astype('float64')), params, residual_blocks=1)
    numpy.testing.assert_allclose(
        models.pastiche_function(network)(image), numpy.clip(reference.deprocess(expected), 0, 1), atol=1e-4
    )


@pytest.mark.parametrize('size', [(20, 28), (16, 17)])
def test_padding_once_at_the_start_and_residual_blocks_that_crop(size, generator):
    """As in fast-neural-style: the pastiche has the size of the image, also where that has too little to reflect."""
    image = generator.rand(1, 3, *size).astype('float32')
    network = transformer('cin', ['a'], pad='reflect-start', residual_blocks=2)
    params = randomize(network)
    # Two residual blocks lose 16 pixels on each side, and a multiple of 4 is needed beyond.
    padded = numpy.pad(
        image.astype('float64'), [(0, 0), (0, 0)] + [(0, max(0, 20 - side)) for side in size], mode='symmetric'
    )
    expected = reference.transformer(padded, params, numpy.ones((1, 1)), residual_blocks=2, pad='reflect-start')
    expected = expected[:, :, : -(-size[0] // 4) * 4, : -(-size[1] // 4) * 4]
    got = models.pastiche_function(network)(image, style_weights(0, 1))
    assert got.shape[2:] == tuple(-(-side // 4) * 4 for side in size)
    numpy.testing.assert_allclose(got, expected, atol=1e-4)


@pytest.mark.parametrize('size', [(52, 44), (49, 47)])
def test_without_padding_the_pastiche_is_of_the_middle_of_the_photo(size, generator):
    """As in fast-neural-style: each residual block loses 8 pixels on each side."""
    image = generator.rand(1, 3, *size).astype('float32')
    network = transformer('cin', ['a'], pad='none', residual_blocks=2)
    params = randomize(network)
    expected = reference.transformer(image.astype('float64'), params, numpy.ones((1, 1)), residual_blocks=2, pad='none')
    got = models.pastiche_function(network)(image, style_weights(0, 1))
    assert got.shape[2:] == tuple(-(-side // 4) * 4 - 32 for side in size)
    numpy.testing.assert_allclose(got, expected, atol=1e-4)
    middle = models.without_border(image, network)
    assert middle.shape[2:] == tuple(side - 32 for side in size) and (middle == image[:, :, 16:-16, 16:-16]).all()


def test_the_tanh_constant_is_the_range_of_an_fns_network(generator):
    image = generator.rand(1, 3, 16, 16).astype('float32')
    network = transformer('fns', ['a'], tanh_constant=80.0)
    params = randomize(network)
    expected = reference.transformer(
        reference.preprocess(image.astype('float64')), params, residual_blocks=1, tanh_constant=80
    )
    numpy.testing.assert_allclose(
        models.pastiche_function(network)(image), numpy.clip(reference.deprocess(expected), 0, 1), atol=1e-4
    )


def test_preprocessing_is_undone(compile, generator):
    image = generator.rand(1, 3, 4, 5)
    x = T.tensor4(dtype='float64')
    got = compile([x], [models.vgg_preprocess(x), models.vgg_deprocess(models.vgg_preprocess(x))])(image)
    numpy.testing.assert_allclose(got[0], reference.preprocess(image), rtol=1e-5)
    numpy.testing.assert_allclose(got[1], image, rtol=1e-6)


@pytest.mark.parametrize(
    'settings',
    [
        dict(norm='batch'),
        dict(pad='zero'),
        dict(upsampling='deconv'),
        dict(pad='reflect-start', tanh_constant=80.0),
        dict(pad='none'),
    ],
    ids=str,
)
def test_saved_networks_load_with_their_settings(tmp_path, settings):
    network = transformer('fns', ['one'], epsilon=1e-3, meta={'training': {'seed': 5}}, **settings)
    values = randomize(network)
    path = str(tmp_path / 'net.npz')
    models.save_network(path, network)
    loaded = models.load_network(path)
    assert (loaded.architecture, loaded.styles, loaded.meta) == (network.architecture, ['one'], network.meta)
    for a, b in zip(lasagne.layers.get_all_param_values(loaded.output), values):
        numpy.testing.assert_array_equal(a, b)
    # The format: plain numpy.savez of Lasagne's values, and the settings as JSON.
    with numpy.load(path, allow_pickle=False) as file:
        assert sorted(file.files) == sorted([f'arr_{i}' for i in range(len(values))] + ['meta'])
        meta = json.loads(str(file['meta']))
    assert meta['format'] == 1 and meta['network'] == 'fns' and meta['styles'] == ['one'] and meta['epsilon'] == 1e-3


@pytest.mark.parametrize('styles', [5, None])
def test_files_of_the_original_repository_load(tmp_path, styles):
    # Only arr_i; epsilon 1e-4; upsampling layers of 128 maps.
    network = transformer(
        'cin' if styles else 'fns', ['s'] * (styles or 1), widths=(32, 64, 128), up_widths=(128, 128), residual_blocks=2
    )
    path = str(tmp_path / 'original.npz')
    numpy.savez(path, *lasagne.layers.get_all_param_values(network.output))
    loaded = models.load_network(path)
    assert loaded.architecture == dataclasses.replace(network.architecture, epsilon=1e-4)
    assert len(loaded.styles) == (styles or 1)


def small_arrays(**meta):
    network = transformer('cin', ['a', 'b'])
    values = lasagne.layers.get_all_param_values(network.output)
    arrays = {f'arr_{i}': value for i, value in enumerate(values)}
    arrays['meta'] = numpy.array(
        json.dumps(dict(dataclasses.asdict(network.architecture), styles=network.styles, format=1, **meta))
    )
    return arrays


def change(**arrays):
    return lambda good: good.update(arrays)


@pytest.mark.parametrize(
    'damage, message',
    [
        (change(arr_0=numpy.zeros((3, 3, 9, 8), 'float32')), r'arr_0 \(W\) has the shape'),
        (change(arr_0=numpy.full((3, 3, 9, 9), numpy.nan, 'float32')), 'not finite'),
        (change(arr_0=numpy.zeros((3, 3, 9, 9), 'int32')), 'floating-point'),
        (change(arr_99=numpy.zeros(3, 'float32')), 'arr_0, arr_1'),
        (change(other=numpy.zeros(3, 'float32')), 'arr_0, arr_1'),
        (lambda good: good.pop('arr_1'), 'arr_0, arr_1'),
        (change(meta=numpy.array('{"format": 2}')), 'format 2'),
        (change(meta=numpy.array('[]')), 'meta'),
        (change(meta=numpy.array('{')), 'meta'),
        (change(meta=numpy.array(3)), 'meta'),
        (
            change(
                meta=numpy.array(
                    json.dumps(dict(format=1, network='cin', styles=['a'], widths=[4096] * 3, residual_blocks=100))
                )
            ),
            'unreasonable',
        ),
        (change(meta=numpy.array(json.dumps(dict(format=1, styles=['a'], widths=[1, 2])))), 'meta'),
        (change(meta=numpy.array(json.dumps(dict(format=1, styles=['a'], epsilon=-1.0)))), 'meta'),
        (lambda good: good.pop('meta') is not None and (good.pop('arr_23') is not None), 'not those of a transformer'),
    ],
)
def test_damaged_networks_are_refused(tmp_path, damage, message):
    arrays = small_arrays()
    damage(arrays)
    path = str(tmp_path / 'net.npz')
    numpy.savez(path, **arrays)
    with pytest.raises(utils.UserError, match=message) as caught:
        models.load_network(path)
    assert path in str(caught.value) and '\n' not in str(caught.value)


# Loss networks -------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def narrow():
    """A VGG16 with few maps."""
    generator = numpy.random.RandomState(3)
    weights, channels = {}, 3
    for name in vgg.layer_names('vgg16'):
        width = int(name[4]) + 2
        weights[f'{name}_W'] = (generator.randn(width, channels, 3, 3) / (3 * channels**0.5)).astype('float32')
        weights[f'{name}_b'] = generator.randn(width).astype('float32')
        channels = width
    return weights


@pytest.mark.parametrize('normalised', [False, True])
def test_vgg_features(narrow, generator, normalised):
    weights = dict(narrow)
    image = generator.rand(2, 3, 18, 23)
    if normalised:
        weights['conv0_W'] = generator.randn(3, 3, 1, 1).astype('float32')
        weights['conv0_b'] = generator.randn(3).astype('float32')
        start = reference.conv(image, weights['conv0_W'], flip=False, b=weights['conv0_b'])
    else:
        start = reference.preprocess(image)
    expected = reference.vgg(start, weights, 'conv3_3', pad='reflect' if normalised else 'zero')
    x = T.tensor4()
    layers = ['conv3_3', 'conv1_2', 'conv2_2']
    features = models.loss_network(x, weights, layers)
    got = theano.function([x], [features[name] for name in layers])(image.astype('float32'))
    for name, value in zip(layers, got):
        numpy.testing.assert_allclose(value, expected[name], rtol=1e-3, atol=1e-3 * abs(expected[name]).max())


def test_a_layer_is_taken_from_the_first_weights_that_reach_it(narrow, compile):
    short = {name: value for name, value in narrow.items() if name < 'conv2_2'}
    x = T.tensor4()
    features = models.loss_network(x, [short, narrow], ['conv1_2', 'conv2_2'])
    assert set(features) == {'conv1_2', 'conv2_2'}
    with pytest.raises(utils.UserError, match='no layer conv5_4'):
        models.loss_network(x, [short, narrow], ['conv1_2', 'conv5_4'])
    with pytest.raises(utils.UserError, match='lacks conv2_1_b'):
        models.loss_network(x, {k: v for k, v in narrow.items() if k != 'conv2_1_b'}, ['conv2_2'])
    with pytest.raises(utils.UserError, match='conv2_1_W of shape'):
        models.loss_network(x, dict(narrow, conv2_1_W=narrow['conv2_2_W']), ['conv2_2'])


def test_vgg19_has_four_convolutions_in_its_deep_blocks():
    assert vgg.layer_names('vgg19')[-4:] == ['conv5_1', 'conv5_2', 'conv5_3', 'conv5_4']
    assert len(vgg.layer_names('vgg19')) == 16 and len(vgg.layer_names('vgg16')) == 13


def python2_pickle(path, content):
    with open(path, 'wb') as file:
        pickle.dump(content, file, protocol=2)


def test_the_three_kinds_of_weight_files_agree(tmp_path, narrow):
    names = vgg.layer_names('vgg16')
    values = [narrow[name + suffix] for name in names for suffix in ('_W', '_b')]
    python2_pickle(
        str(tmp_path / 'vgg.pkl'),
        {
            'param values': values + [numpy.zeros((5, 5), 'float32')] * 6,
            'mean value': models.VGG_MEAN,
            'model type': 'vgg16',
            'synset words': ['a', 'b'],
        },
    )
    with h5py.File(str(tmp_path / 'vgg.h5'), 'w') as file:
        for name in names:
            group = f'block{name[4]}_{name.replace(name[:6], "conv")}'
            file[f'{group}/{group}_W_1:0'] = narrow[f'{name}_W'].transpose(2, 3, 1, 0)
            file[f'{group}/{group}_b_1:0'] = narrow[f'{name}_b']
    numpy.savez(str(tmp_path / 'vgg.npz'), **narrow)
    for kind in ('pkl', 'h5', 'npz'):
        weights = vgg.read(str(tmp_path / f'vgg.{kind}'))
        assert set(weights) == set(narrow)
        for name in narrow:
            numpy.testing.assert_array_equal(weights[name], narrow[name])


class Evil:
    def __reduce__(self):
        return os.system, ('touch executed',)


def test_pickles_that_name_other_things_are_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    python2_pickle('evil.pkl', {'param values': [Evil()]})
    with pytest.raises(utils.UserError, match='system'):
        vgg.read('evil.pkl')
    assert not os.path.exists('executed')


def test_files_of_other_things_are_refused(tmp_path):
    path = str(tmp_path / 'x.pkl')
    for content in ([1, 2], {'param values': 3}, {'param values': [numpy.zeros(3)] * 4}):
        python2_pickle(path, content)
        with pytest.raises(utils.UserError, match='x.pkl'):
            vgg.read(path)
    path = str(tmp_path / 'x.h5')
    with h5py.File(path, 'w') as file:
        file['images'] = numpy.zeros(3)
    with pytest.raises(utils.UserError, match='conv1_1_W is missing'):
        vgg.read(path)
    with open(path, 'wb') as file:
        file.write(b'garbage')
    with pytest.raises(utils.UserError, match='HDF5'):
        vgg.read(path)
    path = str(tmp_path / 'x.npz')
    numpy.savez(path, conv1_1_W=numpy.full((2, 3, 3, 3), numpy.inf))
    with pytest.raises(utils.UserError, match='not finite'):
        vgg.read(path)


def test_random_weights_are_he_initialised_and_seeded():
    a, b = vgg.random_weights('vgg16', 1), vgg.random_weights('vgg16', 1)
    assert all((a[name] == b[name]).all() for name in a) and len(a) == 26
    W = a['conv3_2_W']
    assert W.shape == (256, 256, 3, 3) and abs(W.std() / numpy.sqrt(2 / (9 * 256)) - 1) < 0.01
