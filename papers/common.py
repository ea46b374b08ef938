"""What the figures have in common: the networks that they train, the loss that judges, and pictures and tables."""

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys

import numpy

import evaluation
import files
import losses
import models
import optimization
import options
import runs
import utils
from formats import networks

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VARIANTS = {
    'instance norm': (),
    'batch norm': ('--norm', 'batch'),
    'zero padding': ('--pad', 'zero'),
    'batch norm and zero padding': ('--norm', 'batch', '--pad', 'zero'),
    'deconvolution': ('--upsampling', 'deconv'),
}


def style_images(args, count, skip=0):
    """The paths of the style images number `skip` to `skip` + `count`."""
    paths = files.find_images(args.style_dir)
    if len(paths) < skip + count:
        raise utils.UserError(f'{args.style_dir} has {len(paths)} images, and {args.figure} needs {skip + count}')
    return paths[skip : skip + count]


def measured_photos(args):
    """All photos that are given: {name: array (1, 3, S, S)}."""
    return evaluation.read_photos(files.find_images(args.photos), args.picture_size)


def show_photos(args):
    """The photos to show, and to measure on where it takes long: {name: array (1, 3, S, S)}."""
    return evaluation.read_photos(files.find_images(args.photos)[: args.shown], args.picture_size)


def style_pictures(args, names):
    """The images of styles of these names, cut to the size of the photos; None for those that are not there."""
    paths = files.find_images(args.style_dir)
    by_name, side = dict(zip(models.style_names(paths), paths)), args.picture_size
    missing = [name for name in names if name not in by_name]
    if missing:
        print(f'left out: the image of {", ".join(missing)}; {args.style_dir} has none of that name', file=sys.stderr)
    return [files.cover(files.read_image(by_name[name]), side, side) if name in by_name else None for name in names]


def run(command):
    """Run a command to its end and return its exit status; an interrupt is left to it."""
    process = subprocess.Popen(command)
    # A terminal sends Ctrl-C to both; SIGTERM comes to one process only.
    handlers = {
        signal.SIGINT: signal.signal(signal.SIGINT, lambda number, frame: None),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda number, frame: process.terminate()),
    }
    try:
        # A signal that another thread was given is seen between two waits only.
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
        return process.returncode
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def interrupted(status):
    """Whether the exit status of a command says that it was interrupted; scripts of ours have 128 + the signal."""
    return status > 128 or status in (-signal.SIGINT, -signal.SIGTERM)


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
    output = os.path.join(args.run_dir, f'{name}.npz')
    if os.path.exists(output):
        if models.load_network(output).meta.get('training', {}).get('iterations', 0) >= iterations:
            return output
    folder = os.path.join(args.run_dir, f'{name}-styles')
    files.make_folder(folder)
    for path in styles:
        shutil.copy(path, folder)
    command = [
        sys.executable,
        os.path.join(ROOT, 'train.py'),
        '--resume',
        '--style-dir',
        folder,
        '--output',
        output,
        '--content',
        args.content,
        '--iterations',
        str(iterations),
        '--device',
        args.device,
        '--backend',
        args.backend,
    ]
    for option in ('image_size', 'style_size', 'batch_size', 'checkpoint_every', 'precision', 'tf32') + options.LOSSES:
        value = getattr(args, option)
        if value is not None and value is not False:
            command.append(f'--{option.replace("_", "-")}')
            command += [str(item) for item in value] if isinstance(value, list) else [str(value)] * (value is not True)
    if '--finetune' not in more:
        command += ['--width', str(args.width), '--residual-blocks', str(args.residual_blocks)]
    print(f'training {name}', file=sys.stderr)
    status = run(command + list(more))
    if interrupted(status):
        print(f'the training of {name} was interrupted; the same command carries on', file=sys.stderr)
        raise KeyboardInterrupt
    if status:
        raise utils.UserError(f'the training of {name} stopped; the same command carries on')
    return output


