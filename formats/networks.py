"""The files of trained networks: settings and parameters as plain data, checked before anything is built of them.

Nothing here needs Theano, so that a script can answer what a file holds at once.
"""

import collections
import dataclasses
import json
import math
import os
import re

import numpy

import files
import utils
from architecture import Architecture

__all__ = [
    'VERSION',
    'MODELS',
    'shipped',
    'find',
    'find_upscaling',
    'read',
    'read_settings',
    'check_task',
    'check',
    'write',
    'meta_entry',
    'read_meta',
    'describe',
    'list_styles',
]

VERSION = '1.0'
FORMAT = 1
MODELS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'data', 'models')

# What the names of networks begin with that make photos larger.
UPSCALING = 'enhance-'
# The original repository's.
ORIGINAL_EPSILON = 1e-4


def shipped(task='stylize'):
    """Names of the networks that come with the project, which stylize or 'upscale'."""
    names = sorted(name[: -len('.npz')] for name in os.listdir(MODELS) if name.endswith('.npz'))
    return [name for name in names if name.startswith(UPSCALING) == (task == 'upscale')]


def find(name):
    """The path of a network's file that is given by its path, or by its name if it is one of data/models.

    Raises
    ------
    utils.UserError
        If there is neither; the line says what there is, and how to train one.
    """
    path = os.path.join(MODELS, f'{name}.npz')
    if not os.path.isfile(name) and os.path.basename(name) == name and os.path.exists(path):
        return path
    if not os.path.exists(name):
        raise utils.UserError(
            f'{name}: no such network; these come with the project: {", ".join(shipped())} (as in '
            '--model misc32); one of '
            'your own: python train.py --style-dir data/styles/misc32 --output '
            f'{(name if name.endswith(".npz") else "cin.npz")}'
        )
    return name


def find_upscaling(name=None, factor=None):
    """The path of a network that makes photos larger.

    Parameters
    ----------
    name : str, optional
        Its path, or its name in data/models; by default 'enhance-x4', or that of another factor.
    factor : int, optional
        That it must have.

    Raises
    ------
    utils.UserError
        If there is none; the line says how to train one.
    """
    wanted = name or f'{UPSCALING}x{factor or 4}'
    path = os.path.join(MODELS, f'{wanted}.npz')
    path = path if os.path.exists(path) and not os.path.isfile(wanted) else wanted
    if not os.path.exists(path):
        raise utils.UserError(
            f'{wanted}: no such network; these make photos larger: {", ".join(shipped("upscale")) or "none yet"}; '
            f'one of your own: python train.py --task upscale --factor {factor or 4} --output '
            f'{wanted if wanted.endswith(".npz") else wanted + ".npz"}'
        )
    architecture = read_settings(path)[0]
    check_task(path, architecture, 'upscale')
    if factor not in (None, architecture.factor):
        raise utils.UserError(f'{path}: a network of the factor {architecture.factor}, and --factor is {factor}')
    return path


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
    architecture : Architecture
    styles : list of str
        Their names; empty for a single style without a name.
    meta : dict
        Whatever else the file says, such as how the network was trained.
    values : list of numpy arrays
        The parameters in Lasagne's order, of the shapes that the architecture asks for.

    Raises
    ------
    utils.UserError
        If the file is no such network; one line that names the file and says why.
    """
    entries = files.load_npz(path)
    text = entries.pop('meta', None)
    numbers = sorted(int(name[4:]) for name in entries if re.fullmatch(r'arr_[0-9]{1,6}', name))
    described = None if text is None else read_meta(path, str(text[()]) if text.size == 1 else '')
    if not numbers or numbers != list(range(len(entries))):
        raise utils.UserError(f'{path}: not a trained network: its arrays should be arr_0, arr_1, …, and meta')
    values = [entries[f'arr_{i}'] for i in numbers]
    if any(value.dtype.kind != 'f' for value in values):
        raise utils.UserError(f'{path}: not a trained network: its parameters are not floating-point numbers')
    if described is None:
        architecture, styles = _of_the_original(path, [value.shape for value in values], network)
        meta = {}
        if architecture.network == 'fns':
            values = [value.reshape(-1) if value.ndim == 2 else value for value in values]
    else:
        architecture, styles, meta = described
    check(path, architecture, styles, values)
    return architecture, styles, meta, values


def check(path, architecture, styles, values):
    """See that parameters are those of a network, before anything is built of them.

    Parameters
    ----------
    path : str
        Of the file that they come from, for the message.
    architecture, styles, values
        What `read` returns.

    Raises
    ------
    utils.UserError
        If their number or shapes are others than the architecture asks for, or some are not finite.
    """
    expected = architecture.shapes(max(1, len(styles)))
    if 4 * sum(math.prod(shape) for _, shape in expected) > utils.limit('GOGH_MAX_BYTES', files.MAX_BYTES):
        raise utils.UserError(f'{path}: describes a network of unreasonable size')
    if len(values) != len(expected):
        raise utils.UserError(f'{path}: a network of its settings has {len(expected)} arrays, not {len(values)}')
    for i, ((name, shape), value) in enumerate(zip(expected, values)):
        if value.shape != shape:
            raise utils.UserError(f'{path}: arr_{i} ({name}) has the shape {value.shape} instead of {shape}')
        if not numpy.isfinite(value).all():
            raise utils.UserError(f'{path}: arr_{i} ({name}) holds numbers that are not finite')


def check_task(path, architecture, task='stylize'):
    """Refuse a network that was not made for a task, 'stylize' or 'upscale'."""
    if task == 'stylize' and architecture.network == 'upscale':
        raise utils.UserError(f'{path}: a network that makes photos larger: python enhance.py --model {path}')
    if task == 'upscale' and architecture.network != 'upscale':
        raise utils.UserError(f'{path}: a network that stylizes, and does not make photos larger')


def read_settings(path, network=None):
    """All but the parameters in a network's file; see `read`."""
    return read(path, network)[:3]


