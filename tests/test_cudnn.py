"""The way to cuDNN 8 and 9 and to TF32, on a stand-in of cuDNN and, where it is installed, on cuDNN itself.

No GPU is needed: what is tested is what gets compiled, linked and called. ``GOGH_CUDNN=site-packages/nvidia/cudnn``
names a cuDNN to test with.
"""

import ctypes
import os
import re
import shutil
import subprocess
import sys

import pytest

from backend.gpu import dnn
from conftest import ROOT

TESTS = os.path.join(ROOT, 'tests')
DEFAULT_MATH, TENSOR_OP_MATH, FMA_MATH = 0, 1, 3
NO_WORKSPACE, PREFER_FASTEST, LIMIT = 0, 1, 2

# What Theano's operations do with the header that they include, as functions for ctypes.
CALLS = """
#include <cudnn.h>
#define GET(name, Preference, Algo) \\
  extern "C" int get_##name(int preference, size_t limit) { \\
    Algo algo; \\
    cudnnStatus_t status = cudnnGetConvolution##name##Algorithm(0, 0, 0, 0, 0, (Preference)preference, limit, \\
                                                                &algo); \\
    return status == CUDNN_STATUS_SUCCESS ? (int)algo : -(int)status; \\
  }
GET(Forward, cudnnConvolutionFwdPreference_t, cudnnConvolutionFwdAlgo_t)
GET(BackwardFilter, cudnnConvolutionBwdFilterPreference_t, cudnnConvolutionBwdFilterAlgo_t)
GET(BackwardData, cudnnConvolutionBwdDataPreference_t, cudnnConvolutionBwdDataAlgo_t)

extern "C" int math_of_new_descriptor() {
  int math = -1, ones[2] = {1, 1};
  cudnnSetConvolutionNdDescriptor((cudnnConvolutionDescriptor_t)&math, 2, ones, ones, ones, CUDNN_CROSS_CORRELATION,
                                  CUDNN_DATA_FLOAT);
  return math;
}
extern "C" int math_set_to(int wanted) {
  int math = -1;
  cudnnSetConvolutionMathType((cudnnConvolutionDescriptor_t)&math, (cudnnMathType_t)wanted);
  return math;
}
"""


def build(*arguments):
    subprocess.run(['g++', '-shared', '-fPIC'] + list(arguments), check=True)


def build_standin(path, *options):
    """The stand-in of cuDNN 9.1.2, as a library."""
    build(f'-I{dnn.INCLUDE}', os.path.join(TESTS, 'cudnn_standin.cpp'), *options, '-o', str(path))


@pytest.fixture(scope='module')
def standin(tmp_path_factory):
    """A folder like that of pip's package, with the stand-in of cuDNN 9.1.2."""
    folder = tmp_path_factory.mktemp('cudnn')
    for name in ('include', 'lib'):
        (folder / name).mkdir()
    shutil.copy(os.path.join(TESTS, 'cudnn_standin.h'), str(folder / 'include' / 'cudnn.h'))
    build_standin(folder / 'lib' / 'libcudnn.so.9', '-Wl,-soname,libcudnn.so.9')
    return folder


@pytest.fixture(scope='module', params=[False, True], ids=['float32', 'tf32'])
def calls(request, standin, tmp_path_factory):
    """CALLS, compiled and linked as Theano does it."""
    tmp = tmp_path_factory.mktemp('calls')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(tmp))
        folder = dnn._write_folder(
            str(standin / 'include' / 'cudnn.h'), str(standin / 'lib' / 'libcudnn.so.9'), request.param
        )
    (tmp / 'calls.cpp').write_text(CALLS)
    build(
        f'-I{folder}',
        f'-I{dnn.INCLUDE}',
        str(tmp / 'calls.cpp'),
        f'-L{folder}',
        '-lcudnn',
        f'-Wl,-rpath,{standin / "lib"!s}',
        '-Wl,--no-undefined',
        '-o',
        str(tmp / 'calls.so'),
    )
    library = ctypes.CDLL(str(tmp / 'calls.so'))
    for name in ('Forward', 'BackwardFilter', 'BackwardData'):
        getattr(library, f'get_{name}').argtypes = [ctypes.c_int, ctypes.c_size_t]
    library.tf32 = request.param
    return library


@pytest.mark.parametrize(
    'preference, limit, choice',
    [
        (LIMIT, 5000, 2),  # not the fastest, which may give other bits each time
        (LIMIT, 100, 2),
        (LIMIT, 99, 3),  # what fits, deterministic or not
        (LIMIT, 0, 3),
        (NO_WORKSPACE, 5000, 3),
        (PREFER_FASTEST, 0, 2),
    ],
)
@pytest.mark.parametrize(
    'name, algorithms', [('Forward', [6, 4, 1, 0]), ('BackwardFilter', [3, 2, 1, 0]), ('BackwardData', [4, 2, 1, 0])]
)
def test_the_getters_choose_what_fits_and_is_deterministic(calls, name, algorithms, preference, limit, choice):
    assert getattr(calls, f'get_{name}')(preference, limit) == algorithms[choice]


