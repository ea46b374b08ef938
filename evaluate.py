"""Measure a trained network on photos that it was not trained on.

    python evaluate.py --model cin.npz --style-dir data/styles/misc32 --photos photos/val --output evaluation

For each style the content, style and total loss of the network's pastiches are set beside those of the
untouched photo and of images optimized for each photo (arXiv:1508.06576), and the content loss beside
that which the optimization pays for the same style loss. The output folder holds losses.csv (each
photo), summary.csv (means over the photos), relative.csv (losses in relation to the photos', which
networks of other projects can be compared by), trajectories.csv (each iteration of the optimization),
equal_style.csv, the pastiches, and grids of them, photos down and styles across. Options of the loss
that are not given are those that the network was trained with.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(__file__))  # which PYTHONSAFEPATH leaves out
import environment  # noqa: F401, before all others: it names what is missing

import argparse
import contextlib
import functools

import cluster
import files
import options
import runs
import scores
import utils
from backend import devices
from formats import networks


def parse_arguments():
    parser = options.Parser(__doc__)
    parser.add_argument('--model', required=True, help='a trained network (.npz), or the name of one in data/models')
    options.add_network(parser)
    parser.add_argument(
        '--style-dir',
        required=True,
        help="folder with the images of the network's styles, or of some, by the names they had in training",
    )
    parser.add_argument('--photos', required=True, nargs='+', metavar='PHOTO', help='image files, folders and patterns')
    parser.add_argument('--count', type=options.positive_int, default=8, help='use that many of the photos')
    parser.add_argument('--image-size', type=options.positive_int, help='side of the squares that photos are cut to')
    parser.add_argument(
        '--content-size',
        type=options.positive_int,
        help='shorter side that photos are resized to before that (at least --image-size)',
    )
    parser.add_argument('--style-size', type=options.positive_int, help='shorter side that style images are resized to')
    options.add_losses(parser)
    parser.set_defaults(content_weight=None, style_layers=None, tv_weight=None, normalize_losses=None, pool=None)
    parser.add_argument(
        '--iterations',
        type=options.whole_number,
        default=100,
        help='of the optimization by L-BFGS for each style and photo; 0 for none',
    )
    parser.add_argument('--output', default='evaluation', help='folder for tables and pictures')
    parser.add_argument('--resume', action='store_true', help='carry on with what the output folder has')
    options.add_max_pixels(parser)
    options.add_cluster(parser, 'photos and styles')
    options.add_device(parser)
    return parser.parse_args()


def note_settings(args, kind, model, style_paths, photos, photo_paths):
    """What an evaluation must share with the one that it carries on: a dict."""
    import evaluation

    losses_of = options.loss_settings(args, kind)
    settings = {name: losses_of.get(name, getattr(args, name)) for name in sorted(evaluation.KINDS) + ['iterations']}
    return dict(
        settings,
        model=runs.fingerprint([model]),
        style_images=runs.fingerprint(style_paths),
        photos=sorted(photos),
        photo_files=runs.fingerprint(photo_paths),
        loss_weights=runs.fingerprint(path for path in losses_of['loss_weights'] if path != 'random'),
    )


def start_or_resume(folder, resume, settings, defaults):
    """Prepare the output folder; returns the rows that losses.csv and trajectories.csv have already."""
    tables = [os.path.join(folder, name) for name in ('losses.csv', 'trajectories.csv')]
    if os.path.exists(tables[0]) and not resume:
        raise utils.UserError(f'{tables[0]} exists: carry on with --resume, choose another --output, or remove it')
    files.make_folder(os.path.join(folder, 'images'))
    runs.check_settings(os.path.join(folder, 'settings.json'), settings, defaults)
    return [runs.read_table(table) if os.path.exists(tables[0]) and os.path.exists(table) else [] for table in tables]


def print_table(rows):
    """Print rows of strings in columns, the first row being their titles."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print('  '.join([row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]))


