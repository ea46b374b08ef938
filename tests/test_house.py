"""How the house is built: arrows between modules run one way."""

import ast
import glob
import os
import pathlib

import pytest

from conftest import ROOT

PACKAGES = ('backend', 'data', 'files', 'formats', 'papers')


def modules():
    """{name: path} of all modules of the project."""
    paths = glob.glob(os.path.join(ROOT, '*.py'))
    for package in PACKAGES:
        paths += glob.glob(os.path.join(ROOT, package, '**', '*.py'), recursive=True)
    names = [os.path.relpath(path, ROOT)[: -len('.py')].replace(os.sep, '.') for path in paths]
    return {name[: -len('.__init__')] if name.endswith('.__init__') else name: path for name, path in zip(names, paths)}


MODULES = modules()
SCRIPTS = {name for name, path in MODULES.items() if "__name__ == '__main__'" in pathlib.Path(path).read_text('utf-8')}


def imports(name):
    """What a module imports, wherever in it: full names, those of the project's own first parts included."""
    found = set()
    package = name if os.path.basename(MODULES[name]) == '__init__.py' else name.rpartition('.')[0]
    for node in ast.walk(ast.parse(pathlib.Path(MODULES[name]).read_text('utf-8'))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                base = '.'.join(package.split('.')[: len(package.split('.')) - node.level + 1] + [base] * bool(base))
            # Of `from package import module` the package is imported as well.
            found |= {base} | {f'{base}.{alias.name}' for alias in node.names} & set(MODULES)
    return found


# The set-up of Theano is what the package gives away by name, when it is asked for.
ARROWS = {name: {other for other in imports(name) if other in MODULES and other != name} for name in MODULES}
ARROWS['backend'] = {'backend.theano_setup'}


def test_no_module_imports_itself_by_way_of_others():
    done, path = set(), []

    def visit(name):
        assert name not in path, ' -> '.join(path[path.index(name) :] + [name])
        if name not in done:
            path.append(name)
            for other in sorted(ARROWS[name]):
                visit(other)
            path.pop()
            done.add(name)

    for name in sorted(MODULES):
        visit(name)


@pytest.mark.parametrize('script', sorted(SCRIPTS))
def test_no_script_is_imported(script):
    assert [name for name in MODULES if script in ARROWS[name]] == []


def test_only_scripts_and_their_options_know_of_command_lines():
    assert [
        name
        for name in MODULES
        if 'argparse' in imports(name) and name not in SCRIPTS and not name.startswith('options')
    ] == []


def test_the_ground_imports_nothing_of_ours():
    assert ARROWS['utils'] == ARROWS['environment'] == ARROWS['architecture'] == set()


TYPED = ['architecture', 'backend.cache', 'backend.devices', 'files.arrays', 'files.atomic', 'files.hdf5', 'files.npz']
TYPED += ['files.pickles', 'files.sheets', 'objective', 'parallel', 'runs', 'scores', 'utils']


@pytest.mark.parametrize('name', TYPED)
def test_public_functions_say_their_types(name):
    """Which the type checker of `make lint` then holds their callers to."""
    with open(MODULES[name], encoding='utf-8') as file:
        body = ast.parse(file.read()).body
    for function in body:
        if isinstance(function, ast.FunctionDef) and not function.name.startswith('_'):
            arguments = function.args.args + function.args.kwonlyargs
            arguments += [argument for argument in (function.args.vararg, function.args.kwarg) if argument]
            assert function.returns and all(argument.annotation for argument in arguments), function.name
