"""The one place that configures Theano and makes Lasagne import.

Everything else takes ``theano``, ``T`` and ``lasagne`` from `backend`, which takes them from here, so that the flags
are set before Theano reads them. What a user puts into ``THEANO_FLAGS`` wins.
"""

import contextlib
import ctypes
import glob
import hashlib
import importlib.util
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
import types

import environment
import utils
import backend.cache as cache
import backend.compat as compat


def _limit_threads():
    """Make of OMP_NUM_THREADS what Theano can read, and the machine can run.

    It may be a list, for parallel regions inside of others, of which there are none here; and a library asked for
    thousands of threads crashes.
    """
    text = os.environ.get('OMP_NUM_THREADS')
    if not text:
        os.environ.pop('OMP_NUM_THREADS', None)
        return
    first = text.split(',')[0].strip()
    if not re.fullmatch('[0-9]{1,9}', first) or int(first) == 0:
        sys.exit(f'error: OMP_NUM_THREADS={utils.one_line(text)}: expected a whole number from 1')
    most = max(64, 4 * (os.cpu_count() or 1))
    if int(first) > most:
        print(f'OMP_NUM_THREADS={first}: computing with {most} threads', file=sys.stderr)
    os.environ['OMP_NUM_THREADS'] = str(min(int(first), most))


