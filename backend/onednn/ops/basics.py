"""What the ops share: blocked tensors, checks of inputs and sizes, and the way to and from the blocked layout."""

import numpy

from backend import T, theano
from backend.onednn import library

__all__ = [
    'Blocked',
    'as_tensor',
    'as_blocked',
    'as_size',
    'count_blocks',
    'grown',
    'framed',
    'check_blocks',
    'check_shape',
    'as_array',
    'Op',
    'ToBlocked',
    'FromBlocked',
]

Blocked = T.TensorType('float32', (False,) * 5)


def as_tensor(x, ndim, name):
    """x as a float32 tensor of so many dimensions; a TypeError with its name if it is something else."""
    x = T.as_tensor_variable(x)
    if x.dtype != 'float32' or x.ndim != ndim:
        raise TypeError(f'{name} is a {ndim}-D float32 tensor, not {x.type}')
    return x


def as_blocked(x, name='x'):
    """x as a blocked tensor; a TypeError with its name if it is something else."""
    x = as_tensor(x, 5, f'{name} (blocked)')
    return x if x.type == Blocked else T.patternbroadcast(x, Blocked.broadcastable)


def as_size(x):
    """x as an integer; a TypeError if it is something else."""
    x = T.as_tensor_variable(x)
    if x.ndim != 0 or x.dtype not in theano.tensor.integer_dtypes:
        raise TypeError(f'a size is an integer, not {x.type}')
    return x


def count_blocks(channels):
    """How many blocks hold so many channels."""
    return -(-channels // library.block())


def grown(size, by):
    """A size plus a number, without the sums that it comes from: x + 2 - 2 is x.

    Theano states the shape of each result by those of the inputs, back to the images; its optimizer took most of a
    compilation to find out how little that is.
    """
    if getattr(size.owner, 'op', None) == T.add and isinstance(size.owner.inputs[1], T.Constant):
        size, by = size.owner.inputs[0], by + int(size.owner.inputs[1].data)
    return size + numpy.int64(by) if by else size


def framed(size, scale, mirror):
    """What a height or width becomes when the image is enlarged and padded by reflection."""
    return grown(size if scale == 1 else size * numpy.int64(scale), 2 * mirror)


def check_blocks(op, x, channels, name='x'):
    """Raise a ValueError unless the array x has the blocks for so many channels."""
    if x.shape[4] != library.block() or x.shape[1] != count_blocks(channels):
        raise ValueError(f'{op}: {name} of shape {x.shape} does not hold {channels} channels')


def check_shape(op, x, shape, name):
    """Raise a ValueError unless the array x is of that shape."""
    if x.shape != tuple(shape):
        raise ValueError(f'{op}: {name} is of shape {x.shape}, not {tuple(shape)}')


def as_array(x):
    """x as the library reads arrays: float32, one number after the other."""
    return numpy.ascontiguousarray(x, 'float32')


class Op(theano.Op):
    """An op whose `run` maps arrays to arrays.

    `destroys` maps an output to the input whose memory it takes over when the op is in place.
    """

    __props__ = ()
    destroys = {}

    def perform(self, node, inputs, outputs):
        results = self.run(*inputs)
        for output, result in zip(outputs, results if isinstance(results, tuple) else (results,)):
            output[0] = result

    def result(self, x):
        """The array to write a result of the shape of x into: x itself, if the op is in place."""
        if self.inplace and x.flags.c_contiguous and x.flags.writeable:
            return x
        return library.empty(*x.shape)


class ToBlocked(Op):
    """From (N, C, H, W) to blocked."""

    def make_node(self, x):
        return theano.Apply(self, [as_tensor(x, 4, 'x')], [Blocked()])

    def infer_shape(self, node, shapes):
        n, c, h, w = shapes[0]
        return [(n, count_blocks(c), h, w, library.block())]

    def run(self, x):
        n, c, h, w = x.shape
        y = library.empty(n, count_blocks(c), h, w, library.block())
        library.call('gogh_to_blocked', as_array(x), y, n, c, h * w)
        return y


class FromBlocked(Op):
    """From blocked to (N, C, H, W); C is the second input."""

    def make_node(self, x, channels):
        return theano.Apply(self, [as_blocked(x), as_size(channels)], [T.ftensor4()])

    def infer_shape(self, node, shapes):
        n, _, h, w, _ = shapes[0]
        return [(n, node.inputs[1], h, w)]

    def run(self, x, channels):
        channels = int(channels)
        check_blocks(self, x, channels)
        n, _, h, w, _ = x.shape
        y = library.empty(n, channels, h, w)
        library.call('gogh_from_blocked', as_array(x), y, n, channels, h * w)
        return y
