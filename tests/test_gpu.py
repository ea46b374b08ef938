"""Computing on a device: kernels against numpy in float64, networks against the CPU, the scripts, and every fault.

The device is what GOGH_TEST_DEVICE says, by default opencl0:0: with PoCL that is the processor itself.
"""

import ctypes
import importlib.util
import json
import os
import subprocess
import sys

import numpy
import pytest

import files
import models
import on_device
import reference
import utils
from backend import devices
from backend.gpu import setup
from support.processes import python
from support.tiny import transformer

DEVICE = os.environ.get('GOGH_TEST_DEVICE') or 'opencl0:0'


USE = """
import sys, utils
from backend import devices
def main():
    print(devices.use(devices.Device(sys.argv[1], 'plain')).name)
utils.run_script(main)
"""


@pytest.fixture(scope='module')
def device():
    """The name of the device; the tests that need it are skipped where it cannot be used."""
    result = python(USE, DEVICE)
    if result.returncode:
        pytest.skip(result.stderr.strip())
    return DEVICE


@pytest.fixture(scope='module')
def computed(device, run, tmp_path_factory):
    """What on_device.py computes, on the device and on the CPU: {name: [[array, …] of each call]}; and the graphs."""
    folder, tables = tmp_path_factory.mktemp('computed'), []
    for where in (device, 'cpu'):
        result = run('tests/on_device.py', where, folder / 'results.npz', timeout=3000)
        assert result.returncode == 0 and 'Traceback' not in result.stderr, result.stderr
        table = {}
        with numpy.load(str(folder / 'results.npz')) as arrays:
            for key in arrays.files:
                if key != 'graphs':
                    name, call, _ = key.split('/')
                    calls = table.setdefault(name, [])
                    calls += [[]] * (int(call) + 1 - len(calls))
                    calls[int(call)] = calls[int(call)] + [arrays[key]]
            graphs = json.loads(str(arrays['graphs']))
        tables.append((table, graphs))
    return tables


def close(a, b, tolerance=1e-4):
    assert a.shape == b.shape
    assert abs(a - b).max() <= tolerance * abs(b).max()


# ---------------------------------------------------------------------------------------------
# Kernels
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize('scale, pad', on_device.EXPANSIONS)
def test_upsampling_and_reflection_are_numpys(computed, scale, pad):
    for (x, dy), (y, dx) in zip(on_device.expansion_inputs(scale, pad), computed[0][0][f'expand_{scale}_{pad}']):

        def expand(image):
            return numpy.pad(
                image.repeat(scale, -2).repeat(scale, -1),
                [(0, 0)] * (image.ndim - 2) + [(pad, pad)] * 2,
                mode='reflect',
            )

        numpy.testing.assert_array_equal(y, expand(x))
        # Each pixel of the input gets the gradients of all pixels that show it.
        source = expand(numpy.arange(x[0, 0].size).reshape(x.shape[2:])).ravel()
        expected = [
            numpy.bincount(source, plane.ravel().astype('float64')) for plane in dy.reshape((-1,) + dy.shape[2:])
        ]
        close(dx, numpy.reshape(expected, x.shape), 1e-6)


@pytest.mark.parametrize('rows', ['each', 'one'])
def test_instance_norm_is_equation_3(computed, rows):
    for (x, gamma, beta, _), results in zip(on_device.norm_inputs(rows), computed[0][0][f'norm_{rows}']):
        close(results[0], reference.instance_norm(x.astype('float64'), gamma, beta), 1e-5)


def test_instance_norm_takes_a_variance_at_the_level_of_rounding_for_zero(computed):
    (x, gamma, beta, _), (y, dx, dgamma, _) = on_device.flat_inputs(), computed[0][0]['norm_flat'][0]
    numpy.testing.assert_array_equal(y[0, 0], numpy.full(y.shape[2:], beta[0, 0]))
    close(y, reference.instance_norm(x.astype('float64'), gamma, beta), 1e-5)
    assert not dx[0, 0].any() and dgamma[0, 0] == 0 and dx[0, 1].any() and dgamma[0, 1] != 0


