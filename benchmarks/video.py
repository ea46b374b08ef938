"""Measure the stylizing of clips: how steady it is, and how fast.

    python benchmarks/video.py steadiness clip.mp4 ... --model misc32 --styles stained-glass,ink-wash
    python benchmarks/video.py speed clip.mp4 --models misc32 misc32-slim --sizes 288,720

Steadiness: the mean squared difference of each pastiche and the one before, brought forward by the motion of the clip
where that is trusted, divided by the same of the pastiches made frame by frame; and the style loss (layers and
normalization that the network was trained with), divided likewise. The motion of the measurement is not that of the
method: it is found at full size, by a finer search, and trusted where it leads back. A photo that is panned by three
pixels to the right and one down for each frame, whose motion is known, is measured as well.

Speed: frames per second of the whole run, decoding and encoding included, of video.py and of what is usual: a loop that
decodes, runs the network in ONNX Runtime, and encodes. Both take turns; the better of two turns counts.
"""

import argparse
import glob
import itertools
import os
import sys
import tempfile
import time

import cv2
import numpy

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, ROOT)

import files
import models
import pieces
import steadiness
import videos
from backend import T, theano
from backend.formulas import GramMatrix
from controls import Controls
from formats import foreign, networks, onnx_graph, vgg
from pastiches import Stylist

STYLE_LAYERS = ['conv1_2', 'conv2_2', 'conv3_3', 'conv4_3']


def found_motion(before, frame):
    """The motion between two frames, as the measurement finds it."""
    before, frame = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (before, frame))
    finder = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    back, forth = finder.calc(frame, before, None), finder.calc(before, frame, None)
    astray = back + steadiness.bring_forward(forth, back, cv2.INTER_LINEAR)
    returns = (astray**2).sum(-1) < 0.02 * (back**2).sum(-1) + 0.5
    return trusted(back, returns)


def trusted(flow, where):
    """The motion, which counts where it stays within the frame, too."""
    height, width = flow.shape[:2]
    x, y = numpy.meshgrid(numpy.arange(width), numpy.arange(height))
    x, y = x + flow[..., 0], y + flow[..., 1]
    inside = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
    return steadiness.Motion(flow, (where & inside).astype('float32'))


def panned(count, height, width):
    """Frames of the panned photo, and their motion."""
    photo = files.read_image(os.path.join(ROOT, 'data', 'samples', 'pavilion.jpg'))
    frames = [numpy.ascontiguousarray(photo[i : i + height, 3 * i : 3 * i + width]) for i in range(count)]
    flow = numpy.empty((height, width, 2), 'float32')
    flow[:] = 3, 1
    return frames, [trusted(flow, True)] * (count - 1)


def style_grams(weights):
    """A function of an image: the Gram matrices of the style loss."""
    image = T.tensor4()
    features = models.loss_network(image, weights, STYLE_LAYERS)
    grams = theano.function([image], [GramMatrix()(features[layer]) for layer in STYLE_LAYERS])
    return lambda picture: grams(files.to_float(picture))


def style_loss(grams, images, target):
    """The mean style loss of images against the Gram matrices of a painting."""
    return numpy.mean([((x - y) ** 2).mean() for image in images for x, y in zip(grams(image), target)])


