"""Finds a GPU and what is needed to compute on it: pygpu, the driver, the libraries of CUDA or OpenCL.

libgpuarray and its Python side pygpu stem from the years to 2020. What they expect of today's CUDA, and do not find
there, is the plain names of its libraries (``libcublas.so``): pip and the CUDA packages without headers have versioned
ones only (``libcublas.so.13``). `load_cuda` makes the plain names lead to them.
"""

import contextlib
import ctypes
import glob
import importlib.machinery
import os
import re
import shutil
import subprocess
import sys
import tempfile

from backend import cache, compat, theano

from . import dnn

__all__ = ['Unavailable', 'use']

DEBIAN_PACKAGES = '/usr/lib/python3/dist-packages'
# pygpu, and what it imports that an environment may lack; of Debian's packages nothing else becomes visible.
FROM_DEBIAN = ('pygpu', 'mako', 'markupsafe')
INSTALL = 'make gpu-deps installs it on Debian and Ubuntu; docs/gpu.md says how elsewhere'
# What cuInit and its like return.
CUDA_ERRORS = {
    2: 'out of memory',
    3: 'the driver is shutting down',
    34: 'the driver is a stub for building',
    35: 'the driver is too old',
    46: 'the device is in use by another process',
    100: 'no device was found',
    101: 'there is no such device',
    802: 'the system is not ready',
    803: 'the driver of the system and its library have different versions',
    804: 'the driver does not support this card',
    999: 'unknown error',
}


class Unavailable(Exception):
    """The device cannot be used; the message says why and what would help."""


def use(device, tf32=False):
    """Make Theano compute on a device of libgpuarray, in this process and for good.

    Parameters
    ----------
    device : str
        'cuda' (the first one that can be had), 'cuda0' …, or 'opencl0:0' … (platform and device).
    tf32 : bool
        Multiply float32 in TF32, on NVIDIA cards that have it.

    Returns
    -------
    str
        The name of the device, for messages.

    Raises
    ------
    Unavailable
    """
    import_pygpu()
    _check_headers()
    from pygpu.gpuarray import GpuArrayException

    remark = _prepare_cuda(device, tf32) if device.startswith('cuda') else _prepare_opencl(device)
    with compat.lend():
        import theano.gpuarray
    try:
        theano.gpuarray.use(device)
        context = theano.gpuarray.type.get_context(None)
    except (GpuArrayException, RuntimeError, ValueError, MemoryError) as error:
        raise Unavailable(_text(error))
    # It keeps processes that are forked off the device; processes that are started may have it.
    os.environ.pop('THEANO_GPU_IS_ALREADY_ACTIVE', None)
    from . import glue, rewrites

    glue.install()
    rewrites.register()
    return _text(context.devname) + remark


def _text(error):
    """The words of libgpuarray, which are bytes, on one line."""
    error = error.args[0] if isinstance(error, Exception) and error.args else error
    return ' '.join((error.decode(errors='replace') if isinstance(error, bytes) else str(error)).split())


# ---------------------------------------------------------------------------------------------
# pygpu
# ---------------------------------------------------------------------------------------------


class _DebianFinder:
    """Finds `FROM_DEBIAN` among Debian's packages; last in ``sys.meta_path``, it hides nothing."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if path is None and name in FROM_DEBIAN:
            return importlib.machinery.PathFinder.find_spec(name, [DEBIAN_PACKAGES], target)
        return None


@contextlib.contextmanager
def _debian():
    sys.meta_path.append(_DebianFinder)
    try:
        yield
    finally:
        sys.meta_path.remove(_DebianFinder)


def _pythons(paths):
    """The versions of Python that compiled modules are for, by their names."""
    return (
        ', '.join(
            '%s.%s' % found
            for path in sorted(paths)
            for found in re.findall(r'\.cpython-(\d)(\d+)', os.path.basename(path))
        )
        or '?'
    )


def import_pygpu():
    """Import pygpu from the environment, or else Debian's package if that is for this version of Python."""
    version = '%d.%d' % sys.version_info[:2]
    try:
        with _debian():
            import pygpu.gpuarray
    except ModuleNotFoundError as error:
        built = glob.glob(os.path.join(DEBIAN_PACKAGES, 'pygpu', 'gpuarray.*.so'))
        if error.name == 'pygpu':
            raise Unavailable(f'pygpu is not installed ({INSTALL})')
        if error.name == 'pygpu.gpuarray' and built:
            raise Unavailable(
                f'the pygpu of the system is for Python {_pythons(built)}, and this is {version}; an '
                'environment made with '
                f'make PYTHON=python{_pythons(built).split(", ")[0]} can use it (docs/gpu.md says how '
                'to build one for another)'
            )
        raise Unavailable(f'pygpu needs the package {error.name}: pip install {error.name}')
    except (ImportError, RuntimeError, ValueError) as error:
        raise Unavailable(
            f'pygpu cannot be loaded: {_text(error)} (docs/gpu.md says how to build one for Python {version})'
        )
    if pygpu.gpuarray.api_version()[0] != 2:
        raise Unavailable(
            f'pygpu {pygpu.__version__} has another interface than that of 0.7, which Theano needs ({INSTALL})'
        )


