"""Figures of *Instance Normalization: The Missing Ingredient for Fast Stylization* (arXiv:1607.08022)."""

import os

import numpy

import evaluation
import files
import models
import scores
import utils
from papers import common

# What is left of a photo's contrast, and how that is called.
LOW_CONTRAST = 0.25
CONTRASTS = {'full': 1.0, 'a quarter': LOW_CONTRAST}


def norm(args):
    """Instance against batch normalization, with mirror and with zero padding (arXiv:1607.08022, figure 3)."""
    photos, panels, rows = common.show_photos(args), {}, []
    grid = [[common.as_picture(photo) for photo in photos.values()]]
    labels = ['instance norm', 'zero padding', 'batch norm', 'batch norm and zero padding']
    titles = ['instance norm', 'instance, zero padding', 'batch norm', 'batch, zero padding']
    for label, title in zip(labels, titles):
        name, path = common.variant(args, label)
        network = models.load_network(path)
        function = models.pastiche_function(network)
        grid.append([common.as_picture(evaluation.stylize(function, network, photo, 0)) for photo in photos.values()])
        for kind in ('total', 'content', 'style'):
            iterations, values = common.curve(args, name, f'val_{kind}')
            panels.setdefault(f'{kind} loss', []).append((iterations, values, title, '-'))
            rows += [[title, kind, iteration, value] for iteration, value in zip(iterations, values)]
    common.plot(args, panels, 'iteration')
    common.write_picture(args, files.contact_sheet(grid, list(photos), ['photo'] + titles))
    common.write_table(args, ['network', 'loss', 'iteration', 'value'], rows)


def contrast(args):
    """Pastiches of a photo and of the same photo with little contrast (arXiv:1607.08022, figure 2).

    By the optimization, as in the paper, and by the networks at hand: that of --model, and those with instance and with
    batch normalization that `norm` has left in the run folder. Contrast is the standard deviation of the luminance.
    """
    networks, style = networks_at_hand(args)
    ((name, photo), *_) = common.show_photos(args).items()
    ((_, painting),) = evaluation.read_photos([style], args.picture_size).items()
    mean = photo.mean(axis=(2, 3), keepdims=True)
    photos = {label: mean + numpy.float32(share) * (photo - mean) for label, share in CONTRASTS.items()}
    made, objective_for = {'photo': photos, 'optimization': {}}, common.judge(args, 'fns', gradient=True)
    with utils.progress(total=len(photos) * args.steps, desc='optimizing', unit='it') as bar:
        for label, image in photos.items():
            function = objective_for(image, style)
            key = name if label == 'full' else f'{name}-{LOW_CONTRAST}'
            made['optimization'][label], _ = common.optimized_pastiche(args, 'fns', key, image, style, function, bar)
    for method, (network, number) in networks.items():
        function = models.pastiche_function(network)
        made[method] = {label: evaluation.stylize(function, network, image, number) for label, image in photos.items()}
    pictures = {method: [common.as_picture(images[label]) for label in photos] for method, images in made.items()}
    grid = [[of_method[row] for of_method in pictures.values()] for row in range(len(photos))]
    grid[0].append(common.as_picture(painting))
    labels = [*pictures, 'style']
    common.write_picture(args, files.contact_sheet(grid, labels, [f'contrast: {label}' for label in photos]))
    rows = [['style', contrast_of(grid[0][-1]), '', '', '']]
    for method, (full, low) in pictures.items():
        difference = float(abs(full.astype(float) - low).mean())
        rows.append([method, contrast_of(full), contrast_of(low), contrast_of(low) / contrast_of(full), difference])
    common.write_table(args, ['image', 'contrast', 'contrast_of_low', 'ratio', 'difference_of_the_two'], rows)


def contrast_of(image):
    """The standard deviation of the luminance of an image (H, W, 3), 0-255."""
    return float(scores.luminance(image).std())


def networks_at_hand(args):
    """{label: (network, number of the style)}, without training any, and the path of the style's image."""
    style, found = common.style_images(args, 1)[0], {}
    if args.model:
        network, number, style = common.network_of_a_style(args)
        found['network'] = network, number
    for label in ('instance norm', 'batch norm'):
        path = os.path.join(args.run_dir, f'{common.variant_name(label)}.npz')
        if os.path.exists(path):
            found[label] = models.load_network(path), 0
    return found, style
