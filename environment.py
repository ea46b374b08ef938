"""Sees that what gogh-figure needs is installed and fits together, before anything else is imported.

A half-installed environment ends the program with one line that names what is missing, or in whose place something else
is. The scripts import this first, for what it does.
"""

import sys


def _interrupted(kind, error, trace, before=sys.excepthook):
    """Show Ctrl-C as one line, as `utils.run_script` does, also while modules are imported; the status is 130, too."""
    if issubclass(kind, KeyboardInterrupt):
        print('\ninterrupted', file=sys.stderr)
    else:
        before(kind, error, trace)


sys.excepthook = _interrupted  # before the other modules, which take a second

import contextlib
import importlib
import importlib.util
import io
import os
import re

__all__ = ['check']

# The first and the last Python that this has been tried on.
PYTHONS = (3, 8), (3, 14)

THEANO = '1.0.5'

# Modules that every script imports, and their packages.
PACKAGES = {'numpy': 'numpy', 'h5py': 'h5py', 'PIL.Image': 'pillow', 'tqdm': 'tqdm'}
# What is imported later, if at all: it must be there.
LATER = {'scipy': 'scipy', 'six': 'six', 'theano': 'Theano', 'lasagne': 'Lasagne', 'matplotlib': 'matplotlib'}


def _check():
    """End the program with the name of what is missing, does not fit the rest, or is in Theano's place."""
    if sys.version_info[:2] < PYTHONS[0]:
        sys.exit(
            'error: gogh-figure runs on Python %d.%d and newer, and this is Python %d.%d'
            % (PYTHONS[0] + sys.version_info[:2])
        )
    if sys.version_info[:2] > PYTHONS[1]:
        print(
            'warning: this is Python %d.%d, and gogh-figure has been tried on %d.%d to %d.%d'
            % (sys.version_info[:2] + PYTHONS[0] + PYTHONS[1]),
            file=sys.stderr,
        )
    check(PACKAGES)
    for module, package in LATER.items():
        if importlib.util.find_spec(module) is None:
            _fail(f'{package} is not installed')
    folder = os.path.dirname(importlib.util.find_spec('theano').origin or '.')
    version = _theano_version(folder)
    if version is None or not version.startswith(THEANO):
        _fail(f'the package theano in {folder} is {version or "something else"}, and not Theano {THEANO}')


def check(packages, extra=''):
    """End the program if a package is missing or does not work with numpy.

    Parameters
    ----------
    packages : dict
        {module to import: name of its package}
    extra : str
        That of setup.py that has them, if it is one.
    """
    for module, package in packages.items():
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # where numpy 2 explains at length what the error says
                importlib.import_module(module)
        except ModuleNotFoundError as error:
            missing = error.name == module.split('.')[0]
            _fail(f'{package} is not installed' if missing else f'{_found(package)} is damaged: {error}', extra)
        except Exception as error:  # an ImportError, and a ValueError or AttributeError if it is for another numpy
            _fail(f'{_found(package)} does not work with {_found("numpy")}: {" ".join(str(error).split())}', extra)


def _theano_version(folder):
    """The version that a package says it is, without importing it; None if it has none where Theano has it."""
    try:
        with open(os.path.join(folder, '_version.py')) as f:
            text = f.read()
    except OSError:
        return None
    match = re.search(r'"version": "([^"]+)"', text)
    return match.group(1) if match else THEANO  # a checkout, where git knows it


def _found(package):
    """A package and the version of it that is installed."""
    from importlib import metadata

    try:
        return f'{package} {metadata.version(package)}'
    except metadata.PackageNotFoundError:
        return package


def _fail(reason, extra=''):
    sys.exit(
        'error: %s; %s %s%s installs what is needed'
        % (
            reason,
            sys.executable,
            os.path.join(os.path.dirname(os.path.abspath(__file__)), 'install.py'),
            extra and f' {extra}',
        )
    )


_check()
