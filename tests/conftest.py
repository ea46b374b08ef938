"""What the tests share: a way to compile without a C compiler, and a way to run the scripts."""

import csv
import os
import subprocess
import sys

import numpy
import pytest
from hypothesis import Phase, settings

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
sys.path.insert(0, os.path.join(ROOT, 'tests'))

# Examples compile networks: a failing one is reported as it is, and continuous integration draws the same each time.
settings.register_profile(
    'gogh', deadline=None, derandomize=bool(os.environ.get('CI')), phases=[Phase.explicit, Phase.reuse, Phase.generate]
)
settings.load_profile('gogh')


@pytest.fixture(scope='module', autouse=True)
def backend_as_before():
    """`devices.use` configures the process for good; the tests of the next file start from where these did."""
    from backend import theano

    config, mode = theano.config, theano.compile.mode
    before = config.cxx, config.linker, mode.instantiated_default_mode
    yield
    config.cxx, config.linker, mode.instantiated_default_mode = before


@pytest.fixture(autouse=True)
def drawn_alike():
    """What Lasagne draws in a test is the same in every run, whichever tests ran before."""
    if 'lasagne' in sys.modules:
        sys.modules['lasagne'].random.set_rng(numpy.random.RandomState(0))


def _compiler(linker):
    from backend import theano

    mode = theano.Mode(linker=linker, optimizer='fast_compile').excluding('onednn')

    def function(inputs, outputs, **options):
        return theano.function(inputs, outputs, mode=mode, **options)

    function.mode = mode
    return function


@pytest.fixture(scope='session')
def compile():
    """``theano.function`` on the Python code of the ops: no wait for the C compiler, but no convolutions."""
    return _compiler('py')


@pytest.fixture(scope='session')
def compile_c():
    """``theano.function`` on Theano's own C code."""
    return _compiler('cvm')


@pytest.fixture(scope='session')
def run():
    """Run a script as a user does; returns the finished process with its output as text."""

    def run(*command, timeout=600, cwd=None, **environment):
        return subprocess.run(
            [sys.executable, os.path.join(ROOT, command[0])] + [str(a) for a in command[1:]],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=cwd or ROOT,
            env=dict(os.environ, **environment),
        )

    return run


@pytest.fixture(scope='session')
def fails(run):
    """Run a script that must refuse its input: one line on stderr, no traceback, a non-zero exit status."""

    def fails(*command, **options):
        result = run(*command, **options)
        assert result.returncode == 1, result.stderr
        assert 'Traceback' not in result.stderr
        lines = result.stderr.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith('error: '), result.stderr
        return lines[0]

    return fails


@pytest.fixture(scope='session')
def without_theano():
    """Run a script where there is no compiler, and make sure that it has not imported Theano when it ends."""

    def without_theano(script, *arguments, cwd=None):
        path = os.path.join(ROOT, script)
        code = (
            f'import runpy, sys; sys.path.insert(0, {os.path.dirname(path)!r}); sys.argv = '
            f'{[path] + list(arguments)!r}\n'
            f"try: runpy.run_path({path!r}, run_name='__main__')\n"
            "finally: assert not {'theano', 'lasagne'} & set(sys.modules)"
        )
        done = subprocess.run(
            [sys.executable, '-c', code], capture_output=True, text=True, env=dict(os.environ, PATH=''), cwd=cwd or ROOT
        )
        assert 'Traceback' not in done.stderr, done.stderr
        return done

    return without_theano