def report(folder, styles, names, iterations):
    """Write and print the means of what was measured, and how they relate to the photo and to the optimization."""
    rows = runs.read_table(folder.file('losses.csv'))
    summary = scores.summarize(rows, names, styles)
    runs.write_table(folder.file('summary.csv'), ['style_name', 'image'] + names, summary)
    print_table([['style', 'image'] + names] + summary)

    relative = [row[:2] + [f'{value:.4g}' for value in row[2:]] for row in scores.relate(rows, styles)]
    runs.write_table(folder.file('relative.csv'), scores.RELATIVE, relative)
    print('\nIn relation to the photo:')
    titles = ['style', 'image', "style loss, % of the photo's", "content loss / square of the photo's features"]
    print_table([titles] + relative)

    if iterations:
        comparison = scores.compare(rows, runs.read_table(folder.file('trajectories.csv')))
        cells = [
            ['' if cell is None else f'{cell:.5g}' if isinstance(cell, float) else cell for cell in row]
            for row in comparison
        ]
        runs.write_table(folder.file('equal_style.csv'), scores.EQUAL_STYLE, cells)
        print(f"\nThe network beside {iterations} iterations of the optimization, at the network's style loss:")
        titles = ['style', "style loss, % of photo's", 'iteration', "content loss / optimization's", 'reached']
        print_table([titles] + scores.summarize_comparison(comparison, styles))


@contextlib.contextmanager
def measuring(args, model, network, objective, chosen, settings):
    """Context manager around what measures, as `EvaluationFolder.fill` takes it: here, or over a cluster."""
    import evaluation

    device = options.device(args)
    if args.scheduler or args.workers:
        weights = options.loss_settings(args, network.architecture.network)['loss_weights']
        prints = [settings[name] for name in ('model', 'style_images', 'loss_weights')]
        plan = evaluation.make_plan(model, args.network, objective, weights, prints, chosen, args.style_size, device)
        with cluster.connected(args.scheduler, args.workers) as client:
            yield functools.partial(evaluation.measure_on, client, plan, args.iterations)
        return
    print('compiling', file=sys.stderr)
    judge = evaluation.Evaluation(network, objective, chosen, args.style_size, devices.use(device))
    for style, _ in utils.progress(chosen, desc='style images', unit='image'):
        judge.look_at(style)
    yield functools.partial(map, lambda pair: judge.measure(*pair, args.iterations))


def main():
    args = parse_arguments()
    path = networks.find(args.model)
    style_paths, photo_paths = files.find_images(args.style_dir), files.find_images(args.photos)[: args.count]

    # Theano takes seconds to import: all that needs none of it has been answered or refused by now.
    import evaluation
    import losses
    import models

    devices.use(options.device(args))
    network = models.load_network(path, args.network)
    networks.check_task(path, network.architecture)
    all_styles, kind = network.styles or ['style'], network.architecture.network
    chosen = evaluation.find_styles(style_paths, all_styles)
    args = argparse.Namespace(**dict(vars(args), **evaluation.settings(args, network)))
    objective = options.objective(args, kind)
    photos = evaluation.read_photos(photo_paths, args.image_size, args.content_size)
    names = losses.loss_names(objective)
    settings = note_settings(args, kind, path, [path for _, path in chosen], photos, photo_paths)
    kinds = ['photo', 'network'] + [f'optimization {args.iterations}'] * bool(args.iterations)
    before = start_or_resume(args.output, args.resume, settings, evaluation.DEFAULTS)
    folder = evaluation.EvaluationFolder(args.output, kinds, names, *before)
    if len(chosen) < len(all_styles):
        print(f'{len(chosen)} of {len(all_styles)} styles are evaluated: the others lack an image', file=sys.stderr)

    styles = {number: all_styles[number] for number, _ in chosen}
    with measuring(args, path, network, objective, chosen, settings) as measure:
        folder.fill(styles, photos, measure)
    middles = {name: models.without_border(photo, network) for name, photo in photos.items()}
    folder.write_grids(list(styles.values()), middles)
    report(folder, list(styles.values()), names, args.iterations)


if __name__ == '__main__':
    utils.run_script(main)