def test_float32_is_float32_unless_tf32_was_asked_for(calls):
    expected = DEFAULT_MATH if calls.tf32 else FMA_MATH
    assert calls.math_of_new_descriptor() == expected  # by which the algorithm is chosen
    assert calls.math_set_to(DEFAULT_MATH) == expected  # before each convolution
    assert calls.math_set_to(TENSOR_OP_MATH) == TENSOR_OP_MATH  # for float16, which the user asked for


def test_the_folder_depends_on_the_library_and_on_tf32(standin, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    header, library = str(standin / 'include' / 'cudnn.h'), str(standin / 'lib' / 'libcudnn.so.9')
    folders = [dnn._write_folder(header, library, tf32) for tf32 in (False, True, False)]
    assert folders[0] == folders[2] != folders[1]
    assert dnn._write_folder(header, f'{library}.1.2', False) not in folders
    assert sorted(os.listdir(folders[0])) == ['cudnn.h', 'libcudnn.so']
    assert os.path.realpath(os.path.join(folders[0], 'libcudnn.so')) == os.path.realpath(library)


def test_find_takes_what_the_variable_names(standin, monkeypatch):
    monkeypatch.setenv('GOGH_CUDNN', str(standin))
    assert dnn.find() == (str(standin / 'include' / 'cudnn.h'), str(standin / 'lib' / 'libcudnn.so.9'))


def test_find_says_that_there_is_none_and_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv('GOGH_CUDNN', str(tmp_path))
    with pytest.raises(dnn.Unavailable, match=re.escape(f'no cuDNN in {tmp_path} (pip install nvidia-cudnn-cu12')):
        dnn.find()


@pytest.mark.parametrize(
    'of_header, of_library, message',
    [
        ((9, 1, 2), (9, 5, 0), r'include/cudnn.h is of cuDNN 9.1.2, and .*libcudnn.so of 9.5.0 \(reinstall'),
        ((8, 9, 7), (8, 9, 7), None),
        ((7, 6, 5), (7, 6, 5), None),
        ((9, 28, 1), (9, 28, 1), None),
        ((6, 0, 21), (6, 0, 21), r'cuDNN 6.0.21 in .* is not of a version that can be used, 7, 8, 9 \(pip install'),
        ((10, 0, 1), (10, 0, 1), r'cuDNN 10.0.1 in .* is not of a version that can be used'),
    ],
)
def test_find_checks_the_versions(of_header, of_library, message, tmp_path, monkeypatch):
    (tmp_path / 'include').mkdir()
    (tmp_path / 'lib64').mkdir()
    (tmp_path / 'include' / 'cudnn.h').write_text('#include "cudnn_version.h"\n')
    (tmp_path / 'include' / 'cudnn_version.h').write_text(
        '#define CUDNN_MAJOR %d\n#define CUDNN_MINOR %d\n#define CUDNN_PATCHLEVEL %d\n' % of_header
    )
    number = of_library[0] * (10000 if of_library[0] > 8 else 1000) + of_library[1] * 100 + of_library[2]
    (tmp_path / 'version.c').write_text(f'unsigned long cudnnGetVersion(void) {{ return {number}; }}\n')
    build('-x', 'c', str(tmp_path / 'version.c'), '-o', str(tmp_path / 'lib64' / 'libcudnn.so'))
    monkeypatch.setenv('GOGH_CUDNN', str(tmp_path))
    if message is None:
        assert dnn.find()[1] == str(tmp_path / 'lib64' / 'libcudnn.so')
    else:
        with pytest.raises(dnn.Unavailable, match=message):
            dnn.find()


def test_a_library_that_cannot_be_loaded_is_reported(standin, tmp_path, monkeypatch):
    shutil.copytree(str(standin / 'include'), str(tmp_path / 'include'))
    (tmp_path / 'lib').mkdir()
    (tmp_path / 'lib' / 'libcudnn.so.9').write_bytes(b'half a download')
    monkeypatch.setenv('GOGH_CUDNN', str(tmp_path))
    with pytest.raises(dnn.Unavailable, match='libcudnn.so.9 cannot be loaded: .*pip install'):
        dnn.find()


def need_pygpu():
    from backend.gpu import setup

    try:
        setup.import_pygpu()
    except setup.Unavailable as reason:
        pytest.skip(str(reason))


def run_operations(*arguments, **environment):
    need_pygpu()
    return subprocess.run(
        [sys.executable, os.path.join(TESTS, 'cudnn_ops.py')] + list(arguments),
        capture_output=True,
        text=True,
        env=dict(os.environ, **environment),
    )


def check_operations(result):
    assert result.returncode == 0, result.stderr[-3000:]
    for name in (
        'GpuDnnConv',
        'GpuDnnConvGradW',
        'GpuDnnConvGradI',
        'GpuDnnPool',
        'GpuDnnPoolGrad',
        'GpuDnnBatchNorm',
        'GpuDnnBatchNormInference',
        'GpuDnnBatchNormGrad',
        'GpuDnnSoftmax',
        'GpuDnnSoftmaxGrad',
        'GpuDnnReduction',
    ):
        assert re.search(f'^{name}{{', result.stdout, re.MULTILINE), name
    # The algorithm is asked for each time, as Theano's default would not.
    assert result.stdout.count("algo='guess_on_shape_change'") == 3


@pytest.mark.slow
def test_theanos_operations_build_against_the_standin(standin):
    result = run_operations(GOGH_CUDNN=str(standin))
    check_operations(result)
    assert result.stdout.startswith('cuDNN 90102 FMA\n')


@pytest.mark.slow
def test_theanos_operations_build_against_the_cudnn_that_is_installed():
    try:
        dnn.find()
    except dnn.Unavailable as reason:
        pytest.skip(str(reason))
    check_operations(run_operations('--tf32'))


def test_a_header_that_does_not_compile_is_reported(standin, tmp_path):
    shutil.copytree(str(standin / 'lib'), str(tmp_path / 'lib'))
    (tmp_path / 'include').mkdir()
    text = (standin / 'include' / 'cudnn.h').read_text()
    (tmp_path / 'include' / 'cudnn.h').write_text(f'{text}cudnnUnknown_t unknown;\n')
    result = run_operations(GOGH_CUDNN=str(tmp_path))
    assert result.returncode
    assert re.search(
        'Unavailable: Theano cannot use .*libcudnn.so.9: .* error: .cudnnUnknown_t. does not name a type', result.stderr
    )


HANDLE_OF_CUDNN = """
import contextlib, sys
sys.path.insert(0, sys.argv[1])
from backend.gpu import dnn, setup
setup.import_pygpu()
dnn.configure()
import theano.gpuarray.dnn
theano.gpuarray.dnn._make_handle(contextlib.ExitStack())
"""


def test_a_cudnn_that_does_not_start_is_reported(standin, tmp_path):
    need_pygpu()
    shutil.copytree(str(standin / 'include'), str(tmp_path / 'include'))
    (tmp_path / 'lib').mkdir()
    build_standin(tmp_path / 'lib' / 'libcudnn.so', '-DBODY={ return (cudnnStatus_t)1001; }')
    result = subprocess.run(
        [sys.executable, '-c', HANDLE_OF_CUDNN, ROOT],
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ, GOGH_CUDNN=str(tmp_path)),
    )
    assert re.search(
        r'RuntimeError: .*lib/libcudnn.so does not start on this card and driver: an error of the stand-in '
        r'\(pip install nvidia-cudnn-cu12, .*dnn.enabled=False',
        result.stderr,
    ), result.stderr


