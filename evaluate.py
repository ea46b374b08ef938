"""Measure a trained network on photos that it was not trained on.

    python evaluate.py --model cin.npz --style-dir data/styles/misc32 --photos photos/val --output evaluation

For each style the content, style and total loss of the network's pastiches are set beside those of the
untouched photos and of images optimized for each photo (arXiv:1508.06576). The output folder holds
losses.csv (each photo), summary.csv (means over the photos), the pastiches, and grids of them, photos
down and styles across. Options of the loss that are not given are those that the network was trained with.
"""
import hashlib
import os
import re
import sys

import numpy

import backend
import layers
import losses
import models
import optimize
import options
import runs
import utils

# What is not given and does not stand in the network's file; a content layer and style weight of None are set to
# those of the kind of network.
DEFAULTS = dict(content_layer=None, content_weight=1., style_layers=losses.STYLE_LAYERS, style_weight=None,
                tv_weight=0., normalize_losses=False, image_size=256, style_size=512)
KINDS = dict(content_layer=str, content_weight=float, style_layers=str, style_weight=float, tv_weight=float,
             normalize_losses=bool, image_size=int, style_size=int)


def parse_arguments():
    parser = options.Parser(__doc__)
    parser.add_argument('--model', required=True, help='a trained network (.npz), or the name of one in data/models')
    parser.add_argument('--style-dir', required=True,
                        help="folder with the images of the network's styles, or of some, by the names they had in "
                             'training')
    parser.add_argument('--photos', required=True, nargs='+', metavar='PHOTO', help='image files, folders and patterns')
    parser.add_argument('--count', type=options.positive_int, default=8, help='use that many of the photos')
    parser.add_argument('--image-size', type=options.positive_int, help='side of the squares that photos are cut to')
    parser.add_argument('--style-size', type=options.positive_int,
                        help='shorter side that style images are resized to')
    losses.add_arguments(parser)
    parser.set_defaults(content_weight=None, style_layers=None, tv_weight=None, normalize_losses=None)
    parser.add_argument('--iterations', type=options.whole_number, default=100,
                        help='of the optimization by L-BFGS for each style and photo; 0 for none')
    parser.add_argument('--output', default='evaluation', help='folder for tables and pictures')
    parser.add_argument('--resume', action='store_true', help='carry on with what the output folder has')
    backend.add_arguments(parser)
    return parser.parse_args()


def loss_of_network(args, meta):
    """Fill in what the arguments leave open from the network's ``meta``; return its `losses.PerceptualLoss`."""
    training = meta.get('training') if isinstance(meta.get('training'), dict) else {}
    for option, kind in KINDS.items():
        if getattr(args, option) is None:
            value = training.get(option)
            good = type(value) is kind or (kind is float and type(value) is int)
            setattr(args, option, kind(value) if good else DEFAULTS[option])
    if args.image_size < 16:
        raise utils.UserError('--image-size %d: the network needs at least 16 pixels' % args.image_size)
    args.network = meta['network']
    return losses.from_arguments(args)


def find_styles(paths, names):
    """Which of the network's styles each image shows: a list of pairs (number, path), in the network's order."""
    by_name = {models.style_name(path): path for path in paths}
    found = [(number, by_name[name]) for number, name in enumerate(names) if name in by_name]
    if not found and len(names) == len(paths) == 1:
        found = [(0, paths[0])]
    if not found:
        raise utils.UserError("none of the %d style images has the name of one of the network's styles, %s ..."
                              % (len(paths), ', '.join(names[:4])))
    return found


def read_photos(paths, size):
    """Photos cut to squares: {name: array (1, 3, size, size), RGB in [0, 1]}."""
    return {os.path.splitext(os.path.basename(path))[0]: utils.to_float(utils.cover(utils.read_image(path), size, size))
            for path in paths}


def stylize(function, network, photo, style):
    """The pastiche (1, 3, H, W) of a photo (1, 3, H, W) by a compiled network; style is a number or a blend."""
    inputs = [photo]
    if network.style:
        inputs.append(layers.style_weights(style, len(network.meta['styles'])))
    return function(*inputs)[:, :, :photo.shape[2], :photo.shape[3]]