def _check_headers():
    """Theano compiles against libgpuarray."""
    compiler = theano.config.cxx or 'g++'
    with tempfile.TemporaryDirectory() as folder:
        result = subprocess.run(
            [compiler, '-shared', '-fPIC', '-x', 'c++', '-', '-lgpuarray', '-o', os.path.join(folder, 'test.so')],
            input=b'#include <gpuarray/array.h>\n',
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    if result.returncode:
        raise Unavailable(f'the headers of libgpuarray are missing, or its library ({INSTALL})')


# ---------------------------------------------------------------------------------------------
# CUDA
# ---------------------------------------------------------------------------------------------


def _prepare_cuda(device, tf32):
    """Load the libraries of CUDA and see that the device is there; returns what to say about cuDNN."""
    load_cuda(tf32)
    driver = ctypes.CDLL('libcuda.so')
    count = ctypes.c_int()
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if status:
        raise Unavailable(
            f'CUDA cannot start: {CUDA_ERRORS.get(status, f"error {status} of the driver")} '
            '(nvidia-smi shows whether the driver works)'
        )
    if not count.value:
        raise Unavailable('CUDA sees no device (CUDA_VISIBLE_DEVICES hides them, if it is set)')
    number = int(device[len('cuda') :] or 0)
    if number >= count.value:
        raise Unavailable(
            'there is no such device; there is %s'
            % ', '.join(f'cuda{i} ({_cuda_name(driver, i)})' for i in range(count.value))
        )
    try:
        dnn.configure(tf32)
    except dnn.Unavailable as reason:
        print(f'warning: {reason}: convolutions go through cuBLAS, which is slower', file=sys.stderr)
        return ', without cuDNN'
    return ''


def _cuda_name(driver, number):
    handle, name = ctypes.c_int(), ctypes.create_string_buffer(100)
    failed = driver.cuDeviceGet(ctypes.byref(handle), number) or driver.cuDeviceGetName(name, 100, handle)
    return '?' if failed else name.value.decode(errors='replace')


def load_cuda(tf32=False):
    """Load the driver, cuBLAS and NVRTC so that ``dlopen`` finds them by the plain names that libgpuarray uses.

    Parameters
    ----------
    tf32 : bool
        See `use`.

    Raises
    ------
    Unavailable
        For the first one that is missing, or newer than the driver.
    """
    driver = _load('libcuda.so', ['libcuda.so.1'])
    if driver is None:
        raise Unavailable(
            'the NVIDIA driver is missing: there is no libcuda.so.1 (install the driver of the card; in '
            'a container, run it with --gpus all)'
        )
    version = ctypes.c_int()
    if driver.cuDriverGetVersion(ctypes.byref(version)) or not version.value:
        raise Unavailable('the NVIDIA driver does not say its version: it is not that of a card')
    version = version.value // 1000, version.value % 1000 // 10
    known = f'{version[0]}.{version[1]}'
    suffix = f'-cu{version[0]}' if version[0] < 13 else ''
    for name, package in (('libcublas.so', 'nvidia-cublas'), ('libnvrtc.so', 'nvidia-cuda-nvrtc')):
        candidates = _versions_of(name)
        # CUDA's libraries need a driver of at least their own major version.
        usable = [path for path in candidates if _major(path) <= version[0]]
        if _load(name, usable, tf32) is None:
            raise Unavailable(
                f'the driver is for CUDA {known}, and {name} is missing: pip install {package}{suffix}'
                if not candidates
                else f'{os.path.basename(candidates[0])} is for a newer CUDA than the driver, '
                f'{known}: pip install {package}{suffix}'
            )
    compiler = ctypes.c_int(), ctypes.c_int()
    if not ctypes.CDLL('libnvrtc.so').nvrtcVersion(*map(ctypes.byref, compiler)):
        found = compiler[0].value, compiler[1].value
        if found > version and found[0] == version[0]:
            raise Unavailable(
                f'the NVRTC of CUDA {found[0]}.{found[1]} makes code that the driver, of CUDA {known}, '
                f"does not know: pip install 'nvidia-cuda-nvrtc{suffix}=={known}.*'"
            )


def _versions_of(name):
    """Paths of a library of CUDA that is installed under versioned names, the likeliest first."""
    folders = [
        os.path.join(os.environ[root], sub)
        for root in ('CUDA_HOME', 'CUDA_PATH')
        if os.environ.get(root)
        for sub in ('lib64', 'lib')
    ]
    folders += [
        folder
        for path in sys.path
        for folder in sorted(glob.glob(os.path.join(glob.escape(path), 'nvidia', '*', 'lib')), reverse=True)
    ]
    folders += ['/usr/local/cuda/lib64', '/usr/lib/x86_64-linux-gnu', '/usr/lib/aarch64-linux-gnu', '/usr/lib64']
    return [
        path
        for folder in folders
        for path in sorted(glob.glob(os.path.join(glob.escape(folder), f'{name}.[0-9]*')), key=_major, reverse=True)
    ]


def _major(path):
    return int(re.search(r'\.so\.([0-9]+)', path).group(1))


def _load(name, candidates, tf32=False):
    """Load a library so that its plain name finds it; None if neither that name nor a candidate can be loaded."""
    tf32 = tf32 and name == 'libcublas.so'
    if not tf32:  # whose library has to be the first that gets the plain name
        with contextlib.suppress(OSError):
            return ctypes.CDLL(name)
    for path in candidates:
        with contextlib.suppress(OSError):
            ctypes.CDLL(path)
            path = path if os.path.isabs(path) else _path_of(path)
            return ctypes.CDLL(dnn.tf32_cublas(path) if tf32 else _alias(name, path))
    return None


def _path_of(name):
    """The path of a library that is loaded."""
    with open('/proc/self/maps') as file:
        paths = {line.split(None, 5)[5].strip() for line in file if len(line.split(None, 5)) == 6}
    # The name may be that of a symbolic link.
    stem = f'{name.partition(".so")[0]}.so'
    for path in sorted(paths):
        if os.path.basename(path).startswith(stem):
            return path
    raise OSError(f'{name} is not loaded')


def _alias(name, path):
    """An empty library called `name` that needs the one at `path`.

    The loader takes a library that is loaded for one that is asked for if their names, as noted in the
    library (SONAME), are the same; a symbolic link would not do, as it looks for files only where it did
    when the process began. Functions are looked up in what a library needs as well.
    """

    def make(work):
        folder = os.path.join(work, 'alias')
        os.mkdir(folder)
        compiler = shutil.which(theano.config.cxx or 'g++') or 'g++'
        result = subprocess.run(
            [
                compiler,
                '-shared',
                '-fPIC',
                '-nostdlib',
                '-x',
                'c++',
                os.devnull,
                '-x',
                'none',
                f'-Wl,-soname,{name}',
                '-Wl,--no-as-needed',
                '-Wl,--unresolved-symbols=ignore-all',
                path,
                '-o',
                os.path.join(folder, name),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        if result.returncode:
            raise Unavailable(f'{path} cannot be linked with: {_text(result.stderr[-200:])}')
        return folder

    return os.path.join(cache.build(f'cuda-{cache.key(name, path)}', make), name)


# ---------------------------------------------------------------------------------------------
# OpenCL
# ---------------------------------------------------------------------------------------------


def _prepare_opencl(device):
    """See that the device is there and that OpenCL has matrix products."""
    from pygpu import gpuarray

    try:
        there = [
            f'opencl{platform}:{number}'
            for platform in range(gpuarray.count_platforms('opencl'))
            for number in range(gpuarray.count_devices('opencl', platform))
        ]
    except gpuarray.GpuArrayException as error:
        raise Unavailable(f'OpenCL cannot start: {_text(error)} (install the OpenCL driver of the device)')
    if device not in there:
        raise Unavailable(
            'there is no such device; there is %s'
            % (', '.join(there) or 'none (install the OpenCL driver of the device)')
        )
    for name in ('libclblast.so', 'libclBLAS.so'):
        with contextlib.suppress(OSError):
            ctypes.CDLL(name)
            return ''
    raise Unavailable(f'OpenCL needs CLBlast, and there is no libclblast.so ({INSTALL})')
