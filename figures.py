"""Reproduce the figures and tables of the papers, one subcommand each.

    python figures.py many-styles --quick --style-dir data/styles/misc32 --content photos/train
    python figures.py all --hours --style-dir data/styles/misc32 --content photos/train

Each subcommand trains the networks that it needs with train.py (or finds them in the run folder: what is
there is used, what was interrupted carries on), and writes a picture and a table of the numbers in it.
--quick takes minutes on two CPU cores, with few styles, a small network and small images; --hours has the
papers' networks and sizes of images, and few updates; --full has the settings of the papers. 'all' makes one
after the other: those that the run folder says are finished, with the same settings, are left as they are.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(__file__))  # which PYTHONSAFEPATH leaves out
import environment  # noqa: F401, before all others: it names what is missing

import argparse
import dataclasses
import importlib

import files
import options
import runs
import utils
from backend import devices
from data import photos
from formats import vgg

ROOT = os.path.dirname(os.path.abspath(__file__))
# 'many_iterations' are those of the network of many styles: as many as the others in the paper, but where the
# updates are few, as many for each style. 'finetune_iterations' are those of a new style, for which other networks
# have as many and 8 times as many.
FULL = dict(
    styles=32,
    width=32,
    residual_blocks=5,
    image_size=256,
    style_size=512,
    batch_size=4,
    iterations=40000,
    many_iterations=40000,
    finetune_iterations=5000,
    checkpoint_every=1000,
    shown=10,
    picture_size=512,
    steps=500,
    timed_steps=500,
    timed_sizes=[256, 512, 1024],
)
SCALES = {
    'quick': dict(
        styles=4,
        width=16,
        residual_blocks=3,
        image_size=64,
        style_size=128,
        batch_size=4,
        iterations=300,
        many_iterations=1200,
        finetune_iterations=150,
        checkpoint_every=30,
        shown=3,
        picture_size=192,
        steps=60,
        timed_steps=3,
        timed_sizes=[256, 512, 1024],
    ),
    # Networks and images of the full size.
    'hours': dict(
        FULL,
        styles=4,
        iterations=600,
        many_iterations=2400,
        finetune_iterations=300,
        checkpoint_every=50,
        shown=4,
        picture_size=256,
        steps=200,
        timed_steps=10,
    ),
    'full': FULL,
}
SAMPLES = os.path.join(ROOT, 'data', 'samples')
# What they show, and the modules of papers/ that have them.
FIGURES = {
    'pastiches': ('learned_representation', 'All styles of a network on some photos (arXiv:1610.07629, section 3.3)'),
    'monets': ('learned_representation', 'The ten Monets of a network (arXiv:1610.07629, figure 4)'),
    'sequence': (
        'learned_representation',
        'A photo on the way from one style to another (arXiv:1610.07629, figure 1b)',
    ),
    'many-styles': (
        'learned_representation',
        'One network of many styles against a network for each (arXiv:1610.07629, figure 5)',
    ),
    'finetune': (
        'learned_representation',
        'A new style by fine-tuning against training from scratch (arXiv:1610.07629, figure 6)',
    ),
    'blend': (
        'learned_representation',
        'Convex combinations of four styles, and the way from one to another (arXiv:1610.07629, figure 7)',
    ),
    'norm': (
        'instance_normalization',
        'Instance against batch normalization, with mirror and with zero padding (arXiv:1607.08022, figure 3)',
    ),
    'contrast': (
        'instance_normalization',
        'A photo and the same with little contrast, stylized (arXiv:1607.08022, figure 2)',
    ),
    'borders': (
        'learned_representation',
        'Mirror against zero padding, upsampling against deconvolution: borders and checkerboards',
    ),
    'speed': ('perceptual_losses', 'Seconds for the optimization and for the network (arXiv:1603.08155, table 1)'),
    'objective': (
        'perceptual_losses',
        'The objective of the network against that of the optimization over its steps (arXiv:1603.08155, figure 5)',
    ),
    'content-reconstruction': (
        'reconstruction',
        'A photo from the features of single layers (arXiv:1603.08155, figure 3)',
    ),
    'style-reconstruction': (
        'reconstruction',
        'A painting from the Gram matrices of single layers (arXiv:1603.08155, figure 4)',
    ),
    'side-by-side': (
        'perceptual_losses',
        'Pastiches of the network and of the optimization, and their losses (arXiv:1603.08155, figure 6)',
    ),
    'sizes': (
        'perceptual_losses',
        'Photos of several sizes by one network (arXiv:1603.08155, figure 7; arXiv:1607.08022, figure 6)',
    ),
    'super-resolution': (
        'super_resolution',
        'Photos made small and enlarged again: bicubic, pixel and feature loss (arXiv:1603.08155, figures 8 and 9)',
    ),
}

# What is made of them.
SERIES = {
    'all': 'all of them, and the page; one that fails does not hold up the others',
    'page': 'docs/reproduction.html, from docs/reproduction.md',
}

# Figures for which no network is trained.
UNTRAINED = 'contrast', 'speed', 'content-reconstruction', 'style-reconstruction'


def change(text):
    """``iterations=2000`` as a pair."""
    name, equals, value = text.partition('=')
    if not equals or name not in SCALES['full']:
        raise argparse.ArgumentTypeError(
            f'{text!r} is not NAME=NUMBER with one of the names {", ".join(sorted(SCALES["full"]))}'
        )
    if name == 'timed_sizes':
        return name, [options.positive_int(item) for item in value.split(',')]
    return name, options.positive_int(value)


def parse_arguments():
    parser = options.Parser(__doc__)
    parser.add_argument(
        'figure',
        choices=[*FIGURES, *SERIES],
        metavar='FIGURE',
        help='; '.join(
            f'{name}: {text}' for name, text in [*((name, FIGURES[name][1]) for name in FIGURES), *SERIES.items()]
        ),
    )
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument(
        '--quick',
        dest='scale',
        action='store_const',
        const='quick',
        default='quick',
        help='minutes on two CPU cores (the default)',
    )
    scale.add_argument(
        '--hours',
        dest='scale',
        action='store_const',
        const='hours',
        help='networks of the full width and depth and images of 256 pixels, but 600 updates each, and 2400 for many '
        'styles; at 3 s an update, on the two threads of a core, half an hour for a network and two hours for that of '
        'many',
    )
    scale.add_argument('--full', dest='scale', action='store_const', const='full', help='the settings of the papers')
    parser.add_argument(
        '--set',
        nargs='+',
        type=change,
        default=[],
        metavar='NAME=NUMBER',
        dest='changes',
        help='change a setting of the scale, such as iterations=2000',
    )
    parser.add_argument(
        '--style-dir',
        default=os.path.join(ROOT, 'data/styles/misc32'),
        help='folder with the style images, of which the first are used',
    )
    parser.add_argument(
        '--content',
        default=photos.COCO,
        help='content images to train on: an HDF5 file of data/make_dataset.py, or a folder of photos',
    )
    parser.add_argument(
        '--photos',
        nargs='+',
        default=[SAMPLES],
        metavar='PHOTO',
        help='photos to show and to measure on, which are not among the content images; for super-resolution folders, '
        'which are data sets (default: those of data/sr that are there)',
    )
    parser.add_argument(
        '--model',
        help='for pastiches, sequence, blend and finetune: a trained network instead of one of many styles; for '
        'objective, side-by-side, sizes and contrast: one with the style of --style-dir',
    )
    options.add_losses(parser)
    parser.add_argument('--output', default='figures', help='folder for pictures and tables')
    parser.add_argument('--run-dir', help='folder for the trained networks (default: runs/figures-SCALE)')
    options.add_max_pixels(parser)
    options.add_device(parser)
    options.add_precision(parser, ' in the trainings, not in what is measured')
    args = parser.parse_args()
    args.run_dir = args.run_dir or os.path.join('runs', f'figures-{args.scale}')
    for name, value in dict(SCALES[args.scale], **dict(args.changes)).items():
        setattr(args, name, value)
    if args.scale == 'quick' and args.figure not in ('super-resolution', *SERIES):
        use_what_is_there(args)
    return args


def use_what_is_there(args):
    """Without VGG16 or MS-COCO, settle for what comes with the project, and say so."""
    if args.figure == 'monets' or (args.model and args.figure in ('pastiches', 'sequence')):
        return
    if args.loss_weights is None and not os.path.exists(vgg.find()):
        print(
            f'WARNING: {vgg.find()} is not there: the loss network is random, and the figure shows '
            'only that the commands run; '
            f'{vgg.FETCH} fetches VGG16',
            file=sys.stderr,
        )
        args.loss_weights = ['random']
    if args.content == photos.COCO and not os.path.exists(photos.COCO):
        args.content = SAMPLES
        if not (args.figure in UNTRAINED or (args.model and args.figure in ('objective', 'side-by-side', 'sizes'))):
            print(f'WARNING: {photos.COCO} is not there: training on the photos of {SAMPLES}, a few', file=sys.stderr)


def main():
    args = parse_arguments()
    if args.figure == 'page':
        return importlib.import_module('papers.page').write()

    # Theano takes seconds to import: all that needs none of it has been answered or refused by now.
    if args.figure == 'all':
        if sys.argv[1] != 'all':
            raise utils.UserError('all comes first, and the options after it')
        return importlib.import_module('papers.series').make(args, FIGURES, sys.argv[2:])
    figures = importlib.import_module(f'papers.{FIGURES[args.figure][0]}')
    devices.use(dataclasses.replace(options.device(args), precision='float32'))
    files.make_folder(args.output)
    files.make_folder(args.run_dir)
    # What decides on the networks and the objective; the number of styles and of iterations may grow.
    settings = {
        name: getattr(args, name)
        for name in options.LOSSES
        + ('content', 'style_dir', 'width', 'residual_blocks', 'image_size', 'style_size', 'batch_size', 'picture_size')
    }
    path = os.path.join(args.run_dir, 'settings.json')
    if os.listdir(args.run_dir) == ['settings.json']:
        # Nothing was made with them.
        os.remove(path)
    runs.check_settings(path, settings, dict(pool='max'))
    return getattr(figures, args.figure.replace('-', '_'))(args)


if __name__ == '__main__':
    utils.run_script(main)
