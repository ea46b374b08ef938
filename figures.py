"""Reproduce the figures and tables of the papers, one subcommand each.

    python figures.py many-styles --quick --style-dir data/styles/misc32 --content photos/train

Each subcommand trains the networks that it needs with train.py (or finds them in the run folder: what is
there is used, what was interrupted carries on), and writes a picture and a table of the numbers in it.
--quick takes minutes on two CPU cores, with few styles, a small network and small images; --full has
the settings of the papers.
"""
import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time

import backend  # before all others: it names what is missing

import numpy

import evaluate
import losses
import models
import optimize
import options
import runs
import utils
from data import photos
from formats import networks, vgg

ROOT = os.path.dirname(os.path.abspath(__file__))
# 'many_iterations' are those of the network of many styles: as many as the others in the paper, but where the
# updates are few, as many for each style.
SCALES = {
    'quick': dict(styles=4, width=16, residual_blocks=3, image_size=64, style_size=128, batch_size=4, iterations=300,
                  many_iterations=1200, checkpoint_every=30, shown=3, picture_size=192, steps=60, timed_steps=3,
                  timed_sizes=[256, 512, 1024]),
    'full': dict(styles=32, width=32, residual_blocks=5, image_size=256, style_size=512, batch_size=4, iterations=40000,
                 many_iterations=40000, checkpoint_every=1000, shown=10, picture_size=512, steps=500, timed_steps=500,
                 timed_sizes=[256, 512, 1024]),
}
SAMPLES = os.path.join(ROOT, 'data', 'samples')
LOSS_OPTIONS = ('loss_weights', 'content_layers', 'content_weight', 'style_layers', 'style_weight', 'tv_weight',
                'normalize_losses', 'pool')


# ---------------------------------------------------------------------------------------------
# What the figures have in common
# ---------------------------------------------------------------------------------------------

def change(text):
    """``iterations=2000`` as a pair."""
    name, equals, value = text.partition('=')
    if not equals or name not in SCALES['full']:
        raise argparse.ArgumentTypeError('%r is not NAME=NUMBER with one of the names %s'
                                         % (text, ', '.join(sorted(SCALES['full']))))
    if name == 'timed_sizes':
        return name, [options.positive_int(item) for item in value.split(',')]
    return name, options.positive_int(value)


def parse_arguments():
    parser = options.Parser(__doc__)
    parser.add_argument('figure', choices=list(FIGURES), metavar='FIGURE',
                        help='; '.join('%s: %s' % (name, FIGURES[name].__doc__.split('\n')[0].rstrip('.'))
                                       for name in FIGURES))
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument('--quick', dest='scale', action='store_const', const='quick', default='quick',
                       help='minutes on two CPU cores (the default)')
    scale.add_argument('--full', dest='scale', action='store_const', const='full', help='the settings of the papers')
    parser.add_argument('--set', nargs='+', type=change, default=[], metavar='NAME=NUMBER', dest='changes',
                        help='change a setting of the scale, such as iterations=2000')
    parser.add_argument('--style-dir', default=os.path.join(ROOT, 'data/styles/misc32'),
                        help='folder with the style images, of which the first are used')
    parser.add_argument('--content', default=photos.COCO,
                        help='content images to train on: an HDF5 file of data/make_dataset.py, or a folder of photos')
    parser.add_argument('--photos', nargs='+', default=[SAMPLES], metavar='PHOTO',
                        help='photos to show and to measure on, which are not among the content images')
    parser.add_argument('--model', help='for pastiches, blend and finetune: a trained network instead of one of many styles')
    options.add_losses(parser)
    parser.add_argument('--output', default='figures', help='folder for pictures and tables')
    parser.add_argument('--run-dir', help='folder for the trained networks (default: runs/figures-SCALE)')
    options.add_device(parser)
    args = parser.parse_args()
    args.run_dir = args.run_dir or os.path.join('runs', 'figures-' + args.scale)
    for name, value in dict(SCALES[args.scale], **dict(args.changes)).items():
        setattr(args, name, value)
    if args.scale == 'quick':
        use_what_is_there(args)
    return args


