"""Builds, loads and calls the native library of the oneDNN backend.

The C++ sources beside this file are compiled once by g++ for the processor at hand, into one
shared library in the cache; its name carries a hash of all that went into it. Python calls it
through ctypes, which lets go of the interpreter lock.
"""

import ctypes
import os
import platform
import re
import shutil
import subprocess
import sys

import numpy

from backend import cache

__all__ = ['Unavailable', 'load', 'call', 'empty', 'trim']

SOURCES = [
    'memory.cpp',
    'blocked.cpp',
    'norm.cpp',
    'winograd.cpp',
    'winograd_weights.cpp',
    'direct.cpp',
    'direct_weights.cpp',
    'conv.cpp',
    'losses.cpp',
    'adam.cpp',
]
# With oneDNN, and without; see conv.cpp.
WITH, WITHOUT = 'primitives.cpp', 'portable.cpp'
FLAGS = [
    '-O3',
    '-march=native',
    '-std=c++14',
    '-fPIC',
    '-fopenmp',
    '-ffp-contract=fast',
    '-fno-math-errno',
    '-Wno-psabi',
]
VERSION = (3, 2)  # of oneDNN

_library = None
# For each function of the library what its arrays are of, None where a parameter is no array.
_arrays = {}


class Unavailable(Exception):
    """The backend cannot run here; the message says why."""


def _find_onednn():
    """The folders of oneDNN's headers and of its library, as pip installs them."""
    include, lib = os.path.join(sys.prefix, 'include'), os.path.join(sys.prefix, 'lib')
    header = os.path.join(include, 'oneapi', 'dnnl', 'dnnl_version.h')
    if not os.path.exists(header):
        header = os.path.join(include, 'dnnl_version.h')
    if not (os.path.exists(os.path.join(include, 'dnnl.hpp')) and os.path.exists(header)):
        raise Unavailable('oneDNN is not installed (pip install onednn-devel-cpu-gomp==2023.2.0)')
    for name in (f'libdnnl.so.{VERSION[0]}', 'libdnnl.so'):
        if os.path.exists(os.path.join(lib, name)):
            break
    else:
        raise Unavailable(f'the headers of oneDNN are in {include}, but its library is not in {lib}')
    with open(header) as f:
        words = [line.split() for line in f if line.startswith('#define DNNL_VERSION_M')]
    version = tuple(int({w[1]: w[2] for w in words}[f'DNNL_VERSION_{part}']) for part in ('MAJOR', 'MINOR'))
    if version[0] != VERSION[0] or version < VERSION:
        raise Unavailable('oneDNN is of version %d.%d, and this needs %d.%d' % (version + VERSION))
    return include, lib, name, version


def _processor():
    """What the compiler's -march=native may depend on."""
    try:
        with open('/proc/cpuinfo') as f:
            lines = [line for line in f if line.startswith(('model name', 'flags'))]
        return ''.join(lines[:2])
    except OSError:
        return platform.processor()


def with_onednn():
    """Whether oneDNN serves here: its wheels are for Linux on x86-64."""
    return platform.machine() == 'x86_64'


def _path():
    """The path of the shared library, compiled unless it is in the cache already."""
    if platform.system() != 'Linux' or platform.machine() not in ('x86_64', 'aarch64'):
        raise Unavailable(
            f'the library is for Linux on x86-64 and on 64-bit Arm, and this is {platform.system()} on '
            f'{platform.machine()}'
        )
    if with_onednn():
        include, lib, dnnl, version = _find_onednn()
        sources, flags, link = SOURCES + [WITH], [f'-I{include}'], [f'-L{lib}', f'-l:{dnnl}', f'-Wl,-rpath,{lib}']
    else:
        sources, flags, link, version = SOURCES + [WITHOUT], [], [], None
    compiler = shutil.which(os.environ.get('CXX', 'g++'))
    if not compiler:
        raise Unavailable(f'{os.environ.get("CXX", "g++")} is not on the PATH')
    here = os.path.dirname(os.path.abspath(__file__))
    texts = []
    for name in ['common.h', 'exports.h', 'winograd.h'] + sources:
        with open(os.path.join(here, name), 'rb') as f:
            texts.append(f.read())
    name = f'onednn-{cache.key((FLAGS, flags, link, version, compiler, _processor()), *texts)}.so'
    return cache.build(name, lambda work: _compile(compiler, here, sources, flags, link, work), sealed=True)


