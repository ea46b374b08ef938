"""What Theano 1.0.5 and Lasagne 0.1 take for granted, and newer Pythons and numpys have dropped.

Both stopped when Python was at 3.9 and numpy at 1.20. Nothing of theirs is changed on the disk. What their modules
import is lent to them while they are imported (`lend`); the names of numpy that they use stay theirs, in a copy of
numpy's namespace that nobody else sees; what numpy 2 does otherwise than numpy 1, and what its C interface lacks, is
made good in the loaded package (`mend`). Each entry says which version needs it, or what it spares; on the versions
that Theano was written for nothing is mended.
"""

import contextlib
import shutil
import sys
import sysconfig
import types
import warnings
from importlib import metadata

import numpy

__all__ = ['NUMPY', 'lend', 'mend', 'compiler_flags']

NUMPY = tuple(int(part) for part in numpy.__version__.split('.')[:2])


# ---------------------------------------------------------------------------------------------
# Modules and names
# ---------------------------------------------------------------------------------------------


def _modules():
    """Stand-ins for the modules that Theano and Lasagne import and that are gone: each with what they use of it."""
    modules = {}

    def module(name, **contents):
        modules[name] = types.ModuleType(name)
        vars(modules[name]).update(contents)
        parent, _, child = name.rpartition('.')
        if parent in modules:
            setattr(modules[parent], child, modules[name])

    # Python 3.12 dropped distutils and imp. Those of setuptools, which stand in for Python's where setuptools is
    # installed, would do, but take longer; the distutils of older numpys needs the whole of them.
    if NUMPY >= (1, 26):
        module('distutils')
        module('distutils.spawn', find_executable=shutil.which)
        module(
            'distutils.sysconfig',
            get_config_var=sysconfig.get_config_var,
            get_python_inc=_python_include,
            get_python_lib=_python_library,
            get_python_version=sysconfig.get_python_version,
        )
    if sys.version_info >= (3, 12):
        module('imp')  # a debugging aid of Theano's imports it, and uses it when it is called
    # setuptools dropped pkg_resources in version 82; before, it complains of being imported, and takes long.
    module('pkg_resources', DistributionNotFound=metadata.PackageNotFoundError, get_distribution=_distribution)
    # numpy 1.26 has numpy.distutils below Python 3.12 only, and there without the configuration of BLAS.
    if NUMPY >= (1, 26):
        module('numpy.distutils')
        module('numpy.distutils.__config__', blas_opt_info={})
        module('numpy.distutils.misc_util', get_numpy_include_dirs=lambda: [numpy.get_include()])
    # No version lacks these, but they take two fifths of Theano's import: the one for an operation that finds it when
    # it is used, the other for names that it has not had since scipy 1.8.
    module('scipy.stats')
    module('scipy.signal')
    # numpy 2.0 renamed it.
    if NUMPY >= (2, 0):
        module('numpy.linalg.linalg', LinAlgError=numpy.linalg.LinAlgError)
    return modules


def _python_include(plat_specific=False):
    return sysconfig.get_path('platinclude' if plat_specific else 'include')


def _python_library(plat_specific=False, standard_lib=False):
    return sysconfig.get_path('platstdlib' if standard_lib else 'platlib')


def _distribution(name):
    return types.SimpleNamespace(version=metadata.version(name))


class _Casts:
    """numpy.cast: ``cast['int8'](x)`` is x in that type."""

    def __getitem__(self, dtype):
        return lambda x: numpy.asarray(x).astype(dtype)


def _names():
    """The names that Theano uses of numpy and that are gone."""
    names = {}
    # numpy 1.24 dropped the names of Python's own types.
    names.update(bool=bool, complex=complex)
    # numpy 2.0 dropped these, or moved them. Theano passes MAXDIMS to C code for "all axes", and numpy 2's number for
    # that is another.
    if NUMPY >= (2, 0):
        names.update(
            product=numpy.prod,
            cast=_Casts(),
            sctype2char=lambda dtype: numpy.dtype(dtype).char,
            ComplexWarning=numpy.exceptions.ComplexWarning,
            core=numpy._core,
            MAXDIMS=-(2**31),
        )
    return {name: value for name, value in names.items() if name not in vars(numpy)}


