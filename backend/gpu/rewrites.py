"""Graph rewrites that put the GPU ops of `ops` in the place of the operations of `formulas`.

Each of them takes its inputs to the device and its result back, as a formula's inputs and outputs are the host's;
Theano's own GPU rewrites, which run later and move everything else, take these transfers away again.
"""

from backend import T, formulas, theano

from theano.gpuarray.basic_ops import GpuFromHost, HostFromGpu, host_from_gpu

from . import ops

__all__ = ['register']


def _on_device(x):
    """A variable of the host on the device; without a transfer if it comes from there."""
    if x.owner and isinstance(x.owner.op, HostFromGpu):
        return x.owner.inputs[0]
    return GpuFromHost(None)(x)


def _made_by(x, op):
    """The node on the device that makes a variable of the host, if it is of this op, else None."""
    node = _on_device(x).owner
    return node if node and isinstance(node.op, op) else None


def _expand(x, scale, pad):
    node = _made_by(x, ops.Expand)
    if node and not node.op.pad:  # upsampled, and now mirrored: at once
        return [ops.Expand(node.op.scale * scale, pad)(*node.inputs)]
    return [ops.Expand(scale, pad)(_on_device(x))]


def _expand_gradient(dy, scale, pad):
    node = _made_by(dy, ops.ExpandGradient)
    if node and not pad:  # of the gradient of mirroring
        return [ops.ExpandGradient(node.op.scale * scale, node.op.pad)(*node.inputs)]
    return [ops.ExpandGradient(scale, pad)(_on_device(dy))]


def _norm(epsilon, x, gamma, beta):
    return ops.Norm(epsilon)(*[_on_device(v) for v in (x, gamma, beta)])


def _norm_gradient(epsilon, x, gamma, beta, dy):
    statistics = _norm(epsilon, x, gamma, beta)[1]
    gradients = ops.NormGradient(epsilon)(_on_device(x), _on_device(gamma), statistics, _on_device(dy))
    return gradients[:1] + [
        host_from_gpu(g).sum(axis=0, keepdims=True) if p.broadcastable[0] else g
        for g, p in zip(gradients[1:], (gamma, beta))
    ]


@theano.gof.local_optimizer(None)
def _formula_on_device(node):
    of = node.op
    gradient = isinstance(of, formulas.FormulaGradient)
    if gradient:
        of = of.of
    if any(x.dtype != 'float32' for x in node.inputs):
        return False
    if isinstance(of, formulas.ReflectPad):
        outputs = _expand_gradient(node.inputs[1], 1, of.pad) if gradient else _expand(node.inputs[0], 1, of.pad)
    elif isinstance(of, formulas.UpsampleNearest):
        outputs = _expand_gradient(node.inputs[1], of.scale, 0) if gradient else _expand(node.inputs[0], of.scale, 0)
    elif type(of) is formulas.InstanceNorm:  # that with maps is left to Theano's own operations
        outputs = _norm_gradient(of.epsilon, *node.inputs) if gradient else _norm(of.epsilon, *node.inputs)[:1]
    else:
        return False
    hosted = [host_from_gpu(x) if not isinstance(x.type, T.TensorType) else x for x in outputs]
    return [T.patternbroadcast(new, old.broadcastable) for new, old in zip(hosted, node.outputs)]


def register():
    """Add the rewrites to Theano's optimizer, once; the tag 'gpu_formulas' excludes them."""
    if 'gpu_formulas' not in theano.compile.optdb.__position__:
        theano.compile.optdb.register(
            'gpu_formulas',
            theano.gof.opt.in2out(_formula_on_device, name='gpu_formulas'),
            formulas.BACKEND_REWRITES,
            'fast_run',
            'fast_compile',
        )
