"""Lets Theano's cuDNN operations run on cuDNN 8 and 9, which Theano 1.0.5 does not know.

Theano takes the folders of cuDNN from flags and does the rest itself. `configure` gives it a folder with a cudnn.h
that puts back what later versions dropped (include/cudnn_compat.h) and with a libcudnn.so that leads to the real one.
"""

import ctypes
import glob
import os
import re
import subprocess
import sys
import sysconfig
import warnings

from backend import cache, theano

__all__ = ['Unavailable', 'find', 'configure', 'tf32_cublas']

INCLUDE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'include')
INSTALL = 'pip install nvidia-cudnn-cu12, or nvidia-cudnn-cu13 for CUDA 13'
VERSIONS = 7, 8, 9


class Unavailable(Exception):
    """cuDNN cannot be used here; the message says why."""


def _folders():
    """Where cuDNN may be installed, the likeliest place first."""
    if os.environ.get('GOGH_CUDNN'):
        return [os.environ['GOGH_CUDNN']]
    return (
        [os.path.join(path, 'nvidia', 'cudnn') for path in sys.path]
        + [os.environ[name] for name in ('CUDA_HOME', 'CUDA_PATH') if os.environ.get(name)]
        + [sys.prefix, '/usr/local/cuda', '/usr/local', '/usr']
    )


def find():
    """Find cuDNN: where ``GOGH_CUDNN`` says, among pip's packages, or where CUDA and the system keep theirs.

    Returns
    -------
    str, str
        The paths of cudnn.h and of the library.

    Raises
    ------
    Unavailable
        There is none, or its header is not of the library's version, or the version is not one of `VERSIONS`.
    """
    triplet = sysconfig.get_config_var('MULTIARCH') or ''
    for folder in _folders():
        headers = [os.path.join(folder, 'include', sub, 'cudnn.h') for sub in ('', triplet)]
        headers = [path for path in headers if os.path.exists(path)]
        libraries = [
            path
            for sub in ('lib', 'lib64', os.path.join('lib', triplet))
            for path in sorted(glob.glob(os.path.join(glob.escape(folder), sub, 'libcudnn.so*')))
        ]
        if headers and libraries:
            break
    else:
        raise Unavailable(f'no cuDNN in {os.environ.get("GOGH_CUDNN") or "the usual places"} ({INSTALL})')
    header, library = headers[0], libraries[0]
    of_header = _header_version(header)
    try:
        number = ctypes.CDLL(library).cudnnGetVersion()
    except (OSError, AttributeError) as error:
        raise Unavailable(f'{library} cannot be loaded: {error} ({INSTALL})')
    # The first digits' weight is 1000 up to cuDNN 8 and 10000 since.
    major, rest = divmod(number, 10000 if number >= 90000 else 1000)
    of_library = major, rest // 100, rest % 100
    if of_header != of_library:
        raise Unavailable(
            '%s is of cuDNN %d.%d.%d, and %s of %d.%d.%d (reinstall one of them: %s)'
            % ((header,) + of_header + (library,) + of_library + (INSTALL,))
        )
    if major not in VERSIONS:
        raise Unavailable(
            'cuDNN %d.%d.%d in %s is not of a version that can be used, %s (%s)'
            % (of_library + (library, ', '.join(map(str, VERSIONS)), INSTALL))
        )
    return header, library


def _header_version(header):
    """The version that a cudnn.h declares, itself or, since cuDNN 8, in a file beside it."""
    found = {}
    for path in (os.path.join(os.path.dirname(header), 'cudnn_version.h'), header):
        if os.path.exists(path):
            with open(path, errors='replace') as file:
                found.update(re.findall(r'^#define CUDNN_(MAJOR|MINOR|PATCHLEVEL) (\d+)', file.read(), re.MULTILINE))
    return tuple(int(found.get(part, 0)) for part in ('MAJOR', 'MINOR', 'PATCHLEVEL'))


def _read(path):
    with open(path, 'rb') as file:
        return file.read()


def _write_folder(header, library, tf32):
    """The folder that Theano takes for cuDNN's; its name stands for all that Theano's modules then depend on."""
    text = '#define GOGH_CUDNN "%s"\n#define GOGH_TF32 %d\n#include "%s"\n' % (
        header,
        tf32,
        os.path.join(INCLUDE, 'cudnn_compat.h'),
    )
    headers = [_read(path) for path in sorted(glob.glob(os.path.join(glob.escape(INCLUDE), '*.h')))]

    def make(work):
        path = os.path.join(work, 'cudnn')
        os.mkdir(path)
        with open(os.path.join(path, 'cudnn.h'), 'w') as file:
            file.write(text)
        os.symlink(library, os.path.join(path, 'libcudnn.so'))
        return path

    return cache.build(f'cudnn-{cache.key((text, library, _header_version(header)), *headers)}', make)


