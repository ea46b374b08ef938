"""Styles that a network was not trained with: drawn, mixed by layers, or fitted to a painting.

A style is what a network calls gamma and beta, for each normalization: here a list of vectors, *rows*, in the order of
the network's parameters (beta, then gamma, of each convolution).
"""

import hashlib
import os

import numpy

import files
import losses
import models
import options
import utils
from backend import T, cache, devices, lasagne, theano
from formats import vgg
from objective import Objective, parse_layers
from updates import adam

__all__ = ['make', 'draw', 'mix_layers', 'fitted', 'fit', 'crops', 'rows_of']

SAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'data', 'samples')

# What comes of them, and how long they take, is in docs/controls.md.
UPDATES, LEARNING_RATE = 150, 0.03
# Crops of photos that are resized to the size that networks are trained with, and how many there are.
CROP, SIZE, CROPS = 128, 256, 12
# Shorter sides of paintings: what they are resized to, and what strokes can be seen in.
PAINTING_SIZE, LEAST_PAINTING = 512, 64
# Normalizations at the end that decide on colours: of the last convolution, and of the one before.
PALETTE_LAYERS = 2


def style_params(network):
    """The shared variables beta and gamma of a network of many styles, (styles, C) each, in its order."""
    if not network.style:
        raise utils.UserError('a network of a single style takes no further ones: this needs one of many styles')
    return [p for p in lasagne.layers.get_all_params(network.output) if p.name in ('gamma', 'beta')]


def make(network, new, photos, loss_weights, device):
    """The rows of a style that a command line asks for.

    Parameters
    ----------
    network : models.Network
    new : options.NewStyle
    photos : list of str
        To fit on, beside those of data/samples.
    loss_weights : list of str, optional
        Files of the loss network to fit with, instead of the VGG16 that data/download.py fetches.
    device : devices.Device

    Returns
    -------
    list of float32 array
    """
    if new.kind == 'random':
        return draw(network, new.source)
    if new.kind == 'layers':
        return mix_layers(network, *new.source)
    return fitted(network, new.source, photos, loss_weights, device, new.name)


def rows_of(network, mixture):
    """The rows of a mixture {number: weight} of a network's styles."""
    return [
        sum(numpy.float32(weight) * param.get_value(borrow=True)[number] for number, weight in mixture.items())
        for param in style_params(network)
    ]


def draw(network, seed):
    """A style drawn from the distribution of a network's.

    The normal distribution with the mean and the covariance of gamma and beta of its styles, all layers
    together: what goes together in the styles that it knows does so in what is drawn.

    Parameters
    ----------
    network : models.Network
        Of two styles or more.
    seed : int

    Returns
    -------
    list of float32 array
    """
    values = [param.get_value(borrow=True) for param in style_params(network)]
    count = len(values[0])
    if count < 2:
        raise utils.UserError('a network of one style has no distribution to draw another from')
    factors = numpy.random.RandomState(seed).normal(0, 1, count) / numpy.sqrt(count - 1)
    means = [value.mean(axis=0) for value in values]
    return [(mean + factors @ (value - mean)).astype('float32') for value, mean in zip(values, means)]


def mix_layers(network, strokes, palette):
    """A style with the strokes of one mixture of styles and the palette of another.

    Gamma and beta of the last two convolutions decide on the colours, those of all before on what is drawn.

    Parameters
    ----------
    network : models.Network
    strokes, palette : dict
        {number: weight}

    Returns
    -------
    list of float32 array
    """
    return rows_of(network, strokes)[: -2 * PALETTE_LAYERS] + rows_of(network, palette)[-2 * PALETTE_LAYERS :]


def crops(photos, seed=0):
    """What a style is fitted on: parts of photos, uint8 (H, W, 3), in turns; a float32 array (CROPS, 3, CROP, CROP)."""
    generator, parts = numpy.random.RandomState(seed), []
    for number in range(CROPS):
        photo = photos[number % len(photos)]
        top, left = (generator.randint(side - CROP + 1) for side in photo.shape[:2])
        part = photo[top : top + CROP, left : left + CROP]
        parts.append(part[:, ::-1] if generator.randint(2) else part)
    return files.to_float(numpy.stack(parts))


