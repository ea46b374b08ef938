"""The files of trained networks: settings and parameters as plain data, checked before anything is built of them.

Nothing here needs Theano, so that a script can answer what a file holds at once.
"""
import collections
import json
import os
import re

import numpy

import utils

__all__ = ['VERSION', 'MODELS', 'shipped', 'find', 'read', 'read_settings', 'write', 'border', 'lost', 'smallest_side',
           'describe', 'list_styles']

VERSION = '1.0'
FORMAT = 1
MODELS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'data', 'models')

# What a file means that lacks a setting.
DEFAULTS = dict(network='cin', styles=[], widths=[32, 64, 128], up_widths=[64, 32], filter_sizes=[9, 3, 3],
                residual_blocks=5, epsilon=1e-5, norm='instance', pad='reflect', upsampling='nearest',
                tanh_constant=150.)
# The original repository's.
ORIGINAL_EPSILON = 1e-4


def shipped():
    """Names of the networks that come with the project."""
    return sorted(name[:-len('.npz')] for name in os.listdir(MODELS) if name.endswith('.npz'))


def find(name):
    """The path of a network's file that is given by its path, or by its name if it is one of data/models.

    Raises
    ------
    utils.UserError
        If there is neither; the line says what there is, and how to train one.
    """
    path = os.path.join(MODELS, name + '.npz')
    if not os.path.isfile(name) and os.path.basename(name) == name and os.path.exists(path):
        return path
    if not os.path.exists(name):
        raise utils.UserError('%s: no such network; these come with the project: %s (as in --model misc32); one of '
                              'your own: python train.py --style-dir data/styles/misc32 --output %s'
                              % (name, ', '.join(shipped()), name if name.endswith('.npz') else 'cin.npz'))
    return name


def read(path, network=None):
    """The settings and the parameters in a network's file.

    A file of the original repository has no ``meta``: filter sizes, widths, the number of residual
    blocks and of styles come from the shapes of the arrays, and epsilon is 1e-4.

    Parameters
    ----------
    path : str
    network : {'cin', 'fns'}, optional
        What a file is that does not say it itself: the original's networks of a single style have arrays
        of the same shapes for both kinds.

    Returns
    -------
    meta : dict
        What `models.transformer_network` takes.
    values : list of numpy arrays
        The parameters in Lasagne's order, of the shapes that the settings ask for.

    Raises
    ------
    utils.UserError
        If the file is no such network; one line that names the file and says why.
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
        meta = dict(_settings_from_shapes(path, [value.shape for value in values], network), epsilon=ORIGINAL_EPSILON)
        if meta['network'] == 'fns':
            values = [value.reshape(-1) if value.ndim == 2 else value for value in values]
    _check_sizes(path, meta)
    return meta, values


def read_settings(path, network=None):
    """The settings of a network's file; see `read`."""
    return read(path, network)[0]


def write(path, meta, values):
    """Write a network's file, atomically.

    ``arr_0`` … are the parameters in Lasagne's order: for each convolution its filters W (OIHW,
    flipped: a true convolution), beta and gamma, and for batch norm the running mean and variance.
    ``meta`` is a JSON string with the format version and the network's settings.
    """
    entries = collections.OrderedDict(('arr_%d' % i, value) for i, value in enumerate(values))
    entries['meta'] = numpy.array(json.dumps(dict(meta, format=FORMAT, version=VERSION), sort_keys=True))
    utils.save_npz(path, entries)


def border(meta):
    """Pixels on each side of an image that residual blocks without padding take: two each, at a quarter of its size.

    With 'reflect-start' the network adds them to the photo; with 'none' the pastiche lacks them.
    """
    return 8 * meta['residual_blocks'] if meta['pad'] in ('reflect-start', 'none') else 0


def lost(meta):
    """Pixels on each side of a photo that are not in its pastiche."""
    return border(meta) if meta['pad'] == 'none' else 0


def smallest_side(meta):
    """The fewest pixels in height or width that a network is trained with: enough to reflect, or a pastiche of 16."""
    if meta['pad'] == 'none':
        return 16 + 2 * border(meta)
    return max(16, border(meta) + 4)


