"""Runs the tests on every Python that is on this machine: ``make test-pythons``, or ``python tests/pythons.py --help``.

The interpreters are those that the PATH has as ``python3.x``, and pyenv's. Each gets an environment in ``.venv-3.x``,
by the Makefile's own rules, and from the second on the tests compare what it computes with what the first one does.
"""

import argparse
import glob
import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VERSIONS = range(8, 20)
# Types, C code, both backends, the formulas, and a training that one Python starts and another resumes: about a minute.
FAST = ['compat', 'backend', 'pythons', 'losses']


def interpreters():
    """The Pythons of this machine: {(3, 8): path}, the first that answers of each version."""
    pyenv = os.environ.get('PYENV_ROOT') or os.path.join(os.path.expanduser('~'), '.pyenv')
    found = {}
    for minor in VERSIONS:
        name = f'python3.{minor}'
        folders = os.environ.get('PATH', '').split(os.pathsep)
        for path in [os.path.join(folder, name) for folder in folders] + sorted(
            glob.glob(os.path.join(pyenv, 'versions', f'3.{minor}.*', 'bin', name))
        ):
            # pyenv has commands on the PATH that only say that they are not chosen; Debian's Python may lack venv.
            if os.access(path, os.X_OK) and not subprocess.call(
                [path, '-c', 'import venv, ensurepip'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ):
                found[3, minor] = path
                break
    return found


def main():
    parser = argparse.ArgumentParser(description='Run the tests on every Python that is on this machine.')
    parser.add_argument('--ends', action='store_true', help='on the oldest and the newest only')
    parser.add_argument('--whole', action='store_true', help=f'all tests; otherwise those of {", ".join(FAST)}')
    args = parser.parse_args()
    found = interpreters()
    if not found:
        sys.exit('error: there is no python3.x on the PATH, nor under pyenv, that can make virtual environments')
    versions = sorted(found)
    if args.ends:
        versions = sorted({versions[0], versions[-1]})
    tests = 'tests' if args.whole else ' '.join(f'tests/test_{name}.py' for name in FAST)
    outcomes = []
    for version in versions:
        venv = '.venv-%d.%d' % version
        environment = dict(os.environ)
        if outcomes:
            environment['GOGH_OTHER_PYTHON'] = os.path.join(ROOT, '.venv-%d.%d' % versions[0], 'bin', 'python')
        print('--- Python %d.%d: %s' % (version + (found[version],)), flush=True)
        start = time.time()
        status = subprocess.call(
            [
                'make',
                '-C',
                ROOT,
                '--no-print-directory',
                f'PYTHON={found[version]}',
                f'VENV={venv}',
                f'PYTEST_ARGS={tests}',
                'test',
            ],
            env=environment,
        )
        outcomes.append((version, status, time.time() - start))
    for version, status, seconds in outcomes:
        print('Python %d.%d: %s, %d s' % (version + ('failed' if status else 'passed', seconds)))
    return any(status for _, status, _ in outcomes)


if __name__ == '__main__':
    sys.exit(main())
