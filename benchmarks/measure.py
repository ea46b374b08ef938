"""Measure stylizing, training, start-up and memory against the peers on this machine.

    python benchmarks/setup_peers.py            once
    python benchmarks/measure.py stylize --size 512x512
    python benchmarks/measure.py train
    python benchmarks/measure.py train --engines gogh,../before     against another checkout of the project
    python benchmarks/measure.py memory
    python benchmarks/measure.py start

All engines get the same weights (random ones) and the same input, and take turns in one run; times are
medians of --repeat turns after two that do not count, and the outputs are compared with gogh's.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

import numpy

from engines import OURS
from setup_peers import peers_python
import models
from backend import lasagne
from formats import vgg

from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
ENGINES = ['gogh', 'torch', 'torch-channels-last', 'compile', 'onnxruntime', 'openvino']
OTHERS = ['plain', 'gogh-bf16', 'torch-bf16', 'openvino-bf16']
TRAINABLE = 'gogh', 'gogh-bf16', 'plain', 'torch', 'torch-channels-last', 'torch-bf16'


class EngineFailed(Exception):
    """An engine has ended; `name` says which one."""

    def __init__(self, name, doing, reason):
        super().__init__(f'the engine {name} failed at {doing}: {reason}')
        self.name = name


class Engine:
    """A process of engines.py, with its options.

    A name that is a folder is that of another checkout of the project, which is run in gogh's place.
    """

    def __init__(self, name, options=(), environment=None):
        self.name, self.errors, script = name, tempfile.TemporaryFile('w+'), os.path.join(HERE, 'engines.py')
        if os.path.isdir(name):
            script, name = os.path.join(name, 'benchmarks', 'engines.py'), 'gogh'
        python = sys.executable if name in OURS else peers_python()
        self.process = subprocess.Popen(
            [python, script, name] + list(options),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            universal_newlines=True,
            env=dict(os.environ, **(environment or {})),
        )

    def __call__(self, *command):
        answer = ''
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f'{json.dumps(command)}\n')
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        if not answer:
            self.errors.seek(0)
            lines = [line.strip() for line in self.errors if line.strip()]
            raise EngineFailed(
                self.name, command[0], next((line for line in reversed(lines) if 'rror' in line), 'no message')
            )
        return json.loads(answer)

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.errors.close()


def prepare(folder, size, batch=1):
    """Write a network and a batch of images; returns their paths."""
    random = numpy.random.RandomState(0)
    lasagne.random.set_rng(random)
    network = models.transformer_network(styles=['a', 'b'])
    for param in lasagne.layers.get_all_params(network.output):
        value = param.get_value()
        scale = 0.2 if param.name in ('gamma', 'beta') else 0
        param.set_value((value + scale * random.randn(*value.shape)).astype('float32'))
    paths = os.path.join(folder, 'network.npz'), os.path.join(folder, 'image.npy')
    models.save_network(paths[0], network)
    smooth = (
        random.rand(batch, 3, size[0] // 8 + 1, size[1] // 8 + 1).repeat(8, 2).repeat(8, 3)[:, :, : size[0], : size[1]]
    )
    numpy.save(paths[1], (0.8 * smooth + 0.2 * random.rand(batch, 3, *size)).astype('float32'))
    return paths


def take_turns(names, command, repeat, options=()):
    """Seconds of each engine's turns, and the last results."""
    engines = {name: Engine(name, options) for name in names}
    times, results = {name: [] for name in names}, {}
    try:
        for name in names:
            engines[name](*command)
        for turn in range(repeat + 2):
            for name in names:
                time.sleep(0.3)  # until the threads of the engine before stop waiting for more work
                seconds, results[name] = engines[name]('run')
                times[name] += [seconds] * (turn >= 2)
    finally:
        for engine in engines.values():
            engine.close()
    return times, results


def report(times, unit='ms', scale=1e3):
    base = numpy.median(times['gogh'])
    print('                 median    fastest  time / gogh')
    for name, seconds in times.items():
        print(
            f'{name:<12} {scale * numpy.median(seconds):7.0f} {unit} {scale * min(seconds):7.0f} '
            f'{unit} {numpy.median(seconds) / base:12.2f}'
        )


def stylize(args, folder):
    for size in args.size:
        paths = prepare(folder, size)
        times, results = take_turns(args.engines, ('stylize',) + paths, args.repeat)
        print(f'stylize {size[1]} x {size[0]}, {args.repeat} turns')
        report(times)
        ours = numpy.load(results['gogh'])
        for name, path in results.items():
            if name == 'gogh':
                continue
            difference = ours - numpy.load(path)
            print(
                f'largest difference to {name}: {abs(difference).max():.1e}, PSNR '
                f'{-10 * numpy.log10(numpy.mean(difference**2.0)):.0f} dB'
            )


