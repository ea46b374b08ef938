"""Processes that tests start, and the scripts that are there to be started."""

import os
import subprocess
import sys

from conftest import ROOT

# Those that compute; all of them take --help.
SCRIPTS = [
    'train.py',
    'stylize.py',
    'optimize.py',
    'evaluate.py',
    'figures.py',
    'data/download.py',
    'data/make_dataset.py',
    'data/make_styles.py',
]


def python(code, *arguments, **environment):
    """Run code as a script beside utils.py, in a process of its own; returns the finished process."""
    return subprocess.run(
        [sys.executable, '-c', code] + list(arguments),
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=dict(os.environ, **environment),
    )
