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

import hashlib
import re

import numpy

import files
import options
import runs
import utils
from backend import devices
from formats import networks

# The last column of losses.csv: the content loss of an image without any features, by which that of the others is
# divided to compare networks whose loss networks or weights differ.
CONTENT_SCALE = 'content_of_nothing'
# The columns of relative.csv and equal_style.csv: see `relate` and `compare`.
RELATIVE = ['style_name', 'image', 'style_percent_of_photo', 'content_relative']
EQUAL_STYLE = ['style_name', 'photo', 'style_percent_of_photo', 'iteration', 'content_of_optimization', 'content_ratio']


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
    options.add_device(parser)
    return parser.parse_args()


def fingerprint(*paths):
    """A hash of the contents of files."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, 'rb') as file:
            digest.update(hashlib.sha256(file.read()).digest())
    return digest.hexdigest()[:16]


def start_or_resume(args, settings, defaults):
    """Prepare the output folder; returns the rows of losses.csv that need not be made again."""
    table = os.path.join(args.output, 'losses.csv')
    resuming = os.path.exists(table)
    if resuming and not args.resume:
        raise utils.UserError(f'{table} exists: carry on with --resume, choose another --output, or remove it')
    files.make_folder(os.path.join(args.output, 'images'))
    runs.check_settings(os.path.join(args.output, 'settings.json'), settings, defaults)
    return runs.read_table(table) if resuming else []


def summarize(rows, names, styles):
    """Mean losses of each kind of image for each style, and over all styles; rows as `runs.append_row` takes them."""
    kinds = list(dict.fromkeys(row['image'] for row in rows))
    summary = []
    for style in styles + ['all styles'] * (len(styles) > 1):
        for kind in kinds:
            values = [
                [float(row[name]) for name in names]
                for row in rows
                if row['image'] == kind and style in (row['style_name'], 'all styles')
            ]
            summary.append([style, kind] + [f'{value:.5g}' for value in numpy.mean(values, axis=0)])
    return summary


def at_equal_style(trajectory, style):
    """Where the optimization first pays no more style loss than a network does.

    Parameters
    ----------
    trajectory : list of pairs (content, style)
        The losses of each iteration of the optimization, from the first image on.
    style : float
        The network's style loss.

    Returns
    -------
    pair of float, or None
        The iteration, and the content loss there, both interpolated linearly in the style loss between the
        iteration before and the one that gets there; None if none does.
    """
    for iteration, (content, reached) in enumerate(trajectory):
        if reached <= style:
            if iteration == 0:
                return 0.0, content
            content_before, before = trajectory[iteration - 1]
            share = (before - style) / (before - reached)
            return iteration - 1 + share, content_before + share * (content - content_before)
    return None


def relate(rows, styles):
    """Style and content losses in relation to the photo's: what the weights of the losses have no part in.

    Parameters
    ----------
    rows : list of dict
        Of losses.csv.
    styles : list of str

    Returns
    -------
    list of lists
        For each style and each kind of image but the photo: style, kind, the style loss in percent of the
        untouched photo's, as the mean over layers and photos of the percentage of each, and the
        content loss divided by the mean square of the photo's features, as the mean over photos.
        Then the means over all styles.
    """
    photos = {(row['style_name'], row['photo']): row for row in rows if row['image'] == 'photo'}
    layers_of_style = [name for name in rows[0] if name.startswith('style_conv')]
    kinds = list(dict.fromkeys(row['image'] for row in rows if row['image'] != 'photo'))
    result = []
    for style in styles:
        for kind in kinds:
            percents, contents = [], []
            for row in rows:
                if (row['style_name'], row['image']) == (style, kind):
                    of_photo = photos[style, row['photo']]
                    percents += [
                        100 * float(row[name]) / float(of_photo[name])
                        for name in layers_of_style
                        if float(of_photo[name])
                    ]
                    contents += [float(row['content']) / float(row[CONTENT_SCALE])] * bool(float(row[CONTENT_SCALE]))
            result.append([style, kind, numpy.mean(percents), numpy.mean(contents)])
    if len(styles) > 1:
        result += [
            ['all styles', kind] + list(numpy.mean([row[2:] for row in result if row[1] == kind], axis=0))
            for kind in kinds
        ]
    return result


def compare(rows, trajectories):
    """The network against the untouched photo and against the optimization at an equal style loss.

    Parameters
    ----------
    rows : list of dict
        Of losses.csv.
    trajectories : list of dict
        Of trajectories.csv.

    Returns
    -------
    list of lists
        For each style and photo: style, photo, the network's style loss in percent of the untouched
        photo's, the iteration at which the optimization has that style loss, its content loss there, and
        the network's content loss divided by it. The last three are None where the optimization
        does not get there; the last is None where it need not leave the photo.
    """
    found = {(row['style_name'], row['photo'], row['image']): row for row in rows}
    paths = {}
    for row in trajectories:
        paths.setdefault((row['style_name'], row['photo']), []).append((float(row['content']), float(row['style'])))
    result = []
    for pair, path in paths.items():
        content, style = (float(found[pair + ('network',)][name]) for name in ('content', 'style'))
        of_photo = float(found[pair + ('photo',)]['style'])
        there = at_equal_style(path, style)
        ratio = content / there[1] if there and there[1] else None
        result.append(
            list(pair) + [100 * style / of_photo if of_photo else None] + list(there or (None, None)) + [ratio]
        )
    return result


def summarize_comparison(comparison, styles):
    """Means of `compare`'s numbers over the photos of each style, and over all: a list of lists of str."""
    summary = []
    for style in styles + ['all styles'] * (len(styles) > 1):
        chosen = [row for row in comparison if style in (row[0], 'all styles')]
        means = []
        for column in (2, 3, 5):
            values = [row[column] for row in chosen if row[column] is not None]
            means.append(f'{numpy.mean(values):.4g}' if values else '-')
        summary.append([style] + means + ['%d of %d' % (sum(row[3] is not None for row in chosen), len(chosen))])
    return summary