def train_on(args, name, styles, *more, iterations):
    """Train a network of the run folder on, under a name of its own, `name`-longer; see `train`."""
    longer = os.path.join(args.run_dir, f'{name}-longer')
    if not os.path.exists(longer):
        shutil.rmtree(f'{longer}.part', ignore_errors=True)
        shutil.copytree(os.path.join(args.run_dir, name), f'{longer}.part')
        os.rename(f'{longer}.part', longer)
    return train(args, f'{name}-longer', styles, *more, iterations=iterations)


def curve(args, name, column, last=None):
    """Validation losses of a trained network: a pair (iterations, values), to the scale's or the `last` iteration."""
    rows = runs.read_table(os.path.join(args.run_dir, name, 'metrics.csv'))
    rows = [row for row in rows if row[column] and int(row['iteration']) <= (last or args.iterations)]
    return [int(row['iteration']) for row in rows], [float(row[column]) for row in rows]


def style_curves(args, name, column, last):
    """The same for each style of a network that is validated, up to 8 of them: {name of a style: pair}."""
    curves = {}
    for row in runs.read_table(os.path.join(args.run_dir, name, 'styles.csv')):
        if int(row['iteration']) <= last:
            iterations, values = curves.setdefault(row['style_name'], ([], []))
            iterations.append(int(row['iteration']))
            values.append(float(row[column]))
    return curves


def judge(args, network='cin', gradient=False):
    """Compile the loss that the networks were trained with.

    Returns
    -------
    callable
        Of a photo, (1, 3, H, W), and the path of a style image; returns a function of an image with the
        values of `optimization.objective_function`.
    """
    loss = options.objective(args, network)
    targets_of, objective_of = losses.target_function(loss), optimization.objective_function(loss, gradient)

    @functools.lru_cache(maxsize=None)
    def grams_of(style):
        return targets_of(files.to_float(files.read_image(style, size=args.style_size)))[1]

    def objective_for(photo, style):
        contents = targets_of(photo)[0]
        return lambda image: objective_of(image, *contents, *grams_of(style))

    return objective_for


def noise_like(image):
    """What an optimization begins with that is not to know the image: noise around a middle grey, always the same."""
    return numpy.random.RandomState(0).uniform(0.25, 0.75, image.shape).astype('float32')


def optimized(args, name, function, start, bar):
    """What L-BFGS makes of an image in the scale's steps; it is kept in the run folder.

    Parameters
    ----------
    name : str
        Of what is made, in the run folder.
    function : callable
        Of an image, (1, 3, H, W); returns its losses, the total first, and the gradient of the total.
    start : array (1, 3, H, W)
    bar : utils.progress
        Of steps.

    Returns
    -------
    image : float32 array (1, 3, H, W)
    path : array (steps + 1, losses)
        The losses from those of `start` on; L-BFGS may stop before the last step.
    """
    folder = os.path.join(args.run_dir, 'optimized')
    path = os.path.join(folder, f'{name}-{args.steps}.npz')
    files.make_folder(folder)
    if os.path.exists(path):
        kept = files.load_npz(path)
        bar.update(args.steps)
        return kept['image'], kept['losses']
    before = bar.n
    image, values = evaluation.optimized_image(function, start, args.steps, bar.update)
    bar.update(before + args.steps - bar.n)
    files.save_npz(path, dict(image=image, losses=numpy.array(values)))
    return image, numpy.array(values)


def optimized_pastiche(args, kind, name, start, style, function, bar):
    """What `optimized` makes of `start` in the style of an image, by the objective of a kind of network."""
    return optimized(args, f'{kind}-{name}-in-{models.style_name(style)}', function, start, bar)


def stylizer(path, style=0):
    """A network as a function of a photo (1, 3, H, W), and of the number of a style, by default this one."""
    network = models.load_network(path)
    function, number = models.pastiche_function(network), style % len(network.styles)
    return lambda photo, style=number: evaluation.stylize(function, network, photo, style)


def measure(photos, objective_for, style, networks):
    """Content and style losses of pastiches: an array (networks, photos, 2).

    Parameters
    ----------
    photos : dict
        {name: array (1, 3, H, W)}.
    objective_for : callable
        What `judge` returns.
    style : str
        The path of its image.
    networks : list of callables
        That make a pastiche of a photo.
    """
    measured = []
    for photo in utils.progress(photos.values(), desc=f'measuring {models.style_name(style)}', unit='photo'):
        of_image = objective_for(photo, style)
        measured.append([of_image(network(photo))[0][1:3] for network in networks])
    return numpy.swapaxes(measured, 0, 1)


