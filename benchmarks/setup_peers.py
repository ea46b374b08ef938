"""Put the peers of the benchmarks -- PyTorch, ONNX Runtime, OpenVINO -- into a virtual environment of their own.

    python benchmarks/setup_peers.py

The environment lies in the project's cache folder, and nothing is installed into the project's own.
"""

import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from backend import cache  # noqa: E402

PACKAGES = ['torch==2.13.0', 'onnxruntime', 'openvino', 'onnx', 'numpy']


def peers_python():
    """The interpreter of the environment; it may not exist yet. GOGH_PEERS names another one."""
    return os.environ.get('GOGH_PEERS') or os.path.join(cache.folder(), 'peers', 'bin', 'python')


if __name__ == '__main__':
    folder = os.path.dirname(os.path.dirname(peers_python()))
    subprocess.run([sys.executable, '-m', 'venv', folder], check=True)
    subprocess.run([peers_python(), '-m', 'pip', 'install', '--quiet'] + PACKAGES, check=True)
    print('peers installed in', folder)
