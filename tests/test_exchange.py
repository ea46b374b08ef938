"""Networks for other programs and from them: each against what ran them first."""

import json
import os
import shutil

import numpy
import pytest

import models
import reference
import utils
from backend import formulas
from formats import foreign, networks, onnx_graph
from layers import style_weights
from support import torch7
from support.tiny import transformer, upscaler
from test_models import randomize

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')


FIXTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'fixtures')


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


@pytest.mark.parametrize(
    'settings',
    [
        dict(styles=['a', 'b'], pad='zero', filter_sizes=(5, 7, 3)),
        dict(styles=['a', 'b'], pad='reflect-start', residual_blocks=2),
        dict(styles=['a', 'b'], upsampling='deconv', epsilon=1e-3),
        dict(network='fns', pad='none', residual_blocks=2),
        dict(network='fns', norm='batch', upsampling='deconv', pad='zero'),
        dict(network='fns', residual_blocks=0, tanh_constant=80.0, last='bias'),
        dict(network='fns', pad='reflect-start'),
    ],
    ids=str,
)
def test_an_onnx_model_computes_what_the_network_does(tmp_path, generator, settings):
    """At sides that are multiples of 4 and others, which both round up, and for several images at once."""
    network = transformer(**settings)
    randomize(network)
    data = exported(str(tmp_path / 'net.npz'), network)
    function, runtime = models.pastiche_function(network), session(data)
    for height, width in [(48, 56), (45, 50)] + [(9, 3)] * (network.architecture.pad == 'reflect-start'):
        inputs = {'image': generator.rand(2, 3, height, width).astype('float32')}
        if network.style:
            inputs['style'] = numpy.array([[1, 0], [0.3, 0.7]], 'float32')
        expected = function(*inputs.values())
        (got,) = runtime.run(None, inputs)
        assert got.shape == expected.shape
        numpy.testing.assert_allclose(got, expected, atol=1e-4)


@pytest.mark.parametrize('output, norm, upsampling', [('linear', 'batch', 'nearest'), ('residual', 'none', 'deconv')])
def test_an_onnx_model_enlarges_as_the_network_does(tmp_path, generator, output, norm, upsampling):
    network = upscaler(4, output=output, norm=norm, upsampling=upsampling)
    image = generator.rand(2, 3, 11, 9).astype('float32')
    expected = models.pastiche_function(network)(image)
    assert expected.shape == (2, 3, 44, 36)
    got = run_onnx(exported(str(tmp_path / 'net.npz'), network), image=image)
    numpy.testing.assert_allclose(got, expected, atol=1e-4)


def test_an_onnx_model_keeps_a_photo_of_one_colour_flat(tmp_path, network):
    """A variance that is rounding counts as zero there, too."""
    assert onnx_graph.ROUNDING == formulas.ROUNDING
    network, function = network
    image, style = numpy.full((1, 3, 32, 32), 0.7, 'float32'), style_weights(1, 2)
    got = run_onnx(exported(str(tmp_path / 'net.npz'), network), image=image, style=style)
    numpy.testing.assert_allclose(got, function(image, style), atol=1e-4)


def test_an_onnx_model_of_a_single_style_has_no_input_for_styles(tmp_path, generator, network):
    network, function = network
    image = generator.rand(2, 3, 24, 20).astype('float32')
    got = run_onnx(exported(str(tmp_path / 'net.npz'), network, style='b'), image=image)
    numpy.testing.assert_allclose(got, function(image, style_weights(1, 2, 2)), atol=1e-4)


