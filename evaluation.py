"""What a trained network is judged by: the loss it was trained with, on photos that it has not seen."""

import os

import numpy

import files
import layers
import models
import optimization
import options
import utils

# What is not given and does not stand in the network's file; content layers and a style weight of None are set to
# those of the kind of network.
DEFAULTS = dict(
    content_layers=None,
    content_weight=1.0,
    style_layers=options.STYLE_LAYERS,
    style_weight=None,
    tv_weight=0.0,
    normalize_losses=False,
    pool='max',
    image_size=256,
    content_size=0,
    style_size=512,
)
KINDS = dict(
    content_layers=str,
    content_weight=float,
    style_layers=str,
    style_weight=float,
    tv_weight=float,
    normalize_losses=bool,
    pool=str,
    image_size=int,
    content_size=int,
    style_size=int,
)


def loss_of_network(args, architecture, meta):
    """Fill in what the arguments leave open from what a network says of itself; return its `Objective`."""
    training = options.current_names(meta['training']) if isinstance(meta.get('training'), dict) else {}
    for option, kind in KINDS.items():
        if getattr(args, option) is None:
            value = training.get(option)
            good = type(value) is kind or (kind is float and type(value) is int)
            setattr(args, option, kind(value) if good else DEFAULTS[option])
    smallest = 16 + 2 * architecture.lost
    if args.image_size < smallest:
        raise utils.UserError('--image-size %d: the network needs at least %d pixels' % (args.image_size, smallest))
    if args.style_size < 16:
        raise utils.UserError('--style-size %d: the loss network needs at least 16 pixels' % args.style_size)
    # A network whose photos had the size of its crops, or of a dataset, says nothing of their size.
    args.content_size = max(args.content_size, args.image_size)
    args.network = architecture.network
    if args.pool not in options.POOLS:
        args.pool = DEFAULTS['pool']
    return options.objective(args)


def find_styles(paths, names):
    """Which of the network's styles each image shows: a list of pairs (number, path), in the network's order."""
    by_name = dict(zip(models.style_names(paths), paths))
    found = [(number, by_name[name]) for number, name in enumerate(names) if name in by_name]
    if not found and len(names) == len(paths) == 1:
        found = [(0, paths[0])]
    if not found:
        raise utils.UserError(
            "none of the %d style images has the name of one of the network's styles, %s ..."
            % (len(paths), ', '.join(names[:4]))
        )
    return found


def read_photos(paths, image_size, content_size=None):
    """The middles of photos, which are first resized to a shorter side of `content_size`, or else of `image_size`.

    Returns
    -------
    dict
        For the name of each photo an array (1, 3, image_size, image_size), RGB in [0, 1].
    """
    content_size = content_size or image_size
    start = (content_size - image_size) // 2
    middle = slice(start, start + image_size)
    names = utils.unique([os.path.splitext(os.path.basename(path))[0] for path in paths], 'the photo')
    return {
        name: files.to_float(files.cover(files.read_image(path), content_size, content_size)[middle, middle])
        for name, path in zip(names, paths)
    }


def stylize(function, network, photo, style):
    """The pastiche of a photo (1, 3, H, W) by a compiled network; style is a number or a blend.

    It is of the size of `models.without_border` of the photo.
    """
    inputs = [photo]
    if network.style:
        inputs.append(layers.style_weights(style, len(network.styles)))
    height, width = models.without_border(photo, network).shape[2:]
    return function(*inputs)[:, :, :height, :width]


def content_of_nothing(loss, contents):
    """The content loss of an image without any features, for a photo with these features of each content layer."""
    return numpy.mean(
        [
            weight * (1 if loss.normalize else float(numpy.square(content).mean()))
            for (_, weight), content in zip(loss.content_layers, contents)
        ]
    )


def optimized_image(function, photo, iterations):
    """The image that L-BFGS makes of a photo, and the losses of each iteration, from the photo's on."""
    image, path = photo, [function(photo)[0]]

    def record(_, latest, values):
        nonlocal image
        image = latest
        path.append(values)

    optimization.minimize_lbfgs(function, photo, iterations, record)
    return image, path
