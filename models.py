"""The networks: transformer networks, VGG loss networks, and the files that hold their weights."""

import collections
import dataclasses

import numpy

import utils
from architecture import Architecture
from backend import T, lasagne, theano
from backend.formulas import rectify
from formats import networks, vgg
from formats.vgg import VGG_MEAN
from layers import ConvLayer, ReflectPadLayer, UpsampleBilinearLayer, conv_block, residual_block, upsampling_block
from mixtures import style_name
from objective import PIXELS

from lasagne.init import Constant
from lasagne.layers import ElemwiseSumLayer, InputLayer, NonlinearityLayer, get_all_params
from lasagne.nonlinearities import linear, sigmoid

__all__ = [
    'transformer_network',
    'without_border',
    'with_styles',
    'copy_styles',
    'append_style',
    'single_style_network',
    'without_batch_norm',
    'style_name',
    'style_names',
    'save_network',
    'load_network',
    'pastiche_function',
    'check_mapped',
    'mapped_function',
    'VGG_MEAN',
    'vgg_preprocess',
    'vgg_deprocess',
    'loss_network',
]


# ---------------------------------------------------------------------------------------------
# Transformer networks
# ---------------------------------------------------------------------------------------------

Network = collections.namedtuple('Network', 'output image style architecture styles meta')
Network.__doc__ = """A transformer network.

Attributes
----------
output : Layer
    The pastiche, RGB in [0, 1]; its values are not clipped if the network is 'fns'.
image : InputLayer
    The content image, RGB in [0, 1], of shape (N, 3, H, W).
style : InputLayer or None
    Weights of the styles, of shape (N, styles); None for a network of a single style.
architecture : Architecture
styles : list of str
    Their names; empty for a single style without a name.
meta : dict
    What else is to be kept in the network's file.
"""


def transformer_network(architecture=Architecture(), styles=(), meta=None):  # noqa: B008, it is frozen
    """The network that turns a photo into a pastiche (arXiv:1610.07629, table 1).

    ======================  ======================================================
    conv 9×9                widths[0] maps
    conv 3×3, stride 2      widths[1]
    conv 3×3, stride 2      widths[2]
    residual_blocks ×       conv 3×3 rectified, conv 3×3 linear, added to the input
    upsampling, conv 3×3    up_widths[0]
    upsampling, conv 3×3    up_widths[1]
    conv 9×9                3 maps
    ======================  ======================================================

    Every convolution is preceded by padding and followed by normalization; it has no bias. All
    but the last one and the second of a residual block are rectified. Networks of other projects differ at their
    ends; `Architecture` says how. Networks 'upscale' (arXiv:1603.08155, supplement) have no convolutions of stride 2,
    and upsample one to three times.

    Parameters
    ----------
    architecture : Architecture
    styles : list of str
        Names of the styles; one for 'fns', none for 'upscale'.
    meta : dict
        Kept in the network's ``meta``.

    Returns
    -------
    Network
    """
    a = architecture
    image = layer = InputLayer((None, 3, None, None), name='image')
    style = InputLayer((None, len(styles)), name='style') if a.network == 'cin' else None
    blocks_crop = a.pad in ('reflect-start', 'none')
    pad = 'zero' if blocks_crop or a.pad == 'same' else a.pad
    block = dict(style=style, norm=a.norm, pad=pad, epsilon=a.epsilon)

    if a.pad == 'same':
        layer = NonlinearityLayer(layer, turn)
    if a.network != 'cin' and a.preprocessing == 'vgg':
        layer = NonlinearityLayer(layer, vgg_preprocess)
    if a.pad == 'reflect-start' and a.residual_blocks:
        layer = ReflectPadLayer(layer, a.border)
    for width, filter_size, stride in zip(a.widths, a.filter_sizes, (1, 2, 2)):
        layer = conv_block(layer, width, filter_size, stride=stride, **block)
    for _ in range(a.residual_blocks):
        layer = residual_block(layer, **dict(block, pad='none' if blocks_crop else pad))
    for width in a.up_widths:
        layer = upsampling_block(layer, width, upsampling=a.upsampling, **block)
    if a.network == 'cin':
        layer = conv_block(layer, 3, 9, nonlinearity=sigmoid, **block)
    else:
        activation = (lambda x: a.tanh_constant * T.tanh(x)) if a.output == 'tanh' else linear
        if a.last == 'bias':
            layer = ConvLayer(layer, 3, 9, pad=pad, b=Constant(0), nonlinearity=activation)
        else:
            layer = conv_block(layer, 3, 9, nonlinearity=activation, **block)
        if a.output == 'residual':
            layer = NonlinearityLayer(layer, lambda x: x / numpy.float32(255))
            layer = ElemwiseSumLayer([UpsampleBilinearLayer(image, a.factor), layer])
        else:
            layer = NonlinearityLayer(layer, vgg_deprocess if a.preprocessing == 'vgg' else from_middle)
    if a.pad == 'same':
        layer = NonlinearityLayer(layer, turn)
    return Network(layer, image, style, architecture, list(styles), dict(meta or {}))