def _compile(compiler, here, sources, flags, link, work):
    """Compile the sources side by side and link them into work/library.so, whose path it returns."""
    objects = [os.path.join(work, f'{name}.o') for name in sources]
    commands = [
        [compiler] + FLAGS + flags + ['-c', os.path.join(here, name), '-o', target]
        for name, target in zip(sources, objects)
    ]
    library = os.path.join(work, 'library.so')
    link = [compiler, '-shared', '-fopenmp', '-o', library] + objects + link
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for command in commands]
    outputs = [process.communicate()[0] for process in running]
    failed = [output for process, output in zip(running, outputs) if process.returncode]
    if not failed:
        result = subprocess.run(link, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        failed = [result.stdout] if result.returncode else []
    if failed:
        lines = failed[0].decode(errors='replace').strip().splitlines() or ['no message']
        error = next((line for line in lines if 'error' in line.lower()), lines[-1])
        raise Unavailable(f'the native library does not compile: {error}')
    return library


# By the C type, without const: what ctypes takes, or the type of an array's elements.
TYPES = {
    'i64': ctypes.c_int64,
    'double': ctypes.c_double,
    'void *': ctypes.c_void_p,
    'float *': 'float32',
    'i64 *': 'int64',
    'Shape *': 'int64',
    'float **': 'uint64',
}
RESULTS = {
    'int': ctypes.c_int,
    'void': None,
    'char *': ctypes.c_char_p,
    'i64': ctypes.c_int64,
    'void *': ctypes.c_void_p,
}


def signatures():
    """The functions of exports.h: {name: (result, [parameter, ...])}, by `RESULTS` and `TYPES`."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'exports.h')) as file:
        text = re.sub(r'//.*', '', file.read()).replace('const ', '')
    found = {}
    for result, name, parameters in re.findall(r'(\w+ \*?)(gogh_\w+)\(([^)]*)\);', text):
        kinds = [re.sub(r'\w+$', '', parameter.strip()).strip() for parameter in parameters.split(',') if parameter]
        found[name] = RESULTS[result.strip()], [TYPES[kind] for kind in kinds]
    return found


def load():
    """Load the library, compiling it into the cache if need be.

    Raises
    ------
    Unavailable
        oneDNN, the compiler or the platform is missing.
    """
    global _library
    if _library is not None:
        return
    # The threads of GNU OpenMP, which read this when they are loaded, wait for each other busily for milliseconds.
    # Where other programs want the processor too, that keeps them from the very threads that they wait for: a short
    # wait made stylizing up to three times as fast there, and no slower where nothing else ran.
    if 'OMP_WAIT_POLICY' not in os.environ:
        os.environ.setdefault('GOMP_SPINCOUNT', '1000')
    try:
        library = ctypes.CDLL(_path())
    except OSError as e:
        raise Unavailable(f'the native library cannot be loaded: {e}')
    for name, (result, parameters) in signatures().items():
        try:
            function = getattr(library, name)
        except AttributeError:
            if with_onednn():
                raise Unavailable(f'the native library lacks {name}')
            continue
        function.restype = result
        function.argtypes = [ctypes.c_void_p if isinstance(kind, str) else kind for kind in parameters]
        _arrays[name] = [kind if isinstance(kind, str) else None for kind in parameters]
    _library = library


def block():
    """Channels in the innermost dimension of a blocked tensor: 8, or 16 with AVX-512."""
    return _library.gogh_block()


def has_bf16():
    """Whether the processor multiplies in bfloat16 (AVX512-BF16); without, it is imitated, at a loss of time."""
    return bool(_library.gogh_has_bf16())


def call(name, *arguments):
    """Call a function of the library with arrays, integers, floats or None (a null pointer).

    Raises
    ------
    MemoryError
        If it runs out of memory.
    TypeError
        If the arguments are not those of its signature in exports.h.
    ValueError
        If it refuses its arguments.
    """
    kinds = _arrays[name]
    if len(arguments) != len(kinds):
        raise TypeError(f'{name} takes {len(kinds)} arguments, not {len(arguments)}')
    values = []
    for value, kind in zip(arguments, kinds):
        if isinstance(value, numpy.ndarray):
            if value.dtype != kind:
                raise TypeError(f'{name} takes an array of {kind or "none"}, not of {value.dtype}')
            value = value.ctypes.data
        elif kind and value is not None:
            raise TypeError(f'{name} takes an array of {kind}, not {value!r}')
        values.append(value)
    status = getattr(_library, name)(*values)
    if status == 2:
        raise MemoryError(f'{name} ran out of memory')
    if status:
        raise ValueError(f'{name}: {_library.gogh_error().decode(errors="replace")}')


class _Buffer:
    """Memory of the library's pool, which has it back when the last array on it is gone."""

    def __init__(self, shape):
        size = 4
        for n in shape:
            size *= int(n)
        self.pointer = _library.gogh_take(size) if size < 1 << 62 else None
        if not self.pointer:
            raise MemoryError('no memory for a tensor of shape %s (%d MB)' % (tuple(shape), size >> 20))
        self.give = _library.gogh_give  # at exit this module's names go first
        self.__array_interface__ = {
            'data': (self.pointer, False),
            'shape': tuple(int(n) for n in shape),
            'typestr': '<f4',
            'version': 3,
        }

    def __del__(self):
        if getattr(self, 'pointer', None):
            self.give(self.pointer)


def empty(*shape):
    """An uninitialized float32 array from the library's pool."""
    return numpy.asarray(_Buffer(shape))


def trim():
    """Return the memory that the pool holds but does not use."""
    _library.gogh_trim()


def loaded():
    """Whether the library is there to be called."""
    return _library is not None


def memory():
    """Bytes that the pool has from the system, and bytes of them in use."""
    return _library.gogh_mapped(), _library.gogh_in_use()
