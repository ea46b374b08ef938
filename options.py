"""Command lines: what the parsers of all scripts have in common."""

import argparse
import collections
import math
import os

import files
import mixtures
import stylemaps
import utils
from backend import devices
from controls import LEAST_SCALE, MOST_SCALE, Controls
from formats import networks, vgg
from objective import MAX_WEIGHT, PIXELS, POOLS, STYLE_LAYERS, Objective, parse_layers


class _HelpFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Keeps the line breaks of the description and shows the defaults that say something."""

    def _get_help_string(self, action):
        if action.default in (None, False) or '(default' in action.help:
            return action.help
        if isinstance(action.default, list):
            return action.help + f' (default: {" ".join(action.default)})'
        return super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line, like every other error of the scripts."""

    def __init__(self, description):
        super().__init__(description=description, formatter_class=_HelpFormatter, allow_abbrev=False)

    def given(self):
        """The names of the options that stand on the command line, as a set."""
        absent = object()
        names = vars(self.parse_args())
        args = vars(self.parse_args(namespace=argparse.Namespace(**dict.fromkeys(names, absent))))
        return {name for name in names if args[name] is not absent}

    def error(self, message):
        raise utils.UserError(f'{message} (--help lists the options)')


def add_overwrite(parser):
    """Add the option that allows outputs to replace any file but an input (`files.check_outputs`)."""
    parser.add_argument(
        '--overwrite', action='store_true', help='write the outputs over files that this command did not make'
    )


def _number(convert, good, expected):
    def parse(text):
        try:
            value = convert(text)
        except ValueError:
            value = None
        if value is None or not math.isfinite(value) or not good(value):
            raise argparse.ArgumentTypeError(f'{text!r} is not {expected}')
        return value

    return parse


positive_int = _number(int, lambda n: 1 <= n < 2**31, 'a whole number from 1')
whole_number = _number(int, lambda n: 0 <= n < 2**31, 'a whole number from 0')
positive = _number(float, lambda x: x > 0, 'a positive number')
not_negative = _number(float, lambda x: x >= 0, 'a number from 0')
decay = _number(float, lambda x: 0 < x <= 1, 'a number above 0, up to 1')
fraction = _number(float, lambda x: 0 <= x < 1, 'a number from 0 to below 1')
share = _number(float, lambda x: 0 <= x <= 1, 'a number from 0 to 1')
scale = _number(float, lambda x: LEAST_SCALE <= x <= MOST_SCALE, f'a number from {LEAST_SCALE:g} to {MOST_SCALE:g}')
quality = _number(int, lambda n: 1 <= n <= 95, 'a whole number from 1 to 95')
odd = _number(int, lambda n: n % 2 and 3 <= n < 100, 'an odd number from 3 to 99')


def pair(text):
    """Two whole numbers, such as 64,32, as a list."""
    numbers = [positive_int(item) for item in text.split(',')]
    if len(numbers) != 2:
        raise argparse.ArgumentTypeError(f'{text!r} is not two numbers, such as 64,32')
    return numbers


def weights_file(text):
    """The path of a file of --loss-weights, which would also take the photos that stand after it."""
    if os.path.splitext(text)[1].lower() in files.READ_EXTENSIONS or os.path.isdir(text):
        raise argparse.ArgumentTypeError(f'{text} is a picture or a folder; photos stand before --loss-weights')
    return text


def add_device(parser):
    """Add --device, --backend and --tf32 to a parser: see `device`."""
    parser.add_argument(
        '--device',
        default='cpu',
        help=f'what computes: {devices.NAMES}; auto is the first CUDA device, or else the CPU',
    )
    parser.add_argument(
        '--backend',
        choices=devices.BACKENDS,
        default=os.environ.get('GOGH_BACKEND') or 'onednn',
        help="on the CPU: oneDNN, or Theano's own operations (environment: GOGH_BACKEND)",
    )
    parser.add_argument(
        '--tf32', action='store_true', help='on NVIDIA cards since Ampere: multiply in TF32, faster and to three digits'
    )