def use_what_is_there(args):
    """Without VGG16 or MS-COCO, settle for what comes with the project, and say so."""
    if args.model and args.figure == 'pastiches':
        return
    if args.loss_weights is None and not os.path.exists(vgg.find()):
        print('WARNING: %s is not there: the loss network is random, and the figure shows only that the commands run; '
              '%s fetches VGG16' % (vgg.find(), vgg.FETCH), file=sys.stderr)
        args.loss_weights = ['random']
    if args.content == photos.COCO and not os.path.exists(photos.COCO):
        print('WARNING: %s is not there: training on the photos of %s, a few' % (photos.COCO, SAMPLES), file=sys.stderr)
        args.content = SAMPLES


def style_images(args, count, skip=0):
    """The paths of the style images number `skip` to `skip` + `count`."""
    paths = utils.find_images(args.style_dir)
    if len(paths) < skip + count:
        raise utils.UserError('%s has %d images, and %s needs %d'
                              % (args.style_dir, len(paths), args.figure, skip + count))
    return paths[skip:skip + count]


def show_photos(args):
    """The photos to show and to measure on: {name: array (1, 3, S, S)}."""
    return evaluate.read_photos(utils.find_images(args.photos)[:args.shown], args.picture_size)


def run(command):
    """Run a command to its end and return its exit status; an interrupt is left to it."""
    process = subprocess.Popen(command)
    # A terminal sends Ctrl-C to both; SIGTERM comes to one process only.
    handlers = {signal.SIGINT: signal.signal(signal.SIGINT, lambda number, frame: None),
                signal.SIGTERM: signal.signal(signal.SIGTERM, lambda number, frame: process.terminate())}
    try:
        # A signal that another thread was given is seen between two waits only.
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
        return process.returncode
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def train(args, name, styles, *more, iterations=None):
    """Train a network in the run folder, unless it is there; returns the path of its file.

    Parameters
    ----------
    name : str
        Of the network.
    styles : list of str
        Paths of its style images.
    *more
        Further options of train.py.
    iterations : int, optional
        By default those of the scale.
    """
    iterations = iterations or args.iterations
    output = os.path.join(args.run_dir, name + '.npz')
    if os.path.exists(output):
        if models.load_network(output).meta.get('training', {}).get('iterations', 0) >= iterations:
            return output
    folder = os.path.join(args.run_dir, name + '-styles')
    utils.make_folder(folder)
    for path in styles:
        shutil.copy(path, folder)
    command = [sys.executable, os.path.join(ROOT, 'train.py'), '--resume', '--style-dir', folder, '--output', output,
               '--content', args.content, '--iterations', str(iterations), '--device', args.device, '--backend', args.backend]
    for option in ('image_size', 'style_size', 'batch_size', 'checkpoint_every', 'tf32') + LOSS_OPTIONS:
        value = getattr(args, option)
        if value is not None and value is not False:
            command.append('--' + option.replace('_', '-'))
            command += [str(item) for item in value] if isinstance(value, list) else [str(value)] * (value is not True)
    if '--finetune' not in more:
        command += ['--width', str(args.width), '--residual-blocks', str(args.residual_blocks)]
    print('training %s' % name, file=sys.stderr)
    status = run(command + list(more))
    if status:
        raise utils.UserError('the training of %s stopped; the same command carries on' % name)
    return output


def curve(args, name, column, last=None):
    """Validation losses of a trained network: a pair (iterations, values), up to the scale's or the `last` iteration."""
    rows = runs.read_table(os.path.join(args.run_dir, name, 'metrics.csv'))
    rows = [row for row in rows if row[column] and int(row['iteration']) <= (last or args.iterations)]
    return [int(row['iteration']) for row in rows], [float(row[column]) for row in rows]


