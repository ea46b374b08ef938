"""What gogh-figure needs, for pip; ``python install.py`` installs it."""

from setuptools import setup

setup(
    name='gogh-figure',
    version='1.0',
    description='Artistic style transfer in Theano and Lasagne: conditional instance normalization and its ancestors',
    license='MIT',
    python_requires='>=3.8',
    # The scripts run from the checkout: there is nothing to copy.
    py_modules=[],
    install_requires=[
        'Theano==1.0.5',
        'Lasagne==0.1',
        # backend/compat.py makes Theano run with any numpy. Below 3.12 the one that it was written for serves best:
        # Debian's pygpu needs it, and trained weights stay the same to the last bit.
        'numpy>=1.19,<1.24; python_version < "3.12"',
        'numpy>=1.26; python_version >= "3.12"',
        'scipy>=1.5',
        'pillow>=10.1',
        'h5py>=3.1',
        'tqdm>=4.60',
        'matplotlib>=3.3',
        # oneDNN 3.2 for the CPU backend; the wheels exist for Linux on x86-64.
        'onednn-devel-cpu-gomp==2023.2.0; sys_platform == "linux" and platform_machine == "x86_64"',
        # Theano 1.0.5 needs pkg_resources and, through numpy, distutils; from 3.12 on backend/compat.py has what it
        # uses of them.
        'setuptools<70; python_version < "3.12"',
    ],
    extras_require={
        # Networks for other programs (convert.py).
        'onnx': ['onnx>=1.14'],
        # Training on several processes and machines; a wheel of MPI comes along, another one serves as well.
        'mpi': ['mpi4py>=4', 'mpich; sys_platform == "linux"'],
        # Many photos on many machines; without the tables and arrays that Dask has as well.
        'dask': ['distributed>=2021.10'],
        # Photos of phones, in HEIC.
        'heif': ['pillow-heif'],
        # Clips (video.py). FFmpeg comes with av; OpenCV's optical flow and cameras need no window of its own, whose
        # libraries a server lacks.
        'video': ['av>=12', 'opencv-python-headless>=4.5'],
        # The page of the papers' figures (figures.py page).
        'figures': ['markdown-it-py>=3'],
        'test': [
            'pytest>=7',
            'pytest-xdist>=3',
            'hypothesis>=6',
            'onnx>=1.14',
            'onnxruntime>=1.16',
            'av>=12',
            'opencv-python-headless>=4.5',
            'distributed>=2021.10',
            'markdown-it-py>=3',
            'mpi4py>=4; sys_platform == "linux" and platform_machine == "x86_64"',
            'mpich; sys_platform == "linux" and platform_machine == "x86_64"',
        ],
        # One version of each, so that all agree on what they want.
        'lint': ['ruff==0.17.6', 'mypy==2.4.1; python_version >= "3.10"'],
        # The libraries of CUDA for --device cuda, if they are not installed otherwise; see docs/gpu.md.
        'cuda12': ['nvidia-cublas-cu12', 'nvidia-cuda-nvrtc-cu12', 'nvidia-cudnn-cu12'],
        'cuda13': ['nvidia-cublas', 'nvidia-cuda-nvrtc', 'nvidia-cudnn-cu13'],
    },
)