def add_precision(parser, where=''):
    """Add --precision to a parser: see `device`. `where` says what has it, such as ' in the trainings'."""
    parser.add_argument(
        '--precision',
        choices=['float32', 'bf16'],
        default='float32',
        help=f'of the factors of 3x3 convolutions with oneDNN{where}; bf16 is faster on processors with AVX512-BF16, '
        'and far faster with AMX',
    )


def add_cluster(parser, work):
    """Add the options that spread work, such as 'photos', over a cluster to a parser: see `cluster`."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        '--scheduler',
        metavar='ADDRESS',
        help=f"spread the {work} over the workers of Dask's scheduler, such as tcp://host:8786; they see the same "
        'folders',
    )
    group.add_argument(
        '--workers', type=positive_int, metavar='N', help=f'spread the {work} over so many processes of this machine'
    )


def _max_pixels(text):
    """The limit on the pixels of a picture. It counts from here on, in the processes that this one starts as well."""
    pixels = _number(int, lambda n: 1 <= n < 10**18, 'a whole number from 1')(text)
    os.environ['GOGH_MAX_PIXELS'] = str(pixels)
    return pixels


def add_max_pixels(parser):
    """Add the option that raises the limit on the size of pictures, or lowers it, to a parser: see `_max_pixels`."""
    parser.add_argument(
        '--max-pixels',
        type=_max_pixels,
        metavar='N',
        help='refuse pictures and frames of more pixels (default: 200 million; environment: GOGH_MAX_PIXELS)',
    )


def device(args):
    """The `devices.Device` that the options of `add_device` name, with the --precision of a parser that has one."""
    return devices.Device(args.device, args.backend, getattr(args, 'precision', 'float32'), args.tf32)


def add_upscaling(parser):
    """Add the options that say which enlargement is learned to a parser: see `data.photos.Reduction`."""
    parser.add_argument(
        '--factor', type=int, choices=[2, 4, 8], default=4, help='to upscale: how many times as high and wide'
    )
    parser.add_argument(
        '--pixel-loss',
        action='store_true',
        help='to upscale: minimize the squared differences of pixels, and not those of the features of a loss network',
    )
    parser.add_argument(
        '--whole-image',
        action='store_true',
        help="to upscale: let the network make the whole image, as the paper's does, and not what is added to the "
        'interpolated photo',
    )
    parser.add_argument(
        '--blur',
        type=not_negative,
        default=1.0,
        metavar='SIGMA',
        help='to upscale: the standard deviation of the blur before photos are made small',
    )
    parser.add_argument(
        '--most-blur',
        type=not_negative,
        default=0.0,
        metavar='SIGMA',
        help='to upscale: let chance choose the blur, from --blur to this',
    )
    parser.add_argument(
        '--most-noise',
        type=not_negative,
        default=0.0,
        metavar='SIGMA',
        help='to upscale: add noise to small photos, its standard deviation drawn from 0 to this, in units of 0-255',
    )
    parser.add_argument(
        '--worst-jpeg',
        type=quality,
        metavar='QUALITY',
        help='to upscale: store small photos as JPEGs, their quality drawn from this to 95',
    )


# What `add_losses` adds.
LOSSES = (
    'loss_weights',
    'content_layers',
    'content_weight',
    'style_layers',
    'style_weight',
    'tv_weight',
    'normalize_losses',
    'pool',
)


def add_losses(parser):
    """Add the options that choose a perceptual loss to a parser: see `objective`."""
    parser.add_argument(
        '--loss-weights',
        nargs='+',
        type=weights_file,
        metavar='FILE',
        help='pretrained VGG: .pkl of the Lasagne model zoo, .h5 of Keras or .npz; of several files a '
        "layer is taken from the first that has it; 'random' for trials (default: the VGG16 that "
        'data/download.py fetched)',
    )
    parser.add_argument(
        '--content-layers',
        metavar='LAYER[=WEIGHT],...',
        help="layers of the content loss, and 'pixels', RGB in [0, 1]; each weight is divided by the number of layers "
        '(default: conv3_3 for cin, conv2_2 for fns and to upscale)',
    )
    parser.add_argument(
        '--content-weight', type=not_negative, default=1.0, help='weight of the layers that are given none'
    )
    parser.add_argument(
        '--style-layers',
        default=STYLE_LAYERS,
        metavar='LAYER[=WEIGHT],...',
        help='layers of the style loss; each weight is divided by the number of layers',
    )
    parser.add_argument(
        '--style-weight',
        type=not_negative,
        help='weight of the layers that are given none (default: 4e-4 for cin, 20 for fns)',
    )
    parser.add_argument('--tv-weight', type=not_negative, default=0.0, help='weight of the total variation loss')
    parser.add_argument('--pool', choices=['max', 'average'], default='max', help='pooling of the loss network')
    parser.add_argument(
        '--normalize-losses',
        action='store_true',
        help='divide each style term by the mean square of its target Gram matrix and the content '
        "term by that of the photo's features, for loss networks that are scaled otherwise",
    )


# What the papers (and fast-neural-style's guide, for 'fns') use, where the two networks differ.
NETWORK_DEFAULTS = {
    'cin': dict(content_layers='conv3_3', style_weight=4e-4),
    'fns': dict(content_layers='conv2_2', style_weight=20.0),
    'upscale': dict(content_layers='conv2_2', style_weight=0.0),
}


def loss_settings(args, network):
    """What the options of `add_losses` are, as a dict: those that were not given are the network's defaults.

    Parameters
    ----------
    args : argparse.Namespace
    network : {'cin', 'fns', 'upscale'}
    """
    needless = getattr(args, 'pixel_loss', False)
    defaults = dict(NETWORK_DEFAULTS[network], loss_weights=[] if needless else [vgg.find()])
    given = {name: getattr(args, name) for name in LOSSES}
    return {name: defaults.get(name) if value is None else value for name, value in given.items()}


def objective(args, network):
    """What the options of `add_losses` ask for; reads the weights of its networks.

    Parameters
    ----------
    args : argparse.Namespace
    network : {'cin', 'fns', 'upscale'}
        The kind of network that the objective is for; 'upscale' has no style loss.

    Returns
    -------
    Objective

    Raises
    ------
    utils.UserError
        For layers that are none, and weights that cannot be read.
    """
    settings = loss_settings(args, network)
    for name in ('content_weight', 'style_weight', 'tv_weight'):
        if settings[name] > MAX_WEIGHT:
            raise utils.UserError(f'--{name.replace("_", "-")} {settings[name]:g}: a weight is {MAX_WEIGHT:g} at most')
    if getattr(args, 'pixel_loss', False):
        return Objective([], [(PIXELS, settings['content_weight'])], [], settings['tv_weight'])
    style_layers = parse_layers('--style-layers', settings['style_layers'], settings['style_weight'])
    return Objective(
        vgg.read_all(settings['loss_weights']),
        parse_layers('--content-layers', settings['content_layers'], settings['content_weight'], pixels=True),
        [] if network == 'upscale' else style_layers,
        settings['tv_weight'],
        settings['normalize_losses'],
        network == 'fns',
        POOLS[settings['pool']],
    )


def add_network(parser, what='--model'):
    """Add --network to a parser: what a file of the original repository does not say of itself."""
    parser.add_argument(
        '--network',
        choices=['cin', 'fns'],
        help=f"the kind of network in {what}, where its file does not say: the original repository's "
        'networks of a single style',
    )


def add_controls(parser):
    """Add the options of what is done around the network to a parser: see `controls`."""
    parser.add_argument(
        '--strength', type=share, default=1.0, help='between the photo, 0, and the pastiche, 1, whose values are mixed'
    )
    parser.add_argument(
        '--preserve-color', action='store_true', help="keep the photo's colours: of the pastiche only the luminance"
    )
    parser.add_argument(
        '--stroke-scale',
        type=scale,
        default=1.0,
        metavar='FACTOR',
        help='coarser strokes, such as 2, or finer ones, such as 0.5, at the same size of the pastiche',
    )
    parser.add_argument(
        '--median-filter',
        type=odd,
        metavar='SIDE',
        help='smooth the pastiches: each value becomes the median of a square of so many pixels, such as 3',
    )


def controls(args):
    """The `Controls` that the options of `add_controls` ask for."""
    return Controls(args.strength, args.preserve_color, args.stroke_scale, args.median_filter)


def add_styles(parser):
    """Add the options that choose among a network's styles to a parser: see `styles`."""
    parser.add_argument('--style-index', metavar='INDEX,...', help="styles by number, from 0; or 'all'")
    parser.add_argument('--style', metavar='NAME,...', help="styles by name; or 'all'")
    parser.add_argument(
        '--blend',
        metavar='STYLE=WEIGHT,...',
        help='one pastiche in a mixture of styles, by name or else number, such as 0=0.7,5=0.3',
    )