def judge(args, network='cin', gradient=False):
    """Compile the loss that the networks were trained with.

    Returns
    -------
    callable
        Of a photo, (1, 3, H, W), and the path of a style image; returns a function of an image with the
        values of `optimize.objective_function`.
    """
    loss = losses.from_arguments(argparse.Namespace(**dict(vars(args), network=network)))
    targets_of, objective_of = losses.target_function(loss), optimize.objective_function(loss, gradient)

    def objective_for(photo, style):
        contents = targets_of(photo)[0]
        grams = targets_of(utils.to_float(utils.read_image(style, size=args.style_size)))[1]
        return lambda image: objective_of(image, *contents, *grams)
    return objective_for


def write_table(args, columns, rows):
    """Write the numbers of the figure and print them."""
    path = os.path.join(args.output, args.figure + '.csv')
    with runs.open_table(path, columns) as table:
        for row in rows:
            runs.append_row(table, ['%.5g' % value if isinstance(value, float) else value for value in row])
    with open(path) as file:
        print(file.read(), end='')
    print('%s: the numbers' % path)


def write_picture(args, image, label=''):
    path = os.path.join(args.output, args.figure + label + '.jpg')
    utils.write_image(path, image)
    print('%s: the picture' % path)


def plot(args, panels, xlabel, log=True):
    """Draw curves.

    Parameters
    ----------
    panels : dict
        {title: [(x, y, label, style of the line)]}.
    """
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(1, len(panels), figsize=(5 * len(panels), 4), squeeze=False)
    for axis, (title, lines) in zip(axes[0], panels.items()):
        for x, y, label, style in lines:
            axis.plot(x, y, style, label=label)
        axis.set_title(title)
        axis.set_xlabel(xlabel)
        axis.set_yscale('log' if log else 'linear')
        axis.legend(fontsize='small')
    figure.tight_layout()
    path = os.path.join(args.output, args.figure + '.png')
    with utils.atomic_write(path) as file:
        figure.savefig(file, format='png', dpi=80)
    pyplot.close(figure)
    print('%s: the curves' % path)


def as_picture(batch):
    return utils.to_uint8(batch)[0]


def network_to_show(args):
    """The path of the network of --model, or else of that of many styles."""
    if not args.model:
        return many_styles_network(args)[0]
    path = networks.find(args.model)
    if networks.lost(networks.read_settings(path)):
        raise utils.UserError("%s: the pastiches of a network with the padding 'none' are smaller than the photos that "
                              'the figures compare them with' % path)
    return path


def many_styles_network(args):
    """The network of many styles, and the paths of its style images."""
    styles = style_images(args, args.styles)
    return train(args, 'many-%d' % args.styles, styles, iterations=args.many_iterations), styles


# ---------------------------------------------------------------------------------------------
# A Learned Representation for Artistic Style
# ---------------------------------------------------------------------------------------------

def pastiches(args):
    """All styles of a network on some photos (arXiv:1610.07629, section 3.3)."""
    path = network_to_show(args)
    network = models.load_network(path)
    names = network.meta['styles']
    function = models.pastiche_function(network)
    photos = show_photos(args)
    grid, rows = [[as_picture(photo)] for photo in photos.values()], []
    for style, name in enumerate(utils.progress(names, desc='stylizing', unit='style')):
        images = [evaluate.stylize(function, network, photo, style) for photo in photos.values()]
        for row, image in zip(grid, images):
            row.append(as_picture(image))
        difference = numpy.mean([abs(image - photo).mean() for image, photo in zip(images, photos.values())])
        rows.append([name, float(difference)])
    write_picture(args, utils.style_sheet(grid, ['photo'] + names))
    write_table(args, ['style_name', 'mean_difference_from_photo'], rows)


