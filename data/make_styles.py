#!/usr/bin/env python
"""Draw the 32 styles of data/styles/misc32.

    python data/make_styles.py
    python data/make_styles.py --only batik kilim --output my-styles

Every style is drawn by a function of its own from nothing but its name (which seeds it) and the size, so that
styles can be drawn alone, in any order and in parallel, always to the same pixels. The files are numbered in
index order and are in the public domain (CC0); styles.json lists all names in that order.
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import environment  # noqa: F401, before all others: it names what is missing

import io
import json
import multiprocessing
import zlib

import numpy
from PIL import Image
from scipy import ndimage

import files  # noqa: E402
import options  # noqa: E402
import style_crafts as crafts  # noqa: E402
import style_paintings as paintings  # noqa: E402
import style_prints as prints  # noqa: E402
import utils  # noqa: E402

# In index order: a trained network knows its styles by these indices, so new styles go to the end. Behind the function
# stand the softness and the contrast of `photograph`, chosen such that the features of VGG16 at conv3_3 are at most
# 1.75 times as strong (in the mean square) as those of photos. Paintings are at 0.7 to 1.8; sharp drawings were at up
# to 5, where a network that shows the style has no room for the photo.
STYLES = [
    ('impasto-swirl', paintings.impasto_swirl, 1, 0.95),
    ('pointillist-meadow', paintings.pointillist_meadow, 1, 1),
    ('woodcut-waves', prints.woodcut_waves, 0.6, 1),
    ('roman-mosaic', crafts.roman_mosaic, 0.8, 1),
    ('stained-glass', crafts.stained_glass, 1.2, 0.8),
    ('cubist-facets', paintings.cubist_facets, 0, 1),
    ('suprematist', paintings.suprematist, 1.2, 1),
    ('ink-wash', paintings.ink_wash, 0, 1),
    ('engraving', prints.engraving, 0.8, 1),
    ('marbled-paper', crafts.marbled_paper, 1.2, 1),
    ('batik', crafts.batik, 1.2, 0.75),
    ('kilim', crafts.kilim, 1.2, 0.75),
    ('deco-fans', crafts.deco_fans, 1.2, 0.75),
    ('drip-web', paintings.drip_web, 1.2, 0.9),
    ('colour-fields', paintings.colour_fields, 0, 1),
    ('watercolour-blooms', paintings.watercolour_blooms, 0, 1),
    ('paper-cut', crafts.paper_cut, 1.2, 1),
    ('zellige', crafts.zellige, 1.2, 0.8),
    ('op-art', prints.op_art, 1.2, 0.8),
    ('halftone', prints.halftone, 1.2, 0.7),
    ('chalk-slate', prints.chalk_slate, 0, 1),
    ('soft-pastel', paintings.soft_pastel, 0.6, 1),
    ('sinuous-sunset', paintings.sinuous_sunset, 1, 1),
    ('palette-knife', paintings.palette_knife, 1, 1),
    ('golden-spirals', crafts.golden_spirals, 1.2, 0.9),
    ('lily-pond', paintings.lily_pond, 0, 1),
    ('linocut', prints.linocut, 1.2, 1),
    ('psychedelic', prints.psychedelic, 1.2, 0.7),
    ('embroidery', crafts.embroidery, 1.2, 0.8),
    ('patina', crafts.patina, 1.2, 1),
    ('orphic-discs', paintings.orphic_discs, 1.2, 0.8),
    ('agate', crafts.agate, 1.2, 0.85),
]
BYTES = 160000  # of one JPEG file at most; 32 of them stay within 5 MB


def photograph(rgb, softness, contrast):
    """What a lens and faded colours make of a drawing.

    Parameters
    ----------
    rgb : float array of shape (size, size, 3), in [0, 1]
    softness : float
        Deviation of the Gaussian that it is blurred with, in pixels.
    contrast : float
        Factor of the differences from the mean colour.

    Returns
    -------
    float array of the same shape
    """
    rgb = numpy.clip(rgb, 0, 1)
    mean = rgb.mean((0, 1))
    return mean + contrast * (ndimage.gaussian_filter(rgb, (softness, softness, 0)) - mean)


def draw(name, size):
    """Pixels of a style: uint8 (size, size, 3)."""
    rng = numpy.random.RandomState(zlib.crc32(name.encode()))
    ((function, softness, contrast),) = [settings for other, *settings in STYLES if other == name]
    rgb = photograph(function(rng, size), softness, contrast)
    return (numpy.clip(rgb, 0, 1) * 255 + 0.5).astype(numpy.uint8)


def jpeg(pixels, limit=BYTES):
    """The JPEG file of best quality (95 down to 50) that takes at most `limit` bytes."""
    for quality in range(95, 49, -3):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, 'JPEG', quality=quality, optimize=True)
        if buffer.tell() <= limit:
            break
    return buffer.getvalue()


def write(job):
    """Draws one style and writes its file; `job` is (name, size, path)."""
    name, size, path = job
    data = jpeg(draw(name, size))
    with files.atomic_write(path) as stream:
        stream.write(data)


def main():
    parser = options.Parser(__doc__)
    parser.add_argument(
        '--output',
        default=os.path.join(HERE, 'styles', 'misc32'),
        metavar='DIR',
        help='folder of the images and styles.json',
    )
    parser.add_argument('--only', nargs='+', metavar='NAME', help='draw these styles only')
    parser.add_argument(
        '--size',
        type=options.positive_int,
        default=640,
        metavar='PIXELS',
        help='side of the images, from 64; strokes keep their size in pixels',
    )
    parser.add_argument('--jobs', type=options.positive_int, default=1, metavar='N', help='styles drawn at a time')
    args = parser.parse_args()

    names = [name for name, *_ in STYLES]
    unknown = [name for name in args.only or [] if name not in names]
    if unknown:
        raise utils.UserError(f'no style named {", ".join(unknown)}; the styles are {", ".join(names)}')
    if not 64 <= args.size <= 4096:
        raise utils.UserError(f'--size must be from 64 to 4096, not {args.size}')
    try:
        os.makedirs(args.output, exist_ok=True)
    except OSError as error:
        raise utils.UserError(f'{args.output}: cannot make this folder: {utils.reason(error)}')
    jobs = [
        (name, args.size, os.path.join(args.output, f'{index:02d}_{name}.jpg'))
        for index, name in enumerate(names)
        if not args.only or name in args.only
    ]
    with multiprocessing.Pool(args.jobs) as pool:
        for _ in utils.progress(pool.imap_unordered(write, jobs), total=len(jobs), desc='styles'):
            pass
    with files.atomic_write(os.path.join(args.output, 'styles.json')) as stream:
        stream.write(f'{json.dumps(names, indent=1)}\n'.encode())


if __name__ == '__main__':
    utils.run_script(main)