@pytest.mark.parametrize('rows', ['each', 'one'])
def test_gradients_of_instance_norm_are_finite_differences(computed, rows):
    generator = numpy.random.RandomState(0)
    for (*inputs, dy), results in zip(on_device.norm_inputs(rows), computed[0][0][f'norm_{rows}']):
        inputs = [a.astype('float64') for a in inputs]
        for i, gradient in enumerate(results[1:]):
            for _ in range(5):
                direction = generator.randn(*inputs[i].shape)

                def value(step):
                    moved = inputs[:i] + [inputs[i] + step * direction] + inputs[i + 1 :]
                    return (reference.instance_norm(*moved) * dy).sum()

                expected = (value(1e-5) - value(-1e-5)) / 2e-5
                scale = numpy.sqrt((gradient.astype('float64') ** 2).sum() * (direction**2).sum())
                assert abs((gradient * direction).sum() - expected) <= 1e-4 * max(scale, abs(dy).sum() * 1e-3)


# ---------------------------------------------------------------------------------------------
# Networks
# ---------------------------------------------------------------------------------------------


def test_losses_are_those_of_the_cpu(computed):
    for on_gpu, on_cpu in zip(computed[0][0]['losses'][0], computed[1][0]['losses'][0]):
        close(on_gpu, on_cpu)


def test_stylizing_is_that_of_the_cpu(computed):
    close(computed[0][0]['stylizing'][0][0], computed[1][0]['stylizing'][0][0])


def test_stylizing_with_style_maps_is_that_of_the_cpu(computed):
    close(computed[0][0]['mapped'][0][0], computed[1][0]['mapped'][0][0])


@pytest.mark.parametrize('name', sorted(on_device.NETWORKS))
def test_a_training_step_is_that_of_the_cpu(computed, name):
    """Losses, gradients and running averages; a parameter moves by its sign where its gradient is not rounding."""

    def errors(on_gpu, on_cpu):
        # What feeds a normalization through a convolution alone has a gradient of zero, up to rounding.
        scale = max(numpy.linalg.norm(a) for a in on_cpu[4:])
        return [numpy.linalg.norm(a - b) / (numpy.linalg.norm(b) + 1e-3 * scale) for a, b in zip(on_gpu, on_cpu)]

    steps = [errors(*step) for step in zip(computed[0][0][name], computed[1][0][name])]
    # A unit within rounding of zero may fall to either side of its rectifier: hence the median of several draws.
    assert numpy.median(steps, axis=0).max() <= 1e-4


@pytest.mark.parametrize('function', ['stylizing', 'mapped'] + sorted(on_device.NETWORKS))
def test_nothing_leaves_the_device_inside_of_a_function(computed, function):
    assert computed[0][1][f'transfers_{function}'] == []


def test_the_kernels_of_the_project_take_the_place_of_the_formulas(computed):
    names = set(computed[0][1]['training_cin'])
    assert {'Expand', 'ExpandGradient', 'Norm', 'NormGradient'} <= names
    assert not names & {'GpuJoin', 'Assert', 'ReflectPad', 'InstanceNorm', 'CorrMM', 'AbstractConv2d'}


# ---------------------------------------------------------------------------------------------
# Scripts
# ---------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder with a loss network, styles and photos."""
    place = tmp_path_factory.mktemp('scripts')
    numpy.savez(str(place / 'vgg.npz'), **on_device.vgg_weights())
    generator = numpy.random.RandomState(8)
    for folder, names in (('styles', ['dots.png']), ('photos', ['a.png', 'b.png', 'c.png'])):
        (place / folder).mkdir()
        for name in names:
            files.write_image(str(place / folder / name), generator.randint(0, 256, (36, 40, 3)).astype('uint8'))
    files.write_image(str(place / 'large.png'), generator.randint(0, 256, (600, 900, 3)).astype('uint8'))
    return place


LOSS = ['--loss-weights', 'vgg.npz', '--content-layers', 'conv2_2', '--style-layers', 'conv1_2']


def succeeds(result):
    assert result.returncode == 0 and 'Traceback' not in result.stderr, result.stderr
    return result


def test_a_run_moves_from_the_device_to_the_cpu_and_back(device, run, place):
    train = (
        'train.py --network fns --style-dir styles --content photos --width 4 --residual-blocks 0 --image-size 32 '
        '--style-size 32 --batch-size 2 --output fns.npz --checkpoint-every 1'
    ).split() + LOSS
    result = succeeds(run(*(train + ['--iterations', 1, '--device', device]), cwd=str(place)))
    assert f'computing on {device}: ' in result.stderr
    succeeds(run(*(train + ['--iterations', 2, '--resume']), cwd=str(place)))
    assert models.load_network(str(place / 'fns.npz')).meta['training']['iterations'] == 2
    images = []
    for where in (device, 'cpu'):
        succeeds(
            run(*'stylize.py --model fns.npz photos/a.png --device'.split(), where, '--output', 'a.png', cwd=str(place))
        )
        images.append(files.read_image(str(place / 'a.png')).astype(int))
    assert abs(images[0] - images[1]).max() <= 1


