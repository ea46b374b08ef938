"""Stylize clips with a trained network: steady, with their sound and their times.

    python video.py clip.mp4 --model misc32 --style stained-glass --output out.mp4
    python video.py clip.mp4 --model misc32 --style-at 0=ink-wash,4=lily-pond --output out.webm
    python video.py frames/ --rate 24 --model misc32 --style ink-wash --output pastiches/
    python video.py --camera 0 --model misc32

An interrupted run carries on, by the same command, with the frames that it has.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(__file__))  # which PYTHONSAFEPATH leaves out
import environment

environment.check({'av': 'av', 'cv2': 'opencv-python-headless'}, 'video')

import contextlib
import functools

import cluster
import files
import live
import mixtures
import options
import pieces
import runs
import steadiness
import utils
import videos
from formats import networks

STYLE_OPTIONS = ('style', 'style_index', 'blend', 'style_map', 'checkerboard')


def parse_arguments():
    parser = options.Parser(__doc__)
    parser.add_argument(
        'clip', nargs='?', metavar='CLIP', help='a video file, a folder of frames, or a pattern of their names'
    )
    parser.add_argument('--model', required=True, help='a trained network (.npz), or the name of one in data/models')
    options.add_network(parser)
    options.add_styles(parser)
    options.add_style_maps(parser)
    parser.add_argument(
        '--style-at',
        metavar='SECONDS=STYLE,...',
        help='styles that change over time, such as 0=ink-wash,4=lily-pond, blended in between',
    )
    parser.add_argument(
        '--output',
        help=(
            f'the clip to write ({", ".join(videos.FORMATS)}), or a folder for its frames; with '
            '--camera a folder for snapshots and recordings'
        ),
    )
    parser.add_argument(
        '--camera',
        metavar='NUMBER',
        help='show what a camera sees in a window; or the name of a clip, which is played. Keys: %s'
        % ', '.join(f'{key}: {what}' for key, what in live.KEYS.items()),
    )
    parser.add_argument('--loop', action='store_true', help='with --camera, play the clip again and again')
    parser.add_argument('--start', type=options.not_negative, default=0.0, help='seconds to leave out first')
    parser.add_argument('--duration', type=options.positive, help='seconds to stylize at most')
    parser.add_argument('--size', type=options.positive_int, help='resize the frames to this shorter side first')
    parser.add_argument('--rate', type=options.positive, help='frames per second of a folder of frames (default: 25)')
    parser.add_argument(
        '--steady',
        type=options.fraction,
        default=0.7,
        metavar='SHARE',
        help='of the last pastiche, brought forward by the motion in the clip, in the next one; 0 is frame by frame',
    )
    options.add_controls(parser)
    options.add_precision(parser)
    options.add_overwrite(parser)
    options.add_max_pixels(parser)
    options.add_cluster(parser, 'frames')
    options.add_device(parser)
    args = parser.parse_args()
    if args.camera is not None and (args.scheduler or args.workers):
        parser.error('--scheduler and --workers are for clips, and --camera is shown here')
    if args.camera is None and (args.clip is None or args.output is None):
        parser.error('a clip and --output are missing, or --camera')
    if args.camera is not None and any((args.clip, args.blend, args.style_at, args.style_map, args.checkerboard)):
        parser.error('--camera takes no clip to write, and of the options for styles --style and --style-index')
    return args


def styles_over_time(args, names):
    """Which mixture or style map is meant at which time: a list of pairs (seconds, mixture)."""
    if args.style_at is None:
        styles = options.styles(args, names)
        if len(styles) > 1:
            raise utils.UserError(f'{len(styles)} styles are chosen: a clip has one, a --blend, or --style-at')
        return [(0.0, styles[0][1])]
    if any(getattr(args, option) is not None for option in STYLE_OPTIONS):
        raise utils.UserError('--style-at names all styles: leave the other options for styles away')
    return mixtures.parse_times(args.style_at, names)


def watch(args, model, names):
    """Show what a camera sees, or a clip, in a window."""
    if args.camera.isdecimal():
        frames = live.camera(int(args.camera), args.size)
    else:
        frames = live.played(videos.open_input(args.camera, args.rate, args.start, args.duration, args.size), args.loop)
    chosen = args.style is not None or args.style_index is not None
    style = next(iter(options.styles(args, names)[0][1])) if chosen else 0
    files.make_folder(args.output or '.')
    window = live.open_window()

    from pastiches import Stylist

    stylist = Stylist(model, args.network, options.device(args))
    live.show(window, live.Live(stylist, style, args.steady, args.output or '.', options.controls(args)), frames)


@contextlib.contextmanager
def stylizing(args, model, controls):
    """Context manager around what stylizes frames, as `steadiness.pastiches` takes it: here, or over a cluster."""
    settings = model, args.network, options.device(args)
    if args.scheduler or args.workers:
        with cluster.connected(args.scheduler, args.workers) as client:
            yield functools.partial(cluster.stylize_frames, client, settings, args.clip, controls)
        return

    # Theano takes seconds to import: all that needs none of it has been answered or refused by now.
    from pastiches import Stylist

    yield functools.partial(Stylist(*settings).stylize_frames, args.clip, controls)


def main():
    args = parse_arguments()
    path = networks.find(args.model)
    architecture, names, _ = networks.read_settings(path, args.network)
    networks.check_task(path, architecture)
    if args.camera is not None:
        return watch(args, path, names or ['style'])
    times, controls = styles_over_time(args, names or ['style']), options.controls(args)
    clip = videos.open_input(args.clip, args.rate, args.start, args.duration, args.size)
    lost = int(round(architecture.lost * controls.stroke_scale))
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(pieces.open_output(args.output, clip, pieces.settings(args, path), args.overwrite))
        stylize = stack.enter_context(stylizing(args, path, controls))
        caught = runs.catch_interrupts()
        with utils.progress(total=clip.count, initial=output.done, desc='stylizing', unit='frame') as bar:
            done = output.done, output.state
            for frame, state in steadiness.pastiches(clip, stylize, times, args.steady, *done, lost):
                output.write(frame, state)
                bar.update()
                if caught:
                    break
        if caught:
            output.keep()
            print(f'stopped after frame {output.done}; the same command carries on', file=sys.stderr)
            return 128 + caught[0]
        output.finish()
    if clip.damaged:
        print(f'{args.clip}: {clip.damaged} damaged packets were left out', file=sys.stderr)
    print(args.output)
    return None


if __name__ == '__main__':
    utils.run_script(main)
