"""Graph rewrites that run a network on the native library.

`ToBlockedGraph` goes through a graph once, from its inputs to its outputs, and translates every
operation that the library has: convolutions and their gradients, the operations of `formulas` and
their gradients, pooling, sums. It keeps the blocked counterpart of each 4-D variable that it
translated, so that chains of operations stay blocked, and transfers (`ToBlocked`, `FromBlocked`)
appear only where a blocked chain begins or ends. On the way it fuses:

- upsampling and reflection padding into the convolution after them,
- bias and rectifier into the convolution before them,
- rectifier, sigmoid, tanh and the sum of a residual block into the normalization before them,
- the gradients likewise.

It runs before anything else of Theano's optimizer, on the graph as it was written, where the
operations are few and whole. `inplace_rewrites` runs late, with Theano's own.
"""

import collections

from backend import T, theano
from backend import formulas

from theano.tensor.nnet.abstract_conv import AbstractConv2d, AbstractConv2d_gradInputs, AbstractConv2d_gradWeights
from theano.tensor.nnet.sigm import ScalarSigmoid
from theano.tensor.signal.pool import AveragePoolGrad, MaxPoolGrad, Pool

from backend.onednn import library, ops

__all__ = ['register']

# An image: the blocked variable `source`, then upsampled and mirrored; C is a symbolic integer. Formulas leave the
# enlarging to whoever uses the image.
Image = collections.namedtuple('Image', 'source channels scale mirror')


def _supported(op):
    """Whether a convolution is one that the library has."""
    border = op.border_mode
    return (
        tuple(op.filter_dilation) == (1, 1)
        and op.num_groups == 1
        and not op.unshared
        and (border in ('valid', 'half', 'full') or isinstance(border, int) or all(isinstance(p, int) for p in border))
    )


def _feature_map(x):
    return x.ndim == 4 and x.dtype == 'float32'


def _pair(x):
    """The two integers of a constant vector, or None."""
    try:
        return tuple(int(T.get_scalar_constant_value(x[i])) for i in range(2))
    except T.NotScalarConstantError:
        return None


def _height_and_width(size):
    """The two integers of a vector; of the end of a shape those of the shape, so that Theano need not merge slices."""
    node = size.owner
    if (
        node
        and isinstance(node.op, T.Subtensor)
        and node.inputs[0].owner
        and isinstance(node.inputs[0].owner.op, theano.compile.Shape)
        and node.op.get_constant_idx(node.inputs, allow_partial=True) == [slice(-2, None, None)]
    ):
        (x,) = node.inputs[0].owner.inputs
        return x.shape[x.ndim - 2], x.shape[x.ndim - 1]
    return size[0], size[1]


def _window(node, parameters):
    """The window of a pooling that the library has, or None."""
    op = node.op
    if op.ndim != 2 or op.mode == 'sum' or not op.ignore_border or not _feature_map(node.inputs[0]):
        return None
    size, stride, pad = [_pair(x) for x in parameters]
    return size if size and size == stride and pad == (0, 0) else None


class ToBlockedGraph(theano.gof.Optimizer):
    """See the module.

    Attributes
    ----------
    bf16 : bool
        Whether convolutions multiply in bfloat16 (see `ops.Conv`).
    """

    bf16 = False

    def add_requirements(self, fgraph):
        fgraph.attach_feature(theano.gof.toolbox.ReplaceValidate())

    def apply(self, fgraph):
        Translation(fgraph, self.bf16).run()


