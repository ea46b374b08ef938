"""Train a style-transfer network.

    python train.py --style-dir data/styles/misc32                      many styles (arXiv:1610.07629)
    python train.py --network fns --style-dir painting.jpg --output fns.npz     one (arXiv:1603.08155)
    python train.py --finetune cin.npz --style-dir new --output more.npz        further ones for a network of many
    python train.py --start-from cin.npz --style-dir other --output other.npz   not from random filters

Everything that the run writes but the network itself lies in the run folder: a checkpoint to resume
from, metrics.csv, the validation losses of single styles in styles.csv, plots of both, and sample pastiches.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(__file__))       # which PYTHONSAFEPATH leaves out
import environment  # noqa: F401, before all others: it names what is missing

import argparse
import contextlib
import functools
import time

import numpy

import files
import options
import runs
import utils
from architecture import Architecture
from backend import devices
from formats import networks, vgg
from data import photos

# Options that may change when a run is resumed: they do not touch the numbers.
FREE_OPTIONS = {'resume', 'iterations', 'epochs', 'device', 'backend', 'tf32', 'run_dir', 'output', 'content',
                'style_dir', 'loss_weights', 'checkpoint_every', 'workers', 'sample_photo', 'keep_checkpoints'}
# Options that a network to be trained further has settled.
NETWORK_OPTIONS = ('network', 'width', 'up_widths', 'residual_blocks', 'norm', 'pad', 'upsampling', 'tanh_constant')
# Shorter side that larger photos are resized to before they are stylized as samples.
SAMPLE_SIZE = 512


def parse_arguments():
    """The options, and their defaults by name."""
    parser = options.Parser(__doc__)
    parser.add_argument('--style-dir', required=True, help='folder with the style images (or one image)')
    parser.add_argument('--content', default=photos.COCO,
                        help='content images: an HDF5 file of data/make_dataset.py, or a folder of photos')
    parser.add_argument('--network', choices=['cin', 'fns'],
                        help='conditional instance normalization, or fast neural style with a single style '
                             '(default: that of --start-from, or cin)')
    parser.add_argument('--width', type=options.positive_int, default=32, help='feature maps of the first convolution')
    parser.add_argument('--up-widths', type=options.pair, metavar='A,B',
                        help='feature maps of the two upsampling blocks (default: twice the width, and the width; the '
                             'original repository has 128,128)')
    parser.add_argument('--residual-blocks', type=options.whole_number, default=5, help='number of residual blocks')
    parser.add_argument('--norm', choices=['instance', 'batch'], default='instance', help="'batch' for fns only")
    parser.add_argument('--pad', choices=['reflect', 'zero', 'reflect-start', 'none'], default='reflect',
                        help="padding of the convolutions; two are fast-neural-style's, whose residual blocks crop and "
                             "whose other convolutions pad with zeros: 'reflect-start' pads the image once, and with "
                             "'none' the pastiche lacks 8 pixels of the photo on each side for each residual block")
    parser.add_argument('--upsampling', choices=['nearest', 'deconv'], default='nearest',
                        help='upsampling and convolution, or convolution with stride 1/2')
    parser.add_argument('--tanh-constant', type=options.positive, default=150.,
                        help='what the tanh of fns is multiplied by, in units of 0-255')
    parser.add_argument('--finetune', metavar='MODEL',
                        help='add the styles to this trained network (.npz, or the name of one in data/models): '
                             'its convolutions and styles stay as they are, and only gamma and beta of the new '
                             'styles are learned (arXiv:1610.07629)')
    parser.add_argument('--start-from', metavar='MODEL',
                        help='start with the filters of this trained network, and with its gamma and beta for the '
                             'styles that it has; everything is trained. With --network fns a network of many styles '
                             'will do, too')
    options.add_losses(parser)
    parser.add_argument('--learning-rate', type=options.positive, default=1e-3, help="Adam's step")
    parser.add_argument('--lr-decay', type=options.decay, metavar='FACTOR',
                        help="multiply Adam's step by this factor, once every --lr-decay-every updates")
    parser.add_argument('--lr-decay-every', type=options.positive_int, metavar='ITERATIONS',
                        help='updates between two changes of the step')
    parser.add_argument('--clip-gradients', type=options.positive, metavar='NORM',
                        help='scale the gradient down where the norm of all its numbers together is more')
    parser.add_argument('--style-coefficients', metavar='STYLE=FACTOR,...',
                        help='multiply the style loss of some styles, by name, such as waves=2,dots=0.5')
    parser.add_argument('--batch-size', type=options.positive_int, default=4, help='images in a batch')
    parser.add_argument('--styles-per-batch', type=options.positive_int,
                        help='styles mixed in a batch (default: one for each image)')
    parser.add_argument('--image-size', type=options.positive_int, default=256, help='side of the content images')
    parser.add_argument('--content-size', type=options.positive_int,
                        help='shorter side that the photos of a folder are resized to before they are cropped '
                             '(default: --image-size)')
    parser.add_argument('--style-size', type=options.positive_int, default=512,
                        help='shorter side that style images are resized to')
    parser.add_argument('--iterations', type=options.positive_int, help='updates (default: 40000)')
    parser.add_argument('--epochs', type=options.positive_int, help='passes over the content images, instead')
    parser.add_argument('--validation-split', type=options.fraction, default=0.05,
                        help="share of a folder's photos to validate on; an HDF5 file has its own")
    parser.add_argument('--seed', type=options.whole_number, default=0, help='of the weights and the order of the data')
    parser.add_argument('--checkpoint-every', type=options.positive_int, default=1000, metavar='ITERATIONS',
                        help='iterations between checkpoints, validations and samples')
    parser.add_argument('--sample-photo', nargs='+', metavar='PHOTO',
                        help='photos of your own to stylize at each checkpoint (made smaller: %d pixels)' % SAMPLE_SIZE)
    parser.add_argument('--keep-checkpoints', action='store_true',
                        help="keep the network of each checkpoint as well, in the run folder's networks/, to stylize with "
                             'or to --start-from')
    parser.add_argument('--output', default='cin.npz', help='the trained network')
    parser.add_argument('--run-dir', help='folder of the run (default: the output without .npz)')
    parser.add_argument('--resume', action='store_true', help="carry on from the run folder's checkpoint")
    parser.add_argument('--workers', type=options.positive_int, default=2, help='threads that read images ahead')
    options.add_device(parser)
    args = parser.parse_args()

    given = [argument.split('=')[0] for argument in sys.argv[1:]]
    if args.finetune and args.start_from:
        raise utils.UserError('--finetune and --start-from contradict each other')
    # A network of many styles can become one of a single style: see `training.load_base`.
    settled = NETWORK_OPTIONS if args.finetune else NETWORK_OPTIONS[1:] if args.start_from else ()
    for option in ['--' + name.replace('_', '-') for name in settled]:
        if option in given:
            raise utils.UserError('%s and %s contradict each other: the network is that of %s'
                                  % (option, '--finetune' if args.finetune else '--start-from',
                                     args.finetune or args.start_from))
    if not args.start_from:
        args.network = args.network or 'cin'
    if args.iterations and args.epochs:
        raise utils.UserError('--iterations and --epochs contradict each other')
    if args.norm == 'batch' and args.network == 'cin':
        raise utils.UserError('--norm batch needs --network fns: the network for many styles normalizes each image')
    if not args.output.endswith('.npz'):
        raise utils.UserError('--output %s: the name of a network ends in .npz' % args.output)
    if args.styles_per_batch is None:
        args.styles_per_batch = args.batch_size
    if args.styles_per_batch > args.batch_size:
        raise utils.UserError('--styles-per-batch %d is more than --batch-size %d'
                              % (args.styles_per_batch, args.batch_size))
    if args.content_size and args.content_size < args.image_size:
        raise utils.UserError('--content-size %d is less than --image-size %d' % (args.content_size, args.image_size))
    if args.tanh_constant != 150 and args.network == 'cin':
        raise utils.UserError('--tanh-constant needs --network fns: the network for many styles ends in a sigmoid')
    if (args.lr_decay is None) != (args.lr_decay_every is None):
        raise utils.UserError('--lr-decay and --lr-decay-every belong together')
    if args.image_size % 4:
        raise utils.UserError('--image-size %d: the network halves the sides twice, so that they are multiples of 4'
                              % args.image_size)
    if args.style_size < 16:
        raise utils.UserError('--style-size %d: the loss network needs at least 16 pixels' % args.style_size)
    args.run_dir = args.run_dir or args.output[:-len('.npz')]
    return args, {name: parser.get_default(name) for name in vars(args)}


def parse_coefficients(text, styles):
    """``waves=2,dots=0.5`` as a list with the factor of each style, 1 where there is none; None for None."""
    if text is None:
        return None
    coefficients = dict.fromkeys(styles, 1.)
    for item in text.split(','):
        style, equals, factor = item.strip().rpartition('=')
        if style not in coefficients or not equals:
            raise utils.UserError('--style-coefficients: %r is not STYLE=FACTOR for one of the styles %s'
                                  % (item, ', '.join(styles[:40])))
        try:
            coefficients[style] = options.not_negative(factor)
        except argparse.ArgumentTypeError as error:
            raise utils.UserError('--style-coefficients: %s' % error)
    return [coefficients[style] for style in styles]


def check_data(args):
    """Name everything at once that a training needs and that is not there, with what brings it."""
    missing = []
    if args.content == photos.COCO and not os.path.exists(args.content):
        missing.append('content images (python data/download.py coco, 20 GB, and python data/make_dataset.py; or '
                       '--content FOLDER with photos of your own)')
    if args.loss_weights is None and not os.path.exists(vgg.find()):
        missing.append('VGG16 (%s, 59 MB)' % vgg.FETCH)
    if missing:
        raise utils.UserError('not there yet: %s; make train-demo is a small training that fetches what it needs'
                              % '; '.join(missing))


def settle(args, architecture):
    """Set the options that a network to be trained further has settled."""
    for name in NETWORK_OPTIONS:
        setattr(args, name, architecture.widths[0] if name == 'width' else getattr(architecture, name))
    args.up_widths = list(args.up_widths)
    if args.up_widths == [2 * args.width, args.width]:
        args.up_widths = None


def read_sample_photo(path, smallest):
    """A photo of the user's, (1, 3, H, W), of a size that can be stylized as a sample."""
    shorter = min(files.read_image(path).shape[:2])
    return files.to_float(files.read_image(path, size=max(smallest, min(shorter, SAMPLE_SIZE))))