def describe(meta):
    """What a network is and how it was trained, as lines of text.

    Parameters
    ----------
    meta : dict
        Of `read`.

    Returns
    -------
    list of str
    """
    kind = {'cin': 'many styles: conditional instance normalization (arXiv:1610.07629)',
            'fns': 'a single style: fast neural style (arXiv:1603.08155)'}[meta['network']]
    shape = ['%d×%d → %d' % (size, size, width) for size, width in zip(meta['filter_sizes'], meta['widths'])]
    lines = ['network          ' + kind,
             'convolutions     %s; %d residual blocks; %s to %s; 9×9 → 3'
             % (', '.join(shape), meta['residual_blocks'], meta['upsampling'],
                ' and '.join(map(str, meta['up_widths']))),
             'normalization    %s, epsilon %g' % (meta['norm'], meta['epsilon']),
             'padding          %s%s' % (meta['pad'], '; the pastiche lacks %d pixels of the photo on each side'
                                        % lost(meta) if lost(meta) else '')]
    training = meta.get('training')
    if isinstance(training, dict):
        lines.append('training         ' + utils.one_line(
            ', '.join('%s %s' % (name.replace('_', ' '), value) for name, value in sorted(training.items())
                      if value not in (None, False) and not isinstance(value, dict))))
    return lines + ['styles           %d' % max(1, len(meta['styles']))] + list_styles(meta)


def list_styles(meta):
    """The numbers and names of a network's styles, as lines of text."""
    return ['%3d  %s' % (index, utils.one_line(name)) for index, name in enumerate(meta['styles'] or ['style'])]


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
                and len(meta['filter_sizes']) == 3
                and all(type(size) is int and size in range(1, 32, 2) for size in meta['filter_sizes'])
                and type(meta['residual_blocks']) is int and 0 <= meta['residual_blocks'] <= 100
                and type(meta['epsilon']) is float and 0 < meta['epsilon'] < 1
                and type(meta['tanh_constant']) is float and 0 < meta['tanh_constant'] <= 1e4
                and (meta['norm'] == 'instance' or (meta['norm'] == 'batch' and meta['network'] == 'fns'))
                and meta['pad'] in ('reflect', 'zero', 'reflect-start', 'none')
                and meta['upsampling'] in ('nearest', 'deconv'))
    except (ValueError, TypeError, AttributeError, IndexError, RecursionError):
        good = False
    if not good:
        raise utils.UserError('%s: its meta entry does not describe a network' % path)
    return dict(meta, styles=utils.unique(meta['styles'], '%s: the style' % path))


def _settings_from_shapes(path, shapes, network):
    """The settings of a network without ``meta``: W, beta, gamma for each convolution."""
    error = utils.UserError('%s: its arrays are not those of a transformer network' % path)
    filters, betas, gammas = shapes[0::3], shapes[1::3], shapes[2::3]
    if len(shapes) % 3 or len(filters) < 6 or len(filters) % 2 or any(len(shape) != 4 for shape in filters):
        raise error
    if betas != gammas or len(betas[0]) not in (1, 2):
        raise error
    sizes = [shape[2] for shape in filters[:3]]
    if not all(size % 2 and size < 32 for size in sizes):
        raise error
    widths = [shape[0] for shape in filters]
    settings = dict(DEFAULTS, widths=widths[:3], up_widths=widths[-3:-1], filter_sizes=sizes,
                    residual_blocks=(len(filters) - 6) // 2)
    styles = betas[0][0] if len(betas[0]) == 2 else 1
    if styles == 1 and len(betas[0]) == 2 and network is None:
        raise utils.UserError('%s: a file of the original repository with a single style, which does not say of what '
                              'kind the network is: give --network cin or --network fns' % path)
    if styles > 1 and network == 'fns':
        raise utils.UserError('%s: a network of %d styles, and --network fns is of one' % (path, styles))
    if len(betas[0]) == 1 or network == 'fns':
        return dict(settings, network='fns', styles=['style'])
    return dict(settings, network='cin', styles=['style %d' % i for i in range(styles)])


def _check_sizes(path, meta):
    """Refuse settings whose network would not fit into memory, before it is built."""
    (a, b, c), (d, e), (i, j, k) = meta['widths'], meta['up_widths'], meta['filter_sizes']
    styles = max(1, len(meta['styles']))
    filters = (3 * a * i * i + a * b * j * j + b * c * k * k + 9 * (c * d + d * e) + 243 * e
               + 18 * meta['residual_blocks'] * c * c)
    maps = a + b + c + d + e + 3 + 2 * meta['residual_blocks'] * c
    if 4 * (filters + 2 * styles * maps) > utils.limit('GOGH_MAX_BYTES', utils.MAX_BYTES):
        raise utils.UserError('%s: describes a network of unreasonable size' % path)
