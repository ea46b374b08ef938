"""Files of networks and of VGG weights, each written from an independent statement of its format."""

import json
import os
import struct

import numpy
import pytest

import files
import models
import reference
import utils
from backend import lasagne
from formats import networks, onnx, vgg
from layers import style_weights
from support.tiny import transformer
from test_models import randomize


# The original repository's networks --------------------------------------------------------------


def original(path, styles, filters=9, up=5, seed=0):
    """Write a file as the original repository does: W, beta, gamma for each convolution, gamma and beta (styles, C)."""
    generator = numpy.random.RandomState(seed)
    arrays, channels = [], 3
    residual = [(5, 3)] * 2
    for width, size in [(3, 9), (4, filters), (5, filters)] + residual + [(up, 3), (up, 3), (3, 9)]:
        arrays.append(generator.normal(0, 1, (width, channels, size, size)).astype('float32'))
        arrays += [(shift + generator.normal(0, 0.3, (styles, width))).astype('float32') for shift in (0, 1)]
        channels = width
    numpy.savez(str(path), *arrays)
    return arrays


@pytest.mark.parametrize('filters', [3, 9])
def test_a_network_of_many_styles_of_the_original(tmp_path, generator, filters):
    """Upsampling blocks of one width, epsilon 1e-4, and before July 2017 9×9 filters in convolutions 2 and 3."""
    arrays = original(tmp_path / 'cin.npz', 3, filters)
    network = models.load_network(str(tmp_path / 'cin.npz'))
    assert network.architecture.filter_sizes == (9, filters, filters) and network.architecture.up_widths == (5, 5)
    assert network.architecture.epsilon == 1e-4 and len(network.styles) == 3
    image, style = generator.rand(1, 3, 20, 24), style_weights([2], 3)
    expected = reference.transformer(image, arrays, style, residual_blocks=1, epsilon=1e-4)
    got = models.pastiche_function(network)(image.astype('float32'), style)
    numpy.testing.assert_allclose(got, numpy.clip(expected, 0, 1), atol=1e-4)


def test_a_network_of_one_style_of_the_original_does_not_say_of_which_kind_it_is(tmp_path, generator):
    """Both kinds have gamma and beta of shape (1, C): whoever reads one has to say."""
    path = str(tmp_path / 'one.npz')
    arrays = original(path, 1)
    with pytest.raises(utils.UserError, match='--network cin or --network fns'):
        models.load_network(path)
    image = generator.rand(1, 3, 20, 24)
    many = models.load_network(path, 'cin')
    expected = reference.transformer(image, arrays, numpy.ones((1, 1)), residual_blocks=1, epsilon=1e-4)
    numpy.testing.assert_allclose(
        models.pastiche_function(many)(image.astype('float32'), style_weights([0], 1)),
        numpy.clip(expected, 0, 1),
        atol=1e-4,
    )
    single = models.load_network(path, 'fns')
    assert single.architecture.network == 'fns' and single.style is None
    rows = [array[0] if array.ndim == 2 else array for array in arrays]
    expected = reference.deprocess(
        reference.transformer(reference.preprocess(image), rows, residual_blocks=1, epsilon=1e-4)
    )
    numpy.testing.assert_allclose(
        models.pastiche_function(single)(image.astype('float32')), numpy.clip(expected, 0, 1), atol=1e-4
    )


def test_the_kind_matters_only_where_the_file_does_not_say_it(tmp_path):
    original(tmp_path / 'many.npz', 2)
    with pytest.raises(utils.UserError, match='2 styles'):
        networks.read(str(tmp_path / 'many.npz'), 'fns')
    network = transformer('cin', ['a'])
    models.save_network(str(tmp_path / 'ours.npz'), network)
    assert networks.read(str(tmp_path / 'ours.npz'), 'fns')[0].network == 'cin'


def test_filter_sizes_are_kept_and_a_file_that_lacks_them_means_9_3_3(tmp_path):
    network = transformer('cin', ['a', 'b'], filter_sizes=(5, 7, 3))
    randomize(network)
    path = str(tmp_path / 'net.npz')
    models.save_network(path, network)
    loaded = models.load_network(path)
    assert loaded.architecture.filter_sizes == (5, 7, 3)
    for a, b in zip(*(lasagne.layers.get_all_param_values(n.output) for n in (network, loaded))):
        numpy.testing.assert_array_equal(a, b)
    old = transformer('cin', ['a', 'b'])
    models.save_network(path, old)
    arrays = files.load_npz(path)
    meta = json.loads(str(arrays['meta']))
    del meta['filter_sizes']
    files.save_npz(path, dict(arrays, meta=numpy.array(json.dumps(meta))))
    assert models.load_network(path).architecture.filter_sizes == (9, 3, 3)


@pytest.mark.parametrize('sizes', [[9, 3], [9, 4, 3], [9, 3, 33], [9, 3, '3'], 9])
def test_impossible_filter_sizes_are_refused(tmp_path, sizes):
    path = str(tmp_path / 'net.npz')
    numpy.savez(
        path,
        arr_0=numpy.zeros((3, 3, 9, 9)),
        meta=numpy.array(json.dumps(dict(format=1, styles=['a'], filter_sizes=sizes))),
    )
    with pytest.raises(utils.UserError, match='does not describe a network'):
        networks.read(path)