class Translation:
    """The translation of one graph.

    Attributes
    ----------
    images : dict
        From an original variable to the `Image` that it has become.
    plain : dict
        From an original variable to the variable of the same type that it has become.
    entered : dict
        From an original variable that stays as it is to the `Image` that it enters the blocked graph as.
    """

    def __init__(self, fgraph, bf16):
        self.fgraph, self.bf16 = fgraph, bf16
        self.images, self.plain, self.entered = {}, {}, {}
        self.rectified = {}  # from an original variable to the blocked variable of its rectification
        self.norms = {}  # from x, gamma, beta, epsilon to the Norm node
        self.pools = {}  # from x and the op to the blocked variable
        self.handlers = {
            AbstractConv2d: self.conv,
            AbstractConv2d_gradInputs: self.conv_input_gradient,
            AbstractConv2d_gradWeights: self.conv_weight_gradient,
            Pool: self.pool,
            MaxPoolGrad: self.max_pool_gradient,
            AveragePoolGrad: self.average_pool_gradient,
            T.Elemwise: self.elemwise,
            formulas.ReflectPad: self.mirror,
            formulas.UpsampleNearest: self.upsample,
            formulas.InstanceNorm: self.norm,
            formulas.BatchNorm: self.norm,
            formulas.BatchMoments: self.batch_moments,
            formulas.MappedInstanceNorm: self.mapped_norm,
            formulas.Rectify: self.rectify,
            formulas.FormulaGradient: self.gradient,
            formulas.GramMatrix: self.gram,
            formulas.SquaredDifference: self.squared_difference,
            formulas.AdamStep: self.adam_step,
            T.blas.BatchedDot: self.batched_dot,
        }

    def run(self):
        nodes = self.fgraph.toposort()
        for node in nodes:
            handler = self.handlers.get(type(node.op))
            if handler:
                handler(node)
        # From the outputs backwards: nodes whose results have all been replaced leave the graph, so that what still
        # uses a variable when its turn comes are operations that stay as they are.
        for node in reversed(nodes):
            for variable in node.outputs:
                if not getattr(variable, 'clients', None):
                    continue
                if variable in self.plain:
                    new = self.plain[variable]
                elif variable in self.images:
                    new = ops.FromBlocked()(self.blocked(variable), self.images[variable].channels)
                else:
                    continue
                if new.type != variable.type:
                    new = T.patternbroadcast(new, variable.broadcastable)
                self.fgraph.replace_validate(variable, new, reason='onednn')

    # -- Variables

    def image(self, x):
        """What an original variable is in the blocked graph."""
        if x in self.images:
            return self.images[x]
        if x not in self.entered:
            self.entered[x] = Image(ops.ToBlocked()(x), x.shape[1], 1, 0)
        return self.entered[x]

    def blocked(self, x):
        """The blocked counterpart of an original variable."""
        image = self.image(x)
        if image.scale > 1 or image.mirror:
            image = Image(ops.Expand(image.scale, image.mirror)(image.source), image.channels, 1, 0)
            self.images[x] = image
        return image.source

    def became(self, x, source, channels):
        self.images[x] = Image(source, channels, 1, 0)

    def producer(self, x, op):
        """The node that makes an original variable in the blocked graph, if it is of this op, else None."""
        node = self.images[x].source.owner if x in self.images else None
        plain = node and self.images[x].scale == 1 and not self.images[x].mirror
        return node if plain and type(node.op) is op else None

    def only(self, x, *nodes):
        """Whether an original variable is used by these nodes only."""
        return all(client in nodes for client, _ in x.clients)

    # -- Convolution

    def conv(self, node):
        x, w = node.inputs
        if not (_supported(node.op) and _feature_map(x) and _feature_map(w)):
            return
        image, op = self.image(x), node.op
        conv = ops.Conv(image.scale, image.mirror, op.border_mode, op.subsample, op.filter_flip, bf16=self.bf16)
        self.became(node.outputs[0], conv(image.source, w), w.shape[0])

    def conv_input_gradient(self, node):
        w, dy, size = node.inputs
        if not (_supported(node.op) and _feature_map(dy) and _feature_map(w)):
            return
        op = node.op
        op = ops.ConvInputGradient(1, 0, op.border_mode, op.subsample, op.filter_flip, bf16=self.bf16)
        self.became(node.outputs[0], op(w, self.blocked(dy), *_height_and_width(size)), w.shape[1])

    def conv_weight_gradient(self, node):
        x, dy, size = node.inputs
        if not (_supported(node.op) and _feature_map(dy) and _feature_map(x)):
            return
        image, op = self.image(x), node.op
        settings = image.scale, image.mirror, op.border_mode, op.subsample, op.filter_flip
        gradient = ops.ConvWeightGradient(*settings, bf16=self.bf16)
        self.plain[node.outputs[0]] = gradient(
            image.source, self.blocked(dy), self.image(dy).channels, image.channels, *_height_and_width(size)
        )

    # -- Formulas

    def mirror(self, node):
        (x,) = node.inputs
        if _feature_map(x):
            if self.image(x).mirror:
                self.blocked(x)
            self.images[node.outputs[0]] = self.image(x)._replace(mirror=node.op.pad)

    def upsample(self, node):
        (x,) = node.inputs
        if _feature_map(x):
            if self.image(x).mirror:
                self.blocked(x)
            image = self.image(x)
            self.images[node.outputs[0]] = image._replace(scale=image.scale * node.op.scale)

    def norm(self, node):
        x, gamma, beta = node.inputs
        if _feature_map(x) and gamma.dtype == beta.dtype == 'float32':
            new = self.norm_node(x, gamma, beta, node.op)
            self.became(node.outputs[0], new.outputs[0], self.image(x).channels)

    def batch_moments(self, node):
        (x,) = node.inputs
        if _feature_map(x):
            self.plain[node.outputs[0]] = ops.BatchMoments()(self.blocked(x), self.image(x).channels)

    def mapped_norm(self, node):
        x, *others = node.inputs
        if _feature_map(x) and all(other.dtype == 'float32' for other in others):
            y = ops.MappedNorm(node.op.epsilon)(self.blocked(x), *others)[0]
            self.became(node.outputs[0], y, self.image(x).channels)

    def norm_node(self, x, gamma, beta, formula):
        key = x, gamma, beta, formula
        if key not in self.norms:
            op = ops.Norm(formula.epsilon, batch=type(formula) is formulas.BatchNorm)
            self.norms[key] = op(self.blocked(x), gamma, beta)[0].owner
        return self.norms[key]

    def fuse_norm(self, x, activation, *other):
        """Give the Norm that makes an original variable an activation or another summand; None if it cannot be."""
        old = self.producer(x, ops.Norm) or self.producer(x, ops.MappedNorm)
        if old is None or old.op.activation != ops.LINEAR or len(old.inputs) > (3 if type(old.op) is ops.Norm else 4):
            return None
        new = type(old.op)(old.op.epsilon, activation, old.op.batch)(*(old.inputs + list(other)))[0].owner
        for key, value in self.norms.items():
            if value is old:
                self.norms[key] = new  # its second output serves the gradient
        return new.outputs[0]

    def rectify(self, node):
        (x,) = node.inputs
        if x not in self.images:
            return
        if x not in self.rectified:
            self.rectified[x] = self.fused_rectify(x) or ops.Rectify()(self.blocked(x))
        self.became(node.outputs[0], self.rectified[x], self.images[x].channels)

    def fused_rectify(self, x):
        rectifiers = (formulas.Rectify, formulas.FormulaGradient)
        if not all(
            client != 'output'
            and isinstance(client.op, rectifiers)
            and client.inputs[0] is x
            and position == 0
            and isinstance(getattr(client.op, 'of', client.op), formulas.Rectify)
            for client, position in x.clients
        ):
            return None
        conv = self.producer(x, ops.Conv)
        if conv is not None and not conv.op.rectify:
            settings = {name: getattr(conv.op, name) for name in ops.Conv.__props__}
            return ops.Conv(**dict(settings, rectify=True))(*conv.inputs)
        return self.fuse_norm(x, ops.RECTIFY)

    # -- Gradients of formulas

    def gradient(self, node):
        handler = {
            formulas.ReflectPad: self.mirror_gradient,
            formulas.UpsampleNearest: self.upsample_gradient,
            formulas.InstanceNorm: self.norm_gradient,
            formulas.BatchNorm: self.norm_gradient,
            formulas.Rectify: self.rectify_gradient,
            formulas.GramMatrix: self.gram_gradient,
            formulas.SquaredDifference: self.squared_difference_gradient,
        }
        if type(node.op.of) in handler and all(x.dtype == 'float32' for x in node.inputs):
            handler[type(node.op.of)](node)

    def gradient_of(self, x, formula):
        """The node if an original variable is a gradient of this formula, else None."""
        node = x.owner
        return node if node and isinstance(node.op, formulas.FormulaGradient) and type(node.op.of) is formula else None

    def mirror_gradient(self, node):
        x, dy = node.inputs
        gradient = ops.ExpandGradient(1, node.op.of.pad)(self.blocked(dy))
        self.became(node.outputs[0], gradient, self.image(dy).channels)

    def upsample_gradient(self, node):
        x, dy = node.inputs
        mirror, mirrored = 0, self.gradient_of(dy, formulas.ReflectPad)
        if mirrored:
            mirror, dy = mirrored.op.of.pad, mirrored.inputs[1]
        gradient = ops.ExpandGradient(node.op.of.scale, mirror)(self.blocked(dy))
        self.became(node.outputs[0], gradient, self.image(dy).channels)

    def norm_gradient(self, node):
        x, gamma, beta, dy = node.inputs
        rectify = False
        rectified = self.gradient_of(dy, formulas.Rectify)
        if rectified:
            y = rectified.inputs[0].owner
            rectify = bool(y) and y.op == node.op.of and y.inputs == node.inputs[:3]
        if rectify:
            dy = rectified.inputs[1]
        norm = self.norm_node(x, gamma, beta, node.op.of)
        gradients = ops.NormGradient(rectify, norm.op.batch)(
            self.blocked(x), gamma, beta, norm.outputs[1], self.blocked(dy)
        )
        self.became(node.outputs[0], gradients[0], self.image(x).channels)
        self.plain.update(zip(node.outputs[1:], gradients[1:]))

    def rectify_gradient(self, node):
        x, dy = node.inputs
        y = self.rectified[x] if x in self.rectified else self.blocked(x)
        conv, gram = self.producer(dy, ops.ConvInputGradient), self.producer(dy, ops.GramGradient)
        if self.only(dy, node):
            gradient = None
            if conv is not None and len(conv.inputs) == 4:
                gradient = conv.op(*(conv.inputs + [y]))
            elif gram is not None and gram.inputs[0] is y:
                gradient = ops.GramGradient(gram.op.divide_by_channels, rectify=True)(*gram.inputs)
            if gradient is not None:
                self.became(node.outputs[0], gradient, self.image(dy).channels)
                return
        self.became(node.outputs[0], ops.RectifyGradient()(y, self.blocked(dy)), self.image(dy).channels)

    # -- Losses and updates

    def gram(self, node):
        (x,) = node.inputs
        if _feature_map(x):
            self.plain[node.outputs[0]] = ops.Gram(node.op.divide_by_channels)(self.blocked(x), self.image(x).channels)

    def gram_gradient(self, node):
        x, dy = node.inputs
        gradient = ops.GramGradient(node.op.of.divide_by_channels)(self.blocked(x), dy)
        self.became(node.outputs[0], gradient, self.image(x).channels)

    def differing(self, x, y):
        """The first inputs of `ops.SquaredDifference`: both tensors and the size of an image; None for other types."""
        if not x.dtype == y.dtype == 'float32':
            return None
        if x.ndim == 3:
            return x, y, x.shape[1] * x.shape[2]
        if x.ndim != 4:
            return None
        source, channels = self.blocked(x), self.image(x).channels
        return source, self.blocked(y), channels * source.shape[2] * source.shape[3]

    def squared_difference(self, node):
        inputs = self.differing(*node.inputs)
        if inputs:
            self.plain[node.outputs[0]] = ops.SquaredDifference()(*inputs)

    def squared_difference_gradient(self, node):
        (x, y), dy = node.inputs[:2], node.inputs[2]
        # The targets are constants, as a rule, and what the gradient to them costs is not worth the code.
        inputs = self.differing(x, y)
        if node.outputs[1].clients or not inputs:
            return
        gradient = ops.SquaredDifferenceGradient()(*(inputs + (dy,)))
        if x.ndim == 4:
            self.became(node.outputs[0], gradient, self.image(x).channels)
        else:
            self.plain[node.outputs[0]] = gradient

    def adam_step(self, node):
        if all(x.dtype == 'float32' for x in node.inputs):
            step = ops.AdamStep(node.op.beta1, node.op.beta2, node.op.epsilon)(*node.inputs)
            self.plain.update(zip(node.outputs, step))

    # -- The rest

    def pool(self, node):
        window = _window(node, node.inputs[1:])
        if window:
            x = node.inputs[0]
            op = (ops.MaxPool if node.op.mode == 'max' else ops.AveragePool)(window)
            if (x, op) not in self.pools:
                self.pools[x, op] = op(self.blocked(x))
            self.became(node.outputs[0], self.pools[x, op], self.image(x).channels)

    def max_pool_gradient(self, node):
        x, y, dy = node.inputs[:3]
        window = _window(node, node.inputs[3:])
        if window:
            gradient = ops.MaxPoolGradient(window)(self.blocked(x), self.blocked(y), self.blocked(dy))
            self.became(node.outputs[0], gradient, self.image(x).channels)

    def average_pool_gradient(self, node):
        x, dy = node.inputs[:2]
        window = _window(node, node.inputs[2:])
        if window:
            shape = self.blocked(x).shape
            gradient = ops.AveragePoolGradient(window)(self.blocked(dy), shape[2], shape[3])
            self.became(node.outputs[0], gradient, self.image(x).channels)

    def elemwise(self, node):
        op = node.op.scalar_op
        if isinstance(op, theano.scalar.Add):
            self.add(node)
        elif isinstance(op, (ScalarSigmoid, theano.scalar.Tanh)):
            (x,) = node.inputs
            if x in self.images and all(
                getattr(getattr(client, 'op', None), 'scalar_op', None) == op for client, _ in x.clients
            ):
                fused = self.fuse_norm(x, ops.SIGMOID if isinstance(op, ScalarSigmoid) else ops.TANH)
                if fused is not None:
                    self.became(node.outputs[0], fused, self.images[x].channels)

    def add(self, node):
        if not any(x in self.images for x in node.inputs):
            return
        bias = self.bias(node)
        if bias:
            self.became(node.outputs[0], bias, self.images[node.inputs[0]].channels)
            return
        if any(x.type != node.outputs[0].type for x in node.inputs) or not _feature_map(node.outputs[0]):
            return
        if len(node.inputs) == 2:
            for x, other in (node.inputs, node.inputs[::-1]):
                gram = self.producer(x, ops.GramGradient)
                if gram is not None and not gram.op.rectify and self.only(x, node) and x is not other:
                    others = gram.inputs[2:] + [self.blocked(other)]
                    other = others[0] if len(others) == 1 else ops.Add()(*others)
                    self.became(node.outputs[0], gram.op(*(gram.inputs[:2] + [other])), self.image(x).channels)
                    return
        # The last summand that is a normalization takes the others with it.
        total, rest = None, list(node.inputs)
        for x in reversed(node.inputs):
            if (
                (self.producer(x, ops.Norm) or self.producer(x, ops.MappedNorm))
                and self.only(x, node)
                and len(rest) > 1
                and rest.count(x) == 1
            ):
                rest.remove(x)
                others = self.sum(rest)
                total = self.fuse_norm(x, ops.LINEAR, others)
                if total is None:
                    rest.append(x)
                else:
                    break
        if total is None:
            total = self.sum(rest)
        self.became(node.outputs[0], total, self.image(node.inputs[0]).channels)

    def sum(self, variables):
        total = self.blocked(variables[0])
        for x in variables[1:]:
            total = ops.Add()(total, self.blocked(x))
        return total

    def bias(self, node):
        """If a node adds a bias to the result of a convolution that nothing else uses: the convolution with the
        bias."""
        if len(node.inputs) != 2:
            return None
        x, b = node.inputs
        conv = self.producer(x, ops.Conv)
        if (
            conv is None
            or len(conv.inputs) > 2
            or conv.op.rectify
            or not self.only(x, node)
            or b.owner is None
            or not isinstance(b.owner.op, T.DimShuffle)
            or b.owner.op.new_order != ('x', 0, 'x', 'x')
            or b.dtype != 'float32'
        ):
            return None
        return conv.op(*(conv.inputs + b.owner.inputs))

    def batched_dot(self, node):
        a, b = node.inputs
        if a.ndim == b.ndim == 3 and a.dtype == b.dtype == 'float32':
            self.plain[node.outputs[0]] = ops.BatchedProduct()(a, b)