def add_style_maps(parser):
    """Add the options that put styles into different places of a photo to a parser: see `styles`."""
    parser.add_argument(
        '--style-map',
        nargs='+',
        metavar='STYLE=MASK',
        help='one pastiche of several styles, each where its mask, a grey picture, is white, with edges as soft as '
        "the mask's; what the masks leave is in the style of --style, --style-index or --blend",
    )
    parser.add_argument(
        '--checkerboard',
        type=positive_int,
        metavar='SQUARES',
        help='one pastiche of all chosen styles in turns, with so many squares along the shorter side',
    )


# A style that a network does not have: 'random' with a seed, 'layers' with two mixtures, 'image' with a path.
NewStyle = collections.namedtuple('NewStyle', 'name kind source')


def add_new_styles(parser):
    """Add the options that give a network styles of its user's to a parser: see `new_styles`."""
    parser.add_argument(
        '--style-image',
        metavar='PAINTING',
        help='a picture as a new style: gamma and beta are fitted to it with VGG16, in about a minute, on the photos '
        'and those of data/samples, and kept in the cache',
    )
    parser.add_argument(
        '--loss-weights',
        nargs='+',
        type=weights_file,
        metavar='FILE',
        help='pretrained VGG to fit with, as for train.py (default: the VGG16 that data/download.py fetched)',
    )
    parser.add_argument(
        '--blend-layers',
        nargs=2,
        metavar=('STROKES', 'PALETTE'),
        help='the strokes of one style with the colours of another, by name or else number',
    )
    parser.add_argument('--seed', type=whole_number, default=0, help='of --style random, a style drawn at random')
    parser.add_argument('--save-style', metavar='NAME', help="add the new style to the network's file, under this name")