def print_table(rows):
    """Print rows of strings in columns, the first row being their titles."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print('  '.join([row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]))


def main():
    args = parse_arguments()
    path = networks.find(args.model)
    style_paths, photo_paths = files.find_images(args.style_dir), files.find_images(args.photos)[: args.count]

    # Theano takes seconds to import: all that needs none of it has been answered or refused by now.
    import evaluation
    import losses
    import models
    import optimization

    device = devices.use(options.device(args))
    network = models.load_network(path, args.network)
    styles = network.styles or ['style']
    chosen = evaluation.find_styles(style_paths, styles)
    loss = evaluation.loss_of_network(args, network.architecture, network.meta)
    photos = evaluation.read_photos(photo_paths, args.image_size, args.content_size)

    names = losses.loss_names(loss)
    settings = {name: getattr(args, name) for name in sorted(evaluation.KINDS) + ['iterations']}
    settings.update(
        model=fingerprint(path),
        style_images=fingerprint(*[p for _, p in chosen]),
        photos=sorted(photos),
        photo_files=fingerprint(*photo_paths),
        loss_weights=fingerprint(*[p for p in args.loss_weights if p != 'random']),
    )
    rows = start_or_resume(args, settings, evaluation.DEFAULTS)
    table_path, path_of_trajectories = (os.path.join(args.output, name) for name in ('losses.csv', 'trajectories.csv'))
    columns = ['style_name', 'photo', 'image'] + names + [CONTENT_SCALE]
    optimized = 'optimization %d' % args.iterations
    kinds = ['photo', 'network'] + [optimized] * bool(args.iterations)

    if len(chosen) < len(styles):
        print(
            "%d of the network's %d styles are evaluated: the others have no image in %s"
            % (len(chosen), len(styles), args.style_dir),
            file=sys.stderr,
        )
    print('compiling', file=sys.stderr)
    targets_of = losses.target_function(loss)
    pastiche_of = models.pastiche_function(network)
    objective = optimization.objective_function(loss)
    grams = losses.style_grams(
        targets_of, [path for _, path in chosen], args.style_size, losses.image_bytes(loss, device)
    )
    grams = [[layer[i : i + 1] for layer in grams] for i in range(len(chosen))]

    def picture(style, photo, kind):
        plain = re.sub(r'[^\w.+-]', '-', f'{photo}_{styles[style]}_{kind}')
        return os.path.join(args.output, 'images', f'{plain}.png')

    done = {tuple(row[column] for column in columns[:3]) for row in rows if row[columns[-1]] is not None}
    kept = runs.read_table(path_of_trajectories) if os.path.exists(path_of_trajectories) else []
    kept = [row for row in kept if (row.get('style_name'), row.get('photo'), optimized) in done]
    with runs.open_table(table_path, columns, rows) as table, runs.open_table(
        path_of_trajectories, columns[:2] + ['iteration'] + names, kept
    ) as trajectories, utils.progress(
        total=len(chosen) * len(photos) * len(kinds), desc='evaluating', unit='image'
    ) as bar:
        for (style, _), targets in zip(chosen, grams):
            for name, whole in photos.items():
                photo = models.without_border(whole, network)
                contents = targets_of(photo)[0]
                scale = evaluation.content_of_nothing(loss, contents)

                def function(image):
                    return objective(image, *contents, *targets)

                for kind in kinds:
                    if (styles[style], name, kind) not in done:
                        image = photo
                        if kind == 'network':
                            image = evaluation.stylize(pastiche_of, network, whole, style)
                        elif kind == optimized:
                            image, path = evaluation.optimized_image(function, photo, args.iterations)
                            for iteration, values in enumerate(path):
                                runs.append_row(
                                    trajectories,
                                    [styles[style], name, iteration] + [f'{value:.7g}' for value in values],
                                    sync=iteration == len(path) - 1,
                                )
                        if kind != 'photo':
                            files.write_image(picture(style, name, kind), files.to_uint8(image)[0])
                        runs.append_row(
                            table,
                            [styles[style], name, kind] + [f'{value:.7g}' for value in [*function(image)[0], scale]],
                            sync=True,
                        )
                    bar.update()

    rows = runs.read_table(table_path)
    summary = summarize(rows, names, [styles[style] for style, _ in chosen])
    with runs.open_table(os.path.join(args.output, 'summary.csv'), ['style_name', 'image'] + names) as table:
        for row in summary:
            runs.append_row(table, row)
    for kind in kinds[1:]:
        grid = [
            [files.to_uint8(models.without_border(photo, network))[0]]
            + [files.read_image(picture(style, name, kind)) for style, _ in chosen]
            for name, photo in photos.items()
        ]
        files.write_image(
            os.path.join(args.output, f'grid_{kind.replace(" ", "_")}.jpg'),
            files.style_sheet(grid, ['photo'] + [styles[style] for style, _ in chosen]),
        )
    print_table([['style', 'image'] + names] + summary)
    relative = [row[:2] + [f'{value:.4g}' for value in row[2:]] for row in relate(rows, [styles[s] for s, _ in chosen])]
    with runs.open_table(os.path.join(args.output, 'relative.csv'), RELATIVE) as table:
        for row in relative:
            runs.append_row(table, row)
    print('\nIn relation to the photo:')
    print_table(
        [['style', 'image', "style loss, % of the photo's", "content loss / square of the photo's features"]] + relative
    )

    if args.iterations:
        comparison = compare(rows, runs.read_table(path_of_trajectories))
        with runs.open_table(os.path.join(args.output, 'equal_style.csv'), EQUAL_STYLE) as table:
            for row in comparison:
                runs.append_row(
                    table,
                    ['' if value is None else f'{value:.5g}' if isinstance(value, float) else value for value in row],
                )
        print("\nThe network beside %d iterations of the optimization, at the network's style loss:" % args.iterations)
        print_table(
            [['style', "style loss, % of photo's", 'iteration', "content loss / optimization's", 'reached']]
            + summarize_comparison(comparison, [styles[style] for style, _ in chosen])
        )


if __name__ == '__main__':
    utils.run_script(main)
