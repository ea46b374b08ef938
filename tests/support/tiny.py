"""Networks of a few feature maps, which compile and compute at once."""

import h5py
import numpy

import files
import models
from architecture import Architecture
from backend import lasagne

# Of styles, one of which is a number and one of which has a comma.
NAMES = ['waves', '1', 'sun, rising', 'sun']
# Options of figures.py.
FIGURES_SCALE = (
    '--set styles=2 width=2 residual_blocks=1 image_size=16 style_size=16 batch_size=1 iterations=2 '
    'many_iterations=4 finetune_iterations=1 checkpoint_every=1 shown=2 picture_size=32 steps=3 timed_steps=1 '
    'timed_sizes=16,24'
).split()


def transformer(
    network='cin', styles=('a',), widths=(3, 4, 5), up_widths=(4, 3), residual_blocks=1, meta=None, **settings
):
    """A transformer network, by default the smallest with everything in it."""
    architecture = Architecture(network, widths, up_widths, residual_blocks, **settings)
    return models.transformer_network(architecture, list(styles), meta)


def upscaler(factor=2, width=4, residual_blocks=1, meta=None, **settings):
    """A network that enlarges, with filters of order one, so that a mistake anywhere shows in the image."""
    architecture = Architecture.for_upscaling(factor, width, residual_blocks, **settings)
    network, generator = models.transformer_network(architecture, [], meta), numpy.random.RandomState(factor)
    for param in lasagne.layers.get_all_params(network.output):
        value = param.get_value()
        # The last convolution makes values of 0-255.
        scale = 0.1 if value.ndim == 1 else 3 if value.shape[0] == 3 else 0.3
        noise = generator.randn(*value.shape) * scale
        param.set_value((value + (abs(noise) if param.name == 'variance' else noise)).astype('float32'))
    return network


def noise(folder, names, generator, shape=(20, 20, 3)):
    """Write images of noise under these names, with the folders that they lie in."""
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        files.write_image(str(folder / name), generator.randint(256, size=shape).astype('uint8'))


def loss_network(path, generator, layers=('conv1_1',), scale=0.02):
    """Write a VGG of four feature maps a layer, with filters of this standard deviation."""
    weights, channels = {}, 3
    for name in layers:
        weights[f'{name}_W'] = generator.normal(0, scale, (4, channels, 3, 3)).astype('float32')
        weights[f'{name}_b'] = generator.normal(0, 0.1, 4).astype('float32')
        channels = 4
    files.save_npz(str(path), weights)


def training_data(folder):
    """What the smallest of trainings needs, in a folder: styles/, vgg.npz of two convolutions, and content.h5."""
    generator = numpy.random.RandomState(0)
    noise(folder, ('styles/a.png', 'styles/b.png'), generator, (32, 32, 3))
    weights, channels = {}, 3
    for name in ('conv1_1', 'conv1_2'):
        weights[f'{name}_W'] = (generator.randn(4, channels, 3, 3) / (4 * channels**0.5)).astype('float32')
        weights[f'{name}_b'] = generator.randn(4).astype('float32')
        channels = 4
    files.save_npz(str(folder / 'vgg.npz'), weights)
    with h5py.File(str(folder / 'content.h5'), 'w') as file:
        for name, count in [('train2014', 6), ('val2014', 3)]:
            file[f'{name}/images'] = generator.randint(0, 256, (count, 3, 16, 16)).astype('uint8')
