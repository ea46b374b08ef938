"""What an ONNX file holds, read from its protocol buffers without running or trusting anything in it."""

import collections
import math
import struct

import numpy

from formats import protobuf

__all__ = ['Graph', 'Node', 'graph', 'initializers']

# Fields of onnx.proto: ModelProto, GraphProto, NodeProto, AttributeProto, ValueInfoProto, TensorProto and
# StringStringEntryProto.
GRAPH, METADATA = 7, 14
NODE, INITIALIZER, INPUT, OUTPUT = 1, 5, 11, 12
NODE_INPUT, NODE_OUTPUT, OP_TYPE, ATTRIBUTE = 1, 2, 4, 5
ATTRIBUTE_NAME, F, I, S, T, INTS = 1, 2, 3, 4, 5, 8
VALUE_NAME = 1
DIMS, DATA_TYPE, FLOAT_DATA, INT64_DATA, NAME, RAW_DATA = 1, 2, 4, 7, 8, 9
KEY, VALUE = 1, 2
FLOAT, INT64 = 1, 7
TYPES = {FLOAT: '<f4', INT64: '<i8', 10: '<f2', 11: '<f8'}

Graph = collections.namedtuple('Graph', 'inputs outputs nodes arrays metadata')
Graph.__doc__ = """What a model computes.

Attributes
----------
inputs, outputs : list of str
nodes : list of Node
    In an order in which they can be computed.
arrays : dict
    {name: array}: initializers, and what nodes 'Constant' hold. Views of the file.
metadata : dict
    {str: str}
"""
Node = collections.namedtuple('Node', 'op inputs outputs attributes')
Node.__doc__ = """An operation: its type, the names of its inputs and outputs, and its attributes.

Attributes that are numbers, lists of integers, text or tensors are kept.
"""


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
    for _, graph in protobuf.messages(memoryview(data), GRAPH):
        for _, tensor in protobuf.messages(graph, INITIALIZER):
            name, array = _tensor(tensor)
            if array is not None and array.dtype == numpy.float32:
                arrays[name] = array
    return arrays


def graph(data):
    """The graph of a model.

    Parameters
    ----------
    data : bytes
        The file; see `initializers`.

    Returns
    -------
    Graph

    Raises
    ------
    ValueError
        As `initializers`.
    """
    inputs, outputs, nodes, arrays, metadata = [], [], [], {}, {}
    for number, message in protobuf.messages(memoryview(data), GRAPH, METADATA):
        if number == METADATA:
            entry = {part: protobuf.text(value) for part, value in protobuf.messages(message, KEY, VALUE)}
            metadata[entry.get(KEY, '')] = entry.get(VALUE, '')
            continue
        for part, value in protobuf.messages(message, NODE, INITIALIZER, INPUT, OUTPUT):
            if part == INITIALIZER:
                name, array = _tensor(value)
                if array is not None:
                    arrays[name] = array
            elif part == NODE:
                node = _node(value)
                if node.op == 'Constant' and isinstance(node.attributes.get('value'), numpy.ndarray) and node.outputs:
                    arrays[node.outputs[0]] = node.attributes['value']
                nodes.append(node)
            else:
                names = [protobuf.text(name) for _, name in protobuf.messages(value, VALUE_NAME)]
                (inputs if part == INPUT else outputs).extend(names)
    return Graph([name for name in inputs if name not in arrays], outputs, nodes, arrays, metadata)


def _node(data):
    op, inputs, outputs, attributes = '', [], [], {}
    for number, value in protobuf.messages(data, NODE_INPUT, NODE_OUTPUT, OP_TYPE, ATTRIBUTE):
        if number == NODE_INPUT:
            inputs.append(protobuf.text(value))
        elif number == NODE_OUTPUT:
            outputs.append(protobuf.text(value))
        elif number == OP_TYPE:
            op = protobuf.text(value)
        else:
            name, held = _attribute(value)
            attributes[name] = held
    return Node(op, inputs, outputs, attributes)


def _attribute(data):
    name, held, integers = '', None, []
    for number, value in protobuf.fields(data):
        if number == ATTRIBUTE_NAME and not isinstance(value, int):
            name = protobuf.text(value)
        elif number == F and not isinstance(value, int) and len(value) == 4:
            held = struct.unpack('<f', value)[0]
        elif number == I and isinstance(value, int):
            held = protobuf.signed(value)
        elif number == S and not isinstance(value, int):
            held = protobuf.text(value)
        elif number == T and not isinstance(value, int):
            held = _tensor(value)[1]
        elif number == INTS:
            integers += map(protobuf.signed, protobuf.integers(value))
    return name, integers or held


def _tensor(data):
    """Name and array of a tensor; None for one of another type than those of `TYPES`."""
    dims, name, kind, content, integers = [], '', None, memoryview(b''), []
    for number, value in protobuf.fields(data):
        if number == DIMS:
            dims += protobuf.integers(value)
        elif number == DATA_TYPE and isinstance(value, int):
            kind = TYPES.get(value)
        elif number == NAME and not isinstance(value, int):
            name = protobuf.text(value[:1000])
        elif number == INT64_DATA:
            integers += [protobuf.signed(n & 2**64 - 1) for n in protobuf.integers(value)]
        elif number in (RAW_DATA, FLOAT_DATA) and not isinstance(value, int):
            content = value
    if kind == TYPES[INT64] and integers:
        content = numpy.array(integers, '<i8').tobytes()
    if kind is None:
        return name, None
    if len(dims) > 8 or math.prod(dims) * numpy.dtype(kind).itemsize != len(content):
        if kind != TYPES[FLOAT]:  # its numbers are in a field that is not read
            return name, None
        raise ValueError(f'{name} has {len(content)} bytes, which is not what its shape {dims[:8]} takes')
    return name, numpy.frombuffer(content, kind).reshape(dims)
