"""A transformer network as an ONNX graph, made of its architecture and its parameters alone: no Theano.

The graph computes what `models.pastiche_function` does. What `image`, `style` and `pastiche` are is said in `model`.
"""

import json

import numpy

import files
import utils
from formats import networks
from formats.vgg import VGG_MEAN

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError:
    onnx = None

__all__ = ['model', 'write']

# ONNX Runtime since 1.12 has them; in operator sets from 18 on ReduceMean takes its axes otherwise.
OPSET, IR_VERSION = 17, 8
# That of `backend.formulas`, whose import would take Theano along.
ROUNDING = 2.0**-20, 2.0**-32


class _Graph:
    """Nodes and constants of a graph under way; each method returns the name of its result.

    Parameters
    ----------
    half : {None, 'filters', 'convolutions'}
        What is float16.
    """

    def __init__(self, half):
        self.half, self.nodes, self.constants = half, [], {}

    def add(self, op, *inputs, **attributes):
        name = f'{op.lower()}_{len(self.nodes)}'
        self.nodes.append(helper.make_node(op, inputs, [name], name, **attributes))
        return name

    def constant(self, values, dtype='float32'):
        array = numpy.ascontiguousarray(values, dtype)
        key = array.tobytes(), array.shape, array.dtype.str
        return self.constants.setdefault(key, (f'constant_{len(self.constants)}', array))[0]

    def pad(self, x, size):
        """Pad height and width by reflection."""
        return self.add('Pad', x, self.constant([0, 0, size, size] * 2, 'int64'), mode='reflect')

    def crop(self, x, size):
        """Cut off pixels on each side."""
        return self.slice(x, self.constant([size] * 2, 'int64'), self.constant([-size] * 2, 'int64'))

    def slice(self, x, starts, ends):
        """A part of height and width."""
        return self.add('Slice', x, starts, ends, self.constant([2, 3], 'int64'))

    def spread(self, rows):
        """Numbers for each image and channel, as they go with feature maps."""
        return self.add('Unsqueeze', rows, self.constant([2, 3], 'int64'))

    def turn(self, x):
        """Height and width in reverse order."""
        ends = [-1] * 2, [numpy.iinfo('int64').min] * 2, [2, 3], [-1] * 2
        return self.add('Slice', x, *(self.constant(numbers, 'int64') for numbers in ends))

    def backwards(self, x):
        """The channels in reverse order: RGB as BGR, and back."""
        return self.add('Gather', x, self.constant([2, 1, 0], 'int64'), axis=1)

    def conv(self, op, x, filters, **attributes):
        """A convolution ('Conv') or its gradient ('ConvTranspose') with filters of a true convolution."""
        filters = self.constant(filters[:, :, ::-1, ::-1], 'float16' if self.half else 'float32')
        if self.half == 'filters':
            filters = self.add('Cast', filters, to=TensorProto.FLOAT)
        if self.half != 'convolutions':
            return self.add(op, x, filters, **attributes)
        x = self.add(op, self.add('Cast', x, to=TensorProto.FLOAT16), filters, **attributes)
        return self.add('Cast', x, to=TensorProto.FLOAT)

    def norm(self, x, beta, gamma, epsilon):
        """Instance normalization, `backend.formulas.InstanceNorm`."""
        mean = self.add('ReduceMean', x, axes=[2, 3])
        centred = self.add('Sub', x, mean)
        variance = self.add('ReduceMean', self.add('Mul', centred, centred), axes=[2, 3])
        scale = self.add('Div', gamma, self.add('Sqrt', self.add('Add', variance, self.constant(epsilon))))
        rounding = self.add(
            'Add',
            self.constant(ROUNDING[0] * epsilon),
            self.add('Mul', self.constant(ROUNDING[1]), self.add('Mul', mean, mean)),
        )
        scale = self.add('Where', self.add('Greater', variance, rounding), scale, self.constant(0))
        return self.add('Add', self.add('Mul', centred, scale), beta)