def write(path, architecture, styles, meta, values):
    """Write a network's file, atomically; the arguments are what `read` returns.

    ``arr_0`` … are the parameters in Lasagne's order: for each convolution its filters W (OIHW,
    flipped: a true convolution), beta and gamma, and for batch norm the running mean and variance; or its biases.
    ``meta`` is that of `meta_entry`.
    """
    entries = collections.OrderedDict((f'arr_{i}', value) for i, value in enumerate(values))
    entries['meta'] = numpy.array(meta_entry(architecture, styles, meta))
    files.save_npz(path, entries)


def meta_entry(architecture, styles, meta):
    """What a file says of its network: format version, architecture, names of the styles and the rest, in JSON."""
    return json.dumps(
        dict(meta, styles=list(styles), format=FORMAT, version=VERSION, **dataclasses.asdict(architecture)),
        sort_keys=True,
    )


def describe(architecture, styles, meta):
    """What a network is and how it was trained, as lines of text.

    Parameters
    ----------
    architecture, styles, meta
        Of `read`.

    Returns
    -------
    list of str
    """
    kind = {
        'cin': 'many styles: conditional instance normalization (arXiv:1610.07629)',
        'fns': 'a single style: fast neural style (arXiv:1603.08155)',
        'upscale': f'super-resolution, {architecture.factor} times as high and wide (arXiv:1603.08155)',
    }[architecture.network]
    shape = [f'{size}×{size} → {width}' for size, width in zip(architecture.filter_sizes, architecture.widths)]
    with_epsilon = '' if architecture.norm == 'none' else f', epsilon {architecture.epsilon:g}'
    lines = [
        f'network          {kind}',
        f'convolutions     {", ".join(shape)}; {architecture.residual_blocks} residual blocks; '
        f'{architecture.upsampling} to {" and ".join(map(str, architecture.up_widths))}; 9×9 → 3',
        f'normalization    {architecture.norm}{with_epsilon}',
        'padding          %s%s'
        % (
            architecture.pad,
            f'; the pastiche lacks {architecture.lost} pixels of the photo on each side' if architecture.lost else '',
        ),
    ]
    if architecture.network == 'fns':
        lines.append(
            'photo, pastiche  preprocessing %s; %s; the last convolution has a %s'
            % (
                architecture.preprocessing,
                f'{architecture.tanh_constant:g} tanh' if architecture.output == 'tanh' else 'linear',
                architecture.last,
            )
        )
    training = meta.get('training')
    if isinstance(training, dict):
        lines.append(
            'training         '
            + utils.one_line(
                ', '.join(
                    f'{name.replace("_", " ")} {value}'
                    for name, value in sorted(training.items())
                    if value not in (None, False) and not isinstance(value, dict)
                )
            )
        )
    if architecture.network == 'upscale':
        return lines
    return lines + [f'styles           {max(1, len(styles))}'] + list_styles(styles)


def list_styles(styles):
    """The numbers and names of a network's styles, as lines of text."""
    return [f'{index:3d}  {utils.one_line(name)}' for index, name in enumerate(styles or ['style'])]


def read_meta(path, text):
    """The architecture, the styles and the rest that the ``meta`` of a file says: what `meta_entry` wrote."""
    try:
        meta = json.loads(text)
        number, _ = meta.pop('format', None), meta.pop('version', None)
        if number != FORMAT:
            raise utils.UserError(f'{path}: written in format {number!r}, and this version reads format {FORMAT}')
        fields = [field.name for field in dataclasses.fields(Architecture)]
        architecture = Architecture(**{name: meta.pop(name) for name in fields if name in meta})
        styles = meta.pop('styles', [])
        good = isinstance(styles, list) and all(isinstance(name, str) for name in styles)
        good = good and bool(styles or architecture.network != 'cin')
    except (ValueError, TypeError, AttributeError, IndexError, RecursionError):
        good = False
    if not good:
        raise utils.UserError(f'{path}: its meta entry does not describe a network')
    return architecture, utils.unique(styles, f'{path}: the style'), meta


def _of_the_original(path, shapes, network):
    """The architecture and the styles of a network without ``meta``."""
    try:
        architecture = Architecture.from_shapes(shapes, epsilon=ORIGINAL_EPSILON)
    except ValueError:
        raise utils.UserError(f'{path}: its arrays are not those of a transformer network')
    betas = shapes[1]
    styles = betas[0] if len(betas) == 2 else 1
    if styles == 1 and len(betas) == 2 and network is None:
        raise utils.UserError(
            f'{path}: a file of the original repository with a single style, which does not say of what '
            'kind the network is: give --network cin or --network fns'
        )
    if styles > 1 and network == 'fns':
        raise utils.UserError(f'{path}: a network of {styles} styles, and --network fns is of one')
    if len(betas) == 1 or network == 'fns':
        return dataclasses.replace(architecture, network='fns'), ['style']
    return architecture, [f'style {i}' for i in range(styles)]