@pytest.mark.parametrize('kind', ['filters', 'convolutions'])
def test_half_precision_halves_the_filters_and_changes_little(tmp_path, generator, network, kind):
    network, function = network
    path = str(tmp_path / 'net.npz')
    half, whole = exported(path, network, half=kind), exported(path, network)
    kinds = [tensor.data_type for tensor in onnx.load_from_string(half).graph.initializer if len(tensor.dims) == 4]
    assert kinds.count(onnx.TensorProto.FLOAT16) == 8 and len(half) < 0.6 * len(whole)
    image, style = generator.rand(1, 3, 24, 20).astype('float32'), style_weights(0, 2)
    expected = function(image, style)
    numpy.testing.assert_allclose(run_onnx(whole, image=image, style=style), expected, atol=1e-4)
    assert 0 < numpy.abs(run_onnx(half, image=image, style=style) - expected).max() < 0.05


def test_an_onnx_model_says_what_it_is(tmp_path):
    network = transformer('cin', ['a', 'b'], meta={'training': {'seed': 5}})
    model = onnx.load_from_string(exported(str(tmp_path / 'net.npz'), network))
    onnx.checker.check_model(model, full_check=True)
    assert [i.name for i in model.graph.input] == ['image', 'style']
    assert [o.name for o in model.graph.output] == ['pastiche']
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
    assert 'only .npz and .onnx' in fails('convert.py', 'misc32', tmp_path / 'x.tflite')
    assert 'no such network' in fails('convert.py', 'misc33', tmp_path / 'x.onnx')
    code = "raise ImportError('No module named onnx')"
    (tmp_path / 'onnx.py').write_text(code)
    assert 'install.py onnx' in fails('convert.py', 'misc32', tmp_path / 'x.onnx', PYTHONPATH=str(tmp_path))
    assert [p.name for p in tmp_path.iterdir() if p.suffix == '.onnx'] == ['net.onnx']


def test_an_onnx_file_of_ours_is_read_back(tmp_path):
    """Whatever the architecture: parameters, names and training are those that were written."""
    for settings in (
        dict(styles=['a', 'b']),
        dict(styles=['a'], pad='zero', filter_sizes=(5, 7, 3)),
        dict(network='fns', norm='batch', upsampling='deconv'),
        dict(network='fns', last='bias', output='linear'),
        dict(network='fns', pad='same', preprocessing='none'),
        dict(network='fns', pad='reflect-start'),
    ):
        network = transformer(meta={'training': {'seed': 5}}, **settings)
        randomize(network)
        (tmp_path / 'net.onnx').write_bytes(exported(str(tmp_path / 'net.npz'), network))
        ours, back = networks.read(str(tmp_path / 'net.npz')), foreign.read(str(tmp_path / 'net.onnx'))
        assert ours[:3] == back[:3]
        for a, b in zip(ours[3], back[3]):
            numpy.testing.assert_array_equal(a, b)
        for kind in ('filters', 'convolutions'):
            (tmp_path / 'half.onnx').write_bytes(exported(str(tmp_path / 'net.npz'), network, half=kind))
            for a, b in zip(ours[3], foreign.read(str(tmp_path / 'half.onnx'))[3]):
                numpy.testing.assert_array_equal(a.astype('float16') if a.ndim == 4 else a, b)


# In ---------------------------------------------------------------------------------------------------


def imported(path, tmp_path):
    """A network of another project as one of ours, by way of our own file."""
    networks.write(str(tmp_path / 'ours.npz'), *foreign.read(str(path)))
    return models.load_network(str(tmp_path / 'ours.npz'))


@pytest.mark.parametrize('name', ['example.pth', 'example-old.pth', 'example.onnx', 'styles.onnx'])
def test_networks_of_pytorch_compute_what_torch_did(tmp_path, name):
    """pytorch/examples' state dicts in both formats, and networks exported as ONNX: the numbers are torch's own."""
    with numpy.load(os.path.join(FIXTURES, 'torch.npz')) as file:
        results = dict(file)
    network = imported(os.path.join(FIXTURES, name), tmp_path)
    inputs = [results['image']] + ([results['weights'][numpy.newaxis]] if network.style else [])
    expected = numpy.clip(results['styles' if network.style else 'example'], 0, 1)
    assert expected.std() > 0.05
    numpy.testing.assert_allclose(models.pastiche_function(network)(*inputs), expected, atol=1e-4)


