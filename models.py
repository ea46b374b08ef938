"""The networks: transformer networks, VGG loss networks, and the files that hold their weights."""
import collections
import json
import os
import re
import sys

import h5py
import numpy

import arrays
import utils
from backend import T, lasagne, theano
from layers import EPSILON, ConvLayer, conv_block, rectify, residual_block, upsampling_block

from lasagne.layers import InputLayer, NonlinearityLayer, get_all_params
from lasagne.nonlinearities import sigmoid

__all__ = ['VERSION', 'transformer_network', 'with_styles', 'single_style_network', 'style_name', 'save_network', 'find_network',
           'load_network', 'pastiche_function', 'pastiche_bytes',
           'VGG_MEAN', 'vgg_preprocess', 'vgg_deprocess', 'vgg_layer_names', 'loss_network',
           'read_loss_weights', 'read_vgg_weights', 'random_vgg_weights']

VERSION = '1.0'
FORMAT = 1
DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'data')
MODELS, WEIGHTS = os.path.join(DATA, 'models'), os.path.join(DATA, 'weights')

# ---------------------------------------------------------------------------------------------
# Transformer networks
# ---------------------------------------------------------------------------------------------

Network = collections.namedtuple('Network', 'output image style meta')
Network.__doc__ = """A transformer network.

Attributes
----------
output : Layer
    The pastiche, RGB in [0, 1]; its values are not clipped if the network is 'fns'.
image : InputLayer
    The content image, RGB in [0, 1], of shape (N, 3, H, W).
style : InputLayer or None
    Weights of the styles, of shape (N, styles); None for a network of a single style.
meta : dict
    What `transformer_network` was called with, the names of the styles, and whatever else is to be
    kept in the network's file.
"""

DEFAULTS = dict(network='cin', styles=[], widths=[32, 64, 128], up_widths=[64, 32], residual_blocks=5,
                epsilon=EPSILON, norm='instance', pad='reflect', upsampling='nearest')


