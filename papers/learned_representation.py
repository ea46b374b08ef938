"""Figures of *A Learned Representation for Artistic Style* (arXiv:1610.07629)."""

import functools

import numpy

import evaluation
import files
import models
import utils
from papers import common

# Pastiches on the way from one style to another: an odd number, so that there is one in the middle.
SEQUENCE = 7
# How many times as long as a style is fine-tuned a network learns it from scratch: in the paper for 40,000 updates.
LONGER = 8


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
    args.model = 'monet10'
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
    names, count = [models.style_name(style) for style in styles], f'{len(styles)} styles'
    singles = [common.train(args, f'single-{name}', [style]) for name, style in zip(names, styles)]
    photos, objective_for, many = common.measured_photos(args), common.judge(args), common.stylizer(path)
    shown = list(photos.values())[: args.shown]
    grid, losses = [[None] + [cell for photo in shown for cell in (common.as_picture(photo), None)]], []
    for number, (style, single) in enumerate(zip(styles, singles)):
        networks = [functools.partial(many, style=number), common.stylizer(single)]
        losses.append(common.measure(photos, objective_for, style, networks))
        images = [common.as_picture(network(photo)) for photo in shown for network in networks]
        grid.append(common.style_pictures(args, names[number : number + 1]) + images)
    # Of styles, networks, photos and kinds of losses.
    losses = numpy.array(losses)
    means, deviations = losses.mean(axis=2), losses.std(axis=2)
    columns, numbers = ['style_name'], []
    for kind, name in enumerate(('content', 'style')):
        for network, label in enumerate(('many', 'single')):
            columns += [f'{name}_{label}', f'{name}_{label}_deviation']
            numbers += [means[:, network, kind], deviations[:, network, kind]]
        columns.append(f'{name}_percent_more')
        numbers.append(100 * (means[:, 0, kind] / means[:, 1, kind] - 1))
    rows = [[name] + row for name, row in zip(names, numpy.transpose(numbers).tolist())]
    for label, function in (('mean', numpy.mean), ('deviation', numpy.std)):
        rows.append([label] + function(numbers, axis=1).tolist())
    common.write_table(args, columns, rows)
    common.write_picture(args, files.contact_sheet(grid, ['style'] + [count, 'one style'] * len(shown), [''] + names))
    plot_many_styles(args, names, count, means, deviations)


def plot_many_styles(args, names, count, means, deviations):
    """Draw the learning curves of each style, and the final losses with their deviations over the photos."""
    panels, ticks = {}, {}
    for kind, name in enumerate(('content', 'style')):
        shared = common.style_curves(args, f'many-{args.styles}', name, args.many_iterations)
        lines = panels[f'{name} loss while learning'] = []
        for number, style in enumerate(names):
            color, alone = f'C{number % 10}', common.curve(args, f'single-{style}', f'val_{name}')
            lines.append((*alone, None if number else 'one style', f'{color}-'))
            # Of many styles those have a curve that are validated.
            if style in shared:
                lines.append((*shared[style], None if number else count, f'{color}--'))
        title, places = f'final {name} loss of photos', numpy.arange(len(names))
        ticks[title] = names
        panels[title] = [
            (places + shift, means[:, network, kind], label, marker, deviations[:, network, kind])
            for network, shift, label, marker in ((0, -0.1, count, 'ks'), (1, 0.1, 'one style', 'C1o'))
        ]
    common.plot(args, panels, 'iteration', columns=2, ticks=ticks)


def finetune(args):
    """A new style by fine-tuning against training from scratch (arXiv:1610.07629, figure 6)."""
    path = common.network_to_show(args)
    new = common.style_images(args, 1, args.styles)
    name, few = models.style_name(new[0]), args.finetune_iterations
    runs = {'fine-tuned': f'finetuned-{name}', 'from scratch': f'scratch-{name}-longer'}
    paths = [
        common.train(args, runs['fine-tuned'], new, '--finetune', path, iterations=few),
        common.train(args, f'scratch-{name}', new, iterations=few),
        common.train_on(args, f'scratch-{name}', new, iterations=LONGER * few),
    ]
    photos, objective_for = common.measured_photos(args), common.judge(args)
    pastiches = [common.stylizer(paths[0], -1), *map(common.stylizer, paths[1:])]
    losses = common.measure(photos, objective_for, new[0], pastiches)
    labels = ['fine-tuned', 'from scratch', 'from scratch']
    iterations = [models.load_network(path).meta['training']['iterations'] for path in paths]
    rows = [
        [label, count, *numpy.transpose([of_network.mean(axis=0), of_network.std(axis=0)]).ravel().tolist()]
        for label, count, of_network in zip(labels, iterations, losses)
    ]
    columns = ['network', 'iterations', 'content', 'content_deviation', 'style', 'style_deviation']
    common.write_table(args, columns, rows, '-photos')
    grid = [
        [None, common.as_picture(photo)] + [common.as_picture(pastiche(photo)) for pastiche in pastiches]
        for photo in list(photos.values())[: args.shown]
    ]
    grid[0][:1] = common.style_pictures(args, [name])
    titles = [f'{label}, {count}' for label, count in zip(labels, iterations)]
    common.write_picture(args, files.contact_sheet(grid, ['style', 'photo'] + titles))
    panels, rows = {}, []
    for (label, run), last in zip(runs.items(), (few, LONGER * few)):
        for kind in ('content', 'style', 'total'):
            curve = common.curve(args, run, f'val_{kind}', last)
            panels.setdefault(f'{kind} loss', []).append((*curve, label, '-'))
            rows += [[label, kind, iteration, value] for iteration, value in zip(*curve)]
    common.plot(args, panels, 'iteration')
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
