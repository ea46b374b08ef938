"""Weights of VGG networks (arXiv:1409.1556): the files that they come in, and how genuine ones are told."""

import hashlib
import os
import re
import sys

import h5py
import numpy

import files
import utils
from formats import onnx

__all__ = ['VGG_MEAN', 'layer_names', 'find', 'read_all', 'read', 'check_genuine', 'random_weights']

WEIGHTS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'data', 'weights')
FETCH = 'python data/download.py vgg16'

BLOCKS = {'vgg16': (2, 2, 3, 3, 3), 'vgg19': (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)
# Blue, green, red of ImageNet, as the Caffe networks subtract them.
VGG_MEAN = numpy.array([103.939, 116.779, 123.68], 'float32')

# SHA-256 of the float32 bytes (little-endian, OIHW, cross-correlation, BGR) of each array of the genuine VGG16,
# whichever file they come in: Keras', the Lasagne model zoo's, or an ONNX network that was made from them.
VGG16_SHA256 = {
    'conv1_1_W': 'b9beebd40698028d005d05ef602a6db18acc0b4e0bf46f5f7a05eeea6d125e2c',
    'conv1_1_b': '1ef208fe2fce06d33da14ae4a9710cc88c83b2e6168abd8cc90104dc77e87495',
    'conv1_2_W': '6081d90b6aca616141a8bc86c27467db067987e443b13147c1c7bc1dc995149d',
    'conv1_2_b': '4b72fa1a0ca6aaf269f891d0891074cc4e44a86db77f2684f5711a8c32f292d9',
    'conv2_1_W': '491a8e30a4c76a08135e1d862e613a6cf7e7702f4f065f113ddbb964acbdec8a',
    'conv2_1_b': '9319bfabce800a0e8e5096b050ab25cde25eb505c31d4993a6fa6e1c425201a1',
    'conv2_2_W': 'cbb517762fcfe5bcb893505e438682e1ddc861a50dce540726b1e6326568296b',
    'conv2_2_b': '753369cbe1f3df5c2bf733424ce7a58fa7282d3e00f0d401381240df9578d982',
    'conv3_1_W': 'fc70f937816974726f885081f9062dbf249868fc9ecefaee6d314be65716ff5d',
    'conv3_1_b': 'bfb7228878910873041c5fe390176931f082dd0b3d7215c7015dc7830388c369',
    'conv3_2_W': 'b39ec176edc512011eda9a88b75f429bc990f1c1927d84ab72172905e9d28587',
    'conv3_2_b': '2dfcb4bb7f8a1bfe4649c8dea8bdc84e2058eb7258063960e805a13324038464',
    'conv3_3_W': 'da140d479f33d3d9535b952dc40c7c1688d7595a64b84f8252b3aa29079a6b41',
    'conv3_3_b': 'bd23367d71708929245d0b1e6109f5e64e08b336d104fda13fd5cec8ba5bee44',
    'conv4_1_W': '30b22f47a7a6f1ac4ff7b10e9464584e3f22262637f035d0bb9a35766a8f9ae3',
    'conv4_1_b': 'c33c2dcc6290bb0f6bd3377f547c29e247355b2209d0b5aa3f701bacbbeed9b9',
    'conv4_2_W': '132fc2c8cae6306ce7ea6a8162bcbafaa9fd3d71638ea314e376b51bd1e78c5d',
    'conv4_2_b': 'c36252293630a716724eb391cf4c62c3ca425a524cafa2e99da3199a3585e943',
    'conv4_3_W': '300ab4ad4bb9385becac7147230da4b723ea3fbb6f873e2a58c010350a753f95',
    'conv4_3_b': '59a2abf76b13ac1340e953cf668cc9cd923f564f9fa11a8e960ab6d04eb1c4c7',
    'conv5_1_W': 'd4f6aa1ba73f44e0f21ea38aa5d11f006a9432dd6056a530507e518ebb987dca',
    'conv5_1_b': '312ab22d6dece721c2617eeacf7dd5146ca5f165a3d0dc8cbefb3b823f2c5d51',
    'conv5_2_W': '657b49dc03073c86c3d15fa1163aa65c8391b3e9d3bc2b9e2673b728f2977c1b',
    'conv5_2_b': '16bb5bca01eefdf72e95d4234172051876027824f1c838035f5e6a3ce4dbb4fd',
    'conv5_3_W': '7518c45f768317b98a3aa37ff99aaeaae4fae2645b54467ff518824aaf69ec0d',
    'conv5_3_b': '384c7a4f72e853a0e0636ce15e30d5133c22238bd8adc37c3bd12ff56939e34f',
}


def layer_names(architecture='vgg19'):
    """Names of the convolutions of 'vgg16' or 'vgg19', from the first to the last."""
    return [f'conv{block}_{i}' for block, count in enumerate(BLOCKS[architecture], 1) for i in range(1, count + 1)]


def find():
    """The path of the VGG16 that data/download.py has fetched, or would fetch."""
    paths = [
        os.path.join(WEIGHTS, name)
        for name in ('vgg16.npz', 'vgg16.pkl', 'vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5')
    ]
    return next(filter(os.path.exists, paths), paths[0])


def check_genuine(path, weights):
    """Make sure that weights are those of VGG16, number by number.

    Parameters
    ----------
    path : str
        Named in the error.
    weights : dict
        Of `read`.

    Raises
    ------
    utils.UserError
        Naming the first array that is missing or another one.
    """
    for name, expected in VGG16_SHA256.items():
        if name not in weights:
            raise utils.UserError(f'{path}: not VGG16: {name} is missing')
        if hashlib.sha256(numpy.ascontiguousarray(weights[name], '<f4')).hexdigest() != expected:
            raise utils.UserError(f"{path}: not VGG16's genuine weights: {name} differs")


def read_all(paths, warn=True):
    """The weights of the loss networks that ``--loss-weights`` names, in its order.

    Parameters
    ----------
    paths : list of str
        For `read`, or the one word 'random', which are the same numbers each time.
    warn : bool
        Whether to say what random ones are good for.

    Returns
    -------
    list of dict
    """
    if paths == ['random']:
        if warn:
            print(
                'WARNING: the loss network is random: it sees no content and no style, and serves trials only',
                file=sys.stderr,
            )
        return [random_weights()]
    for path in paths:
        if not os.path.exists(path):
            raise utils.UserError(f'{path}: no such file; fetch VGG16 with: {FETCH}')
    return [read(path) for path in paths]


def read(path):
    """Read the convolutions of a VGG network.

    Parameters
    ----------
    path : str
        A ``.pkl`` of the Lasagne model zoo (a Python 2 pickle, read without running any code that it
        names), Keras' ``.h5`` without the top, an ``.onnx`` whose arrays have Keras' names, an ``.npz`` with
        ``conv1_1_W``, ``conv1_1_b`` … that may end at any layer, or the original repository's ``vgg16_loss_net.npz``,
        whose arrays are W and b of VGG16's convolutions in order.

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
        weights = _name_original(path, files.load_npz(path))
    elif path.endswith('.onnx'):
        weights = _read_onnx(path)
    elif path.endswith(('.h5', '.hdf5')):
        weights = _read_keras(path)
    else:
        weights = _read_model_zoo(path)
    for name, value in weights.items():
        if not re.fullmatch(r'conv(0|[1-5]_[1-4])_[Wb]', name) or value.dtype.kind != 'f':
            raise utils.UserError(f'{path}: {name} is not a weight of a VGG network')
        if not numpy.isfinite(value).all():
            raise utils.UserError(f'{path}: {name} holds numbers that are not finite')
    if 'conv1_1_W' not in weights:
        raise utils.UserError(f'{path}: no weights of a VGG network: conv1_1_W is missing')
    return weights


def _read_model_zoo(path):
    content = files.load_pickle(path)
    values = content.get('param values') if isinstance(content, dict) else None
    if not isinstance(values, list) or not all(isinstance(value, numpy.ndarray) for value in values):
        raise utils.UserError(f"{path}: not a network of Lasagne's model zoo: there is no list 'param values'")
    filters = sum(value.ndim == 4 for value in values)
    architecture = {13: 'vgg16', 16: 'vgg19'}.get(filters)
    if architecture is None:
        raise utils.UserError(f'{path}: neither VGG16 nor VGG19: it has {filters} convolutions')
    names = [name + suffix for name in layer_names(architecture) for suffix in ('_W', '_b')]
    return dict(zip(names, values))


def _read_keras(path):
    """Keras' file, whose filters are HWIO and, like Caffe's, take their input in the order BGR."""
    weights = {}
    try:
        with h5py.File(path, 'r') as file:
            for name, item in files.hdf5_datasets(file).items():
                match = re.search(r'block([1-5])_conv([1-4])_?(W|b)|block([1-5])_conv([1-4])/(kernel|bias)', name)
                if match:
                    block, i, kind = match.groups()[:3] if match.group(1) else match.groups()[3:]
                    if item.size > 512 * 512 * 9:
                        raise ValueError(f'{name} is too large')
                    value = item[()]
                    weights['conv%s_%s_%s' % (block, i, {'kernel': 'W', 'bias': 'b'}.get(kind, kind))] = (
                        value.transpose(3, 2, 0, 1) if value.ndim == 4 else value
                    )
    except files.ERRORS as error:
        raise utils.UserError(f'{path}: not a readable HDF5 file of a VGG network: {utils.reason(error)}')
    return weights


def _name_original(path, weights):
    """Give the arrays of the original repository's vgg16_loss_net.npz, arr_0 …, their names; others have them."""
    if 'arr_0' not in weights:
        return weights
    names = [name + suffix for name in layer_names('vgg16') for suffix in ('_W', '_b')]
    if list(weights) != [f'arr_{i}' for i in range(len(weights))] or len(weights) > len(names):
        raise utils.UserError(
            f'{path}: not the loss network of the original repository: its arrays should be arr_0 to '
            f'arr_{len(names) - 1} '
            'at most'
        )
    return dict(zip(names, weights.values()))


def _read_onnx(path):
    """An ONNX network that was converted from Keras: its filters are OIHW, and in the order BGR like Keras'."""
    limit = utils.limit('GOGH_MAX_BYTES', files.MAX_BYTES)
    try:
        if os.path.getsize(path) > limit:
            raise ValueError(f'it has more than the {limit} bytes that are read at most')
        with open(path, 'rb') as file:
            found = onnx.initializers(file.read())
    except (OSError, ValueError) as error:
        raise utils.UserError(f'{path}: cannot read this ONNX file: {utils.reason(error)}')
    weights = {}
    for name, value in found.items():
        match = re.search(r'block([1-5])_conv([1-4])(_[0-9]+)?/(convolution|Squeeze)', name)
        if match and value.ndim in (1, 4):
            weights[f'conv{match.group(1)}_{match.group(2)}_{"W" if value.ndim == 4 else "b"}'] = value
    return weights


def random_weights(architecture='vgg16', seed=0):
    """He-initialised weights of the right shapes, for trials and tests: their features mean nothing."""
    generator = numpy.random.RandomState(seed)
    weights, channels = {}, 3
    for name in layer_names(architecture):
        width = WIDTHS[int(name[4]) - 1]
        deviation = numpy.sqrt(2.0 / (9 * channels))
        weights[f'{name}_W'] = generator.normal(0, deviation, (width, channels, 3, 3)).astype('float32')
        weights[f'{name}_b'] = numpy.zeros(width, 'float32')
        channels = width
    return weights
