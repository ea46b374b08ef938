"""Draw a clip to try video.py with: a photo of data/samples that the camera moves over, a balloon, and a melody.

python data/make_clip.py demo/clip.mp4
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import environment

environment.check({'av': 'av', 'cv2': 'opencv-python-headless'}, 'video')

from fractions import Fraction

import av
import cv2
import numpy

import files
import options
import utils
import videos

RATE, SIZE = 24, (320, 180)
PHOTO = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'samples', 'pavilion.jpg')
MELODY = (262, 330, 392, 523, 392, 330)  # hertz, of half a second each


def frame(photo, time):
    """The frame at a time in [0, 1) of the clip, which ends where it began; uint8 (H, W, 3)."""
    turn = 2 * numpy.pi * time
    height, width = photo.shape[:2]
    # The camera: a circle around the middle of the photo, nearer and farther.
    scale = (1.25 + 0.15 * numpy.cos(turn)) * SIZE[0] / width
    x, y = width * (0.5 + 0.08 * numpy.sin(turn)), height * (0.5 + 0.08 * numpy.cos(turn))
    matrix = numpy.array([[scale, 0, SIZE[0] / 2 - scale * x], [0, scale, SIZE[1] / 2 - scale * y]])
    image = cv2.warpAffine(photo, matrix, SIZE, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT)
    # The balloon crosses it.
    center = (int(16 * (-30 + (SIZE[0] + 60) * time)), int(16 * (60 + 12 * numpy.sin(3 * turn))))
    cv2.line(image, center, (center[0] - 64, center[1] + 800), (70, 60, 60), 1, cv2.LINE_AA, 4)
    cv2.circle(image, center, 16 * 22, (214, 60, 52), -1, cv2.LINE_AA, 4)
    cv2.circle(image, (center[0] - 110, center[1] - 130), 16 * 5, (250, 190, 180), -1, cv2.LINE_AA, 4)
    return image


def melody(seconds):
    """Samples in [-1, 1], 48,000 a second."""
    time = numpy.arange(int(48000 * seconds)) / 48000
    note = (2 * time).astype(int)
    return (
        0.3
        * numpy.sin(2 * numpy.pi * numpy.array(MELODY)[note % len(MELODY)] * time)
        * numpy.exp(-3 * (2 * time - note))
    )


def main():
    parser = options.Parser(__doc__)
    parser.add_argument('output', help='the clip to write, .mp4')
    parser.add_argument('--seconds', type=options.positive, default=3.0)
    options.add_overwrite(parser)
    args = parser.parse_args()
    files.make_folder(os.path.dirname(args.output) or '.')
    files.check_outputs({args.output: os.path.basename(args.output) == 'clip.mp4'}, [PHOTO], args.overwrite)
    photo, count = files.read_image(PHOTO), max(1, round(args.seconds * RATE))
    with files.atomic_path(args.output) as temporary, videos.complaints(args.output, 'cannot write'):
        encoder = videos.Encoder(temporary, videos.FORMATS['.mp4'], 'mp4', RATE, Fraction(1, RATE))
        sound = encoder.container.add_stream('aac', rate=48000)
        for number in range(count):
            encoder.write(videos.Frame(frame(photo, number / count), Fraction(number, RATE), Fraction(1, RATE)))
        samples = melody(count / RATE).astype(numpy.float32)[numpy.newaxis]
        for start in range(0, samples.shape[1], 1024):
            part = av.AudioFrame.from_ndarray(samples[:, start : start + 1024].repeat(2, 0), 'fltp', 'stereo')
            part.sample_rate, part.pts, part.time_base = 48000, start, Fraction(1, 48000)
            encoder.container.mux(sound.encode(part))
        encoder.container.mux(sound.encode(None))
        encoder.close()
    print(args.output)


if __name__ == '__main__':
    utils.run_script(main)
