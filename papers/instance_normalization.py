"""Figures of *Instance Normalization: The Missing Ingredient for Fast Stylization* (arXiv:1607.08022)."""

import evaluation
import files
import models
from papers import common


def norm(args):
    """Instance against batch normalization (arXiv:1607.08022)."""
    photos, panels, rows = common.show_photos(args), {}, []
    grid = [[common.as_picture(photo) for photo in photos.values()]]
    labels = ['instance norm', 'batch norm']
    for label in labels:
        name, path = common.variant(args, label)
        network = models.load_network(path)
        function = models.pastiche_function(network)
        grid.append([common.as_picture(evaluation.stylize(function, network, photo, 0)) for photo in photos.values()])
        for kind in ('total', 'content', 'style'):
            iterations, values = common.curve(args, name, f'val_{kind}')
            panels.setdefault(f'{kind} loss', []).append((iterations, values, label, '-'))
            rows += [[label, kind, iteration, value] for iteration, value in zip(iterations, values)]
    common.plot(args, panels, 'iteration')
    common.write_picture(args, files.contact_sheet(grid, list(photos), ['photo'] + labels))
    common.write_table(args, ['network', 'loss', 'iteration', 'value'], rows)