CUBLAS = """
extern "C" int cublasCreate_v2(int **handle) { *handle = new int(0); return 0; }
extern "C" int cublasSetMathMode(int *handle, int mode) { *handle = mode; return 0; }
extern "C" int cublasGetMathMode(int *handle, int *mode) { *mode = *handle; return 0; }
"""

# What libgpuarray does, and the question which mode its handle has.
HANDLE = """
import ctypes, sys
shim = ctypes.CDLL(sys.argv[1])
cublas = ctypes.CDLL('libcublas.so')
handle, mode = ctypes.c_void_p(), ctypes.c_int(-1)
assert not cublas.cublasCreate_v2(ctypes.byref(handle)) and not cublas.cublasGetMathMode(handle, ctypes.byref(mode))
print(mode.value)
"""


def test_tf32_is_set_on_the_handle_that_libgpuarray_gets(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    (tmp_path / 'cublas.cpp').write_text(CUBLAS)
    library = str(tmp_path / 'libcublas.so.12')
    build(str(tmp_path / 'cublas.cpp'), '-Wl,-soname,libcublas.so.12', '-o', library)
    shim = dnn.tf32_cublas(library)
    assert shim == dnn.tf32_cublas(library)
    result = subprocess.run([sys.executable, '-c', HANDLE, shim], stdout=subprocess.PIPE, text=True)
    assert result.stdout == '3\n'  # CUBLAS_TF32_TENSOR_OP_MATH


def test_a_cublas_that_cannot_be_linked_is_reported(tmp_path):
    (tmp_path / 'libcublas.so.12').write_bytes(b'half a download')
    with pytest.raises(dnn.Unavailable, match='cannot link with .*libcublas.so.12'):
        dnn.tf32_cublas(str(tmp_path / 'libcublas.so.12'))
