"""Stylize clips with a trained network: steady, with their sound and their times.

    python video.py clip.mp4 --model misc32 --style stained-glass --output out.mp4
    python video.py clip.mp4 --model misc32 --style-at 0=ink-wash,4=lily-pond --output out.webm
    python video.py frames/ --rate 24 --model misc32 --style ink-wash --output pastiches/

An interrupted run carries on, by the same command, with the frames that it has.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(__file__))  # which PYTHONSAFEPATH leaves out
import environment

environment.check({'av': 'av', 'cv2': 'opencv-python-headless'}, 'video')

import mixtures
import options
import pieces
import runs
import steadiness
import utils
import videos
from formats import networks


def parse_arguments():
    parser = options.Parser(__doc__)
    parser.add_argument('clip', metavar='CLIP', help='a video file, a folder of frames, or a pattern of their names')
    parser.add_argument('--model', required=True, help='a trained network (.npz), or the name of one in data/models')
    options.add_network(parser)
    options.add_styles(parser)
    parser.add_argument(
        '--style-at',
        metavar='SECONDS=STYLE,...',
        help='styles that change over time, such as 0=ink-wash,4=lily-pond, blended in between',
    )
    parser.add_argument(
        '--output', required=True, help='the clip to write (%s), or a folder for its frames' % ', '.join(videos.FORMATS)
    )
    parser.add_argument('--start', type=options.not_negative, default=0.0, help='seconds to leave out first')
    parser.add_argument('--duration', type=options.positive, help='seconds to stylize at most')
    parser.add_argument('--size', type=options.positive_int, help='resize the frames to this shorter side first')
    parser.add_argument('--rate', type=options.positive, help='frames per second of a folder of frames (default: 25)')
    parser.add_argument(
        '--steady',
        type=options.fraction,
        default=0.6,
        metavar='SHARE',
        help='of the last pastiche, brought forward by the motion in the clip, in the next one; 0 is frame by frame',
    )
    parser.add_argument(
        '--precision',
        choices=['float32', 'bf16'],
        default='float32',
        help='of the factors of convolutions with oneDNN; bf16 is faster on processors with AVX512-BF16',
    )
    options.add_overwrite(parser)
    options.add_device(parser)
    return parser.parse_args()


def styles_over_time(args, names):
    """Which mixture is meant at which time: a list of pairs (seconds, mixture)."""
    if args.style_at is None:
        styles = options.styles(args, names)
        if len(styles) > 1:
            raise utils.UserError(f'{len(styles)} styles are chosen: a clip has one, a --blend, or --style-at')
        return [(0.0, styles[0][1])]
    if any(getattr(args, option) is not None for option in ('style', 'style_index', 'blend')):
        raise utils.UserError('--style-at names all styles: leave --style, --style-index and --blend away')
    return mixtures.parse_times(args.style_at, names)


def main():
    args = parse_arguments()
    path = networks.find(args.model)
    _, names, _ = networks.read_settings(path, args.network)
    times = styles_over_time(args, names or ['style'])
    clip = videos.open_input(args.clip, args.rate, args.start, args.duration, args.size)
    with pieces.open_output(args.output, clip, pieces.settings(args, path, times), args.overwrite) as output:
        # Theano takes seconds to import: all that needs none of it has been answered or refused by now.
        from pastiches import Stylist

        stylist = Stylist(path, args.network, options.device(args))
        caught = runs.catch_interrupts()
        with utils.progress(total=clip.count, initial=output.done, desc='stylizing', unit='frame') as bar:
            for frame, state in steadiness.pastiches(clip, stylist, times, args.steady, output.done, output.state):
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
