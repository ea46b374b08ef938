"""Train a style-transfer network.

    python train.py --style-dir data/styles/misc32                      many styles (arXiv:1610.07629)
    python train.py --network fns --style-dir painting.jpg --output fns.npz     one (arXiv:1603.08155)
    python train.py --finetune cin.npz --style-dir new --output more.npz        further ones for a network of many
    python train.py --start-from cin.npz --style-dir other --output other.npz   not from random filters
    python train.py --task upscale --factor 4 --output enhance.npz      super-resolution (arXiv:1603.08155)

Everything that the run writes but the network itself lies in the run folder: a checkpoint to resume
from, metrics.csv, the validation losses of single styles in styles.csv, plots of both, and sample pastiches.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(__file__))  # which PYTHONSAFEPATH leaves out
import environment  # noqa: F401, before all others: it names what is missing

import argparse
import contextlib
import time

import numpy

import files
import options
import parallel
import runs
import utils
from architecture import NORMS, Architecture
from backend import devices
from formats import networks, vgg
from data import photos

# Options that may change when a run is resumed: they do not touch the numbers, but for rounding.
FREE_OPTIONS = {
    'resume',
    'iterations',
    'epochs',
    'device',
    'backend',
    'precision',
    'tf32',
    'run_dir',
    'output',
    'content',
    'style_dir',
    'loss_weights',
    'checkpoint_every',
    'workers',
    'max_pixels',
    'sample_photo',
    'keep_checkpoints',
}
# Options that a network to be trained further has settled.
NETWORK_OPTIONS = ('network', 'width', 'up_widths', 'residual_blocks', 'norm', 'pad', 'upsampling', 'tanh_constant')
# What is otherwise with --task upscale, and which options are for which task.
UPSCALE_DEFAULTS = dict(width=64, residual_blocks=4, norm='batch', image_size=288, output='enhance.npz')
ONLY_STYLIZE = (
    'style_dir network up_widths tanh_constant finetune style_layers style_weight stability_weight style_coefficients '
    'styles_per_batch style_size'
).split()
ONLY_UPSCALE = 'factor', 'pixel_loss', 'whole_image', 'blur', 'most_blur', 'most_noise', 'worst_jpeg'
# Shorter side that larger photos are resized to before they are stylized as samples.
SAMPLE_SIZE = 512


def parse_arguments():
    """The options, and their defaults by name."""
    parser = options.Parser(__doc__)
    parser.add_argument(
        '--task',
        choices=['stylize', 'upscale'],
        default='stylize',
        help='what the network learns: to make pastiches, or to make photos larger',
    )
    parser.add_argument('--style-dir', help='folder with the style images (or one image)')
    parser.add_argument(
        '--content',
        default=photos.COCO,
        help='content images: an HDF5 file of data/make_dataset.py, or a folder of photos',
    )
    parser.add_argument(
        '--network',
        choices=['cin', 'fns'],
        help='conditional instance normalization, or fast neural style with a single style '
        '(default: that of --start-from, or cin)',
    )
    parser.add_argument(
        '--width',
        type=options.positive_int,
        default=32,
        help='feature maps of the first convolution; to upscale: of all, and 64 by default',
    )
    parser.add_argument(
        '--up-widths',
        type=options.pair,
        metavar='A,B',
        help='feature maps of the two upsampling blocks (default: twice the width, and the width; the '
        'original repository has 128,128)',
    )
    parser.add_argument(
        '--residual-blocks', type=options.whole_number, default=5, help='number of residual blocks; to upscale 4'
    )
    parser.add_argument(
        '--norm',
        choices=NORMS,
        default='instance',
        help="'batch' for fns and to upscale, where it is the default, 'none', biases instead, to upscale only",
    )
    parser.add_argument(
        '--pad',
        choices=['reflect', 'zero', 'reflect-start', 'none'],
        default='reflect',
        help="padding of the convolutions; two are fast-neural-style's, whose residual blocks crop and "
        "whose other convolutions pad with zeros: 'reflect-start' pads the image once, and with "
        "'none' the pastiche lacks 8 pixels of the photo on each side for each residual block",
    )
    parser.add_argument(
        '--upsampling',
        choices=['nearest', 'deconv'],
        default='nearest',
        help='upsampling and convolution, or convolution with stride 1/2',
    )
    parser.add_argument(
        '--tanh-constant',
        type=options.positive,
        default=150.0,
        help='what the tanh of fns is multiplied by, in units of 0-255',
    )
    parser.add_argument(
        '--finetune',
        metavar='MODEL',
        help='add the styles to this trained network (.npz, or the name of one in data/models): '
        'its convolutions and styles stay as they are, and only gamma and beta of the new '
        'styles are learned (arXiv:1610.07629)',
    )
    parser.add_argument(
        '--start-from',
        metavar='MODEL',
        help='start with the filters of this trained network, and with its gamma and beta for the '
        'styles that it has; everything is trained. With --network fns a network of many styles '
        'will do, too',
    )
    options.add_upscaling(parser)
    options.add_losses(parser)
    parser.add_argument('--learning-rate', type=options.positive, default=1e-3, help="Adam's step")
    parser.add_argument(
        '--lr-decay',
        type=options.decay,
        metavar='FACTOR',
        help="multiply Adam's step by this factor, once every --lr-decay-every updates",
    )
    parser.add_argument(
        '--lr-decay-every',
        type=options.positive_int,
        metavar='ITERATIONS',
        help='updates between two changes of the step',
    )
    parser.add_argument(
        '--clip-gradients',
        type=options.positive,
        metavar='NORM',
        help='scale the gradient down where the norm of all its numbers together is more',
    )
    parser.add_argument(
        '--stability-weight',
        type=options.not_negative,
        default=0.0,
        metavar='WEIGHT',
        help='for clips: of the mean squared difference of the pastiche of a photo that is moved a little, with noise, '
        'and the moved pastiche, RGB in [0, 1]; each update passes through the network twice',
    )
    parser.add_argument(
        '--style-coefficients',
        metavar='STYLE=FACTOR,...',
        help='multiply the style loss of some styles, by name, such as waves=2,dots=0.5',
    )
    parser.add_argument('--batch-size', type=options.positive_int, default=4, help='images in a batch')
    parser.add_argument(
        '--styles-per-batch', type=options.positive_int, help='styles mixed in a batch (default: one for each image)'
    )
    parser.add_argument(
        '--image-size', type=options.positive_int, default=256, help='side of the content images; to upscale 288'
    )
    parser.add_argument(
        '--content-size',
        type=options.positive_int,
        help='shorter side that the photos of a folder are resized to before they are cropped (default: --image-size)',
    )
    parser.add_argument(
        '--style-size', type=options.positive_int, default=512, help='shorter side that style images are resized to'
    )
    parser.add_argument('--iterations', type=options.positive_int, help='updates (default: 40000)')
    parser.add_argument('--epochs', type=options.positive_int, help='passes over the content images, instead')
    parser.add_argument(
        '--validation-split',
        type=options.fraction,
        default=0.05,
        help="share of a folder's photos to validate on; an HDF5 file has its own",
    )
    parser.add_argument('--seed', type=options.whole_number, default=0, help='of the weights and the order of the data')
    parser.add_argument(
        '--checkpoint-every',
        type=options.positive_int,
        default=1000,
        metavar='ITERATIONS',
        help='iterations between checkpoints, validations and samples',
    )
    parser.add_argument(
        '--sample-photo',
        nargs='+',
        metavar='PHOTO',
        help=f'photos of your own to stylize at each checkpoint (made smaller: {SAMPLE_SIZE} pixels)',
    )
    parser.add_argument(
        '--keep-checkpoints',
        action='store_true',
        help="keep the network of each checkpoint as well, in the run folder's networks/, to stylize with "
        'or to --start-from',
    )
    parser.add_argument('--output', default='cin.npz', help='the trained network')
    parser.add_argument('--run-dir', help='folder of the run (default: the output without .npz)')
    parser.add_argument('--resume', action='store_true', help="carry on from the run folder's checkpoint")
    parser.add_argument('--workers', type=options.positive_int, default=2, help='threads that read images ahead')
    options.add_max_pixels(parser)
    options.add_precision(parser)
    options.add_device(parser)
    given = parser.given()
    if 'task' in given and parser.parse_args().task == 'upscale':
        parser.set_defaults(**UPSCALE_DEFAULTS, network='upscale')
    args = parser.parse_args()
    check_task(args, given)
    check_options(args, given)
    if not args.start_from:
        args.network = args.network or 'cin'
    args.styles_per_batch = args.styles_per_batch or args.batch_size
    args.run_dir = args.run_dir or args.output[: -len('.npz')]
    return args, {name: parser.get_default(name) for name in vars(args)}


def check_task(args, given):
    """Refuse options of another task; `given` as for `check_options`."""
    others = ONLY_STYLIZE if args.task == 'upscale' else ONLY_UPSCALE
    wrong = [name for name in others if name in given]
    if wrong:
        raise utils.UserError(f'--{wrong[0].replace("_", "-")} is not for --task {args.task}')
    if args.task == 'stylize' and args.style_dir is None:
        raise utils.UserError('--style-dir is missing: a folder with the style images, or one image')
    if args.pixel_loss and {'loss_weights', 'content_layers', 'pool', 'normalize_losses'} & given:
        raise utils.UserError('--pixel-loss compares pixels, and needs no loss network')
    if args.start_from and args.whole_image:
        raise utils.UserError('--whole-image and --start-from contradict each other: the network is the trained one')
    if args.task == 'upscale' and args.image_size % args.factor:
        raise utils.UserError(f'--image-size {args.image_size} is no multiple of the factor {args.factor}')


def check_options(args, given):
    """Refuse options that make no sense together; `given` are the names of those on the command line."""
    if args.finetune and args.start_from:
        raise utils.UserError('--finetune and --start-from contradict each other')
    # A network of many styles can become one of a single style: see `load_base`.
    settled = NETWORK_OPTIONS if args.finetune else NETWORK_OPTIONS[1:] if args.start_from else ()
    for name in settled:
        if name in given:
            raise utils.UserError(
                f'--{name.replace("_", "-")} and {"--finetune" if args.finetune else "--start-from"} '
                f'contradict each other: the network is that of {args.finetune or args.start_from}'
            )
    if args.iterations and args.epochs:
        raise utils.UserError('--iterations and --epochs contradict each other')
    network = args.network or (None if args.start_from else 'cin')
    if args.norm == 'batch' and network == 'cin':
        raise utils.UserError('--norm batch needs --network fns: the network for many styles normalizes each image')
    if args.norm == 'none' and args.task == 'stylize':
        raise utils.UserError('--norm none is for --task upscale: networks that stylize need a normalization')
    if not args.output.endswith('.npz'):
        raise utils.UserError(f'--output {args.output}: the name of a network ends in .npz')
    if args.styles_per_batch and args.styles_per_batch > args.batch_size:
        raise utils.UserError(f'--styles-per-batch {args.styles_per_batch} is more than --batch-size {args.batch_size}')
    if args.content_size and args.content_size < args.image_size:
        raise utils.UserError(f'--content-size {args.content_size} is less than --image-size {args.image_size}')
    if args.tanh_constant != 150 and network == 'cin':
        raise utils.UserError('--tanh-constant needs --network fns: the network for many styles ends in a sigmoid')
    if (args.lr_decay is None) != (args.lr_decay_every is None):
        raise utils.UserError('--lr-decay and --lr-decay-every belong together')
    if args.image_size % 4 and args.task == 'stylize':
        raise utils.UserError(
            f'--image-size {args.image_size}: the network halves the sides twice, so that they are multiples of 4'
        )
    if args.style_size < 16:
        raise utils.UserError(f'--style-size {args.style_size}: the loss network needs at least 16 pixels')


def parse_coefficients(text, styles):
    """``waves=2,dots=0.5`` as a list with the factor of each style, 1 where there is none; None for None."""
    if text is None:
        return None
    coefficients = dict.fromkeys(styles, 1.0)
    for item in text.split(','):
        style, equals, factor = item.strip().rpartition('=')
        if style not in coefficients or not equals:
            raise utils.UserError(
                f'--style-coefficients: {item!r} is not STYLE=FACTOR for one of the styles {", ".join(styles[:40])}'
            )
        try:
            coefficients[style] = options.not_negative(factor)
        except argparse.ArgumentTypeError as error:
            raise utils.UserError(f'--style-coefficients: {error}')
    return [coefficients[style] for style in styles]


def check_data(args):
    """Name everything at once that a training needs and that is not there, with what brings it."""
    missing = []
    if args.content == photos.COCO and not os.path.exists(args.content):
        missing.append(
            'content images (python data/download.py coco, 20 GB, and python data/make_dataset.py; or '
            '--content FOLDER with photos of your own)'
        )
    if args.loss_weights is None and not args.pixel_loss and not os.path.exists(vgg.find()):
        missing.append(f'VGG16 ({vgg.FETCH}, 59 MB)')
    if missing:
        raise utils.UserError(
            f'not there yet: {"; ".join(missing)}; make train-demo is a small training that fetches what it needs'
        )


def load_base(args, styles):
    """The network that --finetune or --start-from names; None where there is neither."""
    import models

    if not (args.finetune or args.start_from):
        return None
    path = networks.find(args.finetune or args.start_from)
    base = models.load_network(path, args.network)
    networks.check_task(path, base.architecture, args.task)
    if args.finetune:
        if base.architecture.network != 'cin':
            raise utils.UserError(
                f'{args.finetune}: a network of a single style; only one for many (cin) can be given more'
            )
        known = [style for style in styles if style in base.styles]
        if known:
            raise utils.UserError(f'{args.finetune} has a style {known[0]} already: give the new image another name')
    elif args.network == 'fns' and base.architecture.network == 'cin':
        base = models.single_style_network(base, styles[0])
    elif args.network not in (None, base.architecture.network):
        raise utils.UserError(
            f'--network {args.network} and --start-from contradict each other: {args.start_from} is a '
            'network of a single style'
        )
    return base


def settle(args, styles, base):
    """The options with what a trained network and the number of styles have settled, and the `Architecture`.

    Parameters
    ----------
    args : argparse.Namespace
    styles : list of str
        Those to be learned.
    base : models.Network or None
        That of --finetune or --start-from.
    """
    if base:
        if args.task == 'upscale' and base.architecture.factor != args.factor:
            raise utils.UserError(
                f'{args.start_from}: a network of the factor {base.architecture.factor}, and --factor is {args.factor}'
            )
        architecture, w = base.architecture, base.architecture.widths[0]
        settled = {name: w if name == 'width' else getattr(architecture, name) for name in NETWORK_OPTIONS}
        up_widths = list(architecture.up_widths)
        settled['up_widths'] = None if up_widths == [2 * w, w] else up_widths
        settled['whole_image'] = args.task == 'upscale' and architecture.output == 'linear'
    else:
        w, settled = args.width, {}
        kind = dict(norm=args.norm, pad=args.pad, upsampling=args.upsampling)
        if args.task == 'upscale':
            kind['output'] = 'linear' if args.whole_image else 'residual'
            architecture = Architecture.for_upscaling(args.factor, w, args.residual_blocks, **kind)
        else:
            widths, up_widths = (w, 2 * w, 4 * w), args.up_widths or (2 * w, w)
            architecture = Architecture(
                args.network, widths, up_widths, args.residual_blocks, tanh_constant=args.tanh_constant, **kind
            )
    if args.image_size < architecture.smallest_side * architecture.factor:
        raise utils.UserError(
            f'--image-size {args.image_size}: the network needs at least '
            f'{architecture.smallest_side * architecture.factor} pixels'
        )
    if architecture.network == 'fns' and len(styles) != 1:
        raise utils.UserError(f'{args.style_dir} has {len(styles)} style images, and --network fns takes one')
    settled['style_coefficients'] = parse_coefficients(args.style_coefficients, styles)
    settled.update(options.loss_settings(args, architecture.network))
    return argparse.Namespace(**dict(vars(args), **settled)), architecture


def read_samples(args, smallest):
    """The photos of --sample-photo, (1, 3, H, W), of a size that can be stylized as samples."""
    samples = []
    for path in files.find_images(args.sample_photo or []):
        shorter = min(files.read_image(path).shape[:2])
        samples.append(files.to_float(files.read_image(path, size=max(smallest, min(shorter, SAMPLE_SIZE)))))
    return samples


def open_content(args):
    """The `photos.Content`, with small versions of its images for a network that enlarges."""
    content = photos.open_content(args.content, args.image_size, args.content_size, args.validation_split)
    if args.task == 'stylize':
        return content
    return photos.Reduction(args.factor, args.blur, args.most_blur, args.most_noise, args.worst_jpeg).of(content)


def style_grams(args, objective, style_paths, device):
    """The Gram matrices of the styles to be learned; none, if there are none."""
    import losses

    if not style_paths:
        return []
    function, bytes_per_pixel = losses.target_function(objective), losses.image_bytes(objective, device)
    return losses.style_grams(function, style_paths, args.style_size, bytes_per_pixel)


def network_to_train(args, styles, architecture, base):
    """The network with the styles to be learned: from random filters, or from those of a trained one."""
    import models

    if base:
        return models.with_styles(base, (base.styles if args.finetune else []) + styles)
    return models.transformer_network(architecture, styles)


def check_shares(args, processes):
    """Refuse what several processes cannot share."""
    processes.share(args.batch_size)
    if processes.size > 1 and args.norm == 'batch':
        raise utils.UserError('--norm batch: its statistics are those of the whole batch, and no process has that')


def check_outputs(args, style_paths):
    """Refuse an output or a run folder that is among what the training reads."""
    inputs = style_paths + [args.content] + (args.loss_weights or []) + (args.sample_photo or [])
    inputs = [path for path in inputs if os.path.exists(path)]
    if args.finetune or args.start_from:
        inputs.append(networks.find(args.finetune or args.start_from))
    files.check_outputs({args.output: True}, inputs)
    if os.path.isdir(args.output):
        raise utils.UserError(f'{args.output}: cannot write: it is a folder')
    for folder in (args.style_dir, args.content):
        if folder and os.path.isdir(folder) and os.path.realpath(folder) == os.path.realpath(args.run_dir):
            raise utils.UserError(
                f'{args.run_dir} holds images to train on, and would be the run folder as well: choose another '
                '--output or --run-dir'
            )


def claim(args, held):
    """Make the folders of a run and hold them for this process; returns whether it is to carry on.

    Parameters
    ----------
    args : argparse.Namespace
    held : contextlib.ExitStack
        Lets go in the end.
    """
    checkpoint = os.path.join(args.run_dir, 'checkpoint.npz')
    files.make_folder(os.path.join(args.run_dir, 'samples'))
    files.make_folder(os.path.dirname(args.output) or '.')
    for path in (args.run_dir, args.output):
        held.enter_context(runs.lock(path))
    resuming = args.resume and os.path.exists(checkpoint)
    if args.resume and not resuming:
        if os.path.exists(args.output):
            raise utils.UserError(
                f'{args.output} exists, and there is no {checkpoint} to carry on from: give its '
                '--run-dir, or choose another '
                '--output'
            )
        print(f'no checkpoint in {args.run_dir}: starting at the first iteration', file=sys.stderr)
    for path in (checkpoint, args.output):
        if not args.resume and os.path.exists(path):
            raise utils.UserError(f'{path} exists: carry on with --resume, choose another --output, or remove it')
    return resuming


def main(processes=parallel.Processes()):
    args, defaults = parse_arguments()
    check_shares(args, processes)
    style_paths = files.find_images(args.style_dir) if args.style_dir else []
    check_data(args)
    check_outputs(args, style_paths)

    # Theano takes seconds to import: all that needs none of it has been answered or refused by now.
    import models
    from backend import lasagne

    styles = models.style_names(style_paths)
    base = load_base(args, styles)
    args, architecture = settle(args, styles, base)
    samples = read_samples(args, architecture.smallest_side * architecture.factor)
    content = open_content(args)
    device = devices.use(options.device(args))
    objective = options.objective(args, args.network)
    with contextlib.ExitStack() as held:
        resuming = claim(args, held) if processes.rank == 0 else False
        lasagne.random.set_rng(numpy.random.RandomState(args.seed))
        network = network_to_train(args, styles, architecture, base)
        grams = style_grams(args, objective, style_paths, device)
        settings = note_settings(args, network, base, styles, style_paths, content)
        trained = compile_training(args, network, objective, grams, processes)
        if resuming:
            trained.resume(os.path.join(args.run_dir, 'checkpoint.npz'), settings, defaults)
        trained.agree()
        return learn(args, trained, trained.names, content, samples, settings)


def compile_training(args, network, objective, grams, processes):
    """The `training.Training` that the options ask for."""
    import training

    print('compiling the training function', file=sys.stderr)
    return training.Training(
        network,
        objective,
        grams,
        args.style_coefficients,
        bool(args.finetune),
        args.clip_gradients,
        processes,
        args.stability_weight,
        args.seed,
    )


def note_settings(args, network, base, styles, style_paths, content):
    """The settings that decide on the numbers of a training; the network's file gets to know those of options, too."""
    settings = {name: value for name, value in sorted(vars(args).items()) if name not in FREE_OPTIONS}
    network.meta['training'] = dict(settings, loss_weights=[os.path.basename(f) for f in args.loss_weights])
    for option in ('finetune', 'start_from'):
        if settings[option]:
            network.meta['training'].update(
                {option: os.path.basename(settings[option]), 'base': base.meta.get('training')}
            )
    return dict(
        settings,
        styles=styles,
        content_images=content.fingerprint,
        content_files=content.sample,
        style_images=runs.fingerprint(style_paths),
        loss_networks=runs.fingerprint(path for path in args.loss_weights if path != 'random'),
    )


