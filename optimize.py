"""Paint a photo in the style of a painting by optimizing its pixels (arXiv:1508.06576).

    python optimize.py --content photo.jpg --style painting.jpg --output pastiche.png
    python optimize.py --content photo.jpg --style a.jpg=0.7 b.jpg=0.3 --init noise --preserve-color luminance

No network is trained: L-BFGS or Adam minimizes the loss that train.py minimizes, over the pixels of
one image. Beside the pastiche lies a CSV with the losses of every iteration. The pastiche is written
every 50 iterations: --init with its name carries on from a run that was cut off, and so do the losses.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(__file__))  # which PYTHONSAFEPATH leaves out
import environment  # noqa: F401, before all others: it names what is missing

import argparse
import functools

import numpy

import files
import options
import runs
import utils
from backend import devices
from colors import luminance, match_color, match_luminance, restore_color

CHECKPOINT_EVERY = 50
# What the optimizers remember for each pixel: L-BFGS ten steps and gradients in double precision.
OPTIMIZER_BYTES = {'lbfgs': 1100, 'adam': 100}


def parse_arguments():
    parser = options.Parser(__doc__)
    parser.add_argument('--content', required=True, metavar='IMAGE', help='the photo')
    parser.add_argument(
        '--style',
        required=True,
        nargs='+',
        metavar='IMAGE[=WEIGHT]',
        help='the painting; of several the Gram matrices are averaged with these weights',
    )
    parser.add_argument('--output', default='pastiche.png', help='the pastiche; its losses go to a .csv of that name')
    parser.add_argument(
        '--size', type=options.positive_int, default=512, help='shorter side that the photo is resized to'
    )
    parser.add_argument(
        '--style-size',
        type=options.positive_int,
        help='shorter side that the paintings are resized to (default: --size)',
    )
    parser.add_argument(
        '--network',
        choices=['cin', 'fns'],
        default='cin',
        help='the network whose loss it is: decides on the two defaults below and, for fns, divides '
        'Gram matrices by the number of channels',
    )
    options.add_losses(parser)
    parser.add_argument(
        '--init', default='content', metavar='content|style|noise|grey|IMAGE', help='what to start from'
    )
    parser.add_argument('--optimizer', choices=['lbfgs', 'adam'], default='lbfgs', help='what minimizes the loss')
    parser.add_argument('--iterations', type=options.positive_int, default=500, help='steps of the optimizer')
    parser.add_argument(
        '--learning-rate', type=options.positive, default=0.02, help="Adam's step, where the image is in [0, 1]"
    )
    parser.add_argument(
        '--preserve-color',
        choices=['luminance', 'match'],
        help="keep the photo's colours: transfer the style of the luminance only, or match the "
        "painting's colours to the photo's first (arXiv:1606.05897)",
    )
    parser.add_argument(
        '--image-every',
        type=options.positive_int,
        metavar='ITERATIONS',
        help='write the image every so many iterations as well',
    )
    parser.add_argument('--seed', type=options.whole_number, default=0, help='of the noise to start from')
    options.add_overwrite(parser)
    options.add_max_pixels(parser)
    options.add_device(parser)
    args = parser.parse_args()
    if os.path.splitext(args.output)[1].lower() not in files.WRITE_FORMATS:
        raise utils.UserError(
            f'--output {args.output}: the name of an image ends in one of {" ".join(sorted(files.WRITE_FORMATS))}'
        )
    if args.size < 16:
        raise utils.UserError(f'--size {args.size}: the loss network needs at least 16 pixels')
    args.style_size = args.style_size or args.size
    if args.style_size < 16:
        raise utils.UserError(f'--style-size {args.style_size}: the loss network needs at least 16 pixels')
    return args


def parse_styles(items):
    """``IMAGE`` or ``IMAGE=WEIGHT`` as a list of pairs (path, weight), the weights summing to one."""
    styles = []
    for item in items:
        path, equals, weight = item.rpartition('=')
        if os.path.exists(item) or not equals:
            path, weight = item, '1'
        try:
            weight = options.not_negative(weight)
        except argparse.ArgumentTypeError:
            raise utils.UserError(f'--style: {item!r} is not IMAGE or IMAGE=WEIGHT')
        styles.append((path, weight))
    total = sum(weight for _, weight in styles)
    if not total:
        raise utils.UserError('--style: the weights are all zero')
    return [(path, weight / total) for path, weight in styles]


def read(path, size):
    """An image as (3, H, W), RGB in [0, 1]."""
    return files.to_float(files.read_image(path, size=size))[0]


def first_image(args, content, style):
    """What the optimization starts from, (1, 3, H, W), RGB in [0, 1]."""
    if args.init == 'content':
        start = content
    elif args.init == 'grey':
        start = numpy.full(content.shape, 0.5)
    elif args.init == 'noise':
        # Noise around a middle grey that stays within the bounds.
        start = numpy.random.RandomState(args.seed).uniform(0.25, 0.75, content.shape)
    else:
        image = files.to_uint8(style[numpy.newaxis])[0] if args.init == 'style' else files.read_image(args.init)
        start = files.to_float(files.cover(image, *content.shape[1:]))[0]
        if args.preserve_color == 'luminance':
            start = luminance(start)
    return numpy.clip(start, 0, 1).astype('float32')[numpy.newaxis]


def past_losses(args, styles, columns):
    """Make sure that nothing is overwritten but what the same command wrote.

    Returns
    -------
    list of dict
        Rows of the losses of the run that this one carries on; empty for one that starts.
    """
    table = f'{os.path.splitext(args.output)[0]}.csv'
    carries_on = os.path.exists(args.init) and os.path.exists(args.output) and os.path.samefile(args.init, args.output)
    try:
        rows = runs.read_table(table) if os.path.exists(table) else []
        ours = not rows or list(rows[0])[:4] == columns[:4]
    except utils.UserError:
        ours = False
    inputs = [args.content] + [path for path, _ in styles]
    made = files.read_origin(args.output) == origin_of(args, styles)
    files.check_outputs(
        {args.output: carries_on or made, table: ours},
        inputs + [args.init] * (os.path.exists(args.init) and not carries_on),
        args.overwrite,
    )
    if not (carries_on and ours and rows):
        return []
    if list(rows[0]) != columns or not rows[-1]['iteration'].isdigit():
        raise utils.UserError(f'{table} has the losses of other layers: choose another --output than that of --init')
    return rows


def origin_of(args, styles):
    """What tells a pastiche of these images from others."""
    return files.origin('optimize', args.content, *[path for path, _ in styles])


def check_memory(args, loss, device, photo, styles, paintings):
    """Refuse images whose features, or what the optimizer remembers of them, do not fit into the memory."""
    import losses

    needed = losses.image_bytes(loss, device, gradient=True) + OPTIMIZER_BYTES[args.optimizer]
    utils.check_memory(args.content, photo.transpose(1, 2, 0), needed)
    for (path, _), painting in zip(styles, paintings):
        utils.check_memory(path, painting.transpose(1, 2, 0), losses.image_bytes(loss, device), '--style-size')


def recolored(how, photo, paintings):
    """The content and the paintings whose colours `how` of --preserve-color has changed."""
    if how == 'luminance':
        content = luminance(photo)
        return content, [match_luminance(luminance(painting), content) for painting in paintings]
    if how == 'match':
        return photo, [match_color(painting, photo) for painting in paintings]
    return photo, paintings


def as_image(image, photo, preserve_color):
    """The optimized image (1, 3, H, W) as uint8, with the photo's colours if those are to be preserved."""
    if not numpy.isfinite(image).all():
        raise utils.UserError('the image holds numbers that are not finite: stopped')
    colored = restore_color(image[0], photo)[numpy.newaxis] if preserve_color == 'luminance' else image
    return files.to_uint8(colored)[0]