def fingerprint(*paths):
    """A hash of the contents of files."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, 'rb') as file:
            digest.update(hashlib.sha256(file.read()).digest())
    return digest.hexdigest()[:16]


def start_or_resume(args, settings):
    """Prepare the output folder; returns the rows of losses.csv that need not be made again."""
    table = os.path.join(args.output, 'losses.csv')
    resuming = os.path.exists(table)
    if resuming and not args.resume:
        raise utils.UserError('%s exists: carry on with --resume, choose another --output, or remove it' % table)
    utils.make_folder(os.path.join(args.output, 'images'))
    runs.check_settings(os.path.join(args.output, 'settings.json'), settings)
    return runs.read_table(table) if resuming else []


def summarize(rows, names, styles):
    """Mean losses of each kind of image for each style, and over all styles; rows as `runs.append_row` takes them."""
    kinds = list(dict.fromkeys(row['image'] for row in rows))
    summary = []
    for style in styles + ['all styles'] * (len(styles) > 1):
        for kind in kinds:
            values = [[float(row[name]) for name in names] for row in rows
                      if row['image'] == kind and style in (row['style_name'], 'all styles')]
            summary.append([style, kind] + ['%.5g' % value for value in numpy.mean(values, axis=0)])
    return summary


def main():
    args = parse_arguments()
    backend.use(args)
    path = models.find_network(args.model)
    network = models.load_network(path)
    styles = network.meta['styles'] or ['style']
    chosen = find_styles(utils.find_images(args.style_dir), styles)
    photo_paths = utils.find_images(args.photos)[:args.count]
    loss = loss_of_network(args, network.meta)
    photos = read_photos(photo_paths, args.image_size)

    names = losses.loss_names(loss)
    settings = {name: getattr(args, name) for name in sorted(KINDS) + ['iterations']}
    settings.update(model=fingerprint(path), style_images=fingerprint(*[p for _, p in chosen]), photos=sorted(photos),
                    loss_weights=fingerprint(*[p for p in args.loss_weights if p != 'random']))
    rows = start_or_resume(args, settings)
    table_path = os.path.join(args.output, 'losses.csv')
    columns = ['style_name', 'photo', 'image'] + names
    optimized = 'optimization %d' % args.iterations
    kinds = ['photo', 'network'] + [optimized] * bool(args.iterations)

    if len(chosen) < len(styles):
        print("%d of the network's %d styles are evaluated: the others have no image in %s"
              % (len(chosen), len(styles), args.style_dir), file=sys.stderr)
    print('compiling', file=sys.stderr)
    targets_of = losses.target_function(loss)
    pastiche_of = models.pastiche_function(network)
    objective = optimize.objective_function(loss)
    grams = losses.style_grams(targets_of, [path for _, path in chosen], args.style_size)
    grams = [[layer[i:i + 1] for layer in grams] for i in range(len(chosen))]

    def picture(style, photo, kind):
        plain = re.sub(r'[^\w.+-]', '-', '%s_%s_%s' % (photo, styles[style], kind))
        return os.path.join(args.output, 'images', plain + '.png')

    with runs.open_table(table_path, columns, rows) as table, \
            utils.progress(total=len(chosen) * len(photos) * len(kinds), desc='evaluating', unit='image') as bar:
        done = {tuple(row[column] for column in columns[:3]) for row in rows if row[columns[-1]] is not None}
        for (style, _), targets in zip(chosen, grams):
            for name, photo in photos.items():
                content = targets_of(photo)[0]

                def function(image):
                    return objective(image, content, *targets)

                for kind in kinds:
                    if (styles[style], name, kind) not in done:
                        image = [photo]
                        if kind == 'network':
                            image = [stylize(pastiche_of, network, photo, style)]
                        elif kind == optimized:
                            optimize.minimize_lbfgs(function, photo, args.iterations,
                                                    lambda _, latest, __: image.__setitem__(0, latest))
                        if kind != 'photo':
                            utils.write_image(picture(style, name, kind), utils.to_uint8(image[0])[0])
                        runs.append_row(table, [styles[style], name, kind]
                                        + ['%.7g' % value for value in function(image[0])[0]], sync=True)
                    bar.update()

    rows = runs.read_table(table_path)
    summary = summarize(rows, names, [styles[style] for style, _ in chosen])
    with runs.open_table(os.path.join(args.output, 'summary.csv'), ['style_name', 'image'] + names) as table:
        for row in summary:
            runs.append_row(table, row)
    for kind in kinds[1:]:
        grid = [[utils.to_uint8(photo)[0]] + [utils.read_image(picture(style, name, kind)) for style, _ in chosen]
                for name, photo in photos.items()]
        utils.write_image(os.path.join(args.output, 'grid_%s.jpg' % kind.replace(' ', '_')),
                          utils.contact_sheet(grid, ['photo'] + [styles[style] for style, _ in chosen]))
    width = max(len(row[0]) for row in summary)
    print('%-*s  %-16s' % (width, 'style', 'image') + ''.join('%14s' % name for name in names))
    for row in summary:
        print('%-*s  %-16s' % (width, row[0], row[1]) + ''.join('%14s' % value for value in row[2:]))


if __name__ == '__main__':
    utils.run_script(main)