def train(args, folder):
    network, batch = prepare(folder, (256, 256), 4)
    weights_path = os.path.join(folder, 'vgg.npz')
    weights = vgg.random_weights('vgg16')
    numpy.savez(weights_path, **{key: weights[key] for key in sorted(weights) if 'conv1_1' <= key < 'conv4_4'})
    names = [name for name in args.engines if name in TRAINABLE or os.path.isdir(name)]
    times, results = take_turns(names, ('train', network, weights_path, batch), args.repeat)
    print(f'training step, batch 4 at 256 x 256, VGG16 to conv4_3, {args.repeat} turns')
    report(times)
    for name, loss in results.items():
        print(f'loss of {name} after {args.repeat + 2} steps: {loss:.6g}')


def memory(args, folder):
    for size in args.size:
        paths = prepare(folder, size)
        print(f'peak memory of stylizing {size[1]} x {size[0]} once')
        # The engines that import ONNX export it in the same process, whose peak is the exporter's.
        for name in [name for name in args.engines if name not in ('onnxruntime', 'openvino')]:
            engine = Engine(name)
            engine('stylize', *paths)
            engine('run')
            print(f'{name:12} {engine("memory")[1]:6.0f} MB')
            engine.close()


def start(args, folder):
    network, image = prepare(folder, (512, 512))
    photo = os.path.join(folder, 'photo.jpg')
    Image.fromarray((255 * numpy.load(image)[0].transpose(1, 2, 0)).astype('uint8')).save(photo)
    command = [
        sys.executable,
        os.path.join(os.path.dirname(HERE), 'stylize.py'),
        '--model',
        network,
        '--style-index',
        '0',
        photo,
        '--output',
        os.path.join(folder, 'pastiche.png'),
    ]
    cache = os.path.join(folder, 'cache')
    for turn in range(1 + args.repeat):
        begin = time.perf_counter()
        subprocess.run(command, check=True, env=dict(os.environ, XDG_CACHE_HOME=cache), stderr=subprocess.DEVNULL)
        print(f'stylize.py, 512 x 512, {"warm" if turn else "empty"} cache: {time.perf_counter() - begin:.2f} s')
    styles = os.path.join(os.path.dirname(HERE), 'data', 'samples')
    for turn in range(args.repeat):
        run = os.path.join(folder, f'run{turn}')
        begin = time.perf_counter()
        process = subprocess.Popen(
            [
                sys.executable,
                os.path.join(os.path.dirname(HERE), 'train.py'),
                '--style-dir',
                styles,
                '--content',
                styles,
                '--loss-weights',
                'random',
                '--output',
                f'{run}.npz',
            ],
            stderr=subprocess.DEVNULL,
            env=dict(os.environ, XDG_CACHE_HOME=cache),
        )
        rows = []
        while process.poll() is None and len(rows) < 2:
            time.sleep(0.05)
            if os.path.exists(os.path.join(run, 'metrics.csv')):
                with open(os.path.join(run, 'metrics.csv')) as file:
                    rows = [row.split(',') for row in file if row.endswith('\n')]
        seconds = time.perf_counter() - begin
        process.kill()
        process.wait()
        print(
            'train.py, 3 styles, VGG16, warm cache, until the first iteration begins: '
            f'{seconds - float(rows[1][1]):.1f} s'
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=['stylize', 'train', 'memory', 'start'])
    parser.add_argument(
        '--size',
        type=lambda text: tuple(int(n) for n in reversed(text.split('x'))),
        action='append',
        help='WIDTHxHEIGHT, may be given several times (default: 512x512; memory: 1920x1080)',
    )
    parser.add_argument('--repeat', type=int, default=7, help='turns (default: %(default)s)')
    parser.add_argument(
        '--engines',
        type=lambda text: text.split(','),
        default=ENGINES,
        help=(
            f'of {", ".join(ENGINES + OTHERS)} (default: the first {len(ENGINES)}), and folders of '
            'other checkouts of the project'
        ),
    )
    args = parser.parse_args()
    args.size = args.size or [(1080, 1920) if args.what == 'memory' else (512, 512)]
    folder = tempfile.mkdtemp()
    try:
        {'stylize': stylize, 'train': train, 'memory': memory, 'start': start}[args.what](args, folder)
    except EngineFailed as failure:
        sys.exit(f'error: {failure}')
    finally:
        shutil.rmtree(folder)


if __name__ == '__main__':
    main()
