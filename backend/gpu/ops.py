"""Theano ops on the GPU for three of the formulas: padding by reflection, upsampling, instance normalization.

The kernels are written once for CUDA and OpenCL, in the macros of libgpuarray's ``cluda.h``; the device's own compiler
builds them at their first call. All tensors are float32. A kernel gets an array as its buffer and its offset in bytes.
"""

from backend import theano
from backend.formulas import ROUNDING

from pygpu import gpuarray
from theano.gpuarray.basic_ops import as_gpuarray_variable, infer_context_name
from theano.gpuarray.type import GpuArrayType, gpu_context_type

__all__ = ['Expand', 'ExpandGradient', 'Norm', 'NormGradient']

THREADS = 256  # in a work-group; a power of two
EACH = 16  # numbers that a thread reads before it goes on to the next tile
PARTS = 64  # of a plane that work-groups reduce side by side
LARGEST_GRID = 65535
ARRAY = [gpuarray.GpuArray, gpuarray.SIZE]

HEADER = """
#include "cluda.h"
#define THREADS %d
#define EACH %d
#define AT(array) ((GLOBAL_MEM ga_float *)((GLOBAL_MEM char *)array + array##_offset))
#define ARRAY(name) GLOBAL_MEM ga_float *name, const ga_size name##_offset
""" % (THREADS, EACH)


class Kernels:
    """Kernels of one source, compiled for each device and setting when they are first called."""

    def __init__(self, source):
        self.source = source
        self.compiled = {}

    def call(self, name, context, defines, grid, *args):
        """Launch a kernel on ``grid`` work-groups; `args` are GpuArrays and integers."""
        key = name, context.ptr, defines
        if key not in self.compiled:
            source = HEADER + ''.join('#define %s %s\n' % define for define in defines) + self.source
            types = [t for a in args for t in (ARRAY if isinstance(a, gpuarray.GpuArray) else ['uint32'])]
            self.compiled[key] = gpuarray.GpuKernel(source, name, types, context=context)
        flat = [b for a in args for b in ((a, a.offset) if isinstance(a, gpuarray.GpuArray) else (a,))]
        self.compiled[key](*flat, gs=grid, ls=(THREADS, 1))