def measure_steadiness(args):
    grams = style_grams(vgg.read_all(args.loss_weights or [vgg.find()]))
    stylist = Stylist(args.model)
    print(
        'clip, style | frame by frame | '
        + ' | '.join(f'steady {share}: less unsteady, style loss' for share in args.shares)
    )
    for clip in args.clips + ['the panned photo']:
        if clip in args.clips:
            frames = videos.Clip(clip, args.start, size=args.size)
            frames = [frame.image for frame in itertools.islice(frames, args.frames)]
            motions = [found_motion(a, b) for a, b in zip(frames, frames[1:])]
        else:
            frames, motions = panned(args.frames, args.size, args.size * 4 // 3)
        moved = [None] + [steadiness.motion(a, b) for a, b in zip(frames, frames[1:])]
        own = instability(frames, motions)
        for style in args.styles:
            painting = glob.glob(os.path.join(ROOT, 'data', 'styles', 'misc32', f'*_{style}.jpg'))[0]
            target = grams(files.read_image(painting, size=512))
            alone = [stylist(frame, style) for frame in frames]
            cells = [f'{instability(alone, motions):.2e}, of the clip {own:.1e}']
            sample = range(len(frames) // 3, len(frames), 4)
            before = style_loss(grams, [alone[i] for i in sample], target)
            for share in args.shares:
                steadier = steadiness.Steadier(share)
                steady = [steadier(pastiche, m) for pastiche, m in zip(alone, moved)]
                after = style_loss(grams, [steady[i] for i in sample], target)
                ratio = instability(steady, motions) / instability(alone, motions)
                cells.append(f'{ratio:.2f}, {100 * (after / before - 1):+.0f} %')
            print(f'{os.path.basename(clip)}, {style} | ' + ' | '.join(cells), flush=True)


def instability(images, motions):
    return numpy.mean([steadiness.instability(a, b, m) for a, b, m in zip(images, images[1:], motions)])


def ours(clip, stylist, style, share, folder):
    """Frames per second of video.py's own pipeline, and the share of the time that the network computes."""
    busy = [0.0]

    def timed(frames):
        for frame in frames:
            start = time.perf_counter()
            yield from stylist.stylize_frames(clip.path, Controls(), [frame])
            busy[0] += time.perf_counter() - start

    start, count = time.perf_counter(), 0
    with pieces.open_output(os.path.join(folder, 'ours.mp4'), clip, {}, overwrite=True) as output:
        for frame, state in steadiness.pastiches(clip, timed, [(0, {style: 1.0})], share):
            output.write(frame, state)
            count += 1
        output.finish()
    seconds = time.perf_counter() - start
    return count / seconds, busy[0] / seconds


def usual(clip, session, folder):
    """Frames per second of a loop around ONNX Runtime."""
    start, count = time.perf_counter(), 0
    encoder = videos.Encoder(
        os.path.join(folder, 'usual.mp4'), videos.FORMATS['.mp4'], 'mp4', clip.rate, clip.time_base
    )
    for frame in clip:
        pastiche = session.run(None, {'image': files.to_float(frame.image)})[0]
        encoder.write(frame._replace(image=files.to_uint8(pastiche)[0]))
        count += 1
    encoder.close()
    return count / (time.perf_counter() - start)


def measure_speed(args):
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = int(os.environ.get('OMP_NUM_THREADS', os.cpu_count()))
    print('network | frames | steady 0.7 | frame by frame | ONNX Runtime, frame by frame | of the time in the network')
    with tempfile.TemporaryDirectory() as folder:
        for model in args.models:
            stylist, network = Stylist(model), foreign.read(networks.find(model))
            exported = os.path.join(folder, 'network.onnx')
            onnx_graph.write(exported, *network, style=stylist.styles[0])
            session = onnxruntime.InferenceSession(exported, settings, providers=['CPUExecutionProvider'])
            for size in args.sizes:
                clip = videos.Clip(args.clip, duration=args.seconds * (288 / size) ** 1.5, size=size)
                first = next(iter(clip)).image
                stylist(first, 0), session.run(None, {'image': files.to_float(first)})
                turns = [
                    ours(clip, stylist, 0, 0.7, folder)
                    + ours(clip, stylist, 0, 0.0, folder)
                    + (usual(clip, session, folder),)
                    for _ in range(2)
                ]
                steady, busy, alone, busy_alone, other = numpy.max(turns, 0)
                print(
                    f'{os.path.basename(model)} | {first.shape[1]} x {first.shape[0]} | {steady:.2f}/s '
                    f'| {alone:.2f}/s | {other:.2f}/s | {round(100 * busy)} %, {round(100 * busy_alone)} %',
                    flush=True,
                )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True)
    steady = commands.add_parser('steadiness')
    steady.add_argument('clips', nargs='+')
    steady.add_argument('--model', default='misc32')
    steady.add_argument('--styles', type=lambda text: text.split(','), default=['stained-glass', 'ink-wash'])
    steady.add_argument('--shares', type=lambda text: [float(x) for x in text.split(',')], default=[0.5, 0.7, 0.8])
    steady.add_argument('--frames', type=int, default=24)
    steady.add_argument('--start', type=float, default=1)
    steady.add_argument('--size', type=int, default=288)
    steady.add_argument('--loss-weights', nargs='+')
    speed = commands.add_parser('speed')
    speed.add_argument('clip')
    speed.add_argument('--models', nargs='+', default=['misc32'])
    speed.add_argument('--sizes', type=lambda text: [int(x) for x in text.split(',')], default=[288, 720])
    speed.add_argument('--seconds', type=float, default=1.5, help='of the clip at a size of 288; less of larger ones')
    args = parser.parse_args()
    measure_speed(args) if args.command == 'speed' else measure_steadiness(args)


if __name__ == '__main__':
    main()