def new_styles(args, path, names):
    """The styles that are asked for and not in the network: a list of `NewStyle`, all of other names.

    Parameters
    ----------
    args : argparse.Namespace
        With the options of `add_styles` and `add_new_styles`.
    path : str
        Of the network.
    names : list of str
        Its styles.
    """
    new = []
    if args.style and 'random' not in names and 'random' in [name.strip() for name in args.style.split(',')]:
        new.append(NewStyle(f'random-{args.seed}', 'random', args.seed))
    if args.blend_layers:
        strokes, palette = (mixtures.by_name_or_index(text, names) for text in args.blend_layers)
        label = f'{names[strokes]}-in-{names[palette]}'
        new.append(NewStyle(label, 'layers', ({strokes: 1.0}, {palette: 1.0})))
    if args.style_image:
        if not os.path.exists(args.style_image):
            raise utils.UserError(f'{args.style_image}: no such file')
        new.append(NewStyle(mixtures.style_name(args.style_image), 'image', args.style_image))
        args.loss_weights = args.loss_weights or [vgg.find()]
        missing = [path for path in args.loss_weights if path != 'random' and not os.path.exists(path)]
        if missing:
            raise utils.UserError(f'{missing[0]}: no such file; --style-image needs VGG16, fetched by: {vgg.FETCH}')
    if args.save_style is not None:
        if len(new) != 1:
            raise utils.UserError(
                '--save-style is for one new style: of --style-image, --blend-layers or --style random'
            )
        if not args.save_style.strip() or args.save_style in names:
            raise utils.UserError(
                f'--save-style {args.save_style!r}: the network has such a style: choose another name'
            )
        if os.path.dirname(os.path.realpath(path)) == os.path.realpath(networks.MODELS):
            raise utils.UserError(
                f'--save-style: {path} comes with the project and stays as it is: give --model a copy of it'
            )
        new = [new[0]._replace(name=args.save_style)]
    unique = utils.unique(list(names) + [style.name for style in new], 'the style')[len(names) :]
    new = [style._replace(name=name) for style, name in zip(new, unique)]
    if new and new[0].kind == 'random':
        others = [name for name in args.style.split(',') if name.strip() != 'random']
        args.style = ','.join([new[0].name] + others)
    return new


