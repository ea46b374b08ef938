"""The tensors in a file of ``torch.save``, old or zip format, read without torch and without running anything in it."""

import collections
import io
import math
import zipfile

import numpy

from files import pickles

__all__ = ['read_state']

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
MOST_INSTRUCTIONS = 10**6
STORAGES = {'Float': '<f4', 'Double': '<f8', 'Half': '<f2', 'Long': '<i8', 'Int': '<i4'}

_Storage = collections.namedtuple('_Storage', 'key dtype count')
_Tensor = collections.namedtuple('_Tensor', 'storage offset shape strides')


class _Machine(pickles.PickleMachine):
    """Reads a pickle of torch's: tensors become `_Tensor`, whose numbers are elsewhere."""

    names = dict(
        pickles.PickleMachine.names,
        **{
            'collections.OrderedDict': 'dict',
            'torch._utils._rebuild_tensor': 'tensor',
            'torch._utils._rebuild_tensor_v2': 'tensor',
            'torch._utils._rebuild_parameter': 'parameter',
        },
    )
    names.update((f'torch.{name}Storage', dtype) for name, dtype in STORAGES.items())

    def persistent(self, item):
        """A storage: ('storage', its class, key, device, count), and in the old format a view, which is None."""
        if (
            not isinstance(item, tuple)
            or len(item) not in (5, 6)
            or item[0] != 'storage'
            or item[5:] not in ((), (None,))
        ):
            raise ValueError('the pickle is malformed')
        dtype = getattr(item[1], 'job', None)
        if dtype not in STORAGES.values() or not isinstance(item[2], str) or type(item[4]) is not int:
            raise ValueError('it holds tensors of another type than float, double, half, long and int')
        return _Storage(item[2], dtype, item[4])

    def call(self, job, arguments):
        if job == 'dict':
            pairs = arguments[0] if arguments else []
            if not isinstance(pairs, list) or not all(
                isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs
            ):
                raise ValueError('the pickle is malformed')
            return {self.key(key): value for key, value in pairs}
        if job == 'parameter':
            return arguments[0]
        if job == 'tensor':
            storage, offset, shape, strides = arguments[:4]
            numbers = [offset, *shape, *strides]
            if (
                not isinstance(storage, _Storage)
                or len(shape) != len(strides)
                or len(shape) > 8
                or any(type(number) is not int or not 0 <= number < 2**40 for number in numbers)
            ):
                raise ValueError('it describes a tensor that is none')
            return _Tensor(storage, offset, tuple(shape), tuple(strides))
        return super().call(job, arguments)

    def build(self, item, state):
        if type(item) is not dict:  # an OrderedDict has attributes, such as the versions of modules
            super().build(item, state)


def read_state(data):
    """The tensors of a state dict.

    Parameters
    ----------
    data : bytes
        The file. Sizes that it claims take no memory.

    Returns
    -------
    dict
        {name: array}

    Raises
    ------
    Any of `files.ERRORS`
        If the file is none, damaged, or holds anything but tensors; nothing of it is run.
    """
    state, contents = (_read_zip if data[:2] == b'PK' else _read_old)(io.BytesIO(data), len(data))
    if not isinstance(state, dict):
        raise ValueError('it is not a state dict: names and tensors')
    return {
        name: _tensor(tensor, contents)
        for name, tensor in state.items()
        if isinstance(name, str) and isinstance(tensor, _Tensor)
    }


def _tensor(tensor, contents):
    """The array of a tensor whose storage is in `contents`, {key: bytes}."""
    storage, offset, shape, strides = tensor
    row_major = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    if any(size > 1 and stride != expected for size, stride, expected in zip(shape, strides, row_major)):
        raise ValueError('it holds a tensor that is not contiguous')
    values = numpy.frombuffer(contents[storage.key], storage.dtype)
    if len(values) != storage.count or offset + math.prod(shape) > len(values):
        raise ValueError('a tensor is longer than its storage')
    return values[offset : offset + math.prod(shape)].reshape(shape)


def _read_zip(file, size):
    """The format since torch 1.6: an archive with data.pkl, and data/KEY for each storage."""
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > size:
            raise ValueError('its members are longer than the file')
        if any(member.flag_bits & 1 or member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError('its members are compressed, and those of torch are not')
        parts = {member.filename.partition('/')[2]: member for member in members}
        if 'byteorder' in parts and archive.read(parts['byteorder']) != b'little':
            raise ValueError('its numbers are not little-endian')
        pickled = archive.read(parts['data.pkl'])
        state = _Machine(io.BytesIO(pickled), len(pickled), size).run(MOST_INSTRUCTIONS)
        return state, {
            name[len('data/') :]: archive.read(member) for name, member in parts.items() if name.startswith('data/')
        }


def _read_old(file, size):
    """The format before: pickles of a number, the protocol, the system, the state and the keys, then the storages."""

    def unpickle():
        return _Machine(file, size - file.tell(), size).run(MOST_INSTRUCTIONS)

    if unpickle() != MAGIC or unpickle() != PROTOCOL:
        raise ValueError('torch did not write it')
    system, state, keys = unpickle(), unpickle(), unpickle()
    if not isinstance(system, dict) or system.get('little_endian') is not True:
        raise ValueError('its numbers are not little-endian')
    if not isinstance(state, dict) or not isinstance(keys, list):
        raise ValueError('it is not a state dict: names and tensors')
    sizes = {
        tensor.storage.key: numpy.dtype(tensor.storage.dtype).itemsize
        for tensor in state.values()
        if isinstance(tensor, _Tensor)
    }
    contents = {}
    for key in keys:
        count = int.from_bytes(file.read(8), 'little')
        length = count * sizes[key]
        if length > size - file.tell():
            raise ValueError('it is cut off')
        contents[key] = file.read(length)
    return state, contents