class _Network:
    """The layers of `models.transformer_network`, which take their parameters one after the other.

    Parameters
    ----------
    graph : _Graph
    architecture : Architecture
    values : list of numpy arrays
    style : int or None
        The only style of a network 'cin', or None for the input `style`.
    """

    def __init__(self, graph, architecture, values, style):
        self.graph, self.architecture, self.style = graph, architecture, style
        self.values = iter([value.astype('float32') for value in values])
        self.blocks_crop = architecture.pad in ('reflect-start', 'none')
        self.pad = 'zero' if self.blocks_crop or architecture.pad == 'same' else architecture.pad

    def row(self, values):
        """Beta or gamma as (N, C, 1, 1)."""
        if self.architecture.network == 'cin':
            if self.style is None:
                return self.graph.spread(self.graph.add('MatMul', 'style', self.graph.constant(values)))
            values = values[self.style]
        return self.graph.constant(values.reshape(1, -1, 1, 1))

    def bias(self, x):
        return self.graph.add('Add', x, self.graph.constant(next(self.values).reshape(1, -1, 1, 1)))

    def normalize(self, x):
        if self.architecture.norm == 'none':
            return self.bias(x)
        beta, gamma = next(self.values), next(self.values)
        if self.architecture.norm == 'batch':
            moments = next(self.values), next(self.values)
            return self.graph.add(
                'BatchNormalization',
                x,
                *map(self.graph.constant, (gamma, beta) + moments),
                epsilon=self.architecture.epsilon,
            )
        return self.graph.norm(x, self.row(beta), self.row(gamma), self.architecture.epsilon)

    def conv(self, x, stride=1, pad=None):
        filters, pad = next(self.values), pad or self.pad
        margin = filters.shape[2] // 2
        if pad == 'reflect' and margin:
            x = self.graph.pad(x, margin)
        return self.graph.conv('Conv', x, filters, strides=[stride] * 2, pads=[margin * (pad == 'zero')] * 4)

    def conv_block(self, x, activation='Relu', stride=1, pad=None):
        x = self.normalize(self.conv(x, stride, pad))
        return self.graph.add(activation, x) if activation else x

    def residual_block(self, x):
        pad = 'none' if self.blocks_crop else None
        y = self.conv_block(self.conv_block(x, pad=pad), activation=None, pad=pad)
        return self.graph.add('Add', self.graph.crop(x, 2) if self.blocks_crop else x, y)

    def upsampling_block(self, x):
        if self.architecture.upsampling == 'nearest':
            scales = self.graph.constant([1, 1, 2, 2])
            asymmetric = dict(nearest_mode='floor', coordinate_transformation_mode='asymmetric')
            return self.conv_block(self.graph.add('Resize', x, '', scales, mode='nearest', **asymmetric))
        x = self.graph.conv('ConvTranspose', x, next(self.values), strides=[2, 2], pads=[1] * 4, output_padding=[1, 1])
        return self.graph.add('Relu', self.normalize(x))

    def pastiche(self, image):
        graph, a = self.graph, self.architecture
        vgg, mean = a.preprocessing == 'vgg', VGG_MEAN.reshape(1, 3, 1, 1)
        x = graph.turn(image) if a.pad == 'same' else image
        if a.network != 'cin' and vgg:
            x = graph.add('Mul', graph.backwards(x), graph.constant(255))
            x = graph.add('Sub', x, graph.constant(mean))
        if a.pad == 'reflect-start' and a.residual_blocks:
            x = graph.pad(x, a.border)
        for stride in (1, 2, 2)[: len(a.widths)]:
            x = self.conv_block(x, stride=stride)
        for _ in range(a.residual_blocks):
            x = self.residual_block(x)
        for _ in a.up_widths:
            x = self.upsampling_block(x)
        if a.last == 'bias':
            x = self.bias(self.conv(x))
        else:
            x = self.conv_block(x, None)
        if a.network == 'cin':
            x = graph.add('Sigmoid', x)
        else:
            if a.output == 'tanh':
                x = graph.add('Mul', graph.add('Tanh', x), graph.constant(a.tanh_constant))
            if a.output != 'residual':
                x = graph.add('Add', x, graph.constant(mean if vgg else 127.5))
            x = graph.add('Div', x, graph.constant(255))
            x = graph.backwards(x) if vgg else x
            if a.output == 'residual':
                scales = graph.constant([1, 1, a.factor, a.factor])
                x = graph.add('Add', x, graph.add('Resize', image, '', scales, mode='linear'))
            x = graph.add('Clip', x, graph.constant(0), graph.constant(1))
        return graph.turn(x) if a.pad == 'same' else x