def keeper(args, trained, names, content, sample_photos, settings, iterations):
    """What writes all that a run writes, as a function of a step's losses, its seconds, and whether it is the last.

    Parameters
    ----------
    args : argparse.Namespace
    trained : training.Training
    names : list of str
        Of the losses.
    content : data.photos.Content
    sample_photos : list of float32 arrays (1, 3, H, W)
    settings : dict
        That a run to be resumed must share.
    iterations : int
        To be done in all.
    """
    import models
    import training

    network = trained.network
    folder = training.RunFolder(args.run_dir, names, trained.scores, network.styles, trained.iteration)
    pastiche_function = models.pastiche_function(network) if sample_photos else None
    val_images = photos.fixed_images(content.val if content.val.size else content.train, args.batch_size, args.seed)

    def keep(values, seconds, stopping):
        at_checkpoint = trained.iteration % args.checkpoint_every == 0 or trained.iteration == iterations
        number, validated = f'{trained.iteration:06d}', {}
        if at_checkpoint:
            validated = trained.validate(val_images, folder.file('samples', f'{number}.jpg'))
        folder.record(trained.iteration, seconds, values, validated, sync=at_checkpoint or stopping)
        if at_checkpoint and sample_photos:
            path = folder.file('samples', f'{number}_photos.jpg')
            if trained.upscales:
                training.enlarge_samples(pastiche_function, args.factor, sample_photos, path)
            else:
                training.stylize_samples(pastiche_function, network, sample_photos, trained.first, trained.last, path)
        if at_checkpoint or stopping:
            trained.checkpoint(folder.checkpoint, settings)
            network.meta['training']['iterations'] = trained.iteration
            models.save_network(args.output, network)
        if at_checkpoint:
            if args.keep_checkpoints:
                models.save_network(folder.file('networks', f'{number}.npz'), network)
            folder.plot()

    return keep