def test_optimizing_is_that_of_the_cpu(device, run, place):
    totals = []
    for where in (device, 'cpu'):
        succeeds(
            run(
                *(
                    'optimize.py --content photos/a.png --style styles/dots.png --size 32 --iterations 2 '
                    '--optimizer adam --output optimized.png --device'
                ).split(),
                where,
                *LOSS,
                cwd=str(place),
            )
        )
        with open(str(place / 'optimized.csv')) as file:
            totals.append([float(line.split(',')[1]) for line in file.readlines()[1:]])
    assert len(totals[0]) == 3
    numpy.testing.assert_allclose(*totals, rtol=1e-3)


@pytest.mark.skipif(not DEVICE.startswith('opencl'), reason='the memory of PoCL can be limited')
def test_a_photo_that_the_device_has_no_memory_for_fails_alone(device, run, place):
    network = transformer(residual_blocks=0, **on_device.NETWORKS['fns'])
    models.save_network(str(place / 'random.npz'), network)
    result = run(
        *'stylize.py --model random.npz large.png photos/b.png --output some --device'.split(),
        device,
        cwd=str(place),
        POCL_MEMORY_LIMIT='1',
        GOGH_MAX_MEMORY=str(2**29),
    )
    assert result.returncode == 1 and 'Traceback' not in result.stderr
    assert 'error: large.png: not enough memory' in result.stderr and '1 of 2 photos' in result.stderr
    assert os.listdir(str(place / 'some')) == ['b_a.png']


# ---------------------------------------------------------------------------------------------
# Faults
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize('name', ['', 'gpu', 'cuda-1', 'cuda:0', 'opencl', 'opencl0', 'opencl0:', 'cpu0', 'cuda1e9'])
def test_what_is_no_device_is_refused_with_those_that_are(name):
    with pytest.raises(utils.UserError, match='there is no such device; there are cpu, auto, cuda'):
        devices.Device(name)


def test_a_device_that_is_not_there_is_refused_with_those_that_are(device):
    if device.startswith('opencl'):
        result = python(USE, 'opencl99:0')
        assert result.stderr.startswith('error: --device opencl99:0: there is no such device; there is opencl0:0')
        assert result.returncode == 1 and result.stderr.count('\n') == 1


def test_only_auto_falls_back_on_the_cpu_and_says_so(monkeypatch, capsys):
    def use(*args):
        raise setup.Unavailable('no card')

    monkeypatch.setattr(setup, 'use', use)
    with pytest.raises(utils.UserError, match='--device cuda: no card'):
        devices.use(devices.Device('cuda', 'plain'))
    assert devices.use(devices.Device('auto', 'plain')) == devices.Device('cpu', 'plain')
    assert capsys.readouterr().err == 'computing on the CPU: no card\n'


@pytest.fixture
def no_pygpu(monkeypatch):
    if importlib.util.find_spec('pygpu'):
        pytest.skip('pygpu is in this environment')
    for name in [name for name in sys.modules if name.split('.')[0] == 'pygpu']:
        monkeypatch.delitem(sys.modules, name)


def test_a_missing_pygpu_is_named_with_the_command(no_pygpu, monkeypatch, tmp_path):
    monkeypatch.setattr(setup, 'DEBIAN_PACKAGES', str(tmp_path))
    with pytest.raises(setup.Unavailable, match='pygpu is not installed.*make gpu-deps'):
        setup.import_pygpu()


def test_a_pygpu_for_another_python_is_named(no_pygpu, monkeypatch, tmp_path):
    (tmp_path / 'pygpu').mkdir()
    (tmp_path / 'pygpu' / '__init__.py').write_text('')
    (tmp_path / 'pygpu' / 'gpuarray.cpython-35m-x86_64-linux-gnu.so').write_text('')
    monkeypatch.setattr(setup, 'DEBIAN_PACKAGES', str(tmp_path))
    with pytest.raises(
        setup.Unavailable,
        match=r'is for Python 3\.5, and this is %d\.%d; .*make PYTHON=python3\.5 ' % sys.version_info[:2],
    ):
        setup.import_pygpu()


