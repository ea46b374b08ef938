"""The variables in a checkpoint of TensorFlow, read without TensorFlow.

A checkpoint of the first format is a table (LevelDB's) of protocol buffers in one file; one of the second format is
such a table, ``.index``, that says where in a file beside it, ``.data-00000-of-00001``, the numbers of each variable
lie.
"""

import math

import numpy

from formats import protobuf

__all__ = ['read_checkpoint']

MAGIC = 0xDB4775248B80FB57.to_bytes(8, 'little')
FOOTER, TRAILER = 48, 5
LONGEST_NAME = 1000
FLOAT = 1
# Fields of SavedTensorSlices, SavedTensorSliceMeta, SavedSliceMeta, SavedSlice and TensorProto.
META, DATA = 1, 2
META_TENSOR = 1
META_NAME, META_SHAPE, META_TYPE = 1, 2, 3
SLICE_NAME, SLICE_DATA = 1, 3
TENSOR_FLOATS = 5
# Of BundleEntryProto, TensorShapeProto and its Dim.
ENTRY_TYPE, ENTRY_SHAPE, ENTRY_SHARD, ENTRY_OFFSET, ENTRY_SIZE = 1, 2, 3, 4, 5
SHAPE_DIM, DIM_SIZE = 2, 1


def read_checkpoint(data, numbers=None):
    """The float32 variables of a checkpoint.

    Parameters
    ----------
    data : bytes
        The file of a checkpoint of the first format, or the index of one of the second.
    numbers : bytes, optional
        The other file of the second format. The arrays are views of the files: sizes that they claim take no memory.

    Returns
    -------
    dict
        {name: array}

    Raises
    ------
    ValueError
        If it is none, damaged, or in several pieces.
    """
    table = _table(memoryview(data))
    return _first_format(table) if numbers is None else _second_format(table, memoryview(numbers))


def _first_format(table):
    shapes, variables = {}, {}
    for _, value in protobuf.messages(table.get(b'', memoryview(b'')), META):
        for _, tensor in protobuf.messages(value, META_TENSOR):
            entry = dict(protobuf.fields(tensor))
            if entry.get(META_TYPE) == FLOAT:
                shapes[_name(entry.get(META_NAME))] = _shape(entry.get(META_SHAPE, b''))
    for key, value in table.items():
        for _, part in protobuf.messages(value, DATA) if key else ():
            entry = dict(protobuf.messages(part, SLICE_NAME, SLICE_DATA))
            name = _name(entry.get(SLICE_NAME))
            if name in shapes:
                floats = dict(protobuf.messages(entry.get(SLICE_DATA, b''), TENSOR_FLOATS)).get(TENSOR_FLOATS, b'')
                variables[name] = _array(name, floats, shapes[name])
    return variables


def _second_format(table, data):
    variables = {}
    for key, value in table.items():
        entry = dict(protobuf.fields(value)) if key else {}
        if entry.get(ENTRY_TYPE) == FLOAT:
            name, offset, size = _name(key), entry.get(ENTRY_OFFSET, 0), entry.get(ENTRY_SIZE, 0)
            if entry.get(ENTRY_SHARD, 0) or not isinstance(offset, int) or not isinstance(size, int):
                raise ValueError('it is in several pieces')
            variables[name] = _array(name, data[offset : offset + size], _shape(entry.get(ENTRY_SHAPE, b'')))
    return variables


def _name(data):
    if data is None or isinstance(data, int):
        raise ValueError('it is cut off or damaged')
    return protobuf.text(data)


def _shape(data):
    if isinstance(data, int):
        raise ValueError('it is cut off or damaged')
    return tuple(dict(protobuf.fields(dim)).get(DIM_SIZE, 0) for _, dim in protobuf.messages(data, SHAPE_DIM))


def _array(name, data, shape):
    if len(shape) > 8 or not all(isinstance(size, int) for size in shape) or math.prod(shape) * 4 != len(data):
        raise ValueError(f'{name} has {len(data)} bytes, which is not what its shape {shape[:8]} takes')
    return numpy.frombuffer(data, '<f4').reshape(shape)


def _table(data):
    """The entries of a table of LevelDB's, {bytes: view of bytes}."""
    if len(data) < FOOTER or data[-len(MAGIC) :] != MAGIC:
        raise ValueError('it is no checkpoint of TensorFlow, or cut off')
    _, at = _handle(data[-FOOTER:], 0)
    (offset, size), _ = _handle(data[-FOOTER:], at)
    entries, left = {}, len(data)
    for _, handle in _block(data, offset, size):
        (offset, size), _ = _handle(handle, 0)
        left -= size + TRAILER
        if left < 0:
            raise ValueError('it is damaged: its blocks are longer than the file')
        entries.update(_block(data, offset, size))
    return entries


def _handle(data, at):
    """Where a block is, offset and size, and the place after that."""
    offset, at = protobuf.varint(data, at)
    size, at = protobuf.varint(data, at)
    return (offset, size), at


def _block(data, offset, size):
    """The pairs of key and value in a block; a key shares its beginning with the one before."""
    if offset + size + TRAILER > len(data) or size < 4:
        raise ValueError('it is cut off or damaged')
    if data[offset + size]:
        raise ValueError('it is compressed, as checkpoints of TensorFlow are not')
    block = data[offset : offset + size]
    restarts = int.from_bytes(block[-4:], 'little')
    end, at, key, pairs = size - 4 - 4 * restarts, 0, b'', []
    while at < end:
        shared, at = protobuf.varint(block, at)
        own, at = protobuf.varint(block, at)
        length, at = protobuf.varint(block, at)
        if shared > len(key) or shared + own > LONGEST_NAME or at + own + length > end:
            raise ValueError('it is cut off or damaged')
        key = key[:shared] + bytes(block[at : at + own])
        pairs.append((key, block[at + own : at + own + length]))
        at += own + length
    return pairs
