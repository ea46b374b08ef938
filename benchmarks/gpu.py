"""Measure stylizing and training on a GPU against PyTorch on the same card.

    python benchmarks/setup_peers.py        once: installs PyTorch in an environment of its own
    python benchmarks/gpu.py                everything, on the first CUDA device
    python benchmarks/gpu.py --device cuda1 --precision tf32 --size 512x512 --batch 1 --train-batch 4
    python benchmarks/gpu.py --device opencl0:0 --size 64x64 --train-size 64    without PyTorch, which has no OpenCL

First the results are compared with float64 on the CPU; nothing is measured if they are wrong. Then the two take
turns, each in a process of its own, with the same random weights and images. A time is the median of --repeat turns
after two that do not count, from images in the processor's memory to pastiches there (or the loss, in training);
PyTorch chooses cuDNN's algorithms by measuring them (cudnn.benchmark). What comes out is Markdown.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile

import numpy

from measure import Engine, EngineFailed, prepare, take_turns
from setup_peers import peers_python
from formats import vgg

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'tests'))
import reference  # noqa: E402

SIZES = [(512, 512), (1024, 1024), (2160, 3840)]
# Largest difference of a pastiche, in [0, 1], and relative difference of a loss, both to float64. TF32 rounds factors
# to 10 bits of mantissa; done in numpy, that makes 3e-3 here. Adam's first steps depend on the signs of gradients
# alone, so rounding shows in the losses after them: 2e-3 in float32.
TOLERANCES = {'float32': (1e-4, 1e-2), 'tf32': (2e-2, 5e-2)}
STEPS = 3


def write_vgg(folder, dtype='float32'):
    """Write VGG16 to conv4_3 with random weights; returns its path."""
    weights = vgg.random_weights('vgg16')
    path = os.path.join(folder, f'vgg-{dtype}.npz')
    numpy.savez(path, **{key: weights[key].astype(dtype) for key in sorted(weights) if 'conv1_1' <= key < 'conv4_4'})
    return path


def expected_pastiche(network, images):
    """Style 0 of a network, in float64, by numpy and scipy."""
    with numpy.load(network) as file:
        params = [file[f'arr_{i}'] for i in range(len(file.files) - 1)]
    style = numpy.zeros((len(images), len(params[1])))
    style[:, 0] = 1
    return reference.transformer(numpy.asarray(images, 'float64'), params, style)


def losses(name, command, options=(), environment=None):
    """The losses of an engine's first training steps."""
    engine = Engine(name, options, environment)
    try:
        engine(*command)
        return [engine('run')[1] for step in range(STEPS)]
    finally:
        engine.close()


def check(args, folder):
    """Compare each engine's results with float64; returns the lines of a table and whether all are right."""
    network, batch = prepare(folder, (48, 64), 2)
    pastiche = expected_pastiche(network, numpy.load(batch))
    training = 'train', network, write_vgg(folder), batch
    expected = losses(
        'plain',
        ('train', network, write_vgg(folder, 'float64'), batch),
        environment={'THEANO_FLAGS': 'floatX=float64,optimizer=fast_compile'},
    )
    lines, right = [], True
    for precision in args.precision:
        largest, relative = TOLERANCES[precision]
        for name in args.engines:
            options = engine_options(args, precision)
            times, results = take_turns([name], ('stylize', network, batch), 1, options)
            difference = abs(numpy.load(results[name]) - pastiche).max()
            found = losses('torch' if name == 'compile' else name, training, options)
            of_losses = max(abs(a - b) / b for a, b in zip(found, expected))
            good = difference < largest and of_losses < relative
            right &= good
            lines.append(
                f'| {name} | {precision} | {difference:.1e} (< {largest:.0e}) | {of_losses:.1e} (< '
                f'{relative:.0e}) | {"right" if good else "WRONG"} |'
            )
    return lines, right


def engine_options(args, precision):
    return ['--device', args.device] + ['--tf32'] * (precision == 'tf32')


def measure(args, what, command, names, precision):
    """One row of the table of times; an engine that fails is left out of it, with the reason below."""
    names, reasons, times = list(names), [], {}
    while names:
        try:
            times = take_turns(names, command, args.repeat, engine_options(args, precision))[0]
            break
        except EngineFailed as failure:
            reasons.append(f'{what}, {precision}: {failure}')
            names.remove(failure.name)
    medians = {name: 1e3 * numpy.median(times[name]) for name in names}
    cells = [f'{medians[name]:.1f} ms' if name in medians else '-' for name in args.engines]
    ratios = [
        f'{medians[name] / medians["gogh"]:.2f}' if name in medians and 'gogh' in medians else '-'
        for name in args.engines
        if name != 'gogh'
    ]
    print(f'| {" | ".join([what, precision] + cells + ratios)} |', flush=True)
    return reasons