def paint(args, minimize, function, start, columns, past, write):
    """Optimize, with a table of the losses, and write the image now and then.

    Parameters
    ----------
    args : argparse.Namespace
    minimize : callable
        Of `function`, `start`, the number of iterations and a callback: see `optimization.minimize_lbfgs`.
    function : callable
        Of an image, (1, 3, H, W): its losses, and the gradient of the total.
    start : array (1, 3, H, W)
    columns : list of str
        Of the table.
    past : list of dict
        Rows of the run that this one carries on.
    write : callable
        Of a path and an image.

    Returns
    -------
    int or None
        The status of the program.
    """
    stem, extension = os.path.splitext(args.output)
    before, latest = int(past[-1]['iteration']) if past else 0, start
    # An interrupt lets the iteration finish and the image be written.
    caught = runs.catch_interrupts()
    with runs.open_table(f'{stem}.csv', columns, past) as history, utils.progress(
        total=args.iterations, desc='optimizing', unit='it'
    ) as bar:

        def record(iteration, image, values):
            nonlocal latest
            if not numpy.isfinite(values).all():
                raise utils.UserError(f'the loss is {values[0]} at iteration {iteration}: stopped')
            latest = image
            if iteration or not past:
                runs.append_row(history, [before + iteration] + [f'{value:.7g}' for value in values])
            if args.image_every and iteration and iteration % args.image_every == 0:
                write(f'{stem}_{before + iteration:06d}{extension}', image)
            if iteration and iteration % CHECKPOINT_EVERY == 0:
                write(args.output, image)
            bar.set_postfix_str('total %.4g content %.4g style %.4g' % tuple(values[:3]), refresh=False)
            bar.update(iteration - bar.n)
            return bool(caught)

        record(0, start, function(start)[0])
        reason = minimize(function, start, args.iterations, record)
    write(args.output, latest)
    if reason:
        print(f'L-BFGS stopped after {bar.n} iterations: {reason}', file=sys.stderr)
    if caught and bar.n < args.iterations:
        print(f'stopped after iteration {bar.n}; --init {args.output} carries on from there', file=sys.stderr)
        return 128 + caught[0]
    print(f'{args.output}: the pastiche; {stem}.csv: its losses')
    return None


def main():
    args = parse_arguments()
    styles = parse_styles(args.style)
    photo = read(args.content, args.size)
    paintings = [read(path, args.style_size) for path, _ in styles]

    # Theano takes seconds to import: all that needs none of it has been answered or refused by now.
    import losses
    import optimization

    device = devices.use(options.device(args))
    loss = options.objective(args, args.network)
    check_memory(args, loss, device, photo, styles, paintings)
    columns = ['iteration'] + losses.loss_names(loss)
    past = past_losses(args, styles, columns)
    files.make_folder(os.path.dirname(args.output) or '.')

    content, paintings = recolored(args.preserve_color, photo, paintings)
    targets = optimization.mixed_targets(loss, content, paintings, [weight for _, weight in styles])
    print('compiling the objective', file=sys.stderr)
    objective = optimization.objective_function(loss)
    start = first_image(args, content, paintings[0])
    minimize = optimization.minimize_lbfgs
    if args.optimizer == 'adam':
        minimize = functools.partial(optimization.minimize_adam, learning_rate=args.learning_rate)

    def function(image):
        return objective(image, *targets)

    def write(path, image):
        files.write_image(path, as_image(image, photo, args.preserve_color), origin_of(args, styles))

    return paint(args, minimize, function, start, columns, past, write)


if __name__ == '__main__':
    utils.run_script(main)
