"""Networks for other programs and from them: each against what ran them first."""
import json

import numpy as np
import pytest

import models
from backend import formulas
from formats import networks, onnx_graph
from layers import style_weights
from support.tiny import transformer
from test_models import randomize

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')


def session(data):
    """A model, given by its path or bytes, in ONNX Runtime, on one processor."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options, providers=['CPUExecutionProvider'])


def run_onnx(data, **inputs):
    return session(data).run(None, inputs)[0]


def exported(path, network, **options):
    """What `convert.py` makes of a network: by way of its file, from which the shapes and settings come."""
    models.save_network(path, network)
    return onnx_graph.model(*networks.read(path), **options).SerializeToString()


@pytest.fixture(scope='module')
def network():
    """A network of two styles, and its compiled function."""
    network = transformer('cin', ['a', 'b'], (16, 16, 32))
    randomize(network)
    return network, models.pastiche_function(network)


# ONNX, out --------------------------------------------------------------------------------------------

@pytest.mark.parametrize('settings', [
    dict(styles=['a', 'b'], pad='zero', filter_sizes=(5, 7, 3)),
    dict(styles=['a', 'b'], pad='reflect-start', residual_blocks=2), dict(styles=['a', 'b'], upsampling='deconv', epsilon=1e-3),
    dict(network='fns', pad='none', residual_blocks=2), dict(network='fns', norm='batch', upsampling='deconv', pad='zero'),
    dict(network='fns', residual_blocks=0, tanh_constant=80.), dict(network='fns', pad='reflect-start')], ids=str)
def test_an_onnx_model_computes_what_the_network_does(tmp_path, generator, settings):
    """At sides that are multiples of 4 and others, which both round up, and for several images at once."""
    network = transformer(**settings)
    randomize(network)
    data = exported(str(tmp_path / 'net.npz'), network)
    function, runtime = models.pastiche_function(network), session(data)
    for height, width in [(48, 56), (45, 50)] + [(9, 3)] * (network.architecture.pad == 'reflect-start'):
        inputs = {'image': generator.rand(2, 3, height, width).astype('float32')}
        if network.style:
            inputs['style'] = np.array([[1, 0], [.3, .7]], 'float32')
        expected = function(*inputs.values())
        got, = runtime.run(None, inputs)
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, atol=1e-4)


def test_an_onnx_model_keeps_a_photo_of_one_colour_flat(tmp_path, network):
    """A variance that is rounding counts as zero there, too."""
    assert onnx_graph.ROUNDING == formulas.ROUNDING
    network, function = network
    image, style = np.full((1, 3, 32, 32), .7, 'float32'), style_weights(1, 2)
    got = run_onnx(exported(str(tmp_path / 'net.npz'), network), image=image, style=style)
    np.testing.assert_allclose(got, function(image, style), atol=1e-4)


def test_an_onnx_model_of_a_single_style_has_no_input_for_styles(tmp_path, generator, network):
    network, function = network
    image = generator.rand(2, 3, 24, 20).astype('float32')
    got = run_onnx(exported(str(tmp_path / 'net.npz'), network, style='b'), image=image)
    np.testing.assert_allclose(got, function(image, style_weights(1, 2, 2)), atol=1e-4)


def test_half_precision_halves_the_filters_and_changes_little(tmp_path, generator, network):
    network, function = network
    path = str(tmp_path / 'net.npz')
    half, whole = exported(path, network, half=True), exported(path, network)
    kinds = [tensor.data_type for tensor in onnx.load_from_string(half).graph.initializer if len(tensor.dims) == 4]
    assert kinds.count(onnx.TensorProto.FLOAT16) == 8 and len(half) < .6 * len(whole)
    image, style = generator.rand(1, 3, 24, 20).astype('float32'), style_weights(0, 2)
    expected = function(image, style)
    np.testing.assert_allclose(run_onnx(whole, image=image, style=style), expected, atol=1e-4)
    assert 0 < np.abs(run_onnx(half, image=image, style=style) - expected).max() < .05


def test_an_onnx_model_says_what_it_is(tmp_path):
    network = transformer('cin', ['a', 'b'], meta={'training': {'seed': 5}})
    model = onnx.load_from_string(exported(str(tmp_path / 'net.npz'), network))
    onnx.checker.check_model(model, full_check=True)
    assert [i.name for i in model.graph.input] == ['image', 'style'] and [o.name for o in model.graph.output] == ['pastiche']
    assert model.opset_import[0].version >= 17 and model.producer_name == 'gogh-figure'
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(said['styles']) == ['a', 'b'] and said['project'] == 'gogh-figure'
    assert json.loads(said['meta'])['training'] == {'seed': 5} and json.loads(said['meta'])['widths'] == [3, 4, 5]
    assert said['Image.BitmapPixelFormat'] == 'Rgb8' and said['Image.NominalPixelRange'] == 'Normalized_0_1'


def test_the_command_exports_without_theano(tmp_path, without_theano):
    """A network by its name, to a file that ONNX Runtime takes photos of any size with."""
    path = str(tmp_path / 'misc32.onnx')
    done = without_theano('convert.py', 'misc32', path)
    assert done.returncode == 0 and done.stdout.strip() == path, done.stderr
    inputs = {i.name: i.shape for i in session(path).get_inputs()}
    assert inputs == {'image': ['N', 3, 'height', 'width'], 'style': ['N', 32]}


def test_slips_of_the_command_are_one_line_and_cost_nothing(tmp_path, fails):
    path = tmp_path / 'net.onnx'
    path.write_bytes(b'precious')
    assert 'exists' in fails('convert.py', 'misc32', path)
    assert path.read_bytes() == b'precious'
    assert "'thatched-roof'" in fails('convert.py', 'misc32', tmp_path / 'x.onnx', '--style', 'thatched-roof')
    assert 'only .onnx' in fails('convert.py', 'misc32', tmp_path / 'x.tflite')
    assert 'no such network' in fails('convert.py', 'misc33', tmp_path / 'x.onnx')
    code = "raise ImportError('No module named onnx')"
    (tmp_path / 'onnx.py').write_text(code)
    assert 'install.py onnx' in fails('convert.py', 'misc32', tmp_path / 'x.onnx', PYTHONPATH=str(tmp_path))
    assert [p.name for p in tmp_path.iterdir() if p.suffix == '.onnx'] == ['net.onnx']
