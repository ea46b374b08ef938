"""Compile and load Theano's cuDNN operations against the cuDNN that `backend.gpu.dnn.find` finds; no GPU is needed.

    GOGH_CUDNN=site-packages/nvidia/cudnn python tests/cudnn_ops.py [--tf32]

Prints a line for each operation. Loading resolves every symbol, so it fails if the library lacks a function.
"""

import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from backend import T, theano  # noqa: E402
from backend.gpu import dnn as compatibility, setup  # noqa: E402


def nodes(dnn, variable):
    """One application of each operation of Theano's dnn module, with the operations that it needs."""
    x, y, w, v = [variable(4) for i in range(4)]
    yield dnn.dnn_conv(x, w, border_mode=(1, 1), conv_mode='cross')
    yield dnn.dnn_gradweight(x, y, w.shape, border_mode=(1, 1))
    yield dnn.dnn_gradinput(w, y, x.shape, border_mode=(1, 1))
    yield dnn.dnn_pool(x, (2, 2), stride=(2, 2))
    yield dnn.GpuDnnPoolGrad('max')(x, y, w, (2, 2), (2, 2), (0, 0))
    yield dnn.GpuDnnPoolGrad('average_inc_pad')(x, y, w, (2, 2), (2, 2), (0, 0))
    yield dnn.dnn_batch_normalization_train(x, w, v, 'spatial')[0]
    yield dnn.dnn_batch_normalization_test(x, w, v, w, v, 'spatial')
    yield dnn.GpuDnnBatchNormGrad('spatial')(x, y, w, v, v, 1e-5)[0]
    yield dnn.GpuDnnSoftmax('accurate', 'channel')(x)
    yield dnn.GpuDnnSoftmaxGrad('accurate', 'channel')(x, y)
    yield dnn.GpuDnnReduction('add', (2, 3), 'float32', 'float32', False)(x)
    theta = variable(3)
    sampled = dnn.dnn_spatialtf(x, theta)
    yield sampled
    for gradient in T.grad(None, [x, theta], known_grads={sampled: y}):
        yield gradient


def applications(outputs, found):
    """What applies dnn's operations for the outputs, one application of each, in `found` by name."""
    for output in outputs:
        node = output.owner
        if node is not None:
            applications(node.inputs, found)
            if type(node.op).__module__ == 'theano.gpuarray.dnn':
                found.setdefault(str(node.op), node)
    return found


def main(folder):
    setup.import_pygpu()
    compatibility.configure('--tf32' in sys.argv)
    import pygpu
    from theano.gpuarray import GpuArrayType, dnn, reg_context

    print('cuDNN', dnn.version(), 'TF32' if '--tf32' in sys.argv else 'FMA')
    # Operations only ask their context for the handle of cuDNN, and nothing runs.
    context = pygpu.gpuarray.GpuContext.__new__(pygpu.gpuarray.GpuContext)
    context.cudnn_handle_param = None
    reg_context(None, context)
    found = applications(nodes(dnn, lambda ndim: GpuArrayType('float32', (False,) * ndim)()), {})
    for name, node in found.items():
        inputs = [i if isinstance(i, theano.Constant) else i.type() for i in node.inputs]
        node = node.clone_with_new_inputs(inputs)
        graph = theano.gof.FunctionGraph(
            [i for i in inputs if not isinstance(i, theano.Constant)], node.outputs, clone=False
        )
        theano.gof.CLinker().accept(graph).compile_cmodule(tempfile.mkdtemp(dir=folder))
        print(name)


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as temporary:
        main(temporary)