def test_networks_are_found_by_path_and_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert networks.find('misc32') == os.path.join(networks.MODELS, 'misc32.npz')
    with pytest.raises(utils.UserError, match='misc32.*--output cin.npz'):
        networks.find('cin.npz')
    original('cin.npz', 2)
    assert networks.find('cin.npz') == 'cin.npz'


# VGG ---------------------------------------------------------------------------------------------


def test_the_loss_network_of_the_original(tmp_path):
    """arr_0 …: W and b of VGG16's convolutions in order; it may end at any of them."""
    weights = vgg.random_weights('vgg16')
    arrays = [weights[name + kind] for name in vgg.layer_names('vgg16') for kind in ('_W', '_b')]
    path = str(tmp_path / 'vgg16_loss_net.npz')
    numpy.savez(path, *arrays[:8])
    got = vgg.read(path)
    assert list(got) == [
        'conv1_1_W',
        'conv1_1_b',
        'conv1_2_W',
        'conv1_2_b',
        'conv2_1_W',
        'conv2_1_b',
        'conv2_2_W',
        'conv2_2_b',
    ]
    numpy.testing.assert_array_equal(got['conv2_2_W'], weights['conv2_2_W'])
    numpy.savez(path, *arrays, numpy.zeros(3))
    with pytest.raises(utils.UserError, match='vgg16_loss_net'):
        vgg.read(path)


def varint(number):
    data = b''
    while True:
        number, low = number >> 7, number & 127
        data += bytes([low | (128 if number else 0)])
        if not number:
            return data


def message(*fields):
    """A protocol buffer of pairs (number, int or bytes)."""
    return b''.join(
        varint(number << 3) + varint(value)
        if isinstance(value, int)
        else varint(number << 3 | 2) + varint(len(value)) + value
        for number, value in fields
    )


def tensor(name, array, dims=None, kind=1, packed=False):
    dims = array.shape if dims is None else dims
    shape = [(1, b''.join(map(varint, dims)))] if packed else [(1, n) for n in dims]
    return message(*shape, (2, kind), (8, name.encode()), (9, array.astype('<f4').tobytes()))


def model(*tensors):
    """ModelProto: a version, then the graph with a node and the initializers."""
    return message((1, 8), (7, message((1, message((4, b'Conv'))), *[(5, t) for t in tensors])))


def test_arrays_of_an_onnx_file(generator):
    a, b = generator.rand(2, 3, 3, 3).astype('float32'), generator.rand(5).astype('float32')
    data = model(tensor('a', a), tensor('b', b, packed=True), tensor('whole numbers', b, kind=7))
    got = onnx.initializers(data + varint(15 << 3 | 1) + struct.pack('<d', 1))
    assert list(got) == ['a', 'b']
    numpy.testing.assert_array_equal(got['a'], a)
    numpy.testing.assert_array_equal(got['b'], b)


def test_vgg16_out_of_an_onnx_file(tmp_path, generator):
    W, b = generator.rand(64, 3, 3, 3).astype('float32'), generator.rand(64).astype('float32')
    path = tmp_path / 'x.onnx'
    path.write_bytes(
        model(
            tensor('functional_1/block1_conv1_1/convolution/ReadVariableOp:0', W),
            tensor('functional_1/block1_conv1_1/Squeeze:0', b),
            tensor('dense', b),
        )
    )
    got = vgg.read(str(path))
    assert set(got) == {'conv1_1_W', 'conv1_1_b'}
    numpy.testing.assert_array_equal(got['conv1_1_W'], W)


def test_onnx_files_that_are_cut_off_damaged_or_claim_too_much_are_refused(tmp_path, generator):
    b = generator.rand(64).astype('float32')
    good = model(tensor('block1_conv1/Squeeze:0', b))
    path = tmp_path / 'x.onnx'
    huge = message((7, varint(5 << 3 | 2) + varint(2**60)))
    for data in (
        good[:-1],
        good[:20],
        huge,
        model(tensor('x', b, dims=(2**31, 2**31))),
        model(tensor('x', b, dims=(63,))),
        model(tensor('x', b, dims=(1,) * 9 + (64,))),
        b'\xff' * 30,
        b'\x07garbage',
    ):
        path.write_bytes(data)
        with pytest.raises(utils.UserError, match='x.onnx: cannot read this ONNX file') as caught:
            vgg.read(str(path))
        assert '\n' not in str(caught.value)
    path.write_bytes(b'')
    with pytest.raises(utils.UserError, match='conv1_1_W is missing'):
        vgg.read(str(path))


def test_sums_tell_the_genuine_vgg16(monkeypatch):
    """26 published sums of float32 bytes; what differs or is missing is named."""
    assert list(vgg.VGG16_SHA256) == [name + kind for name in vgg.layer_names('vgg16') for kind in ('_W', '_b')]
    assert all(len(value) == 64 for value in vgg.VGG16_SHA256.values())
    with pytest.raises(utils.UserError, match='f: not VGG16.*conv1_1_W differs'):
        vgg.check_genuine('f', vgg.random_weights('vgg16'))
    with pytest.raises(utils.UserError, match='conv1_1_W is missing'):
        vgg.check_genuine('f', {})
    monkeypatch.setattr(
        vgg, 'VGG16_SHA256', {'conv1_1_b': 'df3f619804a92fdb4057192dc43dd748ea778adc52bc498ce80524c014b81119'}
    )  # of four zero bytes
    vgg.check_genuine('f', {'conv1_1_b': numpy.zeros(1, '>f4')})
