"""What newer Pythons and numpys have dropped is there for Theano, and for nobody else."""

import ast
import glob
import os
import subprocess
import sys
import sysconfig
import warnings

import numpy
import pytest

import environment
from backend import T, compat, theano
from conftest import ROOT
from support.processes import python

import install


# ---------------------------------------------------------------------------------------------
# What Theano sees, and what others see
# ---------------------------------------------------------------------------------------------

ALIASES = 'np', 'numpy'


def test_every_name_that_theano_takes_from_numpy_is_there():
    missing = set()
    for name, module in sorted(sys.modules.items()):
        if name.split('.')[0] in ('theano', 'lasagne') and '.tests' not in name and getattr(module, '__file__', None):
            with open(module.__file__, encoding='utf-8') as f, warnings.catch_warnings():
                warnings.simplefilter('ignore')
                tree = ast.parse(f.read())
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ALIASES:
                    if not hasattr(vars(module).get(node.value.id, theano.tensor.basic.np), node.attr):
                        missing.add(node.attr)
    assert missing <= {'getbuffer'}  # of Python 2


LEFT_BEHIND = """if True:
    import sys, numpy, scipy, h5py, PIL
    def look():
        lent = {'distutils', 'imp', 'pkg_resources', 'numpy.distutils', 'numpy.linalg.linalg'}
        lent |= {'scipy.stats', 'scipy.signal'}
        return {name for name in sys.modules if name in lent and getattr(sys.modules[name], '__file__', None) is None}
    names = ['product', 'cast', 'sctype2char', 'MAXDIMS', 'ComplexWarning', 'complex', 'bool', 'distutils', 'core']
    before = {name: vars(numpy).get(name) for name in names}
    import backend.theano_setup
    assert look() == set(), look()
    for name, value in before.items():
        after = vars(numpy).get(name)
        assert after is value or getattr(after, '__file__', None), name     # a module of numpy's own
"""


def test_what_is_not_imported_with_theano_is_found_when_it_is_used():
    from scipy.stats import chi2

    x, degrees = T.dscalar(), T.dscalar()
    assert abs(theano.function([x, degrees], T.chi2sf(x, degrees))(2, 3) - chi2.sf(2, 3)) < 1e-6


def test_nothing_that_was_lent_is_left_behind():
    result = python(LEFT_BEHIND)
    assert result.returncode == 0, result.stderr


def test_modules_that_were_there_before_come_back():
    before = {name: sys.modules.get(name) for name in ('distutils', 'imp', 'pkg_resources', 'numpy.distutils')}
    with pytest.raises(KeyError), compat.lend():
        raise KeyError
    assert {name: sys.modules.get(name) for name in before} == before


def test_the_stand_ins_answer_as_distutils_does():
    distutils = pytest.importorskip('distutils.sysconfig')
    if sys.version_info >= (3, 12):
        pytest.skip('Python has no distutils to compare with')
    for options in {}, {'plat_specific': True}:
        assert compat._python_include(**options) == distutils.get_python_inc(**options)
    library = compat._python_library(plat_specific=True, standard_lib=True)
    assert os.path.basename(library) == os.path.basename(
        distutils.get_python_lib(plat_specific=True, standard_lib=True)
    )


def test_the_compilers_flags_of_a_user_come_on_top_of_ours():
    code = 'from backend import theano; print(theano.config.gcc.cxxflags); print(theano.config.openmp)'
    ours = python(code, THEANO_FLAGS='').stdout.splitlines()[0]
    flags = 'gcc.cxxflags="-O1 -g",openmp=True'
    both = [' '.join(f'{ours} -O1 -g'.split()), 'True']
    assert python(code, THEANO_FLAGS=flags).stdout.splitlines() == both
    # A process that this one starts inherits the flags as they are then.
    child = (
        'import backend.theano_setup, subprocess, sys; sys.exit(subprocess.call([sys.executable, "-c", sys.argv[1]]))'
    )
    assert python(child, code, THEANO_FLAGS=flags).stdout.splitlines() == both


# ---------------------------------------------------------------------------------------------
# Types: what numpy 1.23 gives, which all of Theano's rewrites count on
# ---------------------------------------------------------------------------------------------

CONSTANTS = [
    (0, 'int8'),
    (127, 'int8'),
    (128, 'int16'),
    (255, 'int16'),
    (256, 'int16'),
    (-128, 'int8'),
    (-129, 'int16'),
    (32767, 'int16'),
    (32768, 'int32'),
    (65535, 'int32'),
    (2**31 - 1, 'int32'),
    (2**31, 'int64'),
    (-(2**31) - 1, 'int64'),
    (2**63 - 1, 'int64'),
    (2**63, 'uint64'),
    (2**64 - 1, 'uint64'),
    (True, 'int8'),
    (0.5, 'float32'),
    (1e300, 'float32'),
    (numpy.float64(2), 'float64'),
    (numpy.uint8(3), 'uint8'),
    (numpy.arange(3), 'int64'),
    (numpy.zeros(2, 'float32'), 'float32'),
    ([1, 300], 'int64'),
    ([0.5, 1], 'float64'),
    (numpy.bool_(True), 'bool'),
]


