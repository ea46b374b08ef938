"""Installs what gogh-figure needs into the Python that runs this: ``python install.py`` or ``python install.py test``.

It is ``pip install .`` (or ``.[test]``) with the one thing put back that the set-up of Theano 1.0.5 misses since Python
3.12: ``configparser.SafeConfigParser``. pip builds in an environment of its own, where of all that could be set from
outside only the ``.pth`` files of this one count; so one lies there for the time of the installation.
"""

import os
import subprocess
import sys
import sysconfig

LINE = (
    "import configparser as c; c.SafeConfigParser = getattr(c, 'SafeConfigParser', "
    "type('SafeConfigParser', (c.ConfigParser,), {'readfp': c.ConfigParser.read_file}))\n"
)


def main(extras):
    here = os.path.dirname(os.path.abspath(__file__))
    target = here + (f'[{",".join(extras)}]' if extras else '')
    path = os.path.join(sysconfig.get_path('purelib'), 'gogh-figure-install.pth')
    if sys.version_info >= (3, 12):
        try:
            with open(path, 'w') as f:
                f.write(LINE)
        except OSError as error:
            sys.exit(
                'error: %s: %s; make a virtual environment of your own (python3 -m venv .venv) and use its Python'
                % (path, error.strerror)
            )
    try:
        return subprocess.call([sys.executable, '-m', 'pip', 'install', '--quiet', target])
    finally:
        if os.path.exists(path):
            os.remove(path)


if __name__ == '__main__':
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