def many_styles(args):
    """One network of many styles against a network for each (arXiv:1610.07629, figure 5)."""
    path, styles = many_styles_network(args)
    singles = [train(args, 'single-%s' % models.style_name(style), [style]) for style in styles]
    photos, objective_for = show_photos(args), judge(args)
    many = models.load_network(path)
    many_function = models.pastiche_function(many)
    rows, grid = [], []
    for number, (style, single) in enumerate(zip(styles, singles)):
        single = models.load_network(single)
        single_function = models.pastiche_function(single)
        values = []
        for photo in photos.values():
            of_image = objective_for(photo, style)
            images = [evaluate.stylize(many_function, many, photo, number),
                      evaluate.stylize(single_function, single, photo, 0)]
            values.append([of_image(image)[0][1:3] for image in images])
        grid.append([as_picture(image) for image in images])
        (content, style_loss), (content_single, style_single) = numpy.mean(values, axis=0).tolist()
        rows.append([models.style_name(style), content, content_single, 100 * (content / content_single - 1),
                     style_loss, style_single, 100 * (style_loss / style_single - 1)])
    numbers = numpy.array([row[1:] for row in rows])
    rows += [['mean'] + numbers.mean(axis=0).tolist(), ['deviation'] + numbers.std(axis=0).tolist()]
    write_table(args, ['style_name', 'content_many', 'content_single', 'content_percent_more',
                       'style_many', 'style_single', 'style_percent_more'], rows)
    write_picture(args, utils.contact_sheet(grid, ['%d styles' % len(styles), 'one style'],
                                            [row[0] for row in rows[:len(styles)]]))
    panels = {}
    for kind in ('content', 'style'):
        curves = [curve(args, 'single-%s' % models.style_name(style), 'val_' + kind) for style in styles]
        mean = numpy.mean([values for _, values in curves], axis=0)
        shared = curve(args, 'many-%d' % args.styles, 'val_' + kind, args.many_iterations)
        panels[kind + ' loss'] = [shared + ('%d styles' % len(styles), 'k-'),
                                  (curves[0][0], mean, 'one style: mean', 'C0-')]
        panels[kind + ' loss'] += [values + (None, 'C0:') for values in curves]
    plot(args, panels, 'iteration')


def finetune(args):
    """A new style by fine-tuning against training from scratch (arXiv:1610.07629, figure 6)."""
    path = network_to_show(args)
    new = style_images(args, 1, args.styles)
    name = models.style_name(new[0])
    variants = {'finetuned': ('finetuned-' + name, ('--finetune', path)), 'from scratch': ('single-' + name, ())}
    photos, grid, panels, rows = show_photos(args), [], {}, []
    for label, (run, more) in variants.items():
        network = models.load_network(train(args, run, new, *more))
        function, style = models.pastiche_function(network), len(network.meta['styles']) - 1
        grid.append([as_picture(evaluate.stylize(function, network, photo, style)) for photo in photos.values()])
        for kind in ('content', 'style', 'total'):
            iterations, values = curve(args, run, 'val_' + kind)
            panels.setdefault(kind + ' loss', []).append((iterations, values, label, '-'))
            rows += [[label, kind, iteration, value] for iteration, value in zip(iterations, values)]
    plot(args, panels, 'iteration')
    write_picture(args, utils.contact_sheet(grid, list(photos), list(variants)))
    write_table(args, ['network', 'loss', 'iteration', 'value'], rows)


def blend(args):
    """Convex combinations of four styles, and the way from one to another (arXiv:1610.07629, figure 7)."""
    path = network_to_show(args)
    network = models.load_network(path)
    if not network.style or len(network.meta['styles']) < 4:
        raise utils.UserError('%s: combining styles needs a network of at least four' % path)
    function, photos = models.pastiche_function(network), show_photos(args)
    photo = next(iter(photos.values()))
    steps = numpy.linspace(0, 1, 5)
    grid = [[as_picture(evaluate.stylize(function, network, photo, {
        0: (1 - down) * (1 - right), 1: (1 - down) * right, 2: down * (1 - right), 3: down * right}))
        for right in steps] for down in steps]
    write_picture(args, utils.contact_sheet(grid))

    # The style losses along the line between the first two, with respect to either.
    styles = [path for _, path in evaluate.find_styles(utils.find_images(args.style_dir), network.meta['styles'][:2])]
    if len(styles) < 2:
        raise utils.UserError('%s lacks an image of one of the styles %s'
                              % (args.style_dir, ' and '.join(network.meta['styles'][:2])))
    objective_for, rows = judge(args), []
    objectives = [[objective_for(photo, style) for style in styles] for photo in photos.values()]
    weights = numpy.linspace(0, 1, 11)
    for weight in utils.progress(weights, desc='line', unit='blend'):
        values = []
        for photo, pair in zip(photos.values(), objectives):
            image = evaluate.stylize(function, network, photo, {0: 1 - weight, 1: weight})
            values.append([of_image(image)[0][2] for of_image in pair])
        rows.append([float(weight)] + numpy.mean(values, axis=0).tolist())
    names = network.meta['styles'][:2]
    write_table(args, ['weight_of_' + names[1]] + ['style_loss_to_' + name for name in names], rows)
    plot(args, {'style loss': [([row[0] for row in rows], [row[i] for row in rows], 'to ' + name, 'o-')
                               for i, name in enumerate(names, 1)]}, 'weight of ' + names[1])