@pytest.mark.parametrize('value, dtype', CONSTANTS)
def test_constants_have_the_types_of_numpy_1(value, dtype):
    with numpy.errstate(over='ignore'):
        constant = T.constant(value)
    assert constant.dtype == dtype
    numpy.testing.assert_array_equal(constant.data, numpy.asarray(value).astype(dtype))


def test_integers_beyond_64_bits_are_refused():
    with pytest.raises(OverflowError):
        T.constant(2**64)


@pytest.mark.parametrize('number', [2, 255, -300, 30000, 123.68, 0.5, numpy.float32(3)])
def test_numbers_leave_float32_as_it_is(number):
    x = T.fmatrix()
    for result in (
        number * x,
        x + number,
        x - number,
        number - x,
        x / number,
        T.maximum(x, number),
        T.sqr(x) * number,
        T.switch(x > number, x, number),
        T.clip(x, 0, 255) * number,
        T.grad((number * x).sum(), x),
    ):
        assert result.dtype == 'float32'


@pytest.mark.parametrize(
    'number, dtype, expected',
    [
        (300, 'int8', 44),
        (-1, 'uint8', 255),
        (2**31, 'int32', -(2**31)),
        (255, 'int8', -1),
        (40000, 'int16', -25536),
        (7, 'bool', 1),
    ],
)
def test_casts_wrap_as_those_of_c(compile, number, dtype, expected):
    x = T.lscalar()
    assert compile([x], T.cast(x, dtype))(number) == expected
    assert compile([], T.cast(T.constant(number, dtype='int64'), dtype))() == expected
    assert theano.scalar.basic.Cast(theano.scalar.get_scalar_type(dtype)).impl(number) == expected
    assert theano._asarray(number, dtype=dtype) == expected and theano._asarray(number, dtype=dtype).dtype == dtype


@pytest.mark.parametrize(
    'dtypes, expected',
    [
        (('int8', 'int8'), 'int8'),
        (('int8', 'uint8'), 'int16'),
        (('int64', 'float32'), 'float64'),
        (('int16', 'float32'), 'float32'),
        (('int32', 'float32'), 'float64'),
        (('float32', 'float64'), 'float64'),
    ],
)
def test_types_are_joined_as_by_numpy_1(compile, dtypes, expected):
    x, y = (T.TensorType(dtype, (False,))() for dtype in dtypes)
    assert (x * y).dtype == expected
    assert compile([x, y], x * y)(numpy.ones(2, dtypes[0]), numpy.ones(2, dtypes[1])).dtype == expected


# ---------------------------------------------------------------------------------------------
# C code, with the headers of this numpy
# ---------------------------------------------------------------------------------------------


def test_c_code_reduces_over_all_axes(compile_c, generator):
    x = T.fmatrix()
    image = generator.randn(3, 4).astype('float32')
    largest, where = compile_c([x], T.max_and_argmax(x, axis=None))(image)
    assert largest == image.max() and where == image.argmax()
    numpy.testing.assert_allclose(compile_c([x], T.cumsum(x))(image), image.cumsum(), rtol=1e-6)
    numpy.testing.assert_array_equal(compile_c([x], T.max_and_argmax(x, axis=1)[1])(image), image.argmax(axis=1))


def test_rows_that_are_named_twice_are_added_to_twice(compile_c):
    x, rows = T.fmatrix(), T.lvector()
    function = compile_c([x, rows], T.inc_subtensor(T.zeros((3, 2), 'float32')[rows], x))
    numpy.testing.assert_array_equal(function(numpy.ones((3, 2), 'float32'), [0, 2, 0]), [[2, 2], [0, 0], [1, 1]])


def test_c_code_sees_integers_shapes_and_slices(compile_c, generator):
    x, n = T.ftensor4(), T.lscalar()
    image = generator.randn(2, 3, 5, 4).astype('float32')
    function = compile_c([x, n], [x[:, :, ::-1, 1:n].sum(), x.reshape((x.shape[0], -1)).shape[1], T.arange(n)])
    total, columns, numbers = function(image, 3)
    numpy.testing.assert_allclose(total, image[:, :, ::-1, 1:3].sum(), rtol=1e-4)
    assert columns == 60 and list(numbers) == [0, 1, 2]


# ---------------------------------------------------------------------------------------------
# Environments in which something is missing or wrong
# ---------------------------------------------------------------------------------------------


