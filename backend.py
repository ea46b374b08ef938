"""The one place that configures Theano and makes Lasagne import.

Everything else takes ``theano``, ``T`` and ``lasagne`` from here, so that the flags are set
before Theano reads them. What a user puts into ``THEANO_FLAGS`` wins.
"""
import hashlib
import logging
import os
import shutil
import sys
import sysconfig
import tempfile
import types


def _check_toolchain():
    """Name what Theano would miss before it fails obscurely."""
    if not (3, 8) <= sys.version_info[:2] <= (3, 11):
        sys.exit('error: Theano 1.0.5 runs on Python 3.8 to 3.11, and this is Python %d.%d; '
                 'make a virtual environment with one of those' % sys.version_info[:2])
    if not shutil.which('g++'):
        sys.exit('error: Theano compiles its functions with g++, which is not on the PATH; '
                 'install it (Debian, Ubuntu: sudo apt install g++; Fedora: sudo dnf install gcc-c++; '
                 'macOS: xcode-select --install)')
    header = os.path.join(sysconfig.get_paths()['include'], 'Python.h')
    if not os.path.exists(header):
        sys.exit('error: the headers of Python are missing (%s); install them (Debian, Ubuntu: '
                 'sudo apt install python%d.%d-dev; Fedora: sudo dnf install python3-devel)'
                 % ((header,) + sys.version_info[:2]))


def cache_dir():
    """The folder for compiled code: ``$XDG_CACHE_HOME/gogh-figure``, or a temporary one if that is unwritable."""
    root = os.environ.get('XDG_CACHE_HOME') or os.path.join(os.path.expanduser('~'), '.cache')
    path = os.path.join(root, 'gogh-figure')
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError:
        path = os.path.join(tempfile.gettempdir(), 'gogh-figure-%d' % os.getuid())
        os.makedirs(path, mode=0o700, exist_ok=True)
        if os.stat(path).st_uid != os.getuid():
            sys.exit('error: %s belongs to somebody else; set XDG_CACHE_HOME to a folder of your own' % path)
        return path


def _flags():
    """Theano's flags: ours first, since Theano lets the later of two win, then the user's."""
    ours = {
        'floatX': 'float32',
        # numpy's own BLAS, through its C interface: Theano can no longer ask numpy for linker flags.
        'blas.ldflags': '',
    }
    users = os.environ.get('THEANO_FLAGS', '')
    # Theano's cache does not key on the linker flags, so each set of flags gets a folder of its own.
    key = hashlib.sha256(repr((sorted(ours.items()), users)).encode()).hexdigest()[:8]
    ours['base_compiledir'] = os.path.join(cache_dir(), 'theano-' + key)
    flags = ['%s=%s' % item for item in ours.items()]
    return ','.join(flags + ([users] if users else []))


_check_toolchain()
os.environ['THEANO_FLAGS'] = _flags()
# "Using NumPy C-API based implementation for BLAS functions": that is what was asked for.
logging.getLogger('theano.tensor.blas').setLevel(logging.ERROR)

import theano  # noqa: E402
import theano.tensor as T  # noqa: E402
from theano.tensor.signal.pool import pool_2d  # noqa: E402


def _max_pool_2d(input, ds, ignore_border, st, padding, mode):
    return pool_2d(input, ws=ds, ignore_border=ignore_border, stride=st, pad=padding, mode=mode)


# Lasagne 0.1 pools with a function of a module that Theano 1.0 dropped in favour of `pool`.
_downsample = types.ModuleType('theano.tensor.signal.downsample')
_downsample.max_pool_2d = _max_pool_2d
sys.modules.setdefault(_downsample.__name__, _downsample)

import lasagne  # noqa: E402

__all__ = ['theano', 'T', 'lasagne', 'floatX', 'cache_dir']

floatX = theano.config.floatX