@pytest.mark.parametrize('name', ['magenta.ckpt', 'lengstrom.ckpt.index'])
def test_checkpoints_of_tensorflow_compute_what_tensorflow_did(tmp_path, name):
    """Magenta's and lengstrom's networks, in the first and in the second format of checkpoints."""
    with numpy.load(os.path.join(FIXTURES, 'tensorflow.npz')) as file:
        results = dict(file)
    network = imported(os.path.join(FIXTURES, name), tmp_path)
    inputs = [results['image']] + ([results['weights'][numpy.newaxis]] if network.style else [])
    expected = numpy.clip(results[name.split('.')[0]], 0, 1)
    assert expected.std() > 0.05
    numpy.testing.assert_allclose(models.pastiche_function(network)(*inputs), expected, atol=1e-4)


def deeplearnjs(folder, generator, widths=(3, 4, 5), up_widths=(4, 3), blocks=1):
    """Write a network of lengstrom's as deeplearn.js does; returns its variables."""
    a, b, c = widths
    d, e = up_widths
    shapes = [(9, 9, 3, a), (3, 3, a, b), (3, 3, b, c)] + [(3, 3, c, c)] * (2 * blocks)
    shapes += [(3, 3, d, c), (3, 3, e, d), (9, 9, e, 3)]
    maps = [a, b, c] + [c] * (2 * blocks) + [d, e, 3]
    variables, manifest = [], {}
    for shape, width in zip(shapes, maps):
        variables += [generator.randn(*shape), 0.3 * generator.randn(width), 1 + 0.3 * generator.randn(width)]
    os.makedirs(str(folder))
    for i, value in enumerate(variables):
        name = f'Variable_{i}' if i else 'Variable'
        manifest[name] = dict(filename=name, shape=list(value.shape))
        value.astype('<f4').tofile(os.path.join(str(folder), name))
    with open(os.path.join(str(folder), 'manifest.json'), 'w') as file:
        json.dump(manifest, file)
    return [value.astype('float32').astype('float64') for value in variables]


@pytest.mark.parametrize('size', [(24, 28), (21, 26)], ids=str)
def test_a_network_of_lengstroms_pads_as_tensorflow_does(tmp_path, generator, size):
    """SAME zero padding, whose strides begin elsewhere at even and at odd sides, and transposed convolutions."""
    variables = deeplearnjs(tmp_path / 'net', generator)
    image = generator.rand(2, 3, *size).astype('float32')
    expected = numpy.clip(reference.lengstrom(255 * image.astype('float64'), variables, residual_blocks=1) / 255, 0, 1)
    network = imported(tmp_path / 'net', tmp_path)
    assert network.styles == ['net']
    got = models.pastiche_function(network)(image)
    assert got.shape == expected.shape
    numpy.testing.assert_allclose(got, expected, atol=1e-4)
    numpy.testing.assert_allclose(run_onnx(exported(str(tmp_path / 'again.npz'), network), image=image), got, atol=1e-4)