def styles(args, names, new=()):
    """The pastiches to make of each photo, as a list of pairs (label, {style: weight} or `stylemaps.StyleMap`).

    Parameters
    ----------
    args : argparse.Namespace
        With the options of `add_styles`, and those of `add_style_maps` if there are any.
    names : list of str
        The network's styles.
    new : list of NewStyle
        Those that are added to them; if no others are chosen, they are.
    """
    known, names = len(names), list(names) + [style.name for style in new]
    given = [option for option in ('style_index', 'style', 'blend') if getattr(args, option) is not None]
    if len(given) > 1:
        raise utils.UserError(f'{" and ".join("--" + g.replace("_", "-") for g in given)} contradict each other')
    maps, squares = getattr(args, 'style_map', None), getattr(args, 'checkerboard', None)
    if maps and squares:
        raise utils.UserError('--style-map and --checkerboard contradict each other')
    if maps and not given:
        return [_style_map(maps, names, None)]
    if not given and len(names) > 1 and not new:
        raise utils.UserError(f'the network has {len(names)} styles: choose by --style-index, --style or --blend')
    if args.blend is not None:
        chosen = [mixtures.parse_blend(args.blend, names)]
    elif args.style is not None:
        chosen = [{number: 1.0} for number in mixtures.parse_names(args.style, names)]
    elif new and args.style_index is None:
        chosen = [{number: 1.0} for number in range(known, len(names))]
    else:
        chosen = [{number: 1.0} for number in mixtures.parse_indices(args.style_index or '0', names)]
    if maps:
        if len(chosen) > 1:
            raise utils.UserError('--style-map takes one style, or a blend, for what the masks leave')
        return [_style_map(maps, names, chosen[0])]
    if squares:
        if len(chosen) < 2:
            raise utils.UserError('--checkerboard takes two styles or more: --style waves,sun')
        numbers = [number for mixture in chosen for number in mixture]
        return [('+'.join(names[number] for number in numbers), stylemaps.checkerboard(numbers, squares))]
    return [(mixtures.label(mixture, names), mixture) for mixture in chosen]


def _style_map(items, names, rest):
    """The label and the `stylemaps.StyleMap` of masks in files, with a mixture for what they leave."""
    paths = mixtures.parse_maps(items, names)
    masks = {number: stylemaps.read_mask(path) for number, path in paths.items()}
    shape = next(iter(masks.values())).shape
    for number, mask in masks.items():
        if mask.shape != shape:
            utils.say_once(
                f'{paths[number]}: {mask.shape[1]} x {mask.shape[0]} pixels, resized to the {shape[1]} '
                f'x {shape[0]} of the first mask'
            )
            masks[number] = stylemaps.resize(mask, *shape)
    try:
        style_map = stylemaps.of_masks(masks, rest)
    except utils.UserError:
        raise utils.UserError(
            '--style-map: there are pixels that no mask covers: --style says in which style the rest is to be'
        )
    return '+'.join(names[number] for number in style_map.numbers), style_map
