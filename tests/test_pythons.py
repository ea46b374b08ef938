"""Two Pythons, which may have numpys of different generations, compute the same and read each other's files.

The other one is that of another environment, which ``GOGH_OTHER_PYTHON`` names; ``make test-pythons`` does.
"""

import json
import os
import subprocess
import sys

import numpy
import pytest

from conftest import ROOT
from support import tiny

OTHER = os.environ.get('GOGH_OTHER_PYTHON')

pytestmark = pytest.mark.skipif(not OTHER, reason='GOGH_OTHER_PYTHON names no other Python')


def on(python, *command, cwd=ROOT):
    result = subprocess.run(
        [python] + [str(word) for word in command],
        cwd=str(cwd),
        capture_output=True,
        text=True,
        env=dict(os.environ, OMP_NUM_THREADS='1'),
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def same_numpy():
    """Whether both have a numpy of the same generation: before 1.26, or from then on."""
    code = 'import numpy; print(numpy.__version__)'
    versions = [
        tuple(int(part) for part in on(python, '-c', code).split('.')[:2]) for python in (sys.executable, OTHER)
    ]
    return (versions[0] >= (1, 26)) == (versions[1] >= (1, 26))


PASTICHE = """if True:
    import sys
    import files, numpy, layers, models
    from backend import devices
    from formats import networks
    devices.use(devices.Device())
    network = models.load_network(networks.find(sys.argv[1]))
    photo = files.to_float(files.read_image(sys.argv[2], size=96)[None, :96, :96])
    style = [layers.style_weights(3, len(network.styles))] if network.style else []
    numpy.save(sys.argv[3], models.pastiche_function(network)(photo, *style))
"""


@pytest.mark.parametrize('network', ['misc32', 'fns-udnie'])
def test_pastiches_are_the_same(network, tmp_path):
    pastiches = []
    for number, python in enumerate([sys.executable, OTHER]):
        path = str(tmp_path / f'{number}.npy')
        on(python, '-c', PASTICHE, network, os.path.join(ROOT, 'data', 'samples', 'pavilion.jpg'), path)
        pastiches.append(numpy.load(path))
    if same_numpy():
        numpy.testing.assert_array_equal(*pastiches)
    numpy.testing.assert_allclose(*pastiches, rtol=0, atol=1e-5 * numpy.ptp(pastiches[0]))


def test_a_training_is_resumed_by_the_other_python(tmp_path):
    """Four iterations here, four there: the numbers of eight on either, to rounding or to the last bit."""
    generator = numpy.random.RandomState(0)
    names = ('styles/waves.png', 'styles/dots.png', 'photos/a.png', 'photos/b.png', 'photos/c.png')
    tiny.noise(tmp_path, names, generator, (24, 24, 3))
    tiny.loss_network(tmp_path / 'vgg.npz', generator)

    def train(python, output, iterations, *more):
        on(
            python,
            os.path.join(ROOT, 'train.py'),
            *(
                '--style-dir styles --content photos --loss-weights vgg.npz --content-layers conv1_1 '
                '--style-layers conv1_1 --normalize-losses --width 8 --residual-blocks 1 --image-size 16 '
                '--style-size 24 --batch-size 2 --checkpoint-every 4 --iterations'
            ).split(),
            iterations,
            '--output',
            output,
            *more,
            cwd=tmp_path,
        )

    train(sys.executable, 'here.npz', 8)
    for first, second, output in ((sys.executable, OTHER, 'there.npz'), (OTHER, sys.executable, 'back.npz')):
        train(first, output, 4)
        train(second, output, 8, '--resume')
        with numpy.load(str(tmp_path / 'here.npz')) as expected, numpy.load(str(tmp_path / output)) as network:
            assert json.loads(str(network['meta']))['training'] == json.loads(str(expected['meta']))['training']
            for name in set(expected.files) - {'meta'}:
                if same_numpy():
                    numpy.testing.assert_array_equal(network[name], expected[name])
                # Adam divides by the root of what it has seen: where gradients are all but nothing, rounding shows.
                numpy.testing.assert_allclose(network[name], expected[name], rtol=0, atol=1e-4)
