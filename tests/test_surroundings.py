"""What surrounds the project -- settings, compilers, caches, signals, folders -- fails in one line."""

import glob
import os
import shutil
import subprocess
import sys

import pytest

from backend import cache
from conftest import ROOT
from support.processes import SCRIPTS


def start_theano(**environment):
    code = (
        f'import os, sys; sys.path.insert(0, {ROOT!r}); from backend import theano\n'
        "print(os.environ.get('OMP_NUM_THREADS'), theano.config.base_compiledir)"
    )
    return subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, env=dict(os.environ, **environment)
    )


@pytest.mark.parametrize(
    'environment',
    [
        {'OMP_NUM_THREADS': 'many'},
        {'THEANO_FLAGS': 'device=gpu'},
        {'THEANO_FLAGS': 'floatX=float64'},
        {'THEANO_FLAGS': 'mode=DebugMode'},
        {'THEANORC': 'theanorc'},
        {'PYTHONOPTIMIZE': '2'},
    ],
    ids=lambda environment: ' '.join(*environment.items()),
)
def test_settings_that_theano_cannot_run_with_are_one_line(place, environment):
    (place / 'theanorc').write_text('[global\n')
    result = start_theano(**environment)
    assert result.returncode == 1 and result.stderr.startswith('error: ') and result.stderr.count('\n') == 1, (
        result.stderr
    )
    assert next(iter(environment)) in result.stderr


@pytest.mark.parametrize(
    'damage',
    [lambda data: data[: len(data) // 2], lambda data: b'', lambda data: bytes(len(data))],
    ids=['half', 'empty', 'zeros'],
)
def test_a_damaged_module_of_theanos_in_the_cache_is_compiled_again(place, damage):
    here = start_theano().stdout.split(' ', 1)[1].strip()
    folder = str(place / 'gogh-figure' / os.path.basename(here))
    shutil.copytree(
        here,
        folder,
        ignore=lambda folder, names: [
            name
            for name in names
            if folder.count('compiledir_') and not folder.endswith('_ext') and not name.endswith('_ext')
        ],
    )
    paths = glob.glob(f'{folder}/compiledir_*/*/*.so')
    assert paths and all(map(cache.is_whole, paths))
    path = next(path for path in paths if 'lazylinker' in path)
    with open(path, 'rb') as file:
        data = file.read()
    with open(path, 'wb') as file:
        file.write(damage(data))
    os.utime(path, (1, 1))
    result = start_theano(XDG_CACHE_HOME=str(place), HOME=str(place))
    assert result.returncode == 0 and result.stdout.split(' ', 1)[1].strip() == folder, result.stderr
    assert cache.is_whole(path)


def compiler(place, script):
    """An environment in which g++ is a script; it gets what the real one would."""
    folder = place / 'bin'
    folder.mkdir()
    (folder / 'g++').write_text(f'#!/bin/sh\n{script.replace("REAL", shutil.which("g++"))}')
    (folder / 'g++').chmod(0o755)
    return {'PATH': f'{folder}:{os.environ["PATH"]}', 'XDG_CACHE_HOME': str(place / 'cache')}


FULL = """case "$*" in *-shared*)
  echo "mod.cpp:1:1: fatal error: error writing to /tmp/x.s: No space left on device" >&2
  exit 1;;
esac
exec REAL "$@"
"""


@pytest.mark.parametrize(
    'script, message', [('echo "g++: error: no license" >&2; exit 1', 'no license'), (FULL, 'No space left on device')]
)
def test_a_compiler_that_is_there_and_fails_is_one_line(place, script, message):
    result = start_theano(**compiler(place, script))
    assert result.returncode == 1 and result.stdout == '' and result.stderr.count('\n') == 1, result.stderr
    assert result.stderr.startswith(f'error: {place / "bin" / "g++"} cannot compile: ') and message in result.stderr


def test_a_compiler_that_fails_later_is_one_line_too(place):
    code = (
        f'import sys; sys.path.insert(0, {ROOT!r}); import utils; from backend import T, theano\n'
        'x = T.matrix()\n'
        f'utils.run_script(lambda: print(theano.function([x], T.exp(x) * {os.getpid()} + x.sum())))'
    )
    result = subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        env=dict(os.environ, PATH=compiler(place, FULL)['PATH']),
    )
    # Theano says so when it waits for another process that compiles.
    (line,) = [line for line in result.stderr.splitlines() if 'compilelock' not in line]
    assert result.returncode == 1 and result.stdout == '' and 'cannot compile' in line


def test_a_working_folder_that_was_removed_is_one_line(place):
    code = f'import sys; sys.path.insert(0, {ROOT!r}); import utils\n' + (
        "import os; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')\n"
        "utils.run_script(lambda: os.path.realpath('photo.png'))\n"
    )
    result = subprocess.run([sys.executable, '-c', code], stderr=subprocess.PIPE)
    assert result.returncode == 1 and result.stderr == b'error: the current folder was removed: change to another one\n'


@pytest.mark.parametrize('script', SCRIPTS)
def test_scripts_find_their_modules_with_a_safe_path(run, script):
    # Python 3.11 and newer leave a script's folder out.
    result = run(script, '--help', PYTHONSAFEPATH='1')
    assert result.returncode == 0 and result.stderr == ''


# Ctrl-C when a module is looked for.
INTERRUPT = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ.get('INTERRUPT_AT'):
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)     # which is ignored where the tests run in the background
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize(
    'script, module',
    [(script, module) for script in SCRIPTS for module in ('numpy', 'options')]
    + [
        ('stylize.py', module)
        for module in (
            'PIL.Image',
            'h5py.h5',
            'scipy.linalg',
            'theano.gof',
            'theano.tensor.nnet',
            'lasagne',
            'lasagne.layers.conv',
            'layers',
        )
    ],
)
def test_an_interrupt_while_modules_are_imported_is_one_line(place, script, module):
    (place / 'sitecustomize.py').write_text(INTERRUPT)
    options = ['--model', 'cin.npz', '--style', 'waves', 'photo.png'] if script == 'stylize.py' else ['--help']
    result = subprocess.run(
        ['sh', '-c', '"$@"; exit $?', 'sh', sys.executable, os.path.join(ROOT, script), *options],
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONPATH=str(place), INTERRUPT_AT=module),
    )
    assert result.returncode == 130 and result.stdout == '' and result.stderr.strip() == 'interrupted', result.stderr