# ---------------------------------------------------------------------------------------------
# Instance Normalization; the differences in the network
# ---------------------------------------------------------------------------------------------

VARIANTS = {'instance norm': (), 'batch norm': ('--norm', 'batch'), 'zero padding': ('--pad', 'zero'),
            'deconvolution': ('--upsampling', 'deconv')}


def variant(args, label):
    """A network of a single style in a variant: its name in the run folder, and its file."""
    name = 'fns-' + label.replace(' ', '-')
    return name, train(args, name, style_images(args, 1), '--network', 'fns', *VARIANTS[label])


def norm(args):
    """Instance against batch normalization (arXiv:1607.08022)."""
    photos, panels, rows = show_photos(args), {}, []
    grid = [[as_picture(photo) for photo in photos.values()]]
    labels = ['instance norm', 'batch norm']
    for label in labels:
        name, path = variant(args, label)
        network = models.load_network(path)
        function = models.pastiche_function(network)
        grid.append([as_picture(evaluate.stylize(function, network, photo, 0)) for photo in photos.values()])
        for kind in ('total', 'content', 'style'):
            iterations, values = curve(args, name, 'val_' + kind)
            panels.setdefault(kind + ' loss', []).append((iterations, values, label, '-'))
            rows += [[label, kind, iteration, value] for iteration, value in zip(iterations, values)]
    plot(args, panels, 'iteration')
    write_picture(args, utils.contact_sheet(grid, list(photos), ['photo'] + labels))
    write_table(args, ['network', 'loss', 'iteration', 'value'], rows)


