"""All figures, one after the other."""

import json
import os
import sys

import files
import runs
import utils
from formats import networks
from papers import common, page

# What does not change a figure: where its parts lie, and what computes it.
FREE = 'figure', 'output', 'run_dir', 'device', 'backend', 'precision', 'tf32', 'max_pixels'


def make(args, figures, words):
    """Make all figures but those that are finished, then the page; returns the status of the program.

    A figure that fails does not hold up the others.

    Parameters
    ----------
    args : argparse.Namespace
    figures : iterable of str
    words : list of str
        The command line, without its figure.
    """
    path, settings, failed = os.path.join(args.run_dir, 'finished.json'), settings_of(args), []
    files.make_folder(args.run_dir)
    for figure in figures:
        table, finished = os.path.join(args.output, f'{figure}.csv'), read_finished(path)
        if finished.get(figure) == settings and os.path.exists(table):
            print(f'{table}: made before')
            continue
        print(f'making {figure}', file=sys.stderr)
        status = common.run([sys.executable, os.path.join(common.ROOT, 'figures.py'), figure, *words])
        if common.interrupted(status):
            raise KeyboardInterrupt
        if status:
            failed.append(figure)
        else:
            with files.atomic_write(path) as file:
                file.write(json.dumps(dict(finished, **{figure: settings}), sort_keys=True, indent=1).encode())
    try:
        page.write()
    except utils.UserError as error:
        print(f'error: {utils.one_line(error)}', file=sys.stderr)
        failed.append('page')
    if failed:
        print(f'error: failed: {", ".join(failed)}; the same command makes what is missing', file=sys.stderr)
    return 1 if failed else None


def settings_of(args):
    """What decides on all figures, the contents of photos, paintings and networks among it."""
    shown = [path for folder in (args.photos, [args.style_dir]) for path in files.find_images(folder)]
    shipped = [
        os.path.join(networks.MODELS, f'{name}.npz')
        for task in ('stylize', 'upscale')
        for name in networks.shipped(task)
    ]
    settings = {name: value for name, value in vars(args).items() if name not in FREE}
    settings['images'] = runs.fingerprint(shown)
    settings['networks'] = runs.fingerprint(shipped + ([networks.find(args.model)] if args.model else []))
    return json.loads(json.dumps(settings))


def read_finished(path):
    """{figure: the settings that it was made with}."""
    if not os.path.exists(path):
        return {}
    try:
        with open(path, encoding='utf-8') as file:
            return dict(json.load(file))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise utils.UserError(f'{path}: cannot read: {utils.reason(error)}; without it all figures are made again')