@pytest.mark.parametrize(
    'threads, used', [('4,2', '4'), ('1', '1'), ('100000', str(max(64, 4 * (os.cpu_count() or 1))))]
)
def test_numbers_of_threads_that_openmp_knows_will_do(threads, used):
    assert start_theano(OMP_NUM_THREADS=threads).stdout.split()[0] == used


def test_a_theanorc_of_former_days_is_no_concern(place):
    (place / '.theanorc').write_text('[global]\ndevice=gpu\nfloatX=float64\n')
    result = start_theano(HOME=str(place), XDG_CACHE_HOME=os.environ.get('XDG_CACHE_HOME') or str(place))
    assert result.returncode == 0, result.stderr


def test_the_path_of_the_cache_may_have_commas_and_quotes(place):
    path = str(place / 'a, "b" and \'c\'')
    result = start_theano(XDG_CACHE_HOME=path)
    assert result.returncode == 0 and result.stdout.split(' ', 1)[1].startswith(path), result.stderr


def test_a_cache_that_cannot_be_used_is_replaced(place, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(place / 'cache'))
    monkeypatch.setattr(cache.tempfile, 'tempdir', str(place))
    assert cache.folder() == str(place / 'cache' / 'gogh-figure')
    status = os.statvfs(str(place))
    noexec = [type('Status', (), {'f_flag': status.f_flag | os.ST_NOEXEC})]
    monkeypatch.setattr(cache.os, 'statvfs', lambda path: noexec[0] if path.endswith('cache/gogh-figure') else status)
    fallback = str(place / f'gogh-figure-{os.getuid()}')
    assert cache.folder() == fallback
    # Nor will the other do.
    noexec *= 2
    monkeypatch.setattr(cache.os, 'statvfs', lambda path: noexec[0])
    with pytest.raises(SystemExit, match='noexec'):
        cache.folder()


def test_a_cache_that_is_full_or_somebody_elses_is_replaced(place, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(place / 'cache'))
    monkeypatch.setattr(cache.tempfile, 'tempdir', str(place))
    fallback = str(place / f'gogh-figure-{os.getuid()}')
    (place / 'cache' / 'gogh-figure' / 'theano-0123').mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(cache.os, 'access', lambda path, mode: not path.endswith('theano-0123'))
        assert cache.folder() == fallback
    assert cache.folder() == str(place / 'cache' / 'gogh-figure')

    def full(dir, real=cache.tempfile.TemporaryFile):
        if dir == str(place / 'cache' / 'gogh-figure'):
            raise OSError(28, 'No space left on device')
        return real(dir=dir)

    monkeypatch.setattr(cache.tempfile, 'TemporaryFile', full)
    assert cache.folder() == fallback