def checkerboard(image):
    """Strength of patterns of period 2 in an image (3, H, W), 0-255.

    The four phases of the pixels are averaged over blocks of 16×16; where there is no checkerboard,
    they agree.
    """
    _, height, width = image.shape
    image = image[:, :height // 16 * 16, :width // 16 * 16]
    blocks = image.reshape(3, height // 16, 8, 2, width // 16, 8, 2).mean(axis=(2, 5))
    return 255 * float(blocks.std(axis=(2, 4)).mean())


def border_difference(function, network, photo, ring=4):
    """What a network makes of an edge that is none: mean absolute differences, 0-255.

    The middle of the photo is stylized by itself, and cut out of the whole pastiche; the two are
    compared in a ring along the edge, and inside of it.
    """
    margin = photo.shape[2] // 8 // 4 * 4
    middle = photo[:, :, margin:-margin, margin:-margin]
    whole = evaluate.stylize(function, network, photo, 0)[:, :, margin:-margin, margin:-margin]
    alone = evaluate.stylize(function, network, numpy.ascontiguousarray(middle), 0)
    difference = 255 * abs(alone - whole).mean(axis=1)[0]
    inside = numpy.zeros(difference.shape, bool)
    inside[ring:-ring, ring:-ring] = True
    return float(difference[~inside].mean()), float(difference[inside].mean())


def borders(args):
    """Mirror against zero padding, upsampling against deconvolution: borders and checkerboards."""
    photos, grid, rows = show_photos(args), [], []
    labels = ['instance norm', 'zero padding', 'deconvolution']
    titles = ['mirror padding, upsampling', 'zero padding, upsampling', 'mirror padding, deconvolution']
    for label, title in zip(labels, titles):
        name, path = variant(args, label)
        network = models.load_network(path)
        function = models.pastiche_function(network)
        numbers = []
        for photo in photos.values():
            image = evaluate.stylize(function, network, photo, 0)
            numbers.append((checkerboard(image[0]),) + border_difference(function, network, photo))
        # A corner, four times as large.
        size = args.picture_size
        corner = as_picture(image)[:size // 4, :size // 4].repeat(4, axis=0).repeat(4, axis=1)
        grid.append([as_picture(image), corner])
        rows.append([title] + numpy.mean(numbers, axis=0).tolist() + [curve(args, name, 'val_total')[1][-1]])
    write_picture(args, utils.contact_sheet(grid, ['pastiche', 'its corner, enlarged'], titles))
    write_table(args, ['network', 'checkerboard', 'difference_in_border', 'difference_inside', 'val_total'], rows)


# ---------------------------------------------------------------------------------------------
# Perceptual Losses for Real-Time Style Transfer
# ---------------------------------------------------------------------------------------------

def clocks():
    """Seconds, of the clock and of the processor."""
    return time.perf_counter(), time.process_time()


def speed(args):
    """Seconds for the optimization and for the network (arXiv:1603.08155, table 1).

    The time of a step is the median of the steps that were timed (three at the quick scale, which the table
    says); 100, 300 and 500 steps are extrapolated from it. The network is that of the paper at any scale;
    the numbers in it do not change its speed, and are random. Seconds of the processor, of all threads
    together, are noted as well: with one thread they say more on a machine that has other work.
    """
    network = models.transformer_network('fns', ['style'])
    function, objective_for, rows = models.pastiche_function(network), judge(args, 'fns', gradient=True), []
    style = style_images(args, 1)[0]
    cache = os.path.join(args.run_dir, 'speed.csv')
    columns = ['size', 'steps_timed', 'seconds_per_step', 'processor_per_step', 'seconds_network', 'processor_network']
    done = runs.read_table(cache) if os.path.exists(cache) else []
    with runs.open_table(cache, columns, done) as table:
        known = {row['size']: [float(row[name]) for name in columns[1:]] for row in done if all(map(row.get, columns))}
        for size in utils.progress(args.timed_sizes, desc='timing', unit='size'):
            if str(size) in known:
                timed, *seconds = known[str(size)]
            else:
                photo = utils.to_float(utils.cover(utils.read_image(utils.find_images(args.photos)[0]), size, size))
                of_image, times = objective_for(photo, style), [clocks()]
                optimize.minimize_lbfgs(of_image, photo, args.timed_steps + 1, lambda *_: times.append(clocks()))
                # The first step includes scipy's preparations and the first touch of the memory.
                timed, seconds = args.timed_steps, numpy.median(numpy.diff(times, axis=0)[1:], axis=0).tolist()
                passes = [clocks()]
                for _ in range(6):
                    function(photo)
                    passes.append(clocks())
                seconds += numpy.median(numpy.diff(passes, axis=0)[1:], axis=0).tolist()
                runs.append_row(table, [size, timed] + ['%r' % value for value in seconds], sync=True)
            step, _, once, _ = seconds
            rows.append(['%d×%d' % (size, size), int(timed)] + seconds + [count * step for count in (100, 300, 500)]
                        + [count * step / once for count in (100, 300, 500)])
    print('seconds of 100, 300 and 500 steps: extrapolated from those of the steps that were timed', file=sys.stderr)
    write_table(args, ['image'] + columns[1:] + ['seconds_100', 'seconds_300', 'seconds_500', 'speedup_100',
                                                 'speedup_300', 'speedup_500'], rows)


def objective(args):
    """The objective of the network against that of the optimization over its steps (arXiv:1603.08155, figure 5)."""
    style = style_images(args, 1)[0]
    network = models.load_network(variant(args, 'instance norm')[1])
    function, photos = models.pastiche_function(network), show_photos(args)
    objective_for = judge(args, 'fns', gradient=True)
    cache = os.path.join(args.run_dir, 'objective.csv')
    columns = ['photo', 'start', 'step', 'total']
    done = runs.read_table(cache) if os.path.exists(cache) else []
    starts = {'photo': lambda photo: photo,
              'noise': lambda photo: numpy.random.RandomState(0).uniform(0.25, 0.75, photo.shape).astype('float32')}
    with runs.open_table(cache, columns, done) as table, \
            utils.progress(total=2 * len(photos) * args.steps, desc='optimizing', unit='it') as bar:
        for name, photo in photos.items():
            of_image = objective_for(photo, style)
            for start, first in starts.items():
                last = [row for row in done if row['photo'] == name and row['start'] == start]
                if last and int(last[-1]['step']) >= args.steps:
                    bar.update(args.steps)
                    continue
                values = {0: of_image(first(photo))[0][0]}

                def record(step, image, losses_of_image):
                    values[step] = losses_of_image[0]
                    bar.update()

                optimize.minimize_lbfgs(of_image, first(photo), args.steps, record)
                for step in range(args.steps + 1):
                    # Where L-BFGS has stopped early, the objective stays as it is.
                    values[step] = values.get(step, values.get(step - 1))
                    runs.append_row(table, [name, start, step, '%.7g' % values[step]], sync=step == args.steps)
    table = {}
    for row in runs.read_table(cache):
        table.setdefault((row['start'], int(row['step'])), {})[row['photo']] = float(row['total'])
    mean = {start: [float(numpy.mean([table[start, step][name] for name in photos])) for step in range(args.steps + 1)]
            for start in starts}
    of_network, of_photo = [], []
    for name, photo in photos.items():
        of_image = objective_for(photo, style)
        of_network.append(of_image(evaluate.stylize(function, network, photo, 0))[0][0])
        of_photo.append(of_image(photo)[0][0])
    of_network, of_photo = float(numpy.mean(of_network)), float(numpy.mean(of_photo))
    steps = list(range(args.steps + 1))
    plot(args, {'objective': [(steps, mean['photo'], 'L-BFGS from the photo', 'C0-'),
                              (steps, mean['noise'], 'L-BFGS from noise', 'C1-'),
                              (steps, [of_network] * len(steps), 'network', 'C2-'),
                              (steps, [of_photo] * len(steps), 'untouched photo', 'k:')]}, 'step of the optimization')
    rows = [['untouched photo', '', of_photo], ['network', '', of_network]]
    for start in starts:
        reached = [step for step in steps if mean[start][step] <= of_network]
        rows.append(['L-BFGS from the %s reaches the network' % start, reached[0] if reached else 'never', ''])
        rows += [['L-BFGS from the %s' % start, step, mean[start][step]]
                 for step in steps[::max(1, args.steps // 10)]]
    write_table(args, ['image', 'step', 'objective'], rows)


FIGURES = {'pastiches': pastiches, 'many-styles': many_styles, 'finetune': finetune, 'blend': blend, 'norm': norm,
           'borders': borders, 'speed': speed, 'objective': objective}


def main():
    args = parse_arguments()
    backend.use(args)
    utils.make_folder(args.output)
    utils.make_folder(args.run_dir)
    # What decides on the networks and the objective; the number of styles and of iterations may grow.
    settings = {name: getattr(args, name) for name in LOSS_OPTIONS + (
        'content', 'style_dir', 'width', 'residual_blocks', 'image_size', 'style_size', 'batch_size', 'picture_size')}
    path = os.path.join(args.run_dir, 'settings.json')
    if os.listdir(args.run_dir) == ['settings.json']:
        # Nothing was made with them.
        os.remove(path)
    runs.check_settings(path, settings, dict(pool='max'))
    FIGURES[args.figure](args)


if __name__ == '__main__':
    utils.run_script(main)