def fit(network, loss, painting, images, updates, name='style'):
    """Fit gamma and beta to a painting; the filters stay (arXiv:1610.07629, section 3.2).

    From the mean of the network's styles, which is one that its filters are made for, by Adam with a rate that falls to
    zero as a cosine does.

    Parameters
    ----------
    network : models.Network
    loss : Objective
    painting : uint8 array (H, W, 3)
    images : float32 array (N, 3, H, W)
        As `crops` makes them. Each update takes the next one.
    updates : int
    name : str
        What the progress bar says.

    Returns
    -------
    list of float32 array

    Raises
    ------
    utils.UserError
        If what comes out is not finite.
    """
    targets = losses.target_function(loss)
    grams = targets(files.to_float(painting))[1]
    contents = [targets(models.without_border(image[numpy.newaxis], network))[0] for image in images]
    single = models.with_styles(network, [name])
    params, rate = style_params(single), T.scalar('rate')
    image, features = single.image.input_var, [T.tensor4(layer) for layer, _ in loss.content_layers]
    style = T.ones((1, 1), 'float32')
    pastiche = lasagne.layers.get_output(single.output, {single.image: image, single.style: style})
    values = losses.perceptual_losses(loss, pastiche, features, [theano.shared(gram, 'gram') for gram in grams])
    total = values[0].sum()
    update = theano.function(
        [image, rate] + features, [total, values[2].sum()], updates=adam(theano.grad(total, params), params, rate)
    )
    with utils.progress(total=updates, desc=f'fitting {name}', unit='update') as bar:
        for number in range(updates):
            which = number % len(images)
            falling = LEARNING_RATE * (1 + numpy.cos(numpy.pi * number / updates)) / 2
            total_now, style_now = update(images[which : which + 1], numpy.float32(falling), *contents[which])
            if not numpy.isfinite(total_now):
                raise utils.UserError(f'{name}: the loss is {total_now} after {number} updates')
            bar.set_postfix_str(f'style {style_now:.4g}', refresh=False)
            bar.update()
    return [param.get_value()[0] for param in params]


def read_painting(path):
    """A painting as styles are fitted to it, uint8 (H, W, 3)."""
    if min(files.read_image(path).shape[:2]) < LEAST_PAINTING:
        raise utils.UserError(f'{path}: too small for a style: its shorter side has less than {LEAST_PAINTING} pixels')
    return files.read_image(path, size=PAINTING_SIZE)


def fitted(network, path, photos=(), loss_weights=None, device=devices.Device(), name=None):  # noqa: B008, it is frozen
    """The rows of a painting: fitted, or out of the cache where they were fitted before.

    They are kept by the contents of the painting, of the network and of the loss network.

    Parameters
    ----------
    network : models.Network
    path : str
        Of the painting.
    photos : list of str
        What to fit on, beside those of data/samples; what cannot be read is passed over.
    loss_weights, device
        As for `make`.
    name : str, optional
        What the progress bar says.

    Returns
    -------
    list of float32 array

    Raises
    ------
    utils.UserError
        For a painting that cannot be read or is too small, and a loss network that is not there.
    """
    painting, name = read_painting(path), name or models.style_name(path)
    loss = Objective(
        vgg.read_all(loss_weights or [vgg.find()]),
        parse_layers('--content-layers', options.NETWORK_DEFAULTS['cin']['content_layers'], 1.0),
        parse_layers('--style-layers', options.STYLE_LAYERS, options.NETWORK_DEFAULTS['cin']['style_weight']),
    )
    place = os.path.join(cache.folder(), f'style-{_key(network, loss, painting)}.npz')
    shapes = [param.get_value(borrow=True).shape[1:] for param in style_params(network)]
    rows = _read_rows(place, shapes)
    if rows is None:
        images = crops(_readable(list(photos) + files.find_images(SAMPLES)))
        per_pixel = losses.image_bytes(loss, device, gradient=True) + network.architecture.pastiche_bytes() * 3
        utils.check_memory('fitting a style', images[0].transpose(1, 2, 0), per_pixel, held=devices.held_memory())
        utils.check_memory(path, painting, losses.image_bytes(loss, device), held=devices.held_memory())
        rows = fit(network, loss, painting, images, UPDATES, name)
        files.save_npz(place, rows)
    return rows


def _readable(photos):
    """The photos that can be fitted on, of the size that networks are trained with."""
    found = []
    for photo in photos[:CROPS]:
        try:
            found.append(files.read_image(photo, size=SIZE))
        except utils.UserError:
            continue  # whoever stylizes it will say so
    return found


def _key(network, loss, painting):
    digest = hashlib.sha256(repr((UPDATES, LEARNING_RATE, CROP, network.architecture, painting.shape)).encode())
    digest.update(painting.tobytes())
    for value in lasagne.layers.get_all_param_values(network.output):
        digest.update(numpy.ascontiguousarray(value).tobytes())
    for weights in loss.networks:
        for name in sorted(weights):
            digest.update(name.encode() + numpy.ascontiguousarray(weights[name]).tobytes())
    digest.update(repr((loss.content_layers, loss.style_layers)).encode())
    return digest.hexdigest()[:16]


def _read_rows(path, shapes):
    """Rows in the cache; None where there are none, or what is there is damaged."""
    if not os.path.exists(path):
        return None
    try:
        entries = files.load_npz(path)
    except utils.UserError:
        return None
    rows = list(entries.values())
    good = [row.shape for row in rows] == shapes and all(
        row.dtype == numpy.float32 and numpy.isfinite(row).all() for row in rows
    )
    return rows if good else None