def write_table(args, columns, rows, label=''):
    """Write the numbers of the figure and print them."""
    path = os.path.join(args.output, f'{args.figure}{label}.csv')
    with runs.open_table(path, columns) as table:
        for row in rows:
            runs.append_row(table, [f'{value:.5g}' if isinstance(value, float) else value for value in row])
    with open(path) as file:
        print(file.read(), end='')
    print(f'{path}: the numbers')


def write_picture(args, image, label=''):
    path = os.path.join(args.output, f'{args.figure}{label}.webp')
    files.write_image(path, image)
    print(f'{path}: the picture')


def plot(args, panels, xlabel, log=True, columns=None, ticks=None):
    """Draw curves.

    Parameters
    ----------
    panels : dict
        {title: [(x, y, label, style of the line)]}; where deviations of y follow, they are drawn as bars.
    xlabel : str
    log : bool
    columns : int, optional
        By default all panels are side by side.
    ticks : dict
        {title: names} for panels whose x are 0, 1, ..., and have names.
    """
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    columns = columns or len(panels)
    size = 5 * columns, 4 * (len(panels) // columns)
    figure, axes = pyplot.subplots(len(panels) // columns, columns, figsize=size, squeeze=False)
    for axis, (title, lines) in zip(axes.ravel(), panels.items()):
        for x, y, label, style, *deviation in lines:
            if deviation:
                axis.errorbar(x, y, *deviation, fmt=style, label=label, capsize=3)
            else:
                axis.plot(x, y, style, label=label)
        axis.set_title(title)
        if title in (ticks or {}):
            axis.set_xticks(range(len(ticks[title])))
            names = [name if len(name) <= 24 else f'{name[:23]}…' for name in ticks[title]]
            # In the colours that the curves of the styles have.
            for number, label in enumerate(axis.set_xticklabels(names, rotation=20, ha='right', fontsize='small')):
                label.set_color(f'C{number % 10}')
        else:
            axis.set_xlabel(xlabel)
        axis.set_yscale('log' if log else 'linear')
        axis.legend(fontsize='small')
    figure.tight_layout()
    path = os.path.join(args.output, f'{args.figure}.png')
    with files.atomic_write(path) as file:
        figure.savefig(file, format='png', dpi=80)
    pyplot.close(figure)
    print(f'{path}: the curves')


def as_picture(batch):
    return files.to_uint8(batch)[0]


def network_to_show(args):
    """The path of the network of --model, or else of that of many styles."""
    if not args.model:
        return many_styles_network(args)[0]
    path = networks.find(args.model)
    if networks.read_settings(path)[0].lost:
        raise utils.UserError(
            f"{path}: the pastiches of a network with the padding 'none' are smaller than the photos that "
            'the figures compare them with'
        )
    return path


def many_styles_network(args):
    """The network of many styles, and the paths of its style images."""
    styles = style_images(args, args.styles)
    return train(args, f'many-{args.styles}', styles, iterations=args.many_iterations), styles


def variant_name(label):
    """The name in the run folder of a network of a single style in a variant."""
    return f'fns-{label.replace(" ", "-")}'


def variant(args, label):
    """A network of a single style in a variant: its name in the run folder, and its file."""
    name = variant_name(label)
    return name, train(args, name, style_images(args, 1), '--network', 'fns', *VARIANTS[label])


def network_of_a_style(args):
    """A network, the number of one of its styles, and the path of that style's image.

    The network is that of --model, and the style its first of which --style-dir has the image; without --model it is
    the variant with instance normalization.
    """
    if not args.model:
        return models.load_network(variant(args, 'instance norm')[1]), 0, style_images(args, 1)[0]
    network = models.load_network(network_to_show(args))
    return network, *evaluation.find_styles(files.find_images(args.style_dir), network.styles)[0]