def check_outputs(args, style_paths):
    """Refuse an output or a run folder that is among what the training reads."""
    inputs = style_paths + [args.content] + (args.loss_weights or []) + (args.sample_photo or [])
    inputs = [path for path in inputs if os.path.exists(path)]
    if args.finetune or args.start_from:
        inputs.append(networks.find(args.finetune or args.start_from))
    files.check_outputs({args.output: True}, inputs)
    if os.path.isdir(args.output):
        raise utils.UserError('%s: cannot write: it is a folder' % args.output)
    for folder in (args.style_dir, args.content):
        if os.path.isdir(folder) and os.path.realpath(folder) == os.path.realpath(args.run_dir):
            raise utils.UserError('%s holds images to train on, and would be the run folder as well: choose another '
                                  '--output or --run-dir' % args.run_dir)


def main():
    with contextlib.ExitStack() as held:
        return run(*parse_arguments(), held)


def run(args, defaults, held):
    """Train. `defaults` are those of the options; `held` is a `contextlib.ExitStack` of what is released in the end."""
    style_paths = files.find_images(args.style_dir)
    check_data(args)
    check_outputs(args, style_paths)

    # Theano takes seconds to import: all that needs none of it has been answered or refused by now.
    import losses
    import models
    import training
    from backend import lasagne, theano
    from updates import adam
    styles = models.style_names(style_paths)
    base = training.load_base(args, styles) if args.finetune or args.start_from else None
    if base:
        settle(args, base.architecture)
    w = args.width
    architecture = base.architecture if base else Architecture(
        args.network, (w, 2 * w, 4 * w), args.up_widths or (2 * w, w), args.residual_blocks, norm=args.norm, pad=args.pad,
        upsampling=args.upsampling, tanh_constant=args.tanh_constant)
    smallest = architecture.smallest_side
    if args.image_size < smallest:
        raise utils.UserError('--image-size %d: the network needs at least %d pixels' % (args.image_size, smallest))
    if args.network == 'fns' and len(styles) != 1:
        raise utils.UserError('%s has %d style images, and --network fns takes one' % (args.style_dir, len(styles)))
    args.style_coefficients = parse_coefficients(args.style_coefficients, styles)
    sample_photos = [read_sample_photo(path, smallest) for path in files.find_images(args.sample_photo or [])]
    content = photos.open_content(args.content, args.image_size, args.content_size, args.validation_split)
    device = devices.use(options.device(args))
    loss = options.objective(args)
    iterations = args.iterations or (args.epochs and -(-args.epochs * content.train.size // args.batch_size)) or 40000

    run_dir, checkpoint = args.run_dir, os.path.join(args.run_dir, 'checkpoint.npz')
    files.make_folder(os.path.join(run_dir, 'samples'))
    files.make_folder(os.path.dirname(args.output) or '.')
    for path in (run_dir, args.output):
        held.enter_context(runs.lock(path))
    resuming = args.resume and os.path.exists(checkpoint)
    if args.resume and not resuming:
        if os.path.exists(args.output):
            raise utils.UserError('%s exists, and there is no %s to carry on from: give its --run-dir, or choose another '
                                  '--output' % (args.output, checkpoint))
        print('no checkpoint in %s: starting at the first iteration' % run_dir, file=sys.stderr)
    for path in (checkpoint, args.output):
        if not args.resume and os.path.exists(path):
            raise utils.UserError('%s exists: carry on with --resume, choose another --output, or remove it' % path)

    # The networks, the losses, and Adam.
    lasagne.random.set_rng(numpy.random.RandomState(args.seed))
    settings = {name: value for name, value in sorted(vars(args).items()) if name not in FREE_OPTIONS}
    if base:
        network = models.with_styles(base, (base.styles if args.finetune else []) + styles)
    else:
        network = models.transformer_network(architecture, styles)
    first = len(network.styles) - len(styles)
    network.meta['training'] = dict(settings, loss_weights=[os.path.basename(f) for f in args.loss_weights])
    for option in ('finetune', 'start_from'):
        if settings[option]:
            network.meta['training'].update({option: os.path.basename(settings[option]),
                                             'base': base.meta.get('training')})
    grams = losses.style_grams(losses.target_function(loss), style_paths, args.style_size,
                               losses.image_bytes(loss, device))
    settings.update(styles=styles, content_images=content.fingerprint,
                    content_files=content.sample, style_images=training.fingerprint(style_paths),
                    loss_networks=training.fingerprint(path for path in args.loss_weights if path != 'random'))

    print('compiling the training function', file=sys.stderr)
    inputs, _, values = training.loss_expressions(network, loss, grams, False, args.style_coefficients)
    params = lasagne.layers.get_all_params(network.output, trainable=True)
    if args.finetune:
        # The old styles are in no batch: their gradient is zero, and so is every step of Adam's.
        params = [param for param in params if param.name in ('gamma', 'beta')]
    rate = theano.shared(numpy.float32(args.learning_rate), 'learning rate')
    gradients = theano.grad(values[0], params)
    if args.clip_gradients:
        gradients = lasagne.updates.total_norm_constraint(gradients, args.clip_gradients)
    updates = adam(gradients, params, rate, beta1=0.9, beta2=0.999)
    train_function = theano.function(inputs, values, updates=updates)

    @functools.lru_cache(maxsize=None)
    def validation_function():      # compiled when it is first needed, and not before the first iteration
        inputs, pastiche, values = training.loss_expressions(network, loss, grams, True, args.style_coefficients)
        return theano.function(inputs, values + [pastiche])

    pastiche_function = models.pastiche_function(network) if sample_photos else None

    # Everything that changes while training: parameters, running averages of batch norm, Adam's moments and step.
    variables = lasagne.layers.get_all_params(network.output)
    variables += [variable for variable in updates if variable not in variables]
    iteration = training.load_checkpoint(checkpoint, settings, defaults, variables) if resuming else 0
    network.meta['training']['iterations'] = iteration
    if iteration >= iterations:
        # A run that was killed between its last checkpoint and this file lacks it.
        models.save_network(args.output, network)
        print('%s has done %d iterations already: more are to be had by --iterations' % (checkpoint, iteration))
        return

    names = losses.loss_names(loss)
    columns = ['iteration', 'seconds'] + names + ['val_' + name for name in names]
    metrics_path = os.path.join(run_dir, 'metrics.csv')
    metrics = training.open_metrics(metrics_path, columns, iteration)
    styles_path = os.path.join(run_dir, 'styles.csv')
    style_columns = ['iteration', 'style_name'] + names
    style_metrics = training.open_metrics(styles_path, style_columns, iteration)
    val_images = photos.fixed_images(content.val if content.val.size else content.train, args.batch_size, args.seed)
    batches = photos.batches(content.train, args.batch_size, args.seed, iteration, args.workers)

    # An interrupt lets the iteration finish and a checkpoint be written; a second one does not.
    caught = runs.catch_interrupts()
    with utils.progress(total=iterations, initial=iteration, desc='training', unit='it') as bar:
        while iteration < iterations and not caught:
            start = time.time()
            style = first + training.style_schedule(len(styles), args.batch_size, args.styles_per_batch, args.seed, iteration)
            rate.set_value(training.learning_rate(args, iteration))
            values = train_function(next(batches), style)
            iteration += 1
            if not numpy.isfinite(values).all():
                raise utils.UserError('the loss is %s at iteration %d: stopped; %s'
                                      % (values[0], iteration, training.last_good(checkpoint)))
            row = [iteration, '%.4f' % (time.time() - start)] + ['%.7g' % value for value in values]

            if not os.path.exists(metrics_path):
                print('warning: %s is gone: %s is made again' % (metrics_path, run_dir), file=sys.stderr)
                files.make_folder(os.path.join(run_dir, 'samples'))
                metrics = runs.open_table(metrics_path, columns)
                style_metrics = runs.open_table(styles_path, style_columns)
            at_checkpoint = iteration % args.checkpoint_every == 0 or iteration == iterations
            if at_checkpoint:
                files.make_folder(os.path.join(run_dir, 'samples'))
                sample = os.path.join(run_dir, 'samples', '%06d.jpg' % iteration)
                last = first + len(styles) - 1
                validated = training.validate(validation_function(), network, val_images, first, last, sample)
                row += ['%.7g' % value for value in numpy.mean(list(validated.values()), axis=0)]
                for number, values_of_style in validated.items():
                    runs.append_row(style_metrics, [iteration, network.styles[number]]
                                    + ['%.7g' % value for value in values_of_style], sync=True)
                if sample_photos:
                    training.stylize_samples(pastiche_function, network, sample_photos, first, last,
                                    os.path.join(run_dir, 'samples', '%06d_photos.jpg' % iteration))
            else:
                row += [''] * len(names)
            runs.append_row(metrics, row, sync=bool(at_checkpoint or caught))
            if at_checkpoint or caught:
                training.save_checkpoint(checkpoint, iteration, settings, variables)
                network.meta['training']['iterations'] = iteration
                models.save_network(args.output, network)
            if at_checkpoint:
                if args.keep_checkpoints:
                    files.make_folder(os.path.join(run_dir, 'networks'))
                    models.save_network(os.path.join(run_dir, 'networks', '%06d.npz' % iteration), network)
                training.plot_losses(os.path.join(run_dir, 'losses.png'), metrics_path)
                training.plot_styles(os.path.join(run_dir, 'styles.png'), styles_path)
            bar.set_postfix_str('total %.4g content %.4g style %.4g' % tuple(values[:3]), refresh=False)
            bar.update()
    if caught and iteration < iterations:
        print('stopped after iteration %d; carry on with the same command and --resume' % iteration, file=sys.stderr)
        return 128 + caught[0]
    print('%s: the trained network; %s: losses and samples' % (args.output, run_dir))


if __name__ == '__main__':
    utils.run_script(main)
