"""Train a small network again and again, the same way and otherwise, and see how far the weights differ.

    python benchmarks/determinism.py

The loss network is the VGG16 of `data/download.py` if that is there, else a random one.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile

import numpy

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)


from formats import vgg
import files  # noqa: E402

# What is different from the first run: options, and the number of threads.
RUNS = [
    ('1 thread', [], 1),
    ('1 thread, again', [], 1),
    ('1 thread, another seed', ['--seed', '1'], 1),
    ('2 threads', [], 2),
    ('2 threads, again', [], 2),
    ("Theano's own operations", ['--backend', 'plain'], 1),
]


def train(folder, number, iterations, options, threads):
    """Train, and return the parameters one after the other and the total loss of each iteration."""
    output = os.path.join(folder, f'{number}.npz')
    weights = vgg.find()
    command = [
        sys.executable,
        os.path.join(ROOT, 'train.py'),
        '--style-dir',
        os.path.join(ROOT, 'data', 'styles', 'misc32'),
        '--content',
        os.path.join(ROOT, 'data', 'samples'),
        '--loss-weights',
        weights if os.path.exists(weights) else 'random',
        '--style-layers',
        'conv1_2,conv2_2',
        '--content-layers',
        'conv2_2',
        '--width',
        '8',
        '--image-size',
        '64',
        '--style-size',
        '64',
        '--iterations',
        str(iterations),
        '--output',
        output,
    ] + options
    subprocess.run(
        command,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=dict(os.environ, OMP_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS=str(threads)),
    )
    arrays = files.load_npz(output)
    with open(os.path.join(output[: -len('.npz')], 'metrics.csv'), newline='') as file:
        losses = [float(row['total']) for row in csv.DictReader(file)]
    return numpy.concatenate([value.ravel() for name, value in arrays.items() if name != 'meta']), losses


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--iterations', type=int, default=30, help='(default: %(default)s)')
    parser.add_argument('--runs', type=int, default=len(RUNS), help='only the first ones')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, options, threads) in enumerate(RUNS[: args.runs]):
            weights, losses = train(folder, number, args.iterations, options, threads)
            if number == 0:
                first, first_losses = weights, losses
            difference = numpy.linalg.norm(weights - first) / numpy.linalg.norm(first)
            print(
                f'{name:<32} {("same bits" if weights.tobytes() == first.tobytes() else "")!s:<9} '
                f'weights differ by {difference:.1e}, the loss by '
                f'{abs(losses[0] / first_losses[0] - 1):.1e} at first and '
                f'{abs(losses[-1] / first_losses[-1] - 1):.1e} at last',
                flush=True,
            )


if __name__ == '__main__':
    main()
