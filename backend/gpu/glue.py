"""Runs from Python what Theano would write, and compile, a C++ file for.

With a GPU, the C++ code that Theano makes of most nodes only passes arguments on to libgpuarray, or computes the
shapes of arrays on the host; g++ takes seconds for each of some sixty such files of a training function. pygpu does
the same in microseconds a call, while the device computes. The kernels themselves are the same, compiled by the
device's own compiler. C++ remains for what has no other implementation: convolution, pooling, batched products, and
on CUDA reductions and cuDNN.

And a device that has no memory left gives rise to a MemoryError.
"""

import re
import sys

from backend import theano

from pygpu import gpuarray
from pygpu._elemwise import GpuElemwise as Kernel
from pygpu._elemwise import arg
from theano.gpuarray import basic_ops, blas, elemwise, subtensor
from theano.gpuarray.type import GpuArrayType

__all__ = ['install']

# These have a `perform` that does on the device what their C++ code does.
ON_DEVICE = (
    basic_ops.GpuFromHost,
    basic_ops.HostFromGpu,
    basic_ops.GpuContiguous,
    basic_ops.GpuReshape,
    basic_ops.GpuAlloc,
    basic_ops.GpuAllocEmpty,
    basic_ops.GpuJoin,
    subtensor.GpuSubtensor,
    subtensor.GpuIncSubtensor,
    elemwise.GpuDimShuffle,
    elemwise.GpuElemwise,
    elemwise.GpuCAReduceCPY,
    blas.GpuGemm,
    blas.GpuDot22,
)

_compiling = theano.gof.op.Op.make_thunk


def _make_thunk(self, node, storage_map, compute_map, no_recycling, impl=None):
    """`theano.Op.make_thunk`, which takes Python for such nodes."""
    on_host = not any(isinstance(x.type, GpuArrayType) for x in node.inputs + node.outputs)
    if impl is None and (on_host or isinstance(self, ON_DEVICE)):
        impl = 'py'
    return _compiling(self, node, storage_map, compute_map, no_recycling, impl)


# From the code, the arguments and the number of axes to the kernel.
_kernels = {}


def _prepare(self, node, storage_map, compute_map, impl):
    """Write the kernel of a GpuElemwise node."""
    if impl == 'c':
        return
    names, results = self._get_vnames(node)
    preamble, code = self._generate_op_string(node)
    overwritten = self.inplace_pattern.get(0)
    args = [(name, x.dtype, True, i == overwritten) for i, (name, x) in enumerate(zip(names, node.inputs))]
    if overwritten is None:
        args.append((results[0], node.outputs[0].dtype, False, True))
    node.tag.kernel = preamble, code, tuple(args)


def _kernel(context, axes, preamble, code, args):
    key = context.ptr, axes, preamble, code, args
    if key not in _kernels:
        args = [arg(name, dtype, read=read, write=write) for name, dtype, read, write in args]
        _kernels[key] = Kernel(context, code, args, axes, preamble, convert_f16=True)
    return _kernels[key]


def _joined(arrays, shape):
    """Arrays of so few axes that neighbours differ in which arrays are repeated along them.

    libgpuarray compiles a kernel for each number of axes up to that of the arrays, and uses one.
    """
    if not all(a.flags.c_contiguous for a in arrays):
        return arrays
    lengths, repeated = [], []
    for axis, size in enumerate(shape):
        here = [a.shape[axis] == 1 for a in arrays]
        if size == 1:
            continue
        if repeated and repeated[-1] == here:
            lengths[-1] *= size
        else:
            lengths.append(size)
            repeated.append(here)
    lengths, repeated = lengths or [1], repeated or [[False] * len(arrays)]
    return [a.reshape([1 if once[i] else size for size, once in zip(lengths, repeated)]) for i, a in enumerate(arrays)]


def _perform(self, node, inputs, outputs, context):
    """What the C++ code of a GpuElemwise node does."""
    shape = [1] * node.outputs[0].ndim
    for x, value in zip(node.inputs, inputs):
        for axis, (size, broadcast) in enumerate(zip(value.shape, x.broadcastable)):
            if not broadcast and size != shape[axis]:
                if shape[axis] != 1:
                    raise ValueError(f'{self}: shapes that do not match: {[v.shape for v in inputs]}')
                shape[axis] = size
    overwritten = self.inplace_pattern.get(0)
    if overwritten is None:
        result = outputs[0][0]
        if result is None or result.shape != tuple(shape) or not result.flags.c_contiguous:
            result = gpuarray.empty(shape, node.outputs[0].dtype, context=context)
        arrays = inputs + [result]
    else:
        result, arrays = inputs[overwritten], inputs
    if result.size:
        arrays = _joined(arrays, shape)
        _kernel(context, arrays[0].ndim, *node.tag.kernel)(*arrays, broadcast=True)
    outputs[0][0] = result


# As for `_kernels`: Theano compiles one for each node.
_reductions = {}
_generating = elemwise.GpuCAReduceCPY.generate_kernel


def _generate_reduction(self, node, dtype, axes):
    """`GpuCAReduceCPY.generate_kernel`, once for all nodes that are alike."""
    x = node.inputs[0]
    key = x.type.context.ptr, x.dtype, x.ndim, str(dtype), tuple(axes), type(self.scalar_op)
    if key not in _reductions:
        _reductions[key] = _generating(self, node, dtype, axes)
    return _reductions[key]


# Of CUDA, cuDNN, OpenCL, and of Theano's operations when libgpuarray hands them nothing.
NO_MEMORY = re.compile('out.of.memory|alloc|invalid buffer size|out_of_resources', re.IGNORECASE)
_raising = theano.gof.link.raise_with_op


def _raise_with_op(node, thunk=None, exc_info=None, storage_map=None):
    """`theano.gof.link.raise_with_op`, for what a device says when its memory is full: MemoryError."""
    error = (exc_info or sys.exc_info())[1]
    if NO_MEMORY.search(str(error)):
        raise MemoryError('the memory of the device is full')
    return _raising(node, thunk, exc_info, storage_map)


def install():
    """Let the functions that are compiled from now on use this."""
    theano.gof.link.raise_with_op = _raise_with_op
    theano.gof.op.Op.make_thunk = _make_thunk
    elemwise.GpuElemwise.prepare_node = _prepare
    elemwise.GpuElemwise.perform = _perform
    elemwise.GpuCAReduceCPY.generate_kernel = _generate_reduction