@theano.gof.local_optimizer(
    [ops.Norm, ops.MappedNorm, ops.NormGradient, ops.Add, ops.Rectify, ops.RectifyGradient, ops.AdamStep], inplace=True
)
def _in_place(node):
    if not hasattr(node.op, 'inplace') or not isinstance(node.op, ops.Op) or node.op.inplace:
        return False
    settings = {name: getattr(node.op, name) for name in node.op.__props__}
    return type(node.op)(**dict(settings, inplace=True)).make_node(*node.inputs).outputs


@theano.gof.local_optimizer([T.Elemwise])
def _numpy_elemwise(node):
    """Without a C compiler, what numpy has no function for is computed by Python, number by number: state sums and
    products of many, and clip, by functions of two."""
    if theano.config.cxx or not isinstance(node.op, T.Elemwise):
        return False
    op, inputs = node.op.scalar_op, node.inputs
    if isinstance(op, (theano.scalar.Add, theano.scalar.Mul)) and len(inputs) > 2:
        # The small ones first: what they make is small.
        first, second = sorted(inputs, key=lambda x: sum(not b for b in x.broadcastable))[:2]
        rest = list(inputs)
        rest.remove(first)
        rest.remove(second)
        result = node.op(node.op(first, second), *rest)
    elif isinstance(op, theano.scalar.Clip):
        result = T.maximum(T.minimum(inputs[0], inputs[2]), inputs[1])
    else:
        return False
    return [result] if result.type == node.outputs[0].type else False


_to_blocked = ToBlockedGraph()


def register(bf16=False):
    """Make Theano use the native library, which is compiled into the cache unless it is there already.

    The tag 'onednn' excludes the rewrites.

    Parameters
    ----------
    bf16 : bool
        Whether convolutions multiply in bfloat16, in functions that are compiled from then on.

    Raises
    ------
    library.Unavailable
        It cannot run here; the message says why.
    """
    library.load()
    _to_blocked.bf16 = bf16
    if 'to_blocked' in theano.compile.optdb.__position__:
        return
    theano.compile.optdb.register(
        'to_blocked', _to_blocked, formulas.BACKEND_REWRITES, 'fast_run', 'fast_compile', 'onednn'
    )
    theano.compile.optdb.register(
        'blocked_inplace',
        theano.gof.opt.TopoOptimizer(_in_place, failure_callback=theano.gof.opt.TopoOptimizer.warn_inplace),
        60,
        'fast_run',
        'inplace',
        'onednn',
    )
    # After Theano has made sums and products of many, before it makes them work in place.
    theano.compile.optdb.register(
        'numpy_elemwise', theano.gof.opt.in2out(_numpy_elemwise, name='numpy_elemwise'), 70, 'fast_run', 'onednn'
    )
