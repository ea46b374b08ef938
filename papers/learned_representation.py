"""Figures of *A Learned Representation for Artistic Style* (arXiv:1610.07629)."""

import numpy

import evaluation
import files
import models
import utils
from papers import common

# Pastiches on the way from one style to another: an odd number, so that there is one in the middle.
SEQUENCE = 7


def pastiches(args):
    """All styles of a network on some photos (arXiv:1610.07629, section 3.3)."""
    path = common.network_to_show(args)
    network = models.load_network(path)
    names = network.styles
    function = models.pastiche_function(network)
    photos = common.show_photos(args)
    grid, rows = [[common.as_picture(photo)] for photo in photos.values()], []
    for style, name in enumerate(utils.progress(names, desc='stylizing', unit='style')):
        images = [evaluation.stylize(function, network, photo, style) for photo in photos.values()]
        for row, image in zip(grid, images):
            row.append(common.as_picture(image))
        difference = numpy.mean([abs(image - photo).mean() for image, photo in zip(images, photos.values())])
        rows.append([name, float(difference)])
    shown = common.style_pictures(args, names)
    if any(image is not None for image in shown):
        grid.insert(0, [None] + shown)
    common.write_picture(args, files.style_sheet(grid, ['photo'] + names))
    common.write_table(args, ['style_name', 'mean_difference_from_photo'], rows)


def monets(args):
    """Ten paintings by one painter in one network (arXiv:1610.07629, figure 4)."""
    args.model = args.model or 'monet10'
    pastiches(args)


def network_to_combine(args, least):
    """A network of at least so many styles, whose gamma and beta can be combined."""
    path = common.network_to_show(args)
    network = models.load_network(path)
    if not network.style or len(network.styles) < least:
        raise utils.UserError(f'{path}: combining styles needs a network of at least {least}')
    return network