def without_border(images, network):
    """The part of images that is in their pastiches by a network: all of it, but with the padding 'none'.

    Parameters
    ----------
    images : 4-D tensor or array
        Of shape (N, C, H, W).
    network : Network
    """
    lost = network.architecture.lost
    return images[:, :, lost:-lost, lost:-lost] if lost else images


def with_styles(network, names):
    """A network of the named styles that shares the filters of a trained one (arXiv:1610.07629).

    Gamma and beta of a new style start as the mean over those that the network knows, a style that
    the filters are made for. (Magenta's implementation starts them at 1 and 0, as in a network that
    knows nothing.)

    Parameters
    ----------
    network : Network
    names : list of str
        Names of the styles; one for 'fns', which always has the gamma and beta of the trained one.

    Returns
    -------
    Network
        The styles that `network` has are the same, bit for bit.
    """
    known = {name: i for i, name in enumerate(network.styles)}
    other = transformer_network(network.architecture, names, network.meta)
    for old, new in zip(get_all_params(network.output), get_all_params(other.output)):
        value = old.get_value()
        if network.style and old.name in ('gamma', 'beta'):
            mean = value.mean(axis=0)
            value = numpy.stack([value[known[name]] if name in known else mean for name in names])
        new.set_value(value)
    return other


def copy_styles(source, target, numbers):
    """Give a network the gamma and beta of some styles of another one of the same architecture, and no others."""
    for old, new in zip(get_all_params(source.output), get_all_params(target.output)):
        if old.name in ('gamma', 'beta'):
            new.set_value(old.get_value(borrow=True)[list(numbers)])


def append_style(network, name, rows):
    """Give a network of many styles one more, with these rows of beta and gamma, in the order of its parameters."""
    if not network.style:
        raise utils.UserError('a network of a single style takes no further ones: this needs one of many styles')
    params = [param for param in get_all_params(network.output) if param.name in ('gamma', 'beta')]
    for param, row in zip(params, rows):
        param.set_value(numpy.concatenate([param.get_value(borrow=True), row[numpy.newaxis]]))
    network.styles.append(name)


def single_style_network(network, style):
    """A network 'fns' that does about what a network 'cin' does in one style.

    The two differ at their ends only. The first normalization makes the filters blind to the offset and
    the scale of `vgg_preprocess`, so that swapping their colours is all they need. At the other end gamma and
    beta are changed such that the scaled tanh has the value and the slope of 255 sigmoid where the latter is
    127.5; they differ where colours saturate.

    Parameters
    ----------
    network : Network
        Of conditional instance normalization.
    style : str
        Name of the style; if the network does not have it, it gets the mean of the others.

    Returns
    -------
    Network
    """
    values = [
        value[0] if value.ndim == 2 else value
        for value in lasagne.layers.get_all_param_values(with_styles(network, [style]).output)
    ]
    values[0] = values[0][:, ::-1] / numpy.float32(255)
    filters, beta, gamma = (value[::-1] for value in values[-3:])
    constant = network.architecture.tanh_constant
    middle = (127.5 - VGG_MEAN) / constant
    slope = 255 / 4 / (constant * (1 - middle**2))
    values[-3:] = filters, slope * beta + numpy.arctanh(middle), slope * gamma
    single = transformer_network(dataclasses.replace(network.architecture, network='fns'), [style], network.meta)
    lasagne.layers.set_all_param_values(single.output, [value.astype('float32') for value in values])
    return single