@pytest.fixture
def generator():
    return numpy.random.RandomState(0)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty working folder with a photo and a network of four styles."""
    import files
    import models
    from support import tiny

    monkeypatch.chdir(tmp_path)
    files.write_image('photo.png', numpy.random.RandomState(0).randint(0, 256, (20, 24, 3)).astype('uint8'))
    models.save_network('cin.npz', tiny.transformer('cin', tiny.NAMES))
    return tmp_path


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """What the tests of figures.py work on, which is kept for those of a file: styles, photos and a loss network."""
    from support import tiny

    folder = tmp_path_factory.mktemp('figures')
    generator = numpy.random.RandomState(0)
    names = [f'styles/{i}_style-{"abcde"[i]}.png' for i in range(5)]
    names += [f'photos/{i}.png' for i in range(3)] + [f'content/{i}.png' for i in range(4)]
    tiny.noise(folder, names, generator, (36, 36, 3))
    tiny.loss_network(folder / 'vgg.npz', generator)
    return folder


@pytest.fixture
def trainings(monkeypatch):
    """The trainings that figures.py started; they run in this process, which saves the start of another."""
    import train
    from papers import common

    started = []

    def run(command):
        started.append(command[command.index('--output') + 1])
        monkeypatch.setattr(sys, 'argv', [str(word) for word in command[1:]])
        return train.main() or 0

    monkeypatch.setattr(common, 'run', run)
    return started


@pytest.fixture
def make(folder, monkeypatch, trainings):
    """Make a figure as the command line would; returns the rows of its table and the trainings that it took."""
    import figures
    from support.tiny import FIGURES_SCALE

    def make(figure, *more):
        monkeypatch.chdir(folder)
        given = (
            '--style-dir styles --content content --photos photos --loss-weights vgg.npz --style-layers conv1_1 '
            '--content-layers conv1_1 --normalize-losses --style-weight 1 --output out --run-dir runs'
        ).split()
        monkeypatch.setattr(sys, 'argv', ['figures.py', figure, *given, *FIGURES_SCALE, *more])
        del trainings[:]
        figures.main()
        with open(str(folder / 'out' / f'{figure}.csv')) as file:
            return list(csv.DictReader(file)), list(trainings)

    return make


@pytest.fixture
def main(monkeypatch):
    """Run a script's main in this process, without waiting for a compiler; returns what it returned."""

    def main(script, *arguments):
        monkeypatch.setattr(sys, 'argv', [f'{script.__name__}.py'] + [str(argument) for argument in arguments])
        return script.main()

    return main


@pytest.fixture
def refuses(main):
    """Run a script's main, which must refuse; returns its line."""
    import utils

    def refuses(script, *arguments):
        with pytest.raises(utils.UserError) as caught:
            main(script, *arguments)
        return str(caught.value)

    return refuses


@pytest.fixture
def instant(monkeypatch):
    """Stylizing that gives the negative, at once."""
    import models

    monkeypatch.setattr(models, 'pastiche_function', lambda network: lambda image, *style: 1 - image)


@pytest.fixture
def vgg(place):
    """Options for a loss network of two layers."""
    generator, weights = numpy.random.RandomState(0), {}
    for name, channels in (('conv1_1', 3), ('conv1_2', 4)):
        weights[f'{name}_W'] = (generator.randn(4, channels, 3, 3) / 8).astype('float32')
        weights[f'{name}_b'] = generator.randn(4).astype('float32')
    numpy.savez('vgg.npz', **weights)
    return ['--loss-weights', 'vgg.npz', '--content-layers', 'conv1_2', '--style-layers', 'conv1_2']


@pytest.fixture
def training(place, vgg):
    """The command of a training that would start."""
    import files
    import train

    os.mkdir('styles')
    files.write_image('styles/a.png', numpy.zeros((32, 32, 3), 'uint8'))
    os.mkdir('content')
    for name in 'abc':
        files.write_image(f'content/{name}.png', numpy.full((32, 32, 3), ord(name), 'uint8'))
    return [
        train,
        '--style-dir',
        'styles',
        '--content',
        'content',
        *vgg,
        *'--image-size 16 --style-size 16 --width 4 --residual-blocks 0 --backend plain'.split(),
    ]


def contents(*paths):
    """The bytes of files."""
    return [open(path, 'rb').read() for path in paths]