def _check_toolchain():
    """Name what Theano would miss before it fails obscurely."""
    if sys.flags.optimize > 1:
        sys.exit('error: Theano needs its docstrings: run without -OO, or PYTHONOPTIMIZE=2')
    if not shutil.which('g++'):
        sys.exit(
            'error: Theano compiles its functions with g++, which is not on the PATH; '
            'install it (Debian, Ubuntu: sudo apt install g++; Fedora: sudo dnf install gcc-c++; '
            'macOS: xcode-select --install)'
        )
    tried = subprocess.run(['g++', '-v'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # as Theano tries it
    if tried.returncode:
        sys.exit(_compiler_fails(tried.stdout.decode(errors='replace') or 'g++ -v fails'))
    header = os.path.join(sysconfig.get_paths()['include'], 'Python.h')
    if not os.path.exists(header):
        sys.exit(
            'error: the headers of Python are missing (%s); install them (Debian, Ubuntu: '
            'sudo apt install python%d.%d-dev; Fedora: sudo dnf install python3-devel)'
            % ((header,) + sys.version_info[:2])
        )


# Those that Theano's code calls.
BLAS_ROUTINES = 'axpy copy dot gemm gemv ger nrm2 scal symm syrk'.split()


def _blas():
    """Load the OpenBLAS of scipy's wheel and return the flags with which Theano's functions find it.

    Theano cannot ask numpy for its BLAS any more, and the one of numpy's wheel has 64-bit integers. scipy's has
    Fortran's names, since scipy 1.13 behind a prefix, which macros put in front of the names in Theano's code.
    Loaded globally it needs no path on the linker's command line; -lm stands for "there is a BLAS".
    """
    scipy = os.path.dirname(importlib.util.find_spec('scipy').origin)
    found = [
        path
        for folder in (f'{scipy}.libs', os.path.join(scipy, '.libs'), os.path.join(scipy, '.dylibs'))
        for path in sorted(glob.glob(os.path.join(folder, 'lib*openblas*')))
    ]
    if not found:
        return {}
    ctypes.CDLL(found[0], mode=ctypes.RTLD_GLOBAL)
    flags = {'blas.ldflags': '-lm'}
    if 'scipy_openblas' in os.path.basename(found[0]):
        flags['gcc.cxxflags'] = ' '.join(
            f'-D{letter}{routine}_=scipy_{letter}{routine}_' for routine in BLAS_ROUTINES for letter in 'sd'
        )
    return flags


def _flags():
    """Theano's flags: ours first, since Theano lets the later of two win, then the user's.

    Of the compiler's flags both count: without ours nothing compiles.
    """
    ours = dict(_blas(), floatX='float32')
    cxxflags = ' '.join(ours.get('gcc.cxxflags', '').split() + compat.compiler_flags())
    users = os.environ.get('THEANO_FLAGS', '')
    if cxxflags:
        ours['gcc.cxxflags'] = cxxflags
        users = re.sub(r'(?<![^,\s])gcc\.cxxflags\s*=', rf'\g<0>{cxxflags} ', users)
    # Theano's cache does not key on the linker flags, so each set of flags gets a folder of its own.
    key = hashlib.sha256(repr((sorted(ours.items()), users, 'sealed')).encode()).hexdigest()[:8]
    folder = os.path.join(cache.folder(), f'theano-{key}')
    _remove_damaged(folder)
    ours.update(base_compiledir=folder, print_active_device=False)
    # Quoted, since a path may have commas and quotes.
    flags = [f'{name}={shlex.quote(str(value))}' for name, value in ours.items()]
    return ','.join(flags + ([users] if users else []))


def _remove_damaged(folder):
    """Remove the compiled modules that are not whole, which Theano would load, or crash on; it compiles them again.

    Those that nobody can be compiling any more, since they are old or were there before the machine started.
    """
    started = re.search('^btime ([0-9]+)$', utils.contents('/proc', 'stat'), re.MULTILINE)
    old = max(time.time() - 3600, int(started.group(1)) if started else 0)
    for path in glob.glob(os.path.join(glob.escape(folder), 'compiledir_*', '*', '*.so')):
        with contextlib.suppress(OSError):
            if os.stat(path).st_mtime < old and not cache.is_whole(path):
                shutil.rmtree(os.path.dirname(path))


def _sealed(compile_str):
    """Theano's compiler, whose modules are sealed, and whose failure is one line."""

    def compile(*args, **options):
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                module = compile_str(*args, **options)
            if module is not None:
                cache.seal(module.__file__)
            return module
        except Exception as error:
            sys.exit(_compiler_fails(error))

    return compile


def _compiler_fails(error):
    """The line that says so."""
    lines = re.split(r'\. |\n', str(error).strip())  # Theano has joined what were lines
    line = next((line for word in ('No space', 'error') for line in lines if word in line), lines[0])
    return f'error: {shutil.which("g++")} cannot compile: {utils.one_line(line)}'


_check_toolchain()
_limit_threads()
_users = {name: os.environ.get(name) for name in ('THEANO_FLAGS', 'THEANORC')}
os.environ['THEANO_FLAGS'] = _flags()
# What ~/.theanorc says was written for other programs, often for devices and modes of former days.
os.environ.setdefault('THEANORC', os.devnull)

environment.check({'six': 'six', 'scipy.linalg': 'scipy'})  # which Theano imports
try:
    with compat.lend(), contextlib.redirect_stdout(io.StringIO()):
        import theano  # noqa: E402
        import theano.tensor as T  # noqa: E402
        from theano.tensor.signal.pool import pool_2d  # noqa: E402
except Exception as _error:
    if 'Compilation failed' in str(_error):
        sys.exit(_compiler_fails(_error))
    if not any(_users.values()):
        raise
    sys.exit(
        'error: Theano does not start with what '
        f'{" and ".join(name for name in _users if _users[name])} say: {utils.reason(_error)}'
    )
if theano.config.floatX != 'float32' or theano.config.mode.upper().replace('_', '') == 'DEBUGMODE':
    sys.exit(
        f'error: THEANO_FLAGS set floatX to {theano.config.floatX} and mode to {theano.config.mode}: '
        'gogh-figure needs float32, and no DebugMode'
    )
compat.mend(theano)
_modules = [
    module for name, module in sys.modules.items() if name in ('lazylinker_ext.lazylinker_ext', 'cutils_ext.cutils_ext')
]
for _module in _modules:
    with contextlib.suppress(OSError):  # of somebody else's, only to be read
        if not cache.is_whole(_module.__file__):
            cache.seal(_module.__file__)
theano.gof.cmodule.GCC_compiler.compile_str = staticmethod(_sealed(theano.gof.cmodule.GCC_compiler.compile_str))

# Processes that this one starts may be of another Python, with a numpy whose headers need other flags.
for _name, _value in _users.items():
    if _value is None:
        del os.environ[_name]
    else:
        os.environ[_name] = _value


def _max_pool_2d(input, ds, ignore_border, st, padding, mode):
    return pool_2d(input, ws=ds, ignore_border=ignore_border, stride=st, pad=padding, mode=mode)


# Lasagne 0.1 pools with a function of a module that Theano 1.0 dropped in favour of `pool`.
_downsample = types.ModuleType('theano.tensor.signal.downsample')
_downsample.max_pool_2d = _max_pool_2d
sys.modules.setdefault(_downsample.__name__, _downsample)

with compat.lend():
    import lasagne  # noqa: E402

__all__ = ['theano', 'T', 'lasagne']