def fast_neural_style(image, parameters, pad, upsampling, blocks):
    """What a network of fast-neural-style makes of photos, by the definitions of Torch7's modules, in float64."""
    rest = iter([{name: numpy.asarray(value, 'float64') for name, value in entry.items()} for entry in parameters])

    def transposed(x, W):  # of stride 2, padding 1 and adjustment 1: each pixel adds itself times W
        n, _, h, w = x.shape
        y = numpy.zeros((n, W.shape[1], 2 * h + 1, 2 * w + 1))
        for i in range(h):
            for j in range(w):
                y[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += numpy.einsum('nc,cdhw->ndhw', x[:, :, i, j], W)
        return y[:, :, 1:, 1:]

    def block(x, stride=1, pad='zero', activation=reference.relu, full=False):
        p = next(rest)
        b = p['b'].reshape(1, -1, 1, 1)
        x = transposed(x, p['W']) + b if full else reference.conv(x, p['W'], stride, pad, flip=False, b=b)
        if 'mean' not in p:
            return activation(reference.instance_norm(x, p['gamma'], p['beta']))
        gamma, beta, mean, variance = (p[name].reshape(1, -1, 1, 1) for name in ('gamma', 'beta', 'mean', 'variance'))
        return activation(gamma * (x - mean) / numpy.sqrt(variance + 1e-5) + beta)

    x = reference.preprocess(image)
    if pad == 'reflect-start':
        x = numpy.pad(x, [(0, 0), (0, 0)] + [(8 * blocks, 8 * blocks)] * 2, mode='reflect')
    x = block(block(block(x), 2), 2)
    for _ in range(blocks):
        inner = 'zero' if pad == 'zero' else 'none'
        shortcut = x if pad == 'zero' else x[:, :, 2:-2, 2:-2]
        x = shortcut + block(block(x, pad=inner), pad=inner, activation=lambda y: y)
    for _ in range(2):
        x = block(x, full=True) if upsampling == 'deconv' else block(reference.upsample(x))
    p = next(rest)
    x = reference.conv(x, p['W'], 1, 'zero', flip=False, b=p['b'])
    return numpy.clip(reference.deprocess(150 * numpy.tanh(x)), 0, 1)


@pytest.mark.parametrize(
    'norm, pad, upsampling',
    [('instance', 'reflect-start', 'nearest'), ('batch', 'reflect-start', 'deconv'), ('instance', 'zero', 'deconv')],
)
def test_networks_of_torch7_compute_what_its_modules_do(tmp_path, generator, norm, pad, upsampling):
    """fast-neural-style's, whose convolutions have biases, and whose parameters are parts of one storage."""
    checkpoint, parameters = torch7.network(generator, norm, pad, upsampling)
    (tmp_path / 'candy.t7').write_bytes(torch7.save(checkpoint))
    network = imported(tmp_path / 'candy.t7', tmp_path)
    assert network.styles == ['candy'] and network.architecture.norm == norm
    image = generator.rand(1, 3, 44, 52).astype('float32')
    if norm == 'instance':
        parameters = [{name: p[name] for name in ('W', 'b', 'gamma', 'beta')} for p in parameters]
    expected = fast_neural_style(image.astype('float64'), parameters, pad, upsampling, blocks=2)
    assert expected.std() > 0.05
    numpy.testing.assert_allclose(models.pastiche_function(network)(image), expected, atol=1e-4)


def test_damaged_files_of_torch7_are_refused_in_one_line(tmp_path, generator):
    def refused(data, match):
        (tmp_path / 'net.t7').write_bytes(data)
        with pytest.raises(utils.UserError, match=match) as caught:
            foreign.read(str(tmp_path / 'net.t7'))
        assert '\n' not in str(caught.value)

    checkpoint, _ = torch7.network(generator, blocks=1)
    data = torch7.save(checkpoint)
    modules = checkpoint['model'].fields['modules']
    refused(data[:-1000], 'cut off')
    refused(b'PK' + data, 'kind')
    refused(torch7.save({'opt': {'preprocessing': 'resnet'}}), 'prepared')
    refused(torch7.save({'model': 3}), 'no network')
    refused(data.replace(b'TotalVariation', b'TotalViolation'), 'TotalViolation')
    refused(data.replace(b'nn.Tanh', b'nn.Tank'), 'Tank where')
    refused(data.replace(b'torch.FloatStorage', b'torch.FloatStation'), 'not read')
    refused(b'\3\0\0\0\1\0\0\0\xff\xff\xff\x7f', 'cut off')
    refused((b'\3\0\0\0%c\0\0\0\1\0\0\0' * 200) % tuple(range(200)), 'more in it')
    for number, name, value, match in [
        (0, 'pad_l', 9, 'pads the photo'),
        (1, 'dW', 2, 'strides'),
        (1, 'kW', 2.5, 'no shape'),
        (1, 'kW', 10**9, 'no shape'),
        (1, 'kW', 3, 'reshape'),
        (2, 'eps', 1e-3, 'alike'),
        (2, 'bias', None, 'normalization without'),
    ]:
        fields = modules[number].fields
        before, fields[name] = fields[name], value
        refused(torch7.save(checkpoint), match)
        fields[name] = before


def test_damaged_networks_of_others_are_refused_in_one_line(tmp_path, fails, generator):
    def refused(path, match):
        with pytest.raises(utils.UserError, match=match) as caught:
            foreign.read(str(path))
        assert '\n' not in str(caught.value) and str(path) in str(caught.value)

    folder = tmp_path / 'net'
    deeplearnjs(folder, generator)
    manifest = json.loads((folder / 'manifest.json').read_text())
    for change, match in [
        (dict(Variable_4=dict(filename='../manifest.json', shape=[4])), 'not beside it'),
        (dict(Variable_4=dict(filename='Variable_4', shape=[10**9] * 4)), 'no shape'),
        (dict(Variable_4=dict(filename='Variable_5', shape=[5])), 'which is not what its shape'),
        (dict(Variable_99=dict(filename='Variable_4', shape=[4])), "not those of lengstrom's"),
        (dict(Variable_4=3), 'manifest.json is not one'),
    ]:
        (folder / 'manifest.json').write_text(json.dumps(dict(manifest, **change)))
        refused(folder, match)
    (folder / 'manifest.json').unlink()
    refused(folder, 'No such file')
    for name in ('example.pth', 'example-old.pth', 'example.onnx', 'magenta.ckpt', 'lengstrom.ckpt.index'):
        with open(os.path.join(FIXTURES, name), 'rb') as file:
            data = file.read()
        path = tmp_path / name
        path.write_bytes(data[: -len(data) // 3])
        refused(path, 'cannot read this network')
    shutil.copy(os.path.join(FIXTURES, 'lengstrom.ckpt.index'), str(tmp_path))
    refused(tmp_path / 'lengstrom.ckpt.index', 'No such file')  # the numbers are in another one
    model = onnx.load(os.path.join(FIXTURES, 'example.onnx'))
    for op, name, value, match in [
        ('Pad', 'mode', b'edge', 'mode'),
        ('Conv', 'pads', [1, 1, 1, 1], 'pads otherwise'),
        ('Conv', 'strides', [3, 3], 'convolution 1 is not'),
        ('Relu', None, 'Elu', 'Elu'),
    ]:
        changed = onnx.ModelProto.FromString(model.SerializeToString())
        node = next(node for node in changed.graph.node if node.op_type == op)
        if name is None:
            node.op_type = value
        else:
            kept = [attribute for attribute in node.attribute if attribute.name != name]
            del node.attribute[:]
            node.attribute.extend(kept + [onnx.helper.make_attribute(name, value)])
        (tmp_path / 'changed.onnx').write_bytes(changed.SerializeToString())
        refused(tmp_path / 'changed.onnx', match)
    path = tmp_path / 'evil.pth'
    path.write_bytes(b'cos\nsystem\n(U\x10touch /tmp/hackedtR.')
    refused(path, 'names os.system')
    shutil.copy(os.path.join(FIXTURES, 'example.onnx'), str(tmp_path / 'x.caffemodel'))
    assert 'networks are read from' in fails('convert.py', tmp_path / 'x.caffemodel', tmp_path / 'x.npz')
    assert '--half are for .onnx' in fails('convert.py', 'misc32', tmp_path / 'x.npz', '--half', 'filters')


def test_the_command_imports_what_stylize_takes(tmp_path, without_theano, run):
    done = without_theano('convert.py', os.path.join(FIXTURES, 'styles.onnx'), str(tmp_path / 'styles.npz'))
    assert done.returncode == 0, done.stderr
    shown = run('stylize.py', '--list-styles', '--model', tmp_path / 'styles.npz').stdout
    assert shown.split('\n')[:2] == ['  0  style 0', '  1  style 1']
