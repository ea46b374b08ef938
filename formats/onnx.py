"""The arrays in an ONNX file, read from its protocol buffers without running or trusting anything in it."""
import math

import numpy

__all__ = ['initializers']

# Fields of onnx.proto: ModelProto.graph, GraphProto.initializer, and of TensorProto.
GRAPH, INITIALIZER = 7, 5
DIMS, DATA_TYPE, FLOAT_DATA, NAME, RAW_DATA = 1, 2, 4, 8, 9
FLOAT = 1
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


def _varint(data, at):
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError('it is cut off or damaged')


def _fields(data):
    """The fields of a message: pairs of number and value, which is an int or a view of bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, at = _varint(data, at)
        elif kind in (FIXED64, FIXED32, LENGTH):
            size = 8 if kind == FIXED64 else 4
            if kind == LENGTH:
                size, at = _varint(data, at)
            if size > len(data) - at:
                raise ValueError('it is cut off or damaged')
            value, at = data[at:at + size], at + size
        else:
            raise ValueError('it is no ONNX file')
        yield number, value


def initializers(data):
    """The float32 arrays of a model.

    Parameters
    ----------
    data : bytes
        The file. The arrays are views of it: sizes that it claims take no memory.

    Returns
    -------
    dict
        {name: float32 array}, in the order of the file.

    Raises
    ------
    ValueError
        If the file is cut off, damaged or none, or an array has another size than its shape says.
    """
    arrays = {}
    for number, graph in _fields(memoryview(data)):
        if number == GRAPH and not isinstance(graph, int):
            for number, tensor in _fields(graph):
                if number == INITIALIZER and not isinstance(tensor, int):
                    name, array = _tensor(tensor)
                    if array is not None:
                        arrays[name] = array
    return arrays


def _tensor(data):
    """Name and array of a tensor; None for one of another type than float32."""
    dims, name, kind, content = [], '', None, memoryview(b'')
    for number, value in _fields(data):
        if number == DIMS:
            values = [value]
            if not isinstance(value, int):      # several in one field
                values, at = [], 0
                while at < len(value):
                    size, at = _varint(value, at)
                    values.append(size)
            dims += values
        elif number == DATA_TYPE and isinstance(value, int):
            kind = value
        elif number == NAME and not isinstance(value, int):
            name = bytes(value[:1000]).decode('utf-8', 'replace')
        elif number in (RAW_DATA, FLOAT_DATA) and not isinstance(value, int):
            content = value
    if kind != FLOAT:
        return name, None
    if len(dims) > 8 or math.prod(dims) * 4 != len(content):
        raise ValueError('%s has %d bytes, which is not what its shape %s takes' % (name, len(content), dims[:8]))
    return name, numpy.frombuffer(content, '<f4').reshape(dims)