def grid_of(planes, positions):
    """Work-groups for planes of so many positions: along each plane, and over the planes."""
    tiles = -(-positions // (THREADS * EACH))
    return max(1, min(tiles, LARGEST_GRID)), max(1, min(planes, LARGEST_GRID))


class GpuOp(theano.Op):
    """An op on contiguous float32 arrays of one device."""

    __props__ = ()
    params_type = gpu_context_type

    def get_params(self, node):
        return node.inputs[0].type.context

    def arrays(self, inputs, dimensions):
        """The inputs as variables on the device, checked."""
        name = infer_context_name(*inputs)
        inputs = [as_gpuarray_variable(x, name) for x in inputs]
        for x, ndim in zip(inputs, dimensions):
            if x.ndim != ndim or x.dtype != 'float32':
                raise TypeError(f'{self} takes float32 arrays of {ndim} dimensions here, not {x.type}')
        return inputs

    def type_of(self, x, broadcastable):
        return GpuArrayType('float32', broadcastable, x.type.context_name)()


# ---------------------------------------------------------------------------------------------
# Upsampling and reflection
# ---------------------------------------------------------------------------------------------

_expansion = Kernels("""
/* Positions of the upsampled image that are mirrored to u, beside u itself: at most one beyond either end, or -1. */
#define BEFORE(u) (1 <= (u) && (u) <= PAD ? PAD - (u) : -1)
#define BEHIND(u, n) ((u) <= (n) - 2 && (n) - 1 - PAD <= (u) ? PAD + 2 * (n) - 2 - (u) : -1)

KERNEL void expand(ARRAY(x), ARRAY(y), const ga_uint planes, const ga_uint h, const ga_uint w) {
  const ga_int height = h * SCALE, width = w * SCALE;
  const ga_uint out_width = width + 2 * PAD, size = (height + 2 * PAD) * out_width;
  for (ga_uint plane = GID_1; plane < planes; plane += GDIM_1) {
    GLOBAL_MEM const ga_float *from = AT(x) + (ga_size)plane * h * w;
    GLOBAL_MEM ga_float *to = AT(y) + (ga_size)plane * size;
    for (ga_uint at = GID_0 * THREADS + LID_0; at < size; at += GDIM_0 * THREADS) {
      ga_int i = at / out_width, j = at - i * out_width;
      i = i < PAD ? PAD - i : i - PAD;
      j = j < PAD ? PAD - j : j - PAD;
      i = i < height ? i : 2 * height - 2 - i;
      j = j < width ? j : 2 * width - 2 - j;
      to[at] = from[(i / SCALE) * w + j / SCALE];
    }
  }
}

KERNEL void expand_gradient(ARRAY(dy), ARRAY(dx), const ga_uint planes, const ga_uint h, const ga_uint w) {
  const ga_int height = h * SCALE, width = w * SCALE;
  const ga_uint out_width = width + 2 * PAD, out_size = (height + 2 * PAD) * out_width, size = h * w;
  for (ga_uint plane = GID_1; plane < planes; plane += GDIM_1) {
    GLOBAL_MEM const ga_float *from = AT(dy) + (ga_size)plane * out_size;
    GLOBAL_MEM ga_float *to = AT(dx) + (ga_size)plane * size;
    for (ga_uint at = GID_0 * THREADS + LID_0; at < size; at += GDIM_0 * THREADS) {
      const ga_int a = at / w, b = at - a * w;
      ga_float sum = 0;
      for (ga_int u = a * SCALE; u < (a + 1) * SCALE; u++) {
        const ga_int rows[3] = {u + PAD, BEFORE(u), BEHIND(u, height)};
        for (ga_int r = 0; r < 3; r++) {
          if (rows[r] < 0)
            continue;
          GLOBAL_MEM const ga_float *row = from + rows[r] * out_width;
          for (ga_int v = b * SCALE; v < (b + 1) * SCALE; v++) {
            const ga_int before = BEFORE(v), behind = BEHIND(v, width);
            sum += row[v + PAD] + (before < 0 ? 0 : row[before]) + (behind < 0 ? 0 : row[behind]);
          }
        }
      }
      to[at] = sum;
    }
  }
}
""")


class _Expansion(GpuOp):
    """What `Expand` and its gradient share."""

    __props__ = ('scale', 'pad')

    def __init__(self, scale=1, pad=0):
        self.scale, self.pad = scale, pad

    def make_node(self, x):
        (x,) = self.arrays([x], [4])
        return theano.Apply(self, [x], [self.type_of(x, x.broadcastable[:2] + (False, False))])


class Expand(_Expansion):
    """Repeat each pixel `scale` times in height and width, then pad by reflection (`formulas.ReflectPad`).

    Parameters
    ----------
    scale, pad : int
    """

    def infer_shape(self, node, shapes):
        n, c, h, w = shapes[0]
        return [(n, c, h * self.scale + 2 * self.pad, w * self.scale + 2 * self.pad)]

    def perform(self, node, inputs, outputs, context):
        x = gpuarray.ascontiguousarray(inputs[0])
        n, c, h, w = x.shape
        height, width = h * self.scale, w * self.scale
        if min(height, width) <= self.pad:
            raise AssertionError(f'an image is too small for a reflection padding of {self.pad}')
        shape = n, c, height + 2 * self.pad, width + 2 * self.pad
        y = outputs[0][0] = gpuarray.empty(shape, 'float32', context=context)
        if y.size:
            _expansion.call(
                'expand',
                context,
                (('SCALE', self.scale), ('PAD', self.pad)),
                grid_of(n * c, shape[2] * shape[3]),
                x,
                y,
                n * c,
                h,
                w,
            )


class ExpandGradient(_Expansion):
    """The gradient of `Expand` with respect to its input, of the gradient with respect to its output.

    Parameters
    ----------
    scale, pad : int
    """

    def infer_shape(self, node, shapes):
        n, c, h, w = shapes[0]
        return [(n, c, (h - 2 * self.pad) // self.scale, (w - 2 * self.pad) // self.scale)]

    def perform(self, node, inputs, outputs, context):
        dy = gpuarray.ascontiguousarray(inputs[0])
        n, c, h, w = dy.shape
        h, w = h - 2 * self.pad, w - 2 * self.pad
        if min(h, w) <= self.pad or h % self.scale or w % self.scale:
            raise ValueError(f'{self}: a gradient of shape {dy.shape} is of no image')
        h, w = h // self.scale, w // self.scale
        dx = outputs[0][0] = gpuarray.empty((n, c, h, w), 'float32', context=context)
        if dx.size:
            _expansion.call(
                'expand_gradient',
                context,
                (('SCALE', self.scale), ('PAD', self.pad)),
                grid_of(n * c, h * w),
                dy,
                dx,
                n * c,
                h,
                w,
            )


# ---------------------------------------------------------------------------------------------
# Instance normalization
# ---------------------------------------------------------------------------------------------

# A plane is cut into parts of which each is one work-group's; the second kernel of each pair puts the parts together,
# one thread a plane. Means and sums of squared deviations are combined by the formula of Chan, Golub and LeVeque, so
# that nothing is lost where the mean is large.
_normalization = Kernels("""
#define COMBINE(n, mean, squares, n2, mean2, squares2) { \\
  const ga_float both = (n) + (n2), difference = (mean2) - (mean), share = both > 0 ? (n2) / both : 0; \\
  squares += (squares2) + difference * difference * (n) * share; \\
  mean += difference * share; \\
  n = both; }

/* The part `part` of a plane begins and ends here. */
#define FIRST(part) ((ga_uint)((ga_ulong)size * (part) / parts))

KERNEL void norm_moments(ARRAY(x), ARRAY(means), ARRAY(squares), const ga_uint planes, const ga_uint size,
                    const ga_uint parts) {
  LOCAL_MEM ga_float counts[THREADS], averages[THREADS], deviations[THREADS];
  const ga_uint part = GID_0, thread = LID_0;
  for (ga_uint plane = GID_1; plane < planes; plane += GDIM_1) {
    GLOBAL_MEM const ga_float *from = AT(x) + (ga_size)plane * size;
    const ga_uint last = FIRST(part + 1);
    ga_float n = 0, mean = 0, square = 0;
    for (ga_uint at = FIRST(part) + thread; at < last; at += THREADS * EACH) {
      ga_float values[EACH], m = 0, sum = 0, deviation = 0;
      for (ga_int k = 0; k < EACH; k++)
        if (at + k * THREADS < last) {
          values[k] = from[at + k * THREADS];
          sum += values[k];
          m += 1;
        }
      sum /= m;
      for (ga_int k = 0; k < EACH; k++)
        if (at + k * THREADS < last)
          deviation += (values[k] - sum) * (values[k] - sum);
      COMBINE(n, mean, square, m, sum, deviation)
    }
    counts[thread] = n;
    averages[thread] = mean;
    deviations[thread] = square;
    local_barrier();
    for (ga_uint rest = THREADS / 2; rest > 0; rest /= 2) {
      if (thread < rest) {
        COMBINE(counts[thread], averages[thread], deviations[thread],
                counts[thread + rest], averages[thread + rest], deviations[thread + rest])
      }
      local_barrier();
    }
    if (thread == 0) {
      AT(means)[plane * parts + part] = averages[0];
      AT(squares)[plane * parts + part] = deviations[0];
    }
    local_barrier();
  }
}

KERNEL void norm_statistics(ARRAY(means), ARRAY(squares), ARRAY(result), const ga_uint planes, const ga_uint size,
                       const ga_uint parts) {
  for (ga_uint plane = GID_0 * THREADS + LID_0; plane < planes; plane += GDIM_0 * THREADS) {
    ga_float n = 0, mean = 0, square = 0;
    for (ga_uint part = 0; part < parts; part++) {
      const ga_float m = FIRST(part + 1) - FIRST(part);
      COMBINE(n, mean, square, m, AT(means)[plane * parts + part], AT(squares)[plane * parts + part])
    }
    AT(result)[2 * plane] = mean;
    AT(result)[2 * plane + 1] = square / size > ROUNDING_EPSILON + ROUNDING_MEAN * mean * mean
        ? 1 / sqrt(square / size + EPSILON) : 0;
  }
}

KERNEL void norm_apply(ARRAY(x), ARRAY(gamma), ARRAY(beta), ARRAY(statistics), ARRAY(y), const ga_uint planes,
                      const ga_uint size, const ga_uint rows) {
  for (ga_uint plane = GID_1; plane < planes; plane += GDIM_1) {
    GLOBAL_MEM const ga_float *from = AT(x) + (ga_size)plane * size;
    GLOBAL_MEM ga_float *to = AT(y) + (ga_size)plane * size;
    const ga_float mean = AT(statistics)[2 * plane];
    const ga_float scale = AT(statistics)[2 * plane + 1] * AT(gamma)[plane % rows], shift = AT(beta)[plane % rows];
    for (ga_uint at = GID_0 * THREADS + LID_0; at < size; at += GDIM_0 * THREADS)
      to[at] = (from[at] - mean) * scale + shift;
  }
}

KERNEL void norm_sums(ARRAY(x), ARRAY(dy), ARRAY(statistics), ARRAY(shifts), ARRAY(scales), const ga_uint planes,
                 const ga_uint size, const ga_uint parts) {
  LOCAL_MEM ga_float first[THREADS], second[THREADS];
  const ga_uint part = GID_0, thread = LID_0;
  for (ga_uint plane = GID_1; plane < planes; plane += GDIM_1) {
    GLOBAL_MEM const ga_float *of = AT(x) + (ga_size)plane * size, *slope = AT(dy) + (ga_size)plane * size;
    const ga_float mean = AT(statistics)[2 * plane], scale = AT(statistics)[2 * plane + 1];
    const ga_uint last = FIRST(part + 1);
    ga_float shift = 0, product = 0;
    for (ga_uint at = FIRST(part) + thread; at < last; at += THREADS) {
      shift += slope[at];
      product += slope[at] * ((of[at] - mean) * scale);
    }
    first[thread] = shift;
    second[thread] = product;
    local_barrier();
    for (ga_uint rest = THREADS / 2; rest > 0; rest /= 2) {
      if (thread < rest) {
        first[thread] += first[thread + rest];
        second[thread] += second[thread + rest];
      }
      local_barrier();
    }
    if (thread == 0) {
      AT(shifts)[plane * parts + part] = first[0];
      AT(scales)[plane * parts + part] = second[0];
    }
    local_barrier();
  }
}

KERNEL void norm_totals(ARRAY(shifts), ARRAY(scales), ARRAY(dgamma), ARRAY(dbeta), const ga_uint planes,
                   const ga_uint parts) {
  for (ga_uint plane = GID_0 * THREADS + LID_0; plane < planes; plane += GDIM_0 * THREADS) {
    ga_float shift = 0, scale = 0;
    for (ga_uint part = 0; part < parts; part++) {
      shift += AT(shifts)[plane * parts + part];
      scale += AT(scales)[plane * parts + part];
    }
    AT(dbeta)[plane] = shift;
    AT(dgamma)[plane] = scale;
  }
}

KERNEL void norm_gradient(ARRAY(x), ARRAY(gamma), ARRAY(statistics), ARRAY(dy), ARRAY(dgamma), ARRAY(dbeta), ARRAY(dx),
                          const ga_uint planes, const ga_uint size, const ga_uint rows) {
  for (ga_uint plane = GID_1; plane < planes; plane += GDIM_1) {
    GLOBAL_MEM const ga_float *of = AT(x) + (ga_size)plane * size, *slope = AT(dy) + (ga_size)plane * size;
    GLOBAL_MEM ga_float *to = AT(dx) + (ga_size)plane * size;
    const ga_float mean = AT(statistics)[2 * plane], scale = AT(statistics)[2 * plane + 1];
    const ga_float factor = scale * AT(gamma)[plane % rows];
    const ga_float shift = AT(dbeta)[plane] / size, product = AT(dgamma)[plane] / size;
    for (ga_uint at = GID_0 * THREADS + LID_0; at < size; at += GDIM_0 * THREADS)
      to[at] = factor * (slope[at] - shift - (of[at] - mean) * scale * product);
  }
}
""")


class NormOp(GpuOp):
    """What normalization and its gradient have in common.

    Parameters
    ----------
    epsilon : float
        Added to the variance.
    """

    __props__ = ('epsilon',)

    def __init__(self, epsilon):
        self.epsilon = float(epsilon)

    def check(self, x, parameters, others=()):
        """Raise ValueError unless gamma and beta have a row for each image, or one for all of them."""
        n, c = x.shape[:2]
        if any(p.shape != parameters[0].shape or p.shape not in ((n, c), (1, c)) for p in parameters):
            raise ValueError(f'{self}: gamma and beta of {parameters[0].shape} for feature maps of {x.shape}')
        if any(other.shape != x.shape for other in others):
            raise ValueError(f'{self}: a gradient of another shape than {x.shape}')

    def launch(self, name, grid, *args):
        constants = (
            ('EPSILON', self.epsilon),
            ('ROUNDING_EPSILON', ROUNDING[0] * self.epsilon),
            ('ROUNDING_MEAN', ROUNDING[1]),
        )
        constants = tuple((constant, f'{value!r}f') for constant, value in constants)
        _normalization.call(name, args[0].context, constants, grid, *args)


class Norm(NormOp):
    """Instance normalization (`formulas.InstanceNorm`).

    The inputs are x of shape (N, C, H, W), gamma and beta of shape (N, C) or (1, C). The outputs are the result and,
    for the gradient, the mean and the reciprocal deviation of each feature map, (N, C, 2).

    Parameters
    ----------
    epsilon : float
        Added to the variance.
    """

    def make_node(self, x, gamma, beta):
        x, gamma, beta = self.arrays([x, gamma, beta], [4, 2, 2])
        return theano.Apply(self, [x, gamma, beta], [x.type(), self.type_of(x, x.broadcastable[:2] + (False,))])

    def infer_shape(self, node, shapes):
        return [shapes[0], shapes[0][:2] + (2,)]

    def perform(self, node, inputs, outputs, context):
        x, gamma, beta = [gpuarray.ascontiguousarray(a) for a in inputs]
        self.check(x, [gamma, beta])
        n, c, h, w = x.shape
        planes, size, (groups, rows) = n * c, h * w, grid_of(n * c, h * w)
        parts = min(groups, PARTS)
        y = outputs[0][0] = gpuarray.empty(x.shape, 'float32', context=context)
        statistics = outputs[1][0] = gpuarray.empty((n, c, 2), 'float32', context=context)
        if not y.size:
            return
        means, squares = [gpuarray.empty((planes, parts), 'float32', context=context) for _ in range(2)]
        self.launch('norm_moments', (parts, rows), x, means, squares, planes, size, parts)
        self.launch('norm_statistics', grid_of(1, planes), means, squares, statistics, planes, size, parts)
        self.launch('norm_apply', (groups, rows), x, gamma, beta, statistics, y, planes, size, gamma.size)


class NormGradient(NormOp):
    """The gradient of `Norm`.

    The inputs are x, gamma, the second output of `Norm`, and the gradient with respect to its first one; the outputs
    are the gradients with respect to x, (N, C, H, W), and to each image's gamma and beta, (N, C).

    Parameters
    ----------
    epsilon : float
        Added to the variance.
    """

    def make_node(self, x, gamma, statistics, dy):
        x, gamma, statistics, dy = self.arrays([x, gamma, statistics, dy], [4, 2, 3, 4])
        parameter = self.type_of(x, x.broadcastable[:2])
        return theano.Apply(self, [x, gamma, statistics, dy], [x.type(), parameter, parameter.clone()])

    def infer_shape(self, node, shapes):
        return [shapes[0], shapes[0][:2], shapes[0][:2]]

    def perform(self, node, inputs, outputs, context):
        x, gamma, statistics, dy = [gpuarray.ascontiguousarray(a) for a in inputs]
        self.check(x, [gamma], [dy])
        n, c, h, w = x.shape
        planes, size, (groups, rows) = n * c, h * w, grid_of(n * c, h * w)
        parts = min(groups, PARTS)
        dx = outputs[0][0] = gpuarray.empty(x.shape, 'float32', context=context)
        dgamma, dbeta = [gpuarray.zeros((n, c), 'float32', context=context) for _ in range(2)]
        outputs[1][0], outputs[2][0] = dgamma, dbeta
        if not dx.size:
            return
        shifts, scales = [gpuarray.empty((planes, parts), 'float32', context=context) for _ in range(2)]
        self.launch('norm_sums', (parts, rows), x, dy, statistics, shifts, scales, planes, size, parts)
        self.launch('norm_totals', grid_of(1, planes), shifts, scales, dgamma, dbeta, planes, parts)
        self.launch(
            'norm_gradient', (groups, rows), x, gamma, statistics, dy, dgamma, dbeta, dx, planes, size, gamma.size
        )
