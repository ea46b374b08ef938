"""The set-up of Theano: what is missing is named, and nothing is printed otherwise."""

import os
import subprocess
import sys
import sysconfig

import numpy
import pytest

from backend import T, cache, theano, theano_setup
from conftest import ROOT
from support.processes import SCRIPTS


@pytest.mark.parametrize('script', SCRIPTS)
def test_help_waits_for_neither_theano_nor_a_compiler(without_theano, script):
    done = without_theano(script, '--help')
    assert done.returncode == 0 and done.stdout.startswith(f'usage: {os.path.basename(script)}') and not done.stderr


def test_a_missing_compiler_is_named_with_its_package(fails, tmp_path):
    photo = os.path.join(ROOT, 'data', 'samples', 'cat.jpg')
    assert 'apt install g++' in fails(
        'stylize.py', '--model', 'misc32', '--style-index', 0, photo, cwd=str(tmp_path), PATH=str(tmp_path)
    )


def test_missing_headers_are_named_with_their_package(monkeypatch, tmp_path):
    monkeypatch.setattr(sysconfig, 'get_paths', lambda: {'include': str(tmp_path)})
    with pytest.raises(SystemExit, match=r'^error: .*python%d.%d-dev' % sys.version_info[:2]):
        theano_setup._check_toolchain()


def test_what_needs_no_theano_does_not_import_it():
    code = 'import sys, options; from backend import cache, devices; sys.exit("theano" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], cwd=ROOT).returncode == 0


def test_importing_prints_nothing():
    code = 'from backend import lasagne; from lasagne.layers import Pool2DLayer'
    result = subprocess.run([sys.executable, '-c', code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 0 and result.stdout == b''


def test_the_cache_moves_where_it_can_be_written(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    assert cache.folder() == str(tmp_path / 'cache' / 'gogh-figure')
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    path = cache.folder()
    assert not path.startswith(str(tmp_path / 'file')) and os.access(path, os.W_OK)


def test_unknown_backends_are_refused(fails, tmp_path):
    photo = os.path.join(ROOT, 'data', 'samples', 'pavilion.jpg')
    assert 'quick' in fails(
        'stylize.py', '--model', 'misc32', '--style-index', 0, photo, cwd=str(tmp_path), GOGH_BACKEND='quick'
    )


def test_a_missing_onednn_is_said_once_and_the_plain_path_runs(run, tmp_path):
    # The library looks for oneDNN under the prefix of Python.
    code = (
        f'import sys; sys.prefix = {str(tmp_path)!r}\n'
        "from backend import devices; assert devices.use(devices.Device()).backend == 'plain'\n"
        'from backend import theano, T; x = T.vector(); print(theano.function([x], 2 * x)([1])[0])'
    )
    result = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout == '2.0\n'
    # Theano says so when it waits for another process that compiles.
    (line,) = [line for line in result.stderr.splitlines() if 'compilelock' not in line]
    assert line.startswith('warning: oneDNN is not installed')


def test_theano_links_with_blas(generator):
    x, y = T.tensor3(), T.tensor3()
    a, b = generator.rand(2, 3, 4).astype('float32'), generator.rand(2, 4, 5).astype('float32')
    numpy.testing.assert_allclose(theano.function([x, y], T.batched_dot(x, y))(a, b), numpy.matmul(a, b), rtol=1e-5)


def test_lasagnes_own_pooling_works(generator):
    x = T.tensor4()
    from backend import lasagne

    pool = lasagne.layers.Pool2DLayer((None, 1, None, None), 2)
    image = generator.rand(1, 1, 4, 6).astype('float32')
    expected = image.reshape(1, 1, 2, 2, 3, 2).max(axis=(3, 5))
    numpy.testing.assert_array_equal(theano.function([x], pool.get_output_for(x))(image), expected)
