"""Figures of *Perceptual Losses for Real-Time Style Transfer and Super-Resolution* (arXiv:1603.08155)."""

import os
import sys
import time

import numpy

import evaluation
import files
import models
import optimization
import runs
import utils
from architecture import Architecture
from papers import common


def clocks():
    """Seconds, of the clock and of the processor."""
    return time.perf_counter(), time.process_time()


def speed(args):
    """Seconds for the optimization and for the network (arXiv:1603.08155, table 1).

    The time of a step is the median of the steps that were timed (three at the quick scale, which the table
    says); 100, 300 and 500 steps are extrapolated from it. The network is that of the paper at any scale;
    the numbers in it do not change its speed, and are random. Seconds of the processor, of all threads
    together, are noted as well: with one thread they say more on a machine that has other work.
    """
    network = models.transformer_network(Architecture('fns'), ['style'])
    function, objective_for, rows = models.pastiche_function(network), common.judge(args, 'fns', gradient=True), []
    style = common.style_images(args, 1)[0]
    cache = os.path.join(args.run_dir, 'speed.csv')
    columns = ['size', 'steps_timed', 'seconds_per_step', 'processor_per_step', 'seconds_network', 'processor_network']
    done = runs.read_table(cache) if os.path.exists(cache) else []
    with runs.open_table(cache, columns, done) as table:
        known = {row['size']: [float(row[name]) for name in columns[1:]] for row in done if all(map(row.get, columns))}
        for size in utils.progress(args.timed_sizes, desc='timing', unit='size'):
            if str(size) in known:
                timed, *seconds = known[str(size)]
            else:
                photo = files.to_float(files.cover(files.read_image(files.find_images(args.photos)[0]), size, size))
                of_image, times = objective_for(photo, style), [clocks()]
                optimization.minimize_lbfgs(of_image, photo, args.timed_steps + 1, lambda *_: times.append(clocks()))
                # The first step includes scipy's preparations and the first touch of the memory.
                timed, seconds = args.timed_steps, numpy.median(numpy.diff(times, axis=0)[1:], axis=0).tolist()
                passes = [clocks()]
                for _ in range(6):
                    function(photo)
                    passes.append(clocks())
                seconds += numpy.median(numpy.diff(passes, axis=0)[1:], axis=0).tolist()
                runs.append_row(table, [size, timed] + [f'{value!r}' for value in seconds], sync=True)
            step, _, once, _ = seconds
            rows.append(
                [f'{size}×{size}', int(timed)]
                + seconds
                + [count * step for count in (100, 300, 500)]
                + [count * step / once for count in (100, 300, 500)]
            )
    print('seconds of 100, 300 and 500 steps: extrapolated from those of the steps that were timed', file=sys.stderr)
    common.write_table(
        args,
        ['image']
        + columns[1:]
        + ['seconds_100', 'seconds_300', 'seconds_500', 'speedup_100', 'speedup_300', 'speedup_500'],
        rows,
    )


def objective(args):
    """The objective of the network against that of the optimization over its steps (arXiv:1603.08155, figure 5)."""
    style = common.style_images(args, 1)[0]
    network = models.load_network(common.variant(args, 'instance norm')[1])
    function, photos = models.pastiche_function(network), common.show_photos(args)
    objective_for = common.judge(args, 'fns', gradient=True)
    cache = os.path.join(args.run_dir, 'objective.csv')
    columns = ['photo', 'start', 'step', 'total']
    done = runs.read_table(cache) if os.path.exists(cache) else []
    starts = {
        'photo': lambda photo: photo,
        'noise': lambda photo: numpy.random.RandomState(0).uniform(0.25, 0.75, photo.shape).astype('float32'),
    }
    with runs.open_table(cache, columns, done) as table, utils.progress(
        total=2 * len(photos) * args.steps, desc='optimizing', unit='it'
    ) as bar:
        for name, photo in photos.items():
            of_image = objective_for(photo, style)
            for start, first in starts.items():
                last = [row for row in done if row['photo'] == name and row['start'] == start]
                if last and int(last[-1]['step']) >= args.steps:
                    bar.update(args.steps)
                    continue
                values = {0: of_image(first(photo))[0][0]}

                def record(step, image, losses_of_image):
                    values[step] = losses_of_image[0]
                    bar.update()

                optimization.minimize_lbfgs(of_image, first(photo), args.steps, record)
                for step in range(args.steps + 1):
                    # Where L-BFGS has stopped early, the objective stays as it is.
                    values[step] = values.get(step, values.get(step - 1))
                    runs.append_row(table, [name, start, step, f'{values[step]:.7g}'], sync=step == args.steps)
    table = {}
    for row in runs.read_table(cache):
        table.setdefault((row['start'], int(row['step'])), {})[row['photo']] = float(row['total'])
    mean = {
        start: [float(numpy.mean([table[start, step][name] for name in photos])) for step in range(args.steps + 1)]
        for start in starts
    }
    of_network, of_photo = [], []
    for photo in photos.values():
        of_image = objective_for(photo, style)
        of_network.append(of_image(evaluation.stylize(function, network, photo, 0))[0][0])
        of_photo.append(of_image(photo)[0][0])
    of_network, of_photo = float(numpy.mean(of_network)), float(numpy.mean(of_photo))
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
    for start in starts:
        reached = [step for step in steps if mean[start][step] <= of_network]
        rows.append([f'L-BFGS from the {start} reaches the network', reached[0] if reached else 'never', ''])
        rows += [[f'L-BFGS from the {start}', step, mean[start][step]] for step in steps[:: max(1, args.steps // 10)]]
    common.write_table(args, ['image', 'step', 'objective'], rows)
