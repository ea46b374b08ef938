"""Figures of *Perceptual Losses for Real-Time Style Transfer and Super-Resolution* (arXiv:1603.08155)."""

import os
import time

import numpy

import evaluation
import files
import losses
import models
import optimization
import options
import runs
import scores
import utils
from architecture import Architecture
from papers import common


# Steps of the optimization in table 1, and the columns of what was timed for a size.
COUNTS = 100, 300, 500
CLOCKS = 'seconds', 'processor'
TIMES = ['size', 'asked', 'steps_timed', *(f'{clock}_{count}' for count in COUNTS for clock in CLOCKS)]
TIMES += ['seconds_per_step', 'processor_per_step', 'seconds_network', 'processor_network']


def speed(args):
    """Seconds for the optimization and for the network (arXiv:1603.08155, table 1).

    Those of the first 100, 300 and 500 steps are those of one run, as far as it goes: `timed_steps` says. What lies
    beyond its end is extrapolated by the median of its steps, and the table says of which that is so. Times that
    an earlier run took for a size stay, unless more steps are asked for. The network is that of the paper at any scale;
    the numbers in it do not change its speed, and are random. Seconds of the processor, of all threads together, are
    noted as well: they say more on a machine that has other work.
    """
    cache = os.path.join(args.run_dir, 'speed.csv')
    done = [row for row in (runs.read_table(cache) if os.path.exists(cache) else []) if row[TIMES[-1]]]
    known, rows = {int(row['size']): row for row in done}, []
    missing = [size for size in args.timed_sizes if size not in known or int(known[size]['asked']) < args.timed_steps]
    with runs.open_table(cache, TIMES, [row for row in done if int(row['size']) not in missing]) as table:
        if missing:
            network = models.transformer_network(Architecture('fns'), ['style'])
            function, objective_for = models.pastiche_function(network), common.judge(args, 'fns', gradient=True)
        for size in missing:
            photo = files.to_float(files.cover(files.read_image(files.find_images(args.photos)[0]), size, size))
            of_image = objective_for(photo, common.style_images(args, 1)[0])
            times = [args.timed_steps, *time_steps(of_image, photo, args.timed_steps), *time_passes(function, photo)]
            known[size] = dict(zip(TIMES, map(str, [size, *times])))
            runs.append_row(table, list(known[size].values()), sync=True)
    for size in args.timed_sizes:
        row = known[size]
        rows.append([f'{size}×{size}', row['steps_timed'], ' '.join(str(n) for n in COUNTS if not row[f'seconds_{n}'])])
        rows[-1] += [float(row[name]) for name in TIMES[-4:]]
        for clock in CLOCKS:
            values = [float(row[f'{clock}_{n}'] or n * float(row[f'{clock}_per_step'])) for n in COUNTS]
            rows[-1] += values + [value / float(row[f'{clock}_network']) for value in values]
    common.write_table(
        args,
        ['image', 'steps_timed', 'extrapolated', *TIMES[-4:]]
        + [f'{what}_{count}' for clock in CLOCKS for what in (clock, f'{clock}_ratio') for count in COUNTS],
        rows,
    )


def clocks():
    """Seconds, of the clock and of the processor."""
    return time.perf_counter(), time.process_time()


def time_steps(of_image, photo, count):
    """Time so many steps of L-BFGS: how many it took, the seconds of the counts in the table, those of a step."""
    times = [clocks()]
    with utils.progress(total=count, desc=f'timing at {photo.shape[2]}', unit='it') as bar:

        def record(*_):
            times.append(clocks())
            bar.update()

        # The first step includes scipy's preparations and the first touch of the memory: one more tells of the others.
        optimization.minimize_lbfgs(of_image, photo, max(count, 2), record)
    of_start = times[0]
    reached = [times[n][i] - of_start[i] if n < len(times) else '' for n in COUNTS for i in range(len(CLOCKS))]
    return [len(times) - 1, *reached, *numpy.median(numpy.diff(times, axis=0)[1:], axis=0).tolist()]


def time_passes(function, photo):
    """The seconds of a pass through the network: medians of five, by the clock and by the processor."""
    passes = [clocks()]
    for _ in range(6):
        function(photo)
        passes.append(clocks())
    return numpy.median(numpy.diff(passes, axis=0)[1:], axis=0).tolist()