def in_front(folder, files):
    """Files of Python in a folder, by their names; the environment with which they are found before all others."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return {'PYTHONPATH': str(folder)}


def error_of(code='import environment; from backend import theano', *arguments, **environment):
    result = python(code, *arguments, **environment)
    lines = result.stderr.splitlines()
    assert result.returncode == 1 and len(lines) == 1 and lines[0].startswith('error: '), result.stderr
    assert lines[0].endswith(f'{sys.executable} {os.path.join(ROOT, "install.py")} installs what is needed')
    return lines[0]


@pytest.mark.parametrize(
    'module, package',
    [
        ('theano', 'Theano'),
        ('lasagne', 'Lasagne'),
        ('numpy', 'numpy'),
        ('h5py', 'h5py'),
        ('PIL', 'pillow'),
        ('matplotlib', 'matplotlib'),
        ('scipy', 'scipy'),
    ],
)
def test_a_missing_package_is_named(module, package):
    code = """if True:
        import sys
        class Missing:
            @staticmethod
            def find_spec(name, path=None, target=None):
                if name.split('.')[0] == %r:
                    raise ModuleNotFoundError('No module named %%r' %% name, name=name)
        import importlib.util
        find = importlib.util.find_spec
        importlib.util.find_spec = lambda name: None if name == %r else find(name)
        sys.meta_path.insert(0, Missing)
        import environment
    """ % (module, module)
    assert error_of(code).startswith(f'error: {package} is not installed; ')


def test_another_theano_is_named_with_its_place(tmp_path):
    place = str(tmp_path / 'pytensor')
    message = error_of(**in_front(tmp_path / 'pytensor', {'theano.py': 'from pytensor import *'}))
    assert f'the package theano in {place} is something else, and not Theano 1.0.5' in message
    pymc = {'theano/__init__.py': 'raise ValueError', 'theano/_version.py': 'version_json = \'{"version": "1.1.2"}\''}
    assert 'is 1.1.2, and not Theano 1.0.5' in error_of(**in_front(tmp_path / 'pymc', pymc))


def test_a_package_for_another_numpy_is_named_with_both_versions(tmp_path):
    page = "import sys\nsys.stderr.write('A module that was compiled using NumPy 1.x\\ncannot be run ...\\n')\n"
    page += "raise ValueError('numpy.dtype size changed, may indicate binary incompatibility')"
    message = error_of(**in_front(tmp_path, {'h5py.py': page}))
    assert 'h5py ' in message and f'does not work with numpy {numpy.__version__}: numpy.dtype size changed' in message
    scipy = {'scipy/__init__.py': '', 'scipy/linalg.py': page.replace('NumPy 1.x', 'NumPy 2.x')}
    assert 'scipy ' in error_of(**in_front(tmp_path / 'second', scipy))


def test_the_scripts_name_what_is_missing(fails, tmp_path):
    environment = in_front(tmp_path, {'numpy.py': "raise ModuleNotFoundError('No module named numpy', name='numpy')"})
    for script in 'train.py', 'stylize.py', 'optimize.py', 'evaluate.py', 'figures.py':
        assert fails(script, '--help', **environment).startswith('error: numpy is not installed')


def test_older_pythons_are_refused_and_newer_ones_warned_of(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'version_info', (3, 7, 16))
    with pytest.raises(SystemExit, match='error: gogh-figure runs on Python 3.8 and newer, and this is Python 3.7'):
        environment._check()
    monkeypatch.setattr(sys, 'version_info', (3, 99, 0))
    environment._check()
    assert capsys.readouterr().err == 'warning: this is Python 3.99, and gogh-figure has been tried on 3.8 to 3.14\n'


# ---------------------------------------------------------------------------------------------
# Installing
# ---------------------------------------------------------------------------------------------


def test_installing_gives_theanos_set_up_what_it_misses_and_takes_it_back(monkeypatch, tmp_path):
    monkeypatch.setattr(sysconfig, 'get_path', lambda name: str(tmp_path))
    monkeypatch.setattr(sys, 'version_info', (3, 13, 0))

    def pip(command):
        assert command[1:4] == ['-m', 'pip', 'install'] and command[-1] == f'{ROOT}[test]'
        (path,) = glob.glob(str(tmp_path / '*.pth'))
        with open(path) as f:
            (line,) = f
        # What the set-up of Theano does with it.
        code = line + (
            'import configparser, io; parser = configparser.SafeConfigParser()\n'
            'parser.readfp(io.StringIO("[a]\\nb = c")); assert parser.get("a", "b") == "c"'
        )
        assert python(f'import warnings; warnings.simplefilter("ignore")\n{code}').returncode == 0
        return 7

    monkeypatch.setattr(subprocess, 'call', pip)
    assert install.main(['test']) == 7
    assert not os.listdir(str(tmp_path))


def test_installing_where_nothing_can_be_written_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(sysconfig, 'get_path', lambda name: str(tmp_path / 'missing'))
    monkeypatch.setattr(sys, 'version_info', (3, 13, 0))
    with pytest.raises(SystemExit, match='^error: .*missing.*make a virtual environment'):
        install.main([])