def configure(tf32=False):
    """Make Theano use cuDNN, on CUDA devices that are initialized after this.

    Imports ``theano.gpuarray``, which compiles and loads a first module against cuDNN; neither needs a GPU.
    ``THEANO_FLAGS`` with ``dnn.enabled=False`` keeps cuDNN out, and those of ``dnn.conv.*`` stand.

    Parameters
    ----------
    tf32 : bool
        Whether float32 convolutions may round their factors to TF32 (10 bits of mantissa), as cards since Ampere can,
        instead of computing in float32 throughout.

    Raises
    ------
    Unavailable
        cuDNN cannot be used; Theano goes on without it.
    """
    config = theano.config
    if config.dnn.enabled == 'False':
        return
    config.dnn.enabled, wanted = 'False', config.dnn.enabled
    header, library = find()
    path = _write_folder(header, library, tf32)
    config.dnn.include_path = config.dnn.library_path = config.dnn.bin_path = path
    config.cuda.include_path = INCLUDE
    # Theano's default algorithms were the safe ones of 2016. Those that cuDNN proposes depend on the shapes, which
    # photos may change from call to call.
    for name in ('algo_fwd', 'algo_bwd_data', 'algo_bwd_filter'):
        if f'dnn.conv.{name}' not in os.environ.get('THEANO_FLAGS', ''):
            setattr(config.dnn.conv, name, 'guess_on_shape_change')
    # From here the real library is the one with this name, with its own folder to look for its parts in.
    cudnn = ctypes.CDLL(library)
    config.dnn.enabled = wanted
    warnings.filterwarnings('ignore', 'Your cuDNN version is more recent')
    from theano.gpuarray import dnn

    if not dnn.dnn_present():
        config.dnn.enabled = 'False'
        # Theano quotes what the compiler said as Python shows bytes.
        message = str(dnn.dnn_present.msg).encode().decode('unicode_escape').encode('latin-1', 'replace')
        lines = message.decode(errors='replace').strip().splitlines()
        raise Unavailable(
            f'Theano cannot use {library}: {next((line for line in lines if " error: " in line), lines[-1])}'
        )

    def dnn_available(context_name):
        # Theano compares the last two digits of the architecture with 30: 20 for compute capability 12.0.
        available = dnn.dnn_present() and dnn.get_context(context_name).kind == b'cuda'
        dnn_available.msg = None if available else dnn.dnn_present.msg or 'not a CUDA device'
        return available

    def make_handle(context):
        handle = ctypes.c_void_p()
        with context:
            status = cudnn.cudnnCreate(ctypes.byref(handle))
        if status:
            cudnn.cudnnGetErrorString.restype = ctypes.c_char_p
            raise RuntimeError(
                f'{library} does not start on this card and driver: '
                f'{cudnn.cudnnGetErrorString(status).decode()} ({INSTALL}, or an older version of it; or '
                'THEANO_FLAGS=dnn.enabled=False to do without)'
            )
        return handle

    dnn_available.msg = None
    dnn.dnn_available, dnn._make_handle = dnn_available, make_handle


def tf32_cublas(library):
    """Build the library that makes the matrix products of libgpuarray use TF32.

    Parameters
    ----------
    library : str
        The path of the real cuBLAS.

    Returns
    -------
    str
        Its path. Loaded before the first CUDA device is initialized, it is what libgpuarray gets for libcublas.so.
    """
    source = os.path.join(os.path.dirname(INCLUDE), 'cublas_tf32.cpp')

    def make(work):
        built = os.path.join(work, 'libcublas.so')
        result = subprocess.run(
            [
                'g++',
                '-shared',
                '-fPIC',
                '-O1',
                '-o',
                built,
                source,
                '-Wl,-soname,libcublas.so',
                '-Wl,--no-as-needed',
                library,
                '-ldl',
                f'-Wl,-rpath,{os.path.dirname(library)}',
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if result.returncode:
            raise Unavailable(f'cannot link with {library}: {result.stdout.strip().splitlines()[-1]}')
        return built

    return cache.build(f'cublas_tf32-{cache.key(_read(source), library)}.so', make, sealed=True)
