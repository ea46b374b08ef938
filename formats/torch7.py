"""What a file of Torch7's ``torch.save`` holds, read without Torch7 and without running anything in it.

The format is the binary one of torch7's File.lua, as machines with 64 bits and the low byte first write it.
"""

import collections
import math
import struct

import numpy

__all__ = ['Object', 'read']

NIL, NUMBER, STRING, TABLE, TORCH, BOOLEAN, OLD_FUNCTION = range(7)
FUNCTIONS = 7, 8
NUMBERS = dict(Byte='<u1', Char='<i1', Short='<i2', Int='<i4', Long='<i8', Float='<f4', Double='<f8', Cuda='<f4')
MOST_ITEMS, DEEPEST = 4 * 10**6, 100

Object = collections.namedtuple('Object', 'name fields')
Object.__doc__ = """An object of a class of Torch7's, such as nn.Tanh: the name of the class, and its fields."""


def read(data):
    """What a file holds.

    Parameters
    ----------
    data : bytes
        The file. Sizes that it claims take no memory.

    Returns
    -------
    None, float, bool, str, dict, numpy array or Object
        A table is a dict, whose keys are float, bool or str; a tensor is an array, a view of the file; a function is
        None. Bytes of text that are not ASCII become question marks.

    Raises
    ------
    ValueError
        If the file is cut off, damaged or none, or a tensor is not contiguous.
    """
    return _Reader(data).item()


class _Reader:
    """Reads one item after the other; those that others refer to have numbers.

    Parameters
    ----------
    data : bytes
    """

    def __init__(self, data):
        self.data, self.position, self.depth, self.count, self.known = memoryview(data), 0, 0, 0, {}

    def take(self, size):
        """The next bytes, if there are so many."""
        if not 0 <= size <= len(self.data) - self.position:
            raise ValueError('it is cut off, or damaged')
        self.position += size
        return self.data[self.position - size : self.position]

    def int(self):
        return struct.unpack('<i', self.take(4))[0]

    def longs(self, count):
        return struct.unpack(f'<{count}q', self.take(8 * count))

    def text(self):
        return bytes(self.take(self.int())).decode('ascii', 'replace').replace('\ufffd', '?')

    def item(self):
        self.count, self.depth = self.count + 1, self.depth + 1
        if self.count > MOST_ITEMS or self.depth > DEEPEST:
            raise ValueError('it has more in it than any network')
        kind = self.int()
        if kind == NIL:
            item = None
        elif kind == NUMBER:
            item = struct.unpack('<d', self.take(8))[0]
        elif kind == BOOLEAN:
            item = self.int() == 1
        elif kind == STRING:
            item = self.text()
        elif kind == OLD_FUNCTION:
            item = self.skip_function()
        elif kind in (TABLE, TORCH) + FUNCTIONS:
            number = self.int()
            if number not in self.known:
                self.known[number] = None  # a tensor is not part of itself
                read = self.table if kind == TABLE else self.object if kind == TORCH else self.function
                self.known[number] = read(number)
            item = self.known[number]
        else:
            raise ValueError(f'it is damaged, or not of Torch7: kind {kind}')
        self.depth -= 1
        return item

    def table(self, number):
        table = self.known[number] = {}
        for _ in range(self.int()):
            key, value = self.item(), self.item()
            if not isinstance(key, (float, bool, str)):
                raise ValueError('it has a table whose keys are neither numbers nor text')
            table[key] = value
        return table

    def function(self, number):
        return self.skip_function()

    def skip_function(self):
        """The code of a function, which stays what it is: bytes; and the variables that it has of its surroundings."""
        self.take(self.int())
        self.item()

    def object(self, number):
        name = self.text()
        if name.startswith('V '):  # the version of the class; files from before there were any have none
            name = self.text()
        group, _, kind = name.partition('.')
        for ending, read in (('Tensor', self.tensor), ('Storage', self.storage)):
            if group == 'torch' and kind.endswith(ending) and kind[: -len(ending)] in NUMBERS:
                return read(NUMBERS[kind[: -len(ending)]])
        found = self.known[number] = Object(name, {})
        fields = None if group == 'torch' else self.item()
        if not isinstance(fields, dict):
            raise ValueError(f'it holds a {name[:40]}, which is not read')
        found.fields.update(fields)
        return found

    def storage(self, dtype):
        (count,) = self.longs(1)
        return numpy.frombuffer(self.take(count * numpy.dtype(dtype).itemsize), dtype)

    def tensor(self, dtype):
        dimensions = self.int()
        if not 0 <= dimensions <= 8:
            raise ValueError(f'it is damaged: a tensor of {dimensions} dimensions')
        shape, strides = self.longs(dimensions), self.longs(dimensions)
        ((start,), storage) = self.longs(1), self.item()
        if not dimensions:
            return numpy.zeros(0, dtype)
        if not isinstance(storage, numpy.ndarray) or storage.dtype != dtype or min(shape) < 1 or start < 1:
            raise ValueError('it describes a tensor that is none')
        row_major = [math.prod(shape[i + 1 :]) for i in range(dimensions)]
        if any(size > 1 and stride != expected for size, stride, expected in zip(shape, strides, row_major)):
            raise ValueError('it holds a tensor that is not contiguous')
        if start - 1 + math.prod(shape) > storage.size:
            raise ValueError('a tensor is longer than its storage')
        return storage[start - 1 : start - 1 + math.prod(shape)].reshape(shape)
