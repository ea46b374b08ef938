"""Measure the memory of stylizing, beside what stylize.py expects before it takes a photo on.

    python benchmarks/memory.py
    python benchmarks/memory.py --backend plain --size 512x512

Each network, of random weights, stylizes one photo in a process of its own. Measured is its peak resident memory
beyond what it held before the photo was read.
"""

import argparse
import os
import subprocess
import sys
import tempfile

import numpy

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import files  # noqa: E402
import models  # noqa: E402
import stylize  # noqa: E402
import utils  # noqa: E402
from architecture import Architecture  # noqa: E402

NETWORKS = {
    "the papers'": {},
    "the papers', FNS": dict(network='fns'),
    "the papers', deconvolution": dict(upsampling='deconv'),
    "the papers', padded once at the start": dict(pad='reflect-start'),
    '128 maps in the upsampling blocks': dict(up_widths=(128, 128)),
    'widths 8, 16, 32, and 16, 8; 1 block': dict(widths=(8, 16, 32), up_widths=(16, 8), residual_blocks=1),
}


def memory(name):
    """Bytes of resident memory that the system counts as `name`: VmRSS, now, or VmHWM, at the peak."""
    with open('/proc/self/status') as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(f'{name}:'))


def child(arguments):
    """Run stylize.py in this process and print the memory that it took for its photos."""
    before = []
    compile = models.pastiche_function

    def compiled(network):
        function = compile(network)
        with open('/proc/self/clear_refs', 'w') as file:
            file.write('5')  # the peak starts anew
        before.append(memory('VmRSS'))
        return function

    models.pastiche_function = compiled
    sys.argv = ['stylize.py'] + arguments
    status = stylize.main()
    print(memory('VmHWM') - before[0])
    return status


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--size',
        action='append',
        metavar='WIDTHxHEIGHT',
        help='of the photo, may be given several times (default: 1024x1024 and 2048x1024)',
    )
    parser.add_argument('--backend', choices=['onednn', 'plain'], default='onednn', help='(default: %(default)s)')
    parser.add_argument('--network', action='append', choices=list(NETWORKS), help='(default: all)')
    args = parser.parse_args()
    print('network                                photo         measured  bytes a pixel  expected')
    with tempfile.TemporaryDirectory() as folder:
        path, photo = os.path.join(folder, 'network.npz'), os.path.join(folder, 'photo.png')
        for name in args.network or NETWORKS:
            network = models.transformer_network(Architecture(**NETWORKS[name]), ['style'])
            models.save_network(path, network)
            for size in args.size or ['1024x1024', '2048x1024']:
                width, height = map(int, size.split('x'))
                pixels = numpy.random.RandomState(0).randint(0, 256, (height // 8 + 1, width // 8 + 1, 3))
                files.write_image(photo, pixels.astype('uint8').repeat(8, 0).repeat(8, 1)[:height, :width])
                done = subprocess.run(
                    [
                        sys.executable,
                        os.path.abspath(__file__),
                        'child',
                        '--model',
                        path,
                        photo,
                        '--backend',
                        args.backend,
                        '--output',
                        os.path.join(folder, 'pastiche.png'),
                    ],
                    check=True,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
                measured = int(done.stdout.split()[-1])  # after the names of the pastiches
                added = 2 * (network.architecture.border - network.architecture.lost)
                expected = network.architecture.pastiche_bytes(args.backend) * (width + added) * (height + added)
                print(
                    f'{name:<38} {size:<12} {measured / 2**20:5.0f} MiB '
                    f'{measured / (width * height):14.0f} {expected / (width * height):9.0f}',
                    flush=True,
                )


if __name__ == '__main__':
    if sys.argv[1:2] == ['child']:
        utils.run_script(lambda: child(sys.argv[2:]))
    main()
