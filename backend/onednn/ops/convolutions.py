"""Convolution and its gradients."""

import numpy

from backend import T, theano
from backend.onednn import library
from backend.onednn.ops.basics import (
    Blocked,
    Op,
    as_array,
    as_blocked,
    as_size,
    as_tensor,
    check_blocks,
    check_shape,
    count_blocks,
    framed,
    grown,
)

__all__ = ['Conv', 'ConvInputGradient', 'ConvWeightGradient']


class _Convolution(Op):
    """What a convolution and its gradients share.

    Parameters
    ----------
    scale : int
        The image is first upsampled, each pixel repeated so many times in height and width,
    mirror : int
        then padded by reflection,
    border_mode : 'valid', 'full', 'half' or pair of int
        then padded by zeros, as in Theano's ``conv2d``. What stands before the zeros is called the frame.
    subsample : pair of int
        The stride.
    flip : bool
        True for a convolution, False for a cross-correlation.
    """

    __props__ = ('scale', 'mirror', 'border_mode', 'subsample', 'flip')

    def __init__(self, scale=1, mirror=0, border_mode=(0, 0), subsample=(1, 1), flip=True):
        self.scale, self.mirror, self.flip = int(scale), int(mirror), bool(flip)
        if isinstance(border_mode, int):
            border_mode = (border_mode, border_mode)
        self.border_mode = border_mode if isinstance(border_mode, str) else tuple(int(p) for p in border_mode)
        self.subsample = tuple(int(s) for s in subsample)
        if self.scale < 1 or self.mirror < 0 or min(self.subsample) < 1:
            raise ValueError(f'{self}: scale and stride are at least 1, padding at least 0')

    def pad(self, kernel):
        if self.border_mode == 'valid':
            return 0, 0
        if self.border_mode == 'half':
            return kernel[0] // 2, kernel[1] // 2
        if self.border_mode == 'full':
            return kernel[0] - 1, kernel[1] - 1
        return self.border_mode

    def shape(self, n, c, h, w, oc, kernel, bf16=False):
        """The sizes as the library takes them, the blocked shapes of the frame and of the output."""
        pad = self.pad(kernel)
        frame = [size * self.scale + 2 * self.mirror for size in (h, w)]
        out = [(f + 2 * p - k) // s + 1 for f, p, k, s in zip(frame, pad, kernel, self.subsample)]
        sizes = numpy.array(
            (n, c, h, w, self.scale, self.mirror, oc) + tuple(kernel) + self.subsample + tuple(pad) + (self.flip, bf16),
            'int64',
        )
        if min(out) < 1:
            raise ValueError(
                '%s: the filters (%d x %d) are larger than the padded image (%d x %d)'
                % ((self,) + tuple(kernel) + (frame[0] + 2 * pad[0], frame[1] + 2 * pad[1]))
            )
        block = library.block()
        return sizes, (n, count_blocks(c)) + tuple(frame) + (block,), (n, count_blocks(oc)) + tuple(out) + (block,)


class Conv(_Convolution):
    """Convolution of a blocked image with filters (O, C, kh, kw), plus an optional bias (O,), optionally rectified.

    With `bf16` Winograd's method rounds the transforms of the image and of the filters to bfloat16 before they are
    multiplied; the products are summed in float32. Other convolutions are computed in float32 all the same.
    """

    __props__ = _Convolution.__props__ + ('rectify', 'bf16')

    def __init__(self, scale=1, mirror=0, border_mode=(0, 0), subsample=(1, 1), flip=True, rectify=False, bf16=False):
        _Convolution.__init__(self, scale, mirror, border_mode, subsample, flip)
        self.rectify, self.bf16 = bool(rectify), bool(bf16)

    def make_node(self, x, w, *bias):
        inputs = [as_blocked(x), as_tensor(w, 4, 'filters')] + [as_tensor(b, 1, 'bias') for b in bias]
        return theano.Apply(self, inputs, [Blocked()])

    def infer_shape(self, node, shapes):
        filters, shape = node.inputs[1], shapes[1]
        if isinstance(filters, theano.compile.SharedVariable):
            shape = filters.get_value(borrow=True).shape
        n, _, *sizes, block = shapes[0]
        for axis, (pad, side, stride) in enumerate(zip(self.pad(shape[2:]), shape[2:], self.subsample)):
            size = framed(sizes[axis], self.scale, self.mirror)
            size = grown(size, 2 * pad - side) if isinstance(side, int) else size + 2 * pad - side
            sizes[axis] = grown(size if stride == 1 else size // numpy.int64(stride), 1)
        return [(n, count_blocks(shape[0]), *sizes, block)]

    def run(self, x, w, bias=None):
        oc, c = w.shape[:2]
        check_blocks(self, x, c)
        if bias is not None:
            check_shape(self, bias, (oc,), 'bias')
            bias = as_array(bias)
        sizes, _, shape = self.shape(x.shape[0], c, x.shape[2], x.shape[3], oc, w.shape[2:], self.bf16)
        y = library.empty(*shape)
        library.call('gogh_conv', sizes, as_array(x), as_array(w), bias, self.rectify, y)
        return y


class _Gradient(_Convolution):
    """What both gradients share: `bf16`, as in `Conv`."""

    __props__ = _Convolution.__props__ + ('bf16',)

    def __init__(self, scale=1, mirror=0, border_mode=(0, 0), subsample=(1, 1), flip=True, bf16=False):
        _Convolution.__init__(self, scale, mirror, border_mode, subsample, flip)
        self.bf16 = bool(bf16)


class ConvInputGradient(_Gradient):
    """The gradient with respect to the frame, which is blocked too: inputs are filters, gradient to the output and the
    frame's height and width.

    With a fifth input, which is a rectified frame, it is the gradient with respect to that before it was rectified.
    """

    def make_node(self, w, dy, height, width, *frame):
        inputs = [as_tensor(w, 4, 'filters'), as_blocked(dy, 'dy'), as_size(height), as_size(width)]
        return theano.Apply(self, inputs + [as_blocked(f, 'frame') for f in frame], [Blocked()])

    def infer_shape(self, node, shapes):
        return [(shapes[1][0], count_blocks(shapes[0][1]), node.inputs[2], node.inputs[3], shapes[1][4])]

    def run(self, w, dy, height, width, rectified=None):
        oc, c = w.shape[:2]
        sizes, frame, out = self.shape(dy.shape[0], c, int(height), int(width), oc, w.shape[2:], self.bf16)
        check_shape(self, dy, out, 'dy')
        if rectified is not None:
            check_shape(self, rectified, frame, 'frame')
            rectified = as_array(rectified)
        dx = library.empty(*frame)
        library.call('gogh_conv_input_gradient', sizes, as_array(w), as_array(dy), rectified, dx)
        return dx


class ConvWeightGradient(_Gradient):
    """The gradient with respect to the filters (O, C, kh, kw): inputs are image, output gradient, O, C, kh, kw."""

    def make_node(self, x, dy, *sizes):
        if len(sizes) != 4:
            raise TypeError(f'the shape of the filters is of four sizes, not {len(sizes)}')
        return theano.Apply(
            self, [as_blocked(x), as_blocked(dy, 'dy')] + [as_size(size) for size in sizes], [T.ftensor4()]
        )

    def infer_shape(self, node, shapes):
        return [tuple(node.inputs[2:])]

    def run(self, x, dy, *shape):
        oc, c, kh, kw = [int(size) for size in shape]
        check_blocks(self, x, c)
        sizes, _, out = self.shape(x.shape[0], c, x.shape[2], x.shape[3], oc, (kh, kw), self.bf16)
        check_shape(self, dy, out, 'dy')
        dw = numpy.empty((oc, c, kh, kw), 'float32')
        library.call('gogh_conv_weight_gradient', sizes, as_array(x), as_array(dy), dw)
        return dw