def styles_of(args, trained):
    """The styles of the images of the next batch, of which a network that enlarges has none."""
    import training

    count = trained.last + 1 - trained.first
    if not count:
        return ()
    return training.style_schedule(count, args.batch_size, args.styles_per_batch, args.seed, trained.iteration)


def learn(args, trained, names, content, sample_photos, settings):
    """Make the updates that are left; returns the status of the program. The parameters are those of `keeper`."""
    import models
    import training

    processes, checkpoint = trained.processes, os.path.join(args.run_dir, 'checkpoint.npz')
    trained.network.meta['training']['iterations'] = trained.iteration
    iterations = args.iterations or (args.epochs and -(-args.epochs * content.train.size // args.batch_size)) or 40000
    if trained.iteration >= iterations:
        # A run that was killed between its last checkpoint and this file lacks it.
        if processes.rank == 0:
            models.save_network(args.output, trained.network)
        print(f'{checkpoint} has done {trained.iteration} iterations already: more are to be had by --iterations')
        return None
    share, keep = processes.share(args.batch_size), None
    if processes.rank == 0:
        keep = keeper(args, trained, names, content, sample_photos, settings, iterations)
    batches = photos.batches(content.train, args.batch_size, args.seed, trained.iteration, args.workers, share)

    # An interrupt lets the iteration finish and a checkpoint be written; a second one does not.
    caught = runs.catch_interrupts()
    stopping = processes.any(caught)
    with utils.progress(total=iterations, initial=trained.iteration, desc='training', unit='it') as bar:
        while trained.iteration < iterations and not stopping:
            start, before = time.time(), trained.iteration
            rate = training.learning_rate(args.learning_rate, before, args.lr_decay, args.lr_decay_every)
            values = trained.step(next(batches), styles_of(args, trained)[share], rate)
            if not numpy.isfinite(values).all():
                raise utils.UserError(
                    f'the loss is {values[0]} at iteration {trained.iteration}: stopped; {runs.last_good(checkpoint)}'
                )
            stopping = processes.any(caught)
            if keep:
                keep(values, time.time() - start, stopping)
            shown = [f'{name} {value:.4g}' for name, value in zip(names[:3], values)]
            bar.set_postfix_str(' '.join(shown), refresh=False)
            bar.update()
    if stopping and trained.iteration < iterations:
        print(
            f'stopped after iteration {trained.iteration}; carry on with the same command and --resume', file=sys.stderr
        )
        # The first process ends the others, when it has written all.
        return 128 + (caught or [15])[0] if processes.rank == 0 else None
    print(f'{args.output}: the trained network; {args.run_dir}: losses and samples')
    return None


if __name__ == '__main__':
    with parallel.joined() as processes:
        utils.run_script(lambda: main(processes))