def test_of_the_systems_packages_only_pygpu_becomes_visible(device):
    code = """if True:
        import sys
        from backend import theano
        before = list(sys.path), list(sys.meta_path)
        from backend.gpu import setup
        setup.import_pygpu()
        assert (sys.path, sys.meta_path) == before
        for name, module in sys.modules.items():
            if (getattr(module, '__file__', None) or '').startswith(setup.DEBIAN_PACKAGES):
                assert name.split('.')[0] in setup.FROM_DEBIAN, name
    """
    result = python(code)
    assert result.returncode == 0, result.stderr


# ---------------------------------------------------------------------------------------------
# The libraries of CUDA, of which there are imitations here: what they answer is said by their names
# ---------------------------------------------------------------------------------------------

DRIVER = """
#include <cstdio>
extern "C" {
int cuDriverGetVersion(int *version) { *version = 12040; return 0; }
int cuInit(unsigned) { return STATUS; }
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
int cuDeviceGet(int *device, int number) { *device = number; return 0; }
int cuDeviceGetName(char *name, int size, int device) { snprintf(name, size, "Card %d", device); return 0; }
}
"""
CUBLAS = 'extern "C" int cublasSgemm_v2() { return 42; }'
NVRTC = 'extern "C" int nvrtcVersion(int *major, int *minor) { *major = 12; *minor = MINOR; return 0; }'


def _there(name):
    try:
        ctypes.CDLL(name)
        return True
    except OSError:
        return False


@pytest.fixture
def libraries(tmp_path):
    """Build imitations of libraries, and tell how CUDA is found with them."""
    if any(_there(name) for name in ('libcuda.so.1', 'libcublas.so', 'libnvrtc.so')):
        pytest.skip('the real CUDA is installed')

    def build(source, path, *options):
        os.makedirs(os.path.dirname(str(tmp_path / path)), exist_ok=True)
        subprocess.run(
            [
                'g++',
                '-shared',
                '-fPIC',
                '-x',
                'c++',
                '-',
                f'-Wl,-soname,{os.path.basename(path)}',
                '-o',
                str(tmp_path / path),
            ]
            + list(options),
            input=source.encode(),
            check=True,
        )

    def find(device='cuda0', driver='-DSTATUS=0', cublas='12', nvrtc='4'):
        if driver:
            build(DRIVER, 'libcuda.so.1', driver)
        if cublas:
            build(CUBLAS, f'nvidia/cublas/lib/libcublas.so.{cublas}')
        if nvrtc:
            build(NVRTC, 'nvidia/cuda_nvrtc/lib/libnvrtc.so.12', f'-DMINOR={nvrtc}')
        code = """if True:
            import ctypes, sys
            from backend.gpu import dnn, setup
            def configure(*args):
                raise dnn.Unavailable('no cuDNN')
            dnn.configure = configure
            try:
                setup._prepare_cuda(sys.argv[1], False)
                print(ctypes.CDLL('libcublas.so').cublasSgemm_v2())
            except setup.Unavailable as reason:
                print(reason)
        """
        result = python(
            code,
            device,
            XDG_CACHE_HOME=str(tmp_path / 'cache'),
            LD_LIBRARY_PATH=str(tmp_path),
            PYTHONPATH=str(tmp_path),
            CUDA_HOME='',
            CUDA_PATH='',
        )
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    return find


def test_libraries_of_versioned_names_are_found_by_plain_ones(libraries):
    assert libraries() == '42'


@pytest.mark.parametrize(
    'there, message',
    [
        (dict(driver=''), 'the NVIDIA driver is missing'),
        (dict(driver='-DSTATUS=100'), 'no device was found'),
        (dict(driver='-DSTATUS=803'), 'different versions'),
        (dict(driver='-DSTATUS=777'), 'error 777'),
        (dict(device='cuda2'), 'there is no such device; there is cuda0 (Card 0), cuda1 (Card 1)'),
        (dict(cublas=''), 'libcublas.so is missing: pip install nvidia-cublas-cu12'),
        (dict(nvrtc=''), 'libnvrtc.so is missing: pip install nvidia-cuda-nvrtc-cu12'),
        (
            dict(cublas='13'),
            'libcublas.so.13 is for a newer CUDA than the driver, 12.4: pip install nvidia-cublas-cu12',
        ),
        (dict(nvrtc='9'), "pip install 'nvidia-cuda-nvrtc-cu12==12.4.*'"),
    ],
    ids=str,
)
def test_each_fault_of_cuda_is_one_line_with_the_mend(libraries, there, message):
    line = libraries(**there)
    assert message in line and '\n' not in line