def without_batch_norm(network):
    """A network 'upscale' that does the same without batch norm, whose statistics have been multiplied into filters.

    Other networks are returned as they are.
    """
    if network.architecture.norm != 'batch' or network.architecture.network != 'upscale':
        return network
    a, folded = network.architecture, []
    values = lasagne.layers.get_all_param_values(network.output)
    names = [param.name for param in get_all_params(network.output)]
    starts = [i for i, name in enumerate(names) if name == 'W'] + [len(names)]
    for number, (start, end) in enumerate(zip(starts, starts[1:])):
        own = dict(zip(names[start:end], values[start:end]))
        if 'gamma' not in own:
            folded += values[start:end]
            continue
        scale = (own['gamma'] / numpy.sqrt(own['variance'].astype('float64') + a.epsilon)).astype('float32')
        deconvolution = a.upsampling == 'deconv' and number > 2 * a.residual_blocks
        spread = (1, -1, 1, 1) if deconvolution else (-1, 1, 1, 1)
        folded += [own['W'] * scale.reshape(spread), own['beta'] - own['mean'] * scale]
    other = transformer_network(dataclasses.replace(a, norm='none'), network.styles, network.meta)
    lasagne.layers.set_all_param_values(other.output, folded)
    return other


def style_names(paths):
    """The names of the styles of images, all different."""
    return utils.unique([style_name(path) for path in paths], 'the style')


def pastiche_function(network):
    """Compile the network for stylizing.

    Returns
    -------
    callable
        Of a float32 batch of images (N, 3, H, W), RGB in [0, 1], and for 'cin' the style weights
        (N, styles); returns the pastiches, RGB in [0, 1], with height and width rounded up to
        multiples of 4, less what the network loses (`Architecture.lost`). Of a network 'upscale' the enlarged images.
    """
    pastiche = T.clip(lasagne.layers.get_output(network.output, deterministic=True), 0, 1)
    inputs = [network.image.input_var] + ([network.style.input_var] if network.style else [])
    return _with_enough_to_reflect(theano.function(inputs, pastiche), network.architecture)