@contextlib.contextmanager
def lend():
    """Within this context modules of Theano and Lasagne can be imported.

    Afterwards ``sys.modules`` and numpy are as they were, and the imported modules see numpy with the names that they
    need.
    """
    modules, names = _modules(), _names()
    if 'numpy.distutils' in modules:
        names['distutils'] = modules['numpy.distutils']
    if not modules and not names:
        yield
        return
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    for name, value in names.items():
        setattr(numpy, name, value)
    try:
        with warnings.catch_warnings():
            # Python 3.12 complains of their strings when it compiles them, which it does each time if it cannot save.
            warnings.simplefilter('ignore', SyntaxWarning)
            yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
        for name, value in names.items():
            if vars(numpy).get(name) is value:
                delattr(numpy, name)
        _keep(names)


def _keep(names):
    """Leave what was lent to the modules that have been imported: in a numpy of their own."""
    theirs = types.ModuleType('numpy')
    vars(theirs).update(vars(numpy), **names)
    vars(theirs)['__getattr__'] = lambda name: getattr(numpy, name)
    for name, module in list(sys.modules.items()):
        if name.split('.')[0] in ('theano', 'lasagne'):
            for alias in 'np', 'numpy':
                if vars(module).get(alias) is numpy:
                    setattr(module, alias, theirs)


# ---------------------------------------------------------------------------------------------
# What numpy 2 does otherwise
# ---------------------------------------------------------------------------------------------


def compiler_flags():
    """What the compiler of Theano's C code must be told about numpy's headers, as a list."""
    flags = []
    # numpy 2.0: without it the headers keep to numpy 1's interface, which lacks NPY_RAVEL_AXIS.
    if NUMPY >= (2, 0):
        flags += ['-DNPY_TARGET_VERSION=NPY_2_0_API_VERSION']
    # numpy 2.1 no longer defines what spelled Python 2's and 3's integers alike.
    if NUMPY >= (2, 1):
        flags += ['-DNPY_PY3K=1'] + [f'-DPyInt_{name}=PyLong_{name}' for name in ('Check', 'AsLong', 'FromLong')]
    return flags


def mend(theano):
    """Make good in the imported package what numpy 2 does otherwise."""
    if NUMPY < (2, 0):
        return
    from theano.gof.cmodule import GCC_compiler
    from theano.scalar.basic import Cast
    from theano.tensor.subtensor import AdvancedIncSubtensor1

    # Integers that do not fit: numpy 1 wraps, numpy 2 raises. Theano tries the integer types from the narrowest on and
    # takes the first that returns the number, so 255 would end as uint64, and 255 * x of a float32 x as float64.
    asarray, cast = theano._asarray, Cast.impl

    def wrapping_asarray(a, dtype, order=None):
        try:
            return asarray(a, dtype, order)
        except OverflowError:
            integers = numpy.asarray(a, order=order)
            if integers.dtype.kind != 'i':  # beyond int64 numpy 1 raises as well
                raise
            return integers.astype(dtype)

    def wrapping_cast(self, input):
        try:
            return cast(self, input)
        except OverflowError:
            return numpy.asarray(input).astype(self.o_type.dtype)[()]

    theano._asarray, Cast.impl = wrapping_asarray, wrapping_cast

    # "All axes" is another number in numpy 2, which calls its old name the number of dimensions and nothing else.
    compile_str = GCC_compiler.compile_str

    def compile_for_numpy_2(module_name, src_code, *args, **options):
        return compile_str(module_name, src_code.replace('NPY_MAXDIMS', 'NPY_RAVEL_AXIS'), *args, **options)

    GCC_compiler.compile_str = staticmethod(compile_for_numpy_2)

    # numpy 2 took its map iterators out of the C interface: the operation has Python code as well, with numpy.add.at.
    for method in 'c_code', 'c_support_code':
        delattr(AdvancedIncSubtensor1, method)