def card(device):
    """The card, its memory and its driver, by nvidia-smi."""
    try:
        lines = (
            subprocess.run(
                [
                    'nvidia-smi',
                    '--query-gpu=name,memory.total,driver_version',
                    '--format=csv,noheader',
                    '--id=' + (device[len('cuda') :] or '0'),
                ],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            .stdout.strip()
            .splitlines()
        )
    except OSError:
        lines = []
    return lines[0] if lines else 'unknown (nvidia-smi does not say)'


def describe(args):
    """Say what computes with what, and stop where an engine does not run at all."""
    if args.device.startswith('cuda'):
        print(f'* card, memory, driver: {card(args.device)}')
    for name in args.engines:
        engine = Engine(name, engine_options(args, args.precision[0]))
        try:
            print(f'* {name}: {engine("versions")[1]}')
        finally:
            engine.close()
    if args.engines == ['gogh']:
        print('* nothing to compare with: PyTorch is for --device cuda')
    sys.stdout.flush()


def run(args, folder):
    describe(args)
    print(
        '\n| results against float64 on the CPU | precision | largest difference of a pastiche '
        f'| relative difference of the first {STEPS} losses | |\n|---|---|---|---|---|',
        flush=True,
    )
    lines, right = check(args, folder)
    print('\n'.join(lines), flush=True)
    if not right:
        sys.exit('error: the results are wrong, so their speed is not measured')
    others = [name for name in args.engines if name != 'gogh']
    header = [f'median of {args.repeat} turns', 'precision'] + args.engines + [name + ' / gogh' for name in others]
    print(f'\n| {" | ".join(header)} |\n|{"---|" * len(header)}', flush=True)
    reasons = []
    for size in args.size:
        for batch in args.batch:
            command = ('stylize',) + prepare(folder, size, batch)
            for precision in args.precision:
                reasons += measure(
                    args, f'stylize {size[1]}x{size[0]}, batch {batch}', command, args.engines, precision
                )
    vgg = write_vgg(folder)
    for batch in args.train_batch:
        network, images = prepare(folder, (args.train_size, args.train_size), batch)
        for precision in args.precision:
            reasons += measure(
                args,
                f'training step, {args.train_size}x{args.train_size}, batch {batch}',
                ('train', network, vgg, images),
                [name for name in args.engines if name != 'compile'],
                precision,
            )
    if reasons:
        print('\nLeft out:\n\n* ' + '\n* '.join(reasons))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='cuda0', help='cuda0, …, or opencl0:0, … (default: %(default)s)')
    parser.add_argument(
        '--precision',
        choices=sorted(TOLERANCES),
        action='append',
        help='may be given twice (default: both with CUDA, float32 without)',
    )
    parser.add_argument(
        '--size',
        type=lambda text: tuple(int(n) for n in reversed(text.split('x'))),
        action='append',
        help=f'of images to stylize, WIDTHxHEIGHT (default: {", ".join("%dx%d" % size[::-1] for size in SIZES)})',
    )
    parser.add_argument('--batch', type=int, action='append', help='images at once (default: 1 and 8)')
    parser.add_argument('--train-batch', type=int, action='append', help='of training (default: 4 and 16)')
    parser.add_argument('--train-size', type=int, default=256, help='of images in training (default: %(default)s)')
    parser.add_argument('--repeat', type=int, default=10, help='turns (default: %(default)s)')
    parser.add_argument(
        '--engines',
        type=lambda text: text.split(','),
        help='of gogh, torch, compile (default: gogh,torch with CUDA, gogh without)',
    )
    args = parser.parse_args()
    cuda = args.device.startswith('cuda')
    args.precision = args.precision or (['float32', 'tf32'] if cuda else ['float32'])
    args.size, args.batch = args.size or SIZES, args.batch or [1, 8]
    args.train_batch, args.engines = args.train_batch or [4, 16], args.engines or ['gogh'] + ['torch'] * cuda
    if set(args.engines) - {'gogh'} and not shutil.which(peers_python()):
        sys.exit('error: PyTorch is not there to compare with: python benchmarks/setup_peers.py, or --engines gogh')
    folder = tempfile.mkdtemp()
    try:
        run(args, folder)
    except EngineFailed as failure:
        sys.exit(f'error: {failure}')
    finally:
        shutil.rmtree(folder)


if __name__ == '__main__':
    main()