def transformer_network(network='cin', styles=(), widths=(32, 64, 128), up_widths=(64, 32), residual_blocks=5,
                        epsilon=EPSILON, norm='instance', pad='reflect', upsampling='nearest', **more):
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
    but the last one and the second of a residual block are rectified.

    Parameters
    ----------
    network : {'cin', 'fns'}
        'cin': conditional instance normalization, image in [0, 1], output by a sigmoid.
        'fns': a single style, the image goes through `vgg_preprocess`, the output is 150 tanh in
        that space, brought back to RGB (arXiv:1603.08155; the constant is fast-neural-style's).
    styles : list of str
        Names of the styles; one for 'fns'.
    widths, up_widths : sequence of int
        Numbers of feature maps.
    residual_blocks : int
    epsilon : float
        Added to the variance by the normalization.
    norm : {'instance', 'batch'}
        'batch' is for 'fns' only.
    pad : {'reflect', 'zero'}
    upsampling : {'nearest', 'deconv'}
    **more
        Kept in the network's ``meta``.

    Returns
    -------
    Network
    """
    meta = dict(more, network=network, styles=list(styles), widths=list(widths), up_widths=list(up_widths),
                residual_blocks=residual_blocks, epsilon=epsilon, norm=norm, pad=pad, upsampling=upsampling)
    image = layer = InputLayer((None, 3, None, None), name='image')
    style = InputLayer((None, len(styles)), name='style') if network == 'cin' else None
    block = dict(style=style, norm=norm, pad=pad, epsilon=epsilon)

    if network == 'fns':
        layer = NonlinearityLayer(layer, vgg_preprocess)
    layer = conv_block(layer, widths[0], 9, **block)
    layer = conv_block(layer, widths[1], 3, stride=2, **block)
    layer = conv_block(layer, widths[2], 3, stride=2, **block)
    for _ in range(residual_blocks):
        layer = residual_block(layer, **block)
    layer = upsampling_block(layer, up_widths[0], upsampling=upsampling, **block)
    layer = upsampling_block(layer, up_widths[1], upsampling=upsampling, **block)
    if network == 'cin':
        layer = conv_block(layer, 3, 9, nonlinearity=sigmoid, **block)
    else:
        layer = conv_block(layer, 3, 9, nonlinearity=scaled_tanh, **block)
        layer = NonlinearityLayer(layer, vgg_deprocess)
    return Network(layer, image, style, meta)


def scaled_tanh(x):
    """150 tanh(x): covers the range of VGG-preprocessed images (fast-neural-style's tanh constant)."""
    return 150 * T.tanh(x)


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
    known = {name: i for i, name in enumerate(network.meta['styles'])}
    other = transformer_network(**dict(network.meta, styles=list(names)))
    for old, new in zip(get_all_params(network.output), get_all_params(other.output)):
        value = old.get_value()
        if network.style and old.name in ('gamma', 'beta'):
            mean = value.mean(axis=0)
            value = numpy.stack([value[known[name]] if name in known else mean for name in names])
        new.set_value(value)
    return other


def single_style_network(network, style):
    """A network 'fns' that does about what a network 'cin' does in one style.

    The two differ at their ends only. The first normalization makes the filters blind to the offset and
    the scale of `vgg_preprocess`, so that swapping their colours is all they need. At the other end gamma and
    beta are changed such that 150 tanh has the value and the slope of 255 sigmoid where the latter is
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
    values = [value[0] if value.ndim == 2 else value
              for value in lasagne.layers.get_all_param_values(with_styles(network, [style]).output)]
    values[0] = values[0][:, ::-1] / numpy.float32(255)
    filters, beta, gamma = (value[::-1] for value in values[-3:])
    middle = (127.5 - VGG_MEAN) / 150
    slope = 255 / 4 / (150 * (1 - middle**2))
    values[-3:] = filters, slope * beta + numpy.arctanh(middle), slope * gamma
    single = transformer_network(**dict(network.meta, network='fns', styles=[style]))
    lasagne.layers.set_all_param_values(single.output, [value.astype('float32') for value in values])
    return single


def style_name(path):
    """The name of the style of an image: that of its file without the extension and a leading number."""
    return re.sub(r'^[0-9]+[_-]+', '', os.path.splitext(os.path.basename(path))[0])


def pastiche_function(network):
    """Compile the network for stylizing.

    Returns
    -------
    callable
        Of a float32 batch of images (N, 3, H, W), RGB in [0, 1], and for 'cin' the style weights
        (N, styles); returns the pastiches, RGB in [0, 1], with height and width rounded up to
        multiples of 4.
    """
    pastiche = T.clip(lasagne.layers.get_output(network.output, deterministic=True), 0, 1)
    inputs = [network.image.input_var] + ([network.style.input_var] if network.style else [])
    return theano.function(inputs, pastiche)


def pastiche_bytes(network, backend='onednn'):
    """About how much memory stylizing takes.

    The feature maps between two convolutions are most of it, where they are largest: what a convolution reads
    and what it writes, or what it writes and its normalization. oneDNN's layout rounds channels up to 16.
    Theano's own convolutions write all windows of their input out first.

    Parameters
    ----------
    network : Network
    backend : {'onednn', 'plain'}

    Returns
    -------
    float
        Bytes for each pixel of the images in a batch; a fixed part of 128 MiB comes on top.
    """
    meta = network.meta
    (a, b, c), (d, e) = meta['widths'], meta['up_widths']
    # Channels, and the scale of the image that they belong to; the residual blocks keep a third set of maps.
    maps = [(3, 1), (a, 1), (b, 4), (c, 16), (2 * c, 16), (d, 4), (e, 1), (3, 1)]
    sizes = [-(-channels // 16) * 16 / scale for channels, scale in maps]
    # The photo, the pastiche, and what is clipped and rounded.
    images = 36
    if backend == 'onednn':
        return images + 4 * max([2 * size for size in sizes] + [x + y for x, y in zip(sizes, sizes[1:])])
    windows = [81 * 3, 9 * a / 4, 9 * b / 16, 9 * c / 16, 9 * c / 4, 9 * d, 81 * e]
    return images + 4 * max(2 * x + 2 * y + window for x, y, window in zip(sizes, sizes[1:], windows))


def save_network(path, network):
    """Write a transformer network as an ``.npz``, atomically.

    ``arr_0`` … are the parameters in Lasagne's order: for each convolution its filters W (OIHW,
    flipped: a true convolution), beta and gamma, and for batch norm the running mean and variance.
    ``meta`` is a JSON string with the format version and the network's settings.
    """
    values = lasagne.layers.get_all_param_values(network.output)
    entries = collections.OrderedDict(('arr_%d' % i, value) for i, value in enumerate(values))
    entries['meta'] = numpy.array(json.dumps(dict(network.meta, format=FORMAT, version=VERSION), sort_keys=True))
    utils.save_npz(path, entries)


def find_network(name):
    """The path of a network's file that is given by its path, or by its name if it is one of data/models."""
    shipped = os.path.join(MODELS, name + '.npz')
    if not os.path.exists(name) and os.path.basename(name) == name and os.path.exists(shipped):
        return shipped
    return name


def load_network(path):
    """Read a transformer network written by `save_network` or by the original repository.

    A file of the original repository has no ``meta``: the widths, the number of residual blocks and
    of styles come from the shapes of the arrays, and epsilon is 1e-4.

    Parameters
    ----------
    path : str

    Returns
    -------
    Network

    Raises
    ------
    utils.UserError
        If the file is not such a network; one line that names the file and says why.
    """
    entries = utils.load_npz(path)
    meta = _read_meta(path, entries.pop('meta', None))
    numbers = sorted(int(name[4:]) for name in entries if re.fullmatch(r'arr_[0-9]{1,6}', name))
    if not numbers or numbers != list(range(len(entries))):
        raise utils.UserError('%s: not a trained network: its arrays should be arr_0, arr_1, …, and meta' % path)
    values = [entries['arr_%d' % i] for i in numbers]
    if any(value.dtype.kind != 'f' for value in values):
        raise utils.UserError('%s: not a trained network: its parameters are not floating-point numbers' % path)
    if meta is None:
        meta = dict(_settings_from_shapes(path, [value.shape for value in values]), epsilon=1e-4)
    _check_sizes(path, meta)
    network = transformer_network(**meta)
    params = get_all_params(network.output)
    if len(params) != len(values):
        raise utils.UserError('%s: a network of its settings has %d arrays, not %d' % (path, len(params), len(values)))
    for i, (param, value) in enumerate(zip(params, values)):
        if param.get_value(borrow=True).shape != value.shape:
            raise utils.UserError('%s: arr_%d (%s) has the shape %s instead of %s'
                                  % (path, i, param.name, value.shape, param.get_value(borrow=True).shape))
        if not numpy.isfinite(value).all():
            raise utils.UserError('%s: arr_%d (%s) holds numbers that are not finite' % (path, i, param.name))
        param.set_value(value.astype('float32'))
    return network


def _read_meta(path, text):
    """The settings in a network's file, checked one by one, or None if it has none."""
    if text is None:
        return None
    try:
        meta = json.loads(str(text[()]))
        if meta.get('format') != FORMAT:
            raise utils.UserError('%s: written in format %r, and this version reads format %d'
                                  % (path, meta.get('format'), FORMAT))
        meta = dict(DEFAULTS, **{key: value for key, value in meta.items() if key not in ('format', 'version')})

        def is_size(value):
            return type(value) is int and 1 <= value <= 4096

        good = (meta['network'] in ('cin', 'fns')
                and all(isinstance(name, str) for name in meta['styles'])
                and (meta['styles'] or meta['network'] == 'fns')
                and len(meta['widths']) == 3 and all(map(is_size, meta['widths']))
                and len(meta['up_widths']) == 2 and all(map(is_size, meta['up_widths']))
                and type(meta['residual_blocks']) is int and 0 <= meta['residual_blocks'] <= 100
                and type(meta['epsilon']) is float and 0 < meta['epsilon'] < 1
                and (meta['norm'] == 'instance' or (meta['norm'] == 'batch' and meta['network'] == 'fns'))
                and meta['pad'] in ('reflect', 'zero') and meta['upsampling'] in ('nearest', 'deconv'))
    except (ValueError, TypeError, AttributeError, IndexError, RecursionError):
        good = False
    if not good:
        raise utils.UserError('%s: its meta entry does not describe a network' % path)
    return meta


def _settings_from_shapes(path, shapes):
    """The settings of a network without ``meta``: W, beta, gamma for each convolution."""
    error = utils.UserError('%s: its arrays are not those of a transformer network' % path)
    filters, betas, gammas = shapes[0::3], shapes[1::3], shapes[2::3]
    if len(shapes) % 3 or len(filters) < 6 or len(filters) % 2 or any(len(shape) != 4 for shape in filters):
        raise error
    if betas != gammas or len(betas[0]) not in (1, 2):
        raise error
    widths = [shape[0] for shape in filters]
    settings = dict(widths=widths[:3], up_widths=widths[-3:-1], residual_blocks=(len(filters) - 6) // 2)
    if len(betas[0]) == 1:
        return dict(settings, network='fns', styles=['style'])
    return dict(settings, network='cin', styles=['style %d' % i for i in range(betas[0][0])])


def _check_sizes(path, meta):
    """Refuse settings whose network would not fit into memory, before it is built."""
    a, b, c = meta['widths']
    d, e = meta['up_widths']
    styles = max(1, len(meta['styles']))
    filters = 243 * (a + e) + 9 * (a * b + b * c + c * d + d * e) + 18 * meta['residual_blocks'] * c * c
    maps = a + b + c + d + e + 3 + 2 * meta['residual_blocks'] * c
    if 4 * (filters + 2 * styles * maps) > utils.limit('GOGH_MAX_BYTES', utils.MAX_BYTES):
        raise utils.UserError('%s: describes a network of unreasonable size' % path)


# ---------------------------------------------------------------------------------------------
# Loss networks
# ---------------------------------------------------------------------------------------------

# Blue, green, red of ImageNet, as the Caffe networks subtract them.
VGG_MEAN = numpy.array([103.939, 116.779, 123.68], 'float32')

VGG_BLOCKS = {'vgg16': (2, 2, 3, 3, 3), 'vgg19': (2, 2, 4, 4, 4)}
VGG_WIDTHS = (64, 128, 256, 512, 512)


def vgg_preprocess(image):
    """RGB in [0, 1] to BGR in 0–255 minus the mean of ImageNet, for a 4-D tensor (N, 3, H, W)."""
    return 255 * image[:, ::-1] - VGG_MEAN.reshape(1, 3, 1, 1)


def vgg_deprocess(image):
    """The inverse of `vgg_preprocess`; values outside of [0, 1] are not clipped."""
    return ((image + VGG_MEAN.reshape(1, 3, 1, 1)) / numpy.float32(255))[:, ::-1]


def vgg_layer_names(architecture='vgg19'):
    """Names of the convolutions of 'vgg16' or 'vgg19', from the first to the last."""
    return ['conv%d_%d' % (block, i) for block, count in enumerate(VGG_BLOCKS[architecture], 1)
            for i in range(1, count + 1)]


def loss_network(image, weights, layers, pool='max'):
    """Features of images in a VGG network (arXiv:1409.1556).

    Parameters
    ----------
    image : 4-D tensor
        Of shape (N, 3, H, W), RGB in [0, 1].
    weights : dict or list of dict
        Filters and biases, ``conv1_1_W``, ``conv1_1_b`` …, as `read_vgg_weights` returns them. With
        several of them a layer is taken from the first one that reaches it.
    layers : list of str
        Names of the layers, such as 'conv3_3'.
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
    features = {}
    for candidate in [weights] if isinstance(weights, dict) else weights:
        wanted = [name for name in layers if name not in features and name + '_W' in candidate]
        if wanted:
            features.update(_vgg_features(image, candidate, wanted, pool))
    missing = [name for name in layers if name not in features]
    if missing:
        raise utils.UserError('the loss network has no layer %s' % ', '.join(missing))
    return features


def _vgg_features(image, weights, layers, pool):
    normalised = 'conv0_W' in weights
    layer = InputLayer((None, 3, None, None), input_var=image)
    if normalised:
        layer = ConvLayer(layer, 3, 1, flip_filters=False, W=_weight(weights, 'conv0_W', (3, 3, 1, 1)),
                          b=_weight(weights, 'conv0_b', (3,)))
    else:
        layer = NonlinearityLayer(layer, vgg_preprocess)
    last = max(layers)
    # A fourth convolution in a block tells VGG19 from VGG16.
    architecture = 'vgg19' if any(name.endswith('_4_W') for name in weights) else 'vgg16'
    names = [name for name in vgg_layer_names(architecture) if name <= last]
    outputs = {}
    for name in names:
        if name.endswith('_1') and name != 'conv1_1':
            layer = lasagne.layers.Pool2DLayer(layer, 2, mode=pool)
        W = _weight(weights, name + '_W', (None, layer.output_shape[1], 3, 3))
        layer = outputs[name] = ConvLayer(
            layer, W.shape[0], 3, pad='reflect' if normalised else 'zero', flip_filters=False,
            W=W, b=_weight(weights, name + '_b', (W.shape[0],)), nonlinearity=rectify, name=name)
    return dict(zip(layers, lasagne.layers.get_output([outputs[name] for name in layers])))


def _weight(weights, name, shape):
    if name not in weights:
        raise utils.UserError('the loss network lacks %s' % name)
    value = weights[name]
    if len(value.shape) != len(shape) or any(b not in (None, a) for a, b in zip(value.shape, shape)):
        raise utils.UserError('the loss network has %s of shape %s instead of %s'
                              % (name, value.shape, tuple('any' if n is None else n for n in shape)))
    return value.astype(theano.config.floatX)


def find_vgg16():
    """The path of the VGG16 that data/download.py has fetched, or would fetch."""
    paths = [os.path.join(WEIGHTS, name) for name in
             ('vgg16.pkl', 'vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5')]
    return next(filter(os.path.exists, paths), paths[-1])


def read_loss_weights(files):
    """The weights of the loss networks that ``--loss-weights`` names, in its order.

    Parameters
    ----------
    files : list of str
        For `read_vgg_weights`, or the one word 'random'.

    Returns
    -------
    list of dict
    """
    if files == ['random']:
        print('WARNING: the loss network is random: it sees no content and no style, and serves trials only',
              file=sys.stderr)
        return [random_vgg_weights()]
    for path in files:
        if not os.path.exists(path):
            raise utils.UserError('%s: no such file; fetch VGG16 with: python data/download.py vgg16-keras' % path)
    return [read_vgg_weights(path) for path in files]


def read_vgg_weights(path):
    """Read the convolutions of a VGG network.

    Parameters
    ----------
    path : str
        A ``.pkl`` of the Lasagne model zoo (a Python 2 pickle, read without running any code that it
        names), Keras' ``.h5`` without the top, or an ``.npz`` with ``conv1_1_W``, ``conv1_1_b`` …
        that may end at any layer.

    Returns
    -------
    dict
        ``NAME_W`` of shape OIHW, cross-correlation, BGR input, and ``NAME_b``.

    Raises
    ------
    utils.UserError
        If the file is not one of those.
    """
    if path.endswith('.npz'):
        weights = utils.load_npz(path)
    elif path.endswith('.h5') or path.endswith('.hdf5'):
        weights = _read_keras(path)
    else:
        weights = _read_model_zoo(path)
    for name, value in weights.items():
        if not re.fullmatch(r'conv(0|[1-5]_[1-4])_[Wb]', name) or value.dtype.kind != 'f':
            raise utils.UserError('%s: %s is not a weight of a VGG network' % (path, name))
        if not numpy.isfinite(value).all():
            raise utils.UserError('%s: %s holds numbers that are not finite' % (path, name))
    if 'conv1_1_W' not in weights:
        raise utils.UserError('%s: no weights of a VGG network: conv1_1_W is missing' % path)
    return weights


def _read_model_zoo(path):
    content = utils.load_pickle(path)
    values = content.get('param values') if isinstance(content, dict) else None
    if not isinstance(values, list) or not all(isinstance(value, numpy.ndarray) for value in values):
        raise utils.UserError("%s: not a network of Lasagne's model zoo: there is no list 'param values'" % path)
    filters = sum(value.ndim == 4 for value in values)
    architecture = {13: 'vgg16', 16: 'vgg19'}.get(filters)
    if architecture is None:
        raise utils.UserError('%s: neither VGG16 nor VGG19: it has %d convolutions' % (path, filters))
    names = [name + suffix for name in vgg_layer_names(architecture) for suffix in ('_W', '_b')]
    return dict(zip(names, values))


def _read_keras(path):
    """Keras' file, whose filters are HWIO and, like Caffe's, take their input in the order BGR."""
    weights = {}
    try:
        with h5py.File(path, 'r') as file:
            for name, item in arrays.hdf5_datasets(file).items():
                match = re.search(r'block([1-5])_conv([1-4])_?(W|b)|block([1-5])_conv([1-4])/(kernel|bias)', name)
                if match:
                    block, i, kind = match.groups()[:3] if match.group(1) else match.groups()[3:]
                    if item.size > 512 * 512 * 9:
                        raise ValueError('%s is too large' % name)
                    value = item[()]
                    weights['conv%s_%s_%s' % (block, i, {'kernel': 'W', 'bias': 'b'}.get(kind, kind))] = (
                        value.transpose(3, 2, 0, 1) if value.ndim == 4 else value)
    except arrays.ERRORS as error:
        raise utils.UserError('%s: not a readable HDF5 file of a VGG network: %s' % (path, utils.reason(error)))
    return weights


def random_vgg_weights(architecture='vgg16', seed=0):
    """He-initialised weights of the right shapes, for trials and tests: their features mean nothing."""
    generator = numpy.random.RandomState(seed)
    weights, channels = {}, 3
    for name in vgg_layer_names(architecture):
        width = VGG_WIDTHS[int(name[4]) - 1]
        deviation = numpy.sqrt(2. / (9 * channels))
        weights[name + '_W'] = generator.normal(0, deviation, (width, channels, 3, 3)).astype('float32')
        weights[name + '_b'] = numpy.zeros(width, 'float32')
        channels = width
    return weights