def objective(args):
    """The objective of the network against that of the optimization over its steps (arXiv:1603.08155, figure 5)."""
    network, number, style = common.network_of_a_style(args)
    kind = network.architecture.network
    function, objective_for = models.pastiche_function(network), common.judge(args, kind, gradient=True)
    photos, totals, of_network = common.show_photos(args), {'photo': [], 'noise': []}, []
    with utils.progress(total=2 * len(photos) * args.steps, desc='optimizing', unit='it') as bar:
        for name, photo in photos.items():
            of_image, noise = objective_for(photo, style), common.noise_like(photo)
            for start, key, image in (('photo', name, photo), ('noise', f'noise-for-{name}', noise)):
                _, path = common.optimized_pastiche(args, kind, key, image, style, of_image, bar)
                # Where L-BFGS has stopped early, the objective stays as it is.
                totals[start].append(numpy.pad(path[:, 0], (0, args.steps + 1 - len(path)), mode='edge'))
            of_network.append(of_image(evaluation.stylize(function, network, photo, number))[0][0])
    mean = {start: numpy.mean(of_photos, axis=0).tolist() for start, of_photos in totals.items()}
    of_network, of_photo = float(numpy.mean(of_network)), mean['photo'][0]
    steps = list(range(args.steps + 1))
    common.plot(
        args,
        {
            'objective': [
                (steps, mean['photo'], 'L-BFGS from the photo', 'C0-'),
                (steps, mean['noise'], 'L-BFGS from noise', 'C1-'),
                (steps, [of_network] * len(steps), 'network', 'C2-'),
                (steps, [of_photo] * len(steps), 'untouched photo', 'k:'),
            ]
        },
        'step of the optimization',
    )
    rows = [['untouched photo', '', of_photo], ['network', '', of_network]]
    for start in mean:
        reached = [step for step in steps if mean[start][step] <= of_network]
        rows.append([f'L-BFGS from the {start} reaches the network', reached[0] if reached else 'never', ''])
        rows += [[f'L-BFGS from the {start}', step, mean[start][step]] for step in steps[:: max(1, args.steps // 10)]]
    common.write_table(args, ['image', 'step', 'objective'], rows)


def side_by_side(args):
    """Pastiches of the network and of the optimization, and their losses (arXiv:1603.08155, figure 6).

    The table says as well after how many steps from the photo the optimization has no more loss than an image.
    """
    network, number, style = common.network_of_a_style(args)
    kind = network.architecture.network
    function, objective_for = models.pastiche_function(network), common.judge(args, kind, gradient=True)
    photos, grid, rows = common.show_photos(args), [], []
    ((_, painting),) = evaluation.read_photos([style], args.picture_size).items()
    with utils.progress(total=len(photos) * args.steps, desc='optimizing', unit='it') as bar:
        for name, photo in photos.items():
            of_image = objective_for(photo, style)
            optimized, path = common.optimized_pastiche(args, kind, name, photo, style, of_image, bar)
            images = {'photo': photo, 'optimization': optimized}
            images['network'] = evaluation.stylize(function, network, photo, number)
            for label, image in images.items():
                values = of_image(image)[0][:3]
                there = numpy.flatnonzero(path[:, 0] <= values[0])
                rows.append([name, label, *map(float, values), int(there[0]) if len(there) else f'> {len(path) - 1}'])
            grid.append([common.as_picture(image) for image in (photo, painting, optimized, images['network'])])
    common.write_picture(args, files.contact_sheet(grid, ['photo', 'style', 'optimization', 'network']))
    common.write_table(args, ['photo', 'image', 'total', 'content', 'style', 'steps'], rows)


def sizes(args):
    """Photos of several sizes by one network (arXiv:1603.08155, figure 7; arXiv:1607.08022, figure 6).

    The losses are those of `evaluate.py`: the style loss in percent of the untouched photo's of that size, and the
    content loss in relation to the mean square of its features. The picture has the pastiches of the first photo,
    and the middle of each in its own pixels.
    """
    network, number, style = common.network_of_a_style(args)
    loss, shown, rows = options.objective(args, network.architecture.network), [], []
    judge = evaluation.Evaluation(network, loss, [(number, style)], args.style_size, options.device(args))
    columns = ['style_name', 'photo', 'image', *losses.loss_names(loss), scores.CONTENT_SCALE]
    paths = files.find_images(args.photos)[: args.shown]
    with utils.progress(total=len(paths) * len(args.timed_sizes), desc='stylizing', unit='photo') as bar:
        for size in args.timed_sizes:
            measured = []
            for path in paths:
                photo = files.to_float(files.read_image(path, size=size))
                for kind, image, values, _ in judge.measure(photo, number, ['photo', 'network'], 0):
                    measured.append(dict(zip(columns, [style, path, kind, *values])))
                    if path == paths[0] and (kind == 'network' or not shown):
                        shown.append(common.as_picture(image))
                bar.update()
            ((_, _, *relative),) = scores.relate(measured, [style])
            rows.append([size, len(paths), *map(float, relative)])
    labels = ['photo', *(f'{size} pixels' for size in args.timed_sizes)]
    middles = [None, *(middle(image, args.picture_size) for image in shown[1:])]
    whole = [files.thumbnail(image, args.picture_size) for image in shown]
    common.write_picture(args, files.contact_sheet([whole, middles], labels, ['whole', 'its middle']))
    common.write_table(args, ['size', 'photos', *scores.RELATIVE[2:]], rows)


def middle(image, size):
    """The square of this side in the middle of an image (H, W, 3), or what there is of it."""
    top, left = (max(0, side - size) // 2 for side in image.shape[:2])
    return image[top : top + size, left : left + size]