def _enough_to_reflect(graph, smallest):
    """The image, mirrored at the bottom and on the right until its sides have so many pixels; and the sides it had."""
    sides = graph.add('Shape', 'image', start=2)
    x = 'image'
    zero, one, two = (graph.constant(n, 'int64') for n in range(3))
    for axis in (2, 3):
        side = graph.add('Gather', sides, graph.constant(axis - 2, 'int64'))
        # The edge is repeated, and what is mirrored too where that is not enough: i mod 2 n, and in the second half
        # counted from the end.
        enough = graph.add('Max', side, graph.constant(smallest, 'int64'))
        index = graph.add('Mod', graph.add('Range', zero, enough, one), graph.add('Mul', side, two))
        other = graph.add('Sub', graph.add('Sub', graph.add('Mul', side, two), one), index)
        x = graph.add('Gather', x, graph.add('Min', index, other), axis=axis)
    return x, sides


def model(architecture, styles, meta, values, half=None, style=None):
    """A network as an ONNX model.

    The inputs are ``image``, of shape (N, 3, height, width), RGB in [0, 1], and for a network 'cin' ``style``, the
    weights of the styles, (N, styles), in the order of `styles`; the output is ``pastiche``, RGB in [0, 1], of shape
    (N, 3, height, width) with height and width rounded up to multiples of 4, less what the network loses
    (`Architecture.lost`); or, of a network 'upscale', enlarged. All are float32, and N, height and width are any.

    Parameters
    ----------
    architecture, styles, meta, values
        Of `formats.networks.read`.
    half : {None, 'filters', 'convolutions'}
        What becomes float16: the filters, which are cast to float32 when the model is loaded; or all factors of
        convolutions, filters and feature maps. All else stays float32.
    style : str
        Name of the only style that the model is to have; there is no input ``style`` then.

    Returns
    -------
    onnx.ModelProto
        Its metadata are the entry ``meta`` of the project's own files, in JSON, the names of the styles and what ONNX
        defines for images.

    Raises
    ------
    utils.UserError
        If the package onnx is missing, or the network has no such style.
    """
    if onnx is None:
        raise utils.UserError('the package onnx is missing: python install.py onnx, or pip install onnx')
    index = None
    if style is not None:
        if style not in styles:
            raise utils.UserError(f'there is no style {style!r}: python stylize.py --list-styles shows what there is')
        index, styles = styles.index(style), [style]
    graph = _Graph(half)
    image = 'image'
    if architecture.pad == 'reflect-start':
        image, sides = _enough_to_reflect(graph, architecture.smallest_side)
    pastiche = _Network(graph, architecture, values, index).pastiche(image)
    if architecture.pad == 'reflect-start':
        three, four = (graph.constant(n, 'int64') for n in (3, 4))
        ends = graph.add('Mul', graph.add('Div', graph.add('Add', sides, three), four), four)
        pastiche = graph.slice(pastiche, graph.constant([0, 0], 'int64'), ends)
    graph.nodes.append(helper.make_node('Identity', [pastiche], ['pastiche'], 'pastiche'))

    def images(name, height, width):
        info = helper.make_tensor_value_info(name, TensorProto.FLOAT, ['N', 3, height, width])
        info.type.denotation = 'IMAGE'
        for dim, denotation in zip(
            info.type.tensor_type.shape.dim, ('DATA_BATCH', 'DATA_CHANNEL', 'DATA_FEATURE', 'DATA_FEATURE')
        ):
            dim.denotation = denotation
        return info

    inputs = [images('image', 'height', 'width')]
    if architecture.network == 'cin' and index is None:
        inputs.append(helper.make_tensor_value_info('style', TensorProto.FLOAT, ['N', len(styles)]))
    made = helper.make_model(
        helper.make_graph(
            graph.nodes,
            'pastiche',
            inputs,
            [images('pastiche', 'pastiche_height', 'pastiche_width')],
            [numpy_helper.from_array(array, name) for name, array in graph.constants.values()],
        ),
        opset_imports=[helper.make_opsetid('', OPSET)],
        ir_version=IR_VERSION,
        producer_name='gogh-figure',
        producer_version=networks.VERSION,
        doc_string='Photos in the style of paintings (arXiv:1610.07629)',
    )
    helper.set_model_props(
        made,
        {
            'project': 'gogh-figure',
            'version': networks.VERSION,
            'styles': json.dumps(list(styles)),
            'meta': networks.meta_entry(architecture, styles, meta),
            'Image.BitmapPixelFormat': 'Rgb8',
            'Image.ColorSpaceGamma': 'SRGB',
            'Image.NominalPixelRange': 'Normalized_0_1',
        },
    )
    onnx.checker.check_model(made)
    return made


def write(path, *network, **options):
    """Write a network as an ONNX file, atomically; the arguments after the path are those of `model`."""
    data = model(*network, **options).SerializeToString()
    with files.atomic_write(path) as file:
        file.write(data)
