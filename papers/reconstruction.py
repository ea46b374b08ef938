"""What the layers of the loss network know of an image (arXiv:1603.08155, figures 3 and 4)."""

import dataclasses

import numpy

import evaluation
import files
import losses
import optimization
import options
import scores
import utils
from papers import common

# Of figure 3 of the paper, where --content-layers says nothing.
CONTENT_LAYERS = 'conv2_2,conv3_3,conv4_3,conv5_1,conv5_3'


def content_reconstruction(args):
    """A photo, from the features of single layers (arXiv:1603.08155, figure 3)."""
    layers = parse_layers('--content-layers', args.content_layers or CONTENT_LAYERS)
    reconstruct(args, files.find_images(args.photos)[0], {layer: dict(content_layers=[(layer, 1)]) for layer in layers})


def style_reconstruction(args):
    """A painting, from the Gram matrices of single layers, and from all of them (arXiv:1603.08155, figure 4)."""
    layers = [(layer, 1) for layer in parse_layers('--style-layers', args.style_layers)]
    # A loss has a content layer, be its weight zero.
    terms = {layer[0]: dict(style_layers=[layer], content_layers=[(layer[0], 0)]) for layer in layers}
    if len(layers) > 1:
        terms['all of them'] = dict(style_layers=layers, content_layers=[(layers[0][0], 0)])
    reconstruct(args, common.style_images(args, 1)[0], terms)


def parse_layers(option, text):
    return [layer for layer, _ in options.parse_layers(option, text, 1)]


def reconstruct(args, path, terms):
    """Images that have, of another, what a loss compares: a picture, and a table of what is left of the loss.

    Parameters
    ----------
    args : argparse.Namespace
    path : str
        Of the image.
    terms : dict
        For the label of each reconstruction the layers of its objective, which has no others.

    Notes
    -----
    The objective is divided by the mean square of what is to be met, so that 1 stands for having none of it. All
    start from the same noise. Pixels are 0-255.
    """
    ((name, image),) = evaluation.read_photos([path], args.picture_size).items()
    start = common.noise_like(image)
    whole = dataclasses.replace(options.objective(args, 'fns'), style_layers=[], tv_weight=0, normalize=True)
    pictures, rows = [common.as_picture(image)], []
    with utils.progress(total=len(terms) * args.steps, desc='reconstructing', unit='it') as bar:
        for label, layers in terms.items():
            loss = dataclasses.replace(whole, **layers)
            targets = sum(map(list, losses.target_function(loss)(image)), [])
            function = optimization.objective_function(loss)
            result, path = common.optimized(
                args,
                f'{label}-of-{name}',
                lambda x: function(x, *targets),
                start,
                bar,  # noqa: B023, called at once
            )
            pictures.append(common.as_picture(result))
            rows.append([label, *(float(values[0]) for values in path[:: len(path) - 1]), *difference(result, image)])
    common.write_picture(args, files.contact_sheet([pictures], ['original', *terms]))
    common.write_table(args, ['layer', 'loss_of_noise', 'loss', 'pixel_difference', 'correlation'], rows)


def difference(image, original):
    """The mean absolute difference of pixels, 0-255, and the correlation of the luminance, which tells of structure."""
    image, original = common.as_picture(image), common.as_picture(original)
    planes = [scores.luminance(values).ravel() for values in (image, original)]
    return float(abs(image.astype(float) - original).mean()), float(numpy.corrcoef(*planes)[0, 1])