def _with_enough_to_reflect(function, architecture):
    """A function of images, and of styles or style maps, that takes images smaller than the border they are given."""
    if architecture.pad != 'reflect-start':
        return function

    def of_any_size(image, *style):
        height, width = image.shape[2:]
        extra = [(0, 0), (0, 0)] + [(0, max(0, architecture.smallest_side - side)) for side in (height, width)]
        padded = [numpy.pad(maps, extra, mode='symmetric') if maps.ndim == 4 else maps for maps in (image, *style)]
        return function(*padded)[:, :, : -(-height // 4) * 4, : -(-width // 4) * 4]

    return of_any_size


def check_mapped(network):
    """Refuse a network that takes no style maps.

    Raises
    ------
    utils.UserError
        If it has a single style.
    """
    if not network.style:
        raise utils.UserError('a network of a single style has nothing to mix in one photo')


def mapped_function(network):
    """Compile the network for stylizing with a style map.

    Returns
    -------
    callable
        Of images as for `pastiche_function` and of weights (N, styles, H, W) of the same height and width, which are
        multiples of 4; returns the pastiches, as `pastiche_function` does.

    Raises
    ------
    utils.UserError
        As `check_mapped`.
    """
    check_mapped(network)
    maps = T.tensor4('style maps')
    weights = turn(maps) if network.architecture.pad == 'same' else maps
    inputs = {network.image: network.image.input_var, network.style: weights}
    pastiche = lasagne.layers.get_output(network.output, inputs, deterministic=True)
    function = theano.function([network.image.input_var, maps], T.clip(pastiche, 0, 1))
    return _with_enough_to_reflect(function, network.architecture)


def save_network(path, network):
    """Write a transformer network as an ``.npz``, atomically; see `formats.networks.write`."""
    networks.write(
        path, network.architecture, network.styles, network.meta, lasagne.layers.get_all_param_values(network.output)
    )


def load_network(path, network=None):
    """Read a transformer network written by `save_network` or by the original repository.

    Parameters
    ----------
    path, network : str
        As for `formats.networks.read`.

    Returns
    -------
    Network

    Raises
    ------
    utils.UserError
        If the file is not such a network; one line that names the file and says why.
    """
    architecture, styles, meta, values = networks.read(path, network)
    network = transformer_network(architecture, styles, meta)
    lasagne.layers.set_all_param_values(network.output, [value.astype('float32') for value in values])
    return network


# ---------------------------------------------------------------------------------------------
# Loss networks
# ---------------------------------------------------------------------------------------------


def vgg_preprocess(image):
    """RGB in [0, 1] to BGR in 0–255 minus the mean of ImageNet, for a 4-D tensor (N, 3, H, W)."""
    return 255 * image[:, ::-1] - VGG_MEAN.reshape(1, 3, 1, 1)


def vgg_deprocess(image):
    """The inverse of `vgg_preprocess`; values outside of [0, 1] are not clipped."""
    return ((image + VGG_MEAN.reshape(1, 3, 1, 1)) / numpy.float32(255))[:, ::-1]


def from_middle(image):
    """RGB in 0–255 less 127.5, to RGB in [0, 1]."""
    return (image + numpy.float32(127.5)) / numpy.float32(255)


def turn(image):
    """An image (N, C, H, W) turned by 180 degrees."""
    return image[:, :, ::-1, ::-1]


def loss_network(image, weights, layers, pool='max'):
    """Features of images in a VGG network (arXiv:1409.1556).

    Parameters
    ----------
    image : 4-D tensor
        Of shape (N, 3, H, W), RGB in [0, 1].
    weights : dict or list of dict
        Filters and biases, ``conv1_1_W``, ``conv1_1_b`` …, as `formats.vgg.read` returns them. With
        several of them a layer is taken from the first one that reaches it.
    layers : list of str
        Names of the layers, such as 'conv3_3'; 'pixels' are the image itself.
    pool : {'max', 'average_exc_pad'}
        Gatys et al. (arXiv:1508.06576) found that average pooling gives slightly nicer pictures.

    Returns
    -------
    dict
        For each of `layers` the rectified feature maps, (N, C, H', W').

    Raises
    ------
    utils.UserError
        If no weights reach one of the layers, or some on the way are missing or misshapen.

    Notes
    -----
    Weights with ``conv0``, a 1×1 convolution from RGB [0, 1] to BGR in 0–255 minus the mean, are
    networks normalised as by Gatys et al.: they bring their preprocessing along and pad by
    reflection. All others get `vgg_preprocess` and zeros.
    """
    features = {PIXELS: image} if PIXELS in layers else {}
    for candidate in [weights] if isinstance(weights, dict) else weights:
        wanted = [name for name in layers if name not in features and f'{name}_W' in candidate]
        if wanted:
            features.update(_vgg_features(image, candidate, wanted, pool))
    missing = [name for name in layers if name not in features]
    if missing:
        raise utils.UserError(f'the loss network has no layer {", ".join(missing)}')
    return features


def _vgg_features(image, weights, layers, pool):
    normalised = 'conv0_W' in weights
    layer = InputLayer((None, 3, None, None), input_var=image)
    if normalised:
        layer = ConvLayer(
            layer,
            3,
            1,
            flip_filters=False,
            W=_weight(weights, 'conv0_W', (3, 3, 1, 1)),
            b=_weight(weights, 'conv0_b', (3,)),
        )
    else:
        layer = NonlinearityLayer(layer, vgg_preprocess)
    last = max(layers)
    # A fourth convolution in a block tells VGG19 from VGG16.
    architecture = 'vgg19' if any(name.endswith('_4_W') for name in weights) else 'vgg16'
    names = [name for name in vgg.layer_names(architecture) if name <= last]
    outputs = {}
    for name in names:
        if name.endswith('_1') and name != 'conv1_1':
            layer = lasagne.layers.Pool2DLayer(layer, 2, mode=pool)
        W = _weight(weights, f'{name}_W', (None, layer.output_shape[1], 3, 3))
        layer = outputs[name] = ConvLayer(
            layer,
            W.shape[0],
            3,
            pad='reflect' if normalised else 'zero',
            flip_filters=False,
            W=W,
            b=_weight(weights, f'{name}_b', (W.shape[0],)),
            nonlinearity=rectify,
            name=name,
        )
    return dict(zip(layers, lasagne.layers.get_output([outputs[name] for name in layers])))


def _weight(weights, name, shape):
    if name not in weights:
        raise utils.UserError(f'the loss network lacks {name}')
    value = weights[name]
    if len(value.shape) != len(shape) or any(b not in (None, a) for a, b in zip(value.shape, shape)):
        raise utils.UserError(
            f'the loss network has {name} of shape {value.shape} instead of '
            f'{tuple("any" if n is None else n for n in shape)}'
        )
    return value.astype(theano.config.floatX)
