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
    options.add_device(parser)
    args = parser.parse_args()
    if os.path.splitext(args.output)[1].lower() not in files.WRITE_FORMATS:
        raise utils.UserError(
            f'--output {args.output}: the name of an image ends in one of {" ".join(sorted(files.WRITE_FORMATS))}'
        )
    if args.size < 16:
        raise utils.UserError('--size %d: the loss network needs at least 16 pixels' % args.size)
    args.style_size = args.style_size or args.size
    if args.style_size < 16:
        raise utils.UserError('--style-size %d: the loss network needs at least 16 pixels' % args.style_size)
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


def main():
    args = parse_arguments()
    styles = parse_styles(args.style)
    photo = read(args.content, args.size)
    paintings = [read(path, args.style_size) for path, _ in styles]

    # Theano takes seconds to import: all that needs none of it has been answered or refused by now.
    import losses
    import optimization

    device = devices.use(options.device(args))
    loss = options.objective(args)
    utils.check_memory(
        args.content,
        photo.transpose(1, 2, 0),
        losses.image_bytes(loss, device, gradient=True) + OPTIMIZER_BYTES[args.optimizer],
    )
    for (path, _), painting in zip(styles, paintings):
        utils.check_memory(path, painting.transpose(1, 2, 0), losses.image_bytes(loss, device), '--style-size')
    stem = os.path.splitext(args.output)[0]
    columns = ['iteration'] + losses.loss_names(loss)
    past = past_losses(args, styles, columns)
    done_before = int(past[-1]['iteration']) if past else 0
    files.make_folder(os.path.dirname(args.output) or '.')

    content = photo
    if args.preserve_color == 'luminance':
        content = luminance(photo)
        paintings = [match_luminance(luminance(painting), content) for painting in paintings]
    elif args.preserve_color == 'match':
        paintings = [match_color(painting, photo) for painting in paintings]

    # The targets, and the objective.
    targets_of = losses.target_function(loss)
    targets = targets_of(content[numpy.newaxis].astype('float32'))[0]
    grams = [targets_of(painting[numpy.newaxis].astype('float32'))[1] for painting in paintings]
    targets += [sum(numpy.float32(weight) * gram for (_, weight), gram in zip(styles, layer)) for layer in zip(*grams)]
    print('compiling the objective', file=sys.stderr)
    objective = optimization.objective_function(loss)
    start = first_image(args, content, paintings[0])

    def as_image(image):
        if not numpy.isfinite(image).all():
            raise utils.UserError('the image holds numbers that are not finite: stopped')
        return files.to_uint8(
            restore_color(image[0], photo)[numpy.newaxis] if args.preserve_color == 'luminance' else image
        )[0]

    # An interrupt lets the iteration finish and the image be written.
    caught = runs.catch_interrupts()
    with runs.open_table(f'{stem}.csv', columns, past) as history, utils.progress(
        total=args.iterations, desc='optimizing', unit='it'
    ) as bar:
        last = [start]

        def record(iteration, image, values):
            if not numpy.isfinite(values).all():
                raise utils.UserError('the loss is %s at iteration %d: stopped' % (values[0], iteration))
            last[0] = image
            if iteration or not past:
                runs.append_row(history, [done_before + iteration] + [f'{value:.7g}' for value in values])
            if args.image_every and iteration and iteration % args.image_every == 0:
                files.write_image(
                    '%s_%06d%s' % (stem, done_before + iteration, os.path.splitext(args.output)[1]),
                    as_image(image),
                    origin_of(args, styles),
                )
            if iteration and iteration % CHECKPOINT_EVERY == 0:
                files.write_image(args.output, as_image(image), origin_of(args, styles))
            bar.set_postfix_str('total %.4g content %.4g style %.4g' % tuple(values[:3]), refresh=False)
            bar.update(iteration - bar.n)
            return bool(caught)

        def function(image):
            return objective(image, *targets)

        record(0, start, function(start)[0])
        if args.optimizer == 'lbfgs':
            reason = optimization.minimize_lbfgs(function, start, args.iterations, record)
        else:
            reason = optimization.minimize_adam(function, start, args.iterations, record, args.learning_rate)
        done = bar.n
    files.write_image(args.output, as_image(last[0]), origin_of(args, styles))
    if reason:
        print('L-BFGS stopped after %d iterations: %s' % (done, reason), file=sys.stderr)
    if caught and done < args.iterations:
        print('stopped after iteration %d; --init %s carries on from there' % (done, args.output), file=sys.stderr)
        return 128 + caught[0]
    print(f'{args.output}: the pastiche; {stem}.csv: its losses')


if __name__ == '__main__':
    utils.run_script(main)