def sequence(args):
    """Pastiches of a photo on the way from the first style of a network to its last (arXiv:1610.07629, figure 1b)."""
    network = network_to_combine(args, 2)
    function, photo = models.pastiche_function(network), next(iter(common.show_photos(args).values()))
    last = len(network.styles) - 1
    weights = numpy.linspace(0, 1, SEQUENCE).tolist()
    images = [evaluation.stylize(function, network, photo, {0: 1 - weight, last: weight}) for weight in weights]
    sources = [None] * SEQUENCE
    sources[SEQUENCE // 2] = common.as_picture(photo)
    sources[0], sources[-1] = common.style_pictures(args, [network.styles[0], network.styles[last]])
    labels = [f'{weight:.2f}' for weight in weights]
    labels[0], labels[-1] = network.styles[0], network.styles[last]
    common.write_picture(args, files.contact_sheet([sources, [common.as_picture(image) for image in images]], labels))
    # Steps of one size say that the way is smooth.
    steps = [''] + [float(abs(image - before).mean()) for before, image in zip(images, images[1:])]
    ends = [[float(abs(image - images[end]).mean()) for image in images] for end in (0, -1)]
    columns = [f'weight_of_{network.styles[last]}', 'difference_from_the_one_before']
    columns += [f'difference_from_{network.styles[end]}' for end in (0, last)]
    common.write_table(args, columns, list(zip(weights, steps, *ends)))


def many_styles(args):
    """One network of many styles against a network for each (arXiv:1610.07629, figure 5)."""
    path, styles = common.many_styles_network(args)
    singles = [common.train(args, f'single-{models.style_name(style)}', [style]) for style in styles]
    photos, objective_for = common.show_photos(args), common.judge(args)
    many = models.load_network(path)
    many_function = models.pastiche_function(many)
    rows, grid = [], []
    for number, (style, single) in enumerate(zip(styles, singles)):
        single = models.load_network(single)
        single_function = models.pastiche_function(single)
        values = []
        for photo in photos.values():
            of_image = objective_for(photo, style)
            images = [
                evaluation.stylize(many_function, many, photo, number),
                evaluation.stylize(single_function, single, photo, 0),
            ]
            values.append([of_image(image)[0][1:3] for image in images])
        grid.append([common.as_picture(image) for image in images])
        (content, style_loss), (content_single, style_single) = numpy.mean(values, axis=0).tolist()
        rows.append(
            [
                models.style_name(style),
                content,
                content_single,
                100 * (content / content_single - 1),
                style_loss,
                style_single,
                100 * (style_loss / style_single - 1),
            ]
        )
    numbers = numpy.array([row[1:] for row in rows])
    rows += [['mean'] + numbers.mean(axis=0).tolist(), ['deviation'] + numbers.std(axis=0).tolist()]
    common.write_table(
        args,
        [
            'style_name',
            'content_many',
            'content_single',
            'content_percent_more',
            'style_many',
            'style_single',
            'style_percent_more',
        ],
        rows,
    )
    common.write_picture(
        args, files.contact_sheet(grid, [f'{len(styles)} styles', 'one style'], [row[0] for row in rows[: len(styles)]])
    )
    panels = {}
    for kind in ('content', 'style'):
        curves = [common.curve(args, f'single-{models.style_name(style)}', f'val_{kind}') for style in styles]
        mean = numpy.mean([values for _, values in curves], axis=0)
        shared = common.curve(args, f'many-{args.styles}', f'val_{kind}', args.many_iterations)
        panels[f'{kind} loss'] = [
            shared + (f'{len(styles)} styles', 'k-'),
            (curves[0][0], mean, 'one style: mean', 'C0-'),
        ]
        panels[f'{kind} loss'] += [values + (None, 'C0:') for values in curves]
    common.plot(args, panels, 'iteration')


def finetune(args):
    """A new style by fine-tuning against training from scratch (arXiv:1610.07629, figure 6)."""
    path = common.network_to_show(args)
    new = common.style_images(args, 1, args.styles)
    name = models.style_name(new[0])
    variants = {'finetuned': (f'finetuned-{name}', ('--finetune', path)), 'from scratch': (f'single-{name}', ())}
    photos, grid, panels, rows = common.show_photos(args), [], {}, []
    for label, (run, more) in variants.items():
        network = models.load_network(common.train(args, run, new, *more))
        function, style = models.pastiche_function(network), len(network.styles) - 1
        grid.append(
            [common.as_picture(evaluation.stylize(function, network, photo, style)) for photo in photos.values()]
        )
        for kind in ('content', 'style', 'total'):
            iterations, values = common.curve(args, run, f'val_{kind}')
            panels.setdefault(f'{kind} loss', []).append((iterations, values, label, '-'))
            rows += [[label, kind, iteration, value] for iteration, value in zip(iterations, values)]
    common.plot(args, panels, 'iteration')
    common.write_picture(args, files.contact_sheet(grid, list(photos), list(variants)))
    common.write_table(args, ['network', 'loss', 'iteration', 'value'], rows)


def blend(args):
    """Convex combinations of four styles, and the way from one to another (arXiv:1610.07629, figure 7)."""
    network = network_to_combine(args, 4)
    function, photos = models.pastiche_function(network), common.show_photos(args)
    photo = next(iter(photos.values()))
    steps = numpy.linspace(0, 1, 5)
    grid = [
        [
            common.as_picture(
                evaluation.stylize(
                    function,
                    network,
                    photo,
                    {0: (1 - down) * (1 - right), 1: (1 - down) * right, 2: down * (1 - right), 3: down * right},
                )
            )
            for right in steps
        ]
        for down in steps
    ]
    common.write_picture(args, files.contact_sheet(grid))

    # The style losses along the line between the first two, with respect to either.
    styles = [path for _, path in evaluation.find_styles(files.find_images(args.style_dir), network.styles[:2])]
    if len(styles) < 2:
        raise utils.UserError(
            f'{args.style_dir} lacks an image of one of the styles {" and ".join(network.styles[:2])}'
        )
    objective_for, rows = common.judge(args), []
    objectives = [[objective_for(photo, style) for style in styles] for photo in photos.values()]
    weights = numpy.linspace(0, 1, 11)
    for weight in utils.progress(weights, desc='line', unit='blend'):
        values = []
        for photo, pair in zip(photos.values(), objectives):
            image = evaluation.stylize(function, network, photo, {0: 1 - weight, 1: weight})
            values.append([of_image(image)[0][2] for of_image in pair])
        rows.append([float(weight)] + numpy.mean(values, axis=0).tolist())
    names = network.styles[:2]
    common.write_table(args, [f'weight_of_{names[1]}'] + [f'style_loss_to_{name}' for name in names], rows)
    common.plot(
        args,
        {
            'style loss': [
                ([row[0] for row in rows], [row[i] for row in rows], f'to {name}', 'o-')
                for i, name in enumerate(names, 1)
            ]
        },
        f'weight of {names[1]}',
    )


def checkerboard(image):
    """Strength of patterns of period 2 in an image (3, H, W), 0-255.

    The four phases of the pixels are averaged over blocks of 16×16; where there is no checkerboard,
    they agree.
    """
    _, height, width = image.shape
    image = image[:, : height // 16 * 16, : width // 16 * 16]
    blocks = image.reshape(3, height // 16, 8, 2, width // 16, 8, 2).mean(axis=(2, 5))
    return 255 * float(blocks.std(axis=(2, 4)).mean())


def border_difference(function, network, photo, ring=4):
    """What a network makes of an edge that is none: mean absolute differences, 0-255.

    The middle of the photo is stylized by itself, and cut out of the whole pastiche; the two are
    compared in a ring along the edge, and inside of it.
    """
    margin = photo.shape[2] // 8 // 4 * 4
    middle = photo[:, :, margin:-margin, margin:-margin]
    whole = evaluation.stylize(function, network, photo, 0)[:, :, margin:-margin, margin:-margin]
    alone = evaluation.stylize(function, network, numpy.ascontiguousarray(middle), 0)
    difference = 255 * abs(alone - whole).mean(axis=1)[0]
    inside = numpy.zeros(difference.shape, bool)
    inside[ring:-ring, ring:-ring] = True
    return float(difference[~inside].mean()), float(difference[inside].mean())


def borders(args):
    """Mirror against zero padding, upsampling against deconvolution: borders and checkerboards."""
    photos, grid, rows = common.show_photos(args), [], []
    labels = ['instance norm', 'zero padding', 'deconvolution']
    titles = ['mirror padding, upsampling', 'zero padding, upsampling', 'mirror padding, deconvolution']
    for label, title in zip(labels, titles):
        name, path = common.variant(args, label)
        network = models.load_network(path)
        function = models.pastiche_function(network)
        numbers = []
        for photo in photos.values():
            image = evaluation.stylize(function, network, photo, 0)
            numbers.append((checkerboard(image[0]),) + border_difference(function, network, photo))
        # A corner, four times as large.
        size = args.picture_size
        corner = common.as_picture(image)[: size // 4, : size // 4].repeat(4, axis=0).repeat(4, axis=1)
        grid.append([common.as_picture(image), corner])
        rows.append([title] + numpy.mean(numbers, axis=0).tolist() + [common.curve(args, name, 'val_total')[1][-1]])
    common.write_picture(args, files.contact_sheet(grid, ['pastiche', 'its corner, enlarged'], titles))
    common.write_table(
        args, ['network', 'checkerboard', 'difference_in_border', 'difference_inside', 'val_total'], rows
    )
