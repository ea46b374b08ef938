#!/usr/bin/env python
"""
Draw the 32 styles of data/styles/misc32.

    python data/make_styles.py
    python data/make_styles.py --only batik kilim --output my-styles

Every style is drawn by a function of its own from nothing but its name (which seeds it) and the size, so that
styles can be drawn alone, in any order and in parallel, always to the same pixels. The files are numbered in
index order and are in the public domain (CC0); styles.json lists all names in that order.
"""
import io
import json
import multiprocessing
import os
import sys
import zlib

import numpy as np
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

import options  # noqa: E402
import style_crafts as crafts  # noqa: E402
import style_paintings as paintings  # noqa: E402
import style_prints as prints  # noqa: E402
import utils  # noqa: E402

# In index order: a trained network knows its styles by these indices, so new styles go to the end.
STYLES = [
    ('impasto-swirl', paintings.impasto_swirl),
    ('pointillist-meadow', paintings.pointillist_meadow),
    ('woodcut-waves', prints.woodcut_waves),
    ('roman-mosaic', crafts.roman_mosaic),
    ('stained-glass', crafts.stained_glass),
    ('cubist-facets', paintings.cubist_facets),
    ('suprematist', paintings.suprematist),
    ('ink-wash', paintings.ink_wash),
    ('engraving', prints.engraving),
    ('marbled-paper', crafts.marbled_paper),
    ('batik', crafts.batik),
    ('kilim', crafts.kilim),
    ('deco-fans', crafts.deco_fans),
    ('drip-web', paintings.drip_web),
    ('colour-fields', paintings.colour_fields),
    ('watercolour-blooms', paintings.watercolour_blooms),
    ('paper-cut', crafts.paper_cut),
    ('zellige', crafts.zellige),
    ('op-art', prints.op_art),
    ('halftone', prints.halftone),
    ('chalk-slate', prints.chalk_slate),
    ('soft-pastel', paintings.soft_pastel),
    ('sinuous-sunset', paintings.sinuous_sunset),
    ('palette-knife', paintings.palette_knife),
    ('golden-spirals', crafts.golden_spirals),
    ('lily-pond', paintings.lily_pond),
    ('linocut', prints.linocut),
    ('psychedelic', prints.psychedelic),
    ('embroidery', crafts.embroidery),
    ('patina', crafts.patina),
    ('orphic-discs', paintings.orphic_discs),
    ('agate', crafts.agate),
]
BYTES = 160000  # of one JPEG file at most; 32 of them stay within 5 MB


def draw(name, size):
    """Pixels of a style: uint8 (size, size, 3)."""
    rng = np.random.RandomState(zlib.crc32(name.encode()))
    rgb = dict(STYLES)[name](rng, size)
    return (np.clip(rgb, 0, 1) * 255 + .5).astype(np.uint8)


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
    with utils.atomic_write(path) as stream:
        stream.write(data)


def main():
    parser = options.Parser(__doc__)
    parser.add_argument('--output', default=os.path.join(HERE, 'styles', 'misc32'), metavar='DIR',
                        help='folder of the images and styles.json')
    parser.add_argument('--only', nargs='+', metavar='NAME', help='draw these styles only')
    parser.add_argument('--size', type=options.positive_int, default=640, metavar='PIXELS',
                        help='side of the images, from 64; strokes keep their size in pixels')
    parser.add_argument('--jobs', type=options.positive_int, default=1, metavar='N',
                        help='styles drawn at a time')
    args = parser.parse_args()

    names = [name for name, _ in STYLES]
    unknown = [name for name in args.only or [] if name not in names]
    if unknown:
        raise utils.UserError('no style named %s; the styles are %s' % (', '.join(unknown), ', '.join(names)))
    if not 64 <= args.size <= 4096:
        raise utils.UserError('--size must be from 64 to 4096, not %d' % args.size)
    try:
        os.makedirs(args.output, exist_ok=True)
    except OSError as error:
        raise utils.UserError('%s: cannot make this folder: %s' % (args.output, utils.reason(error)))
    jobs = [(name, args.size, os.path.join(args.output, '%02d_%s.jpg' % (index, name)))
            for index, name in enumerate(names) if not args.only or name in args.only]
    with multiprocessing.Pool(args.jobs) as pool:
        for _ in utils.progress(pool.imap_unordered(write, jobs), total=len(jobs), desc='styles'):
            pass
    with utils.atomic_write(os.path.join(args.output, 'styles.json')) as stream:
        stream.write((json.dumps(names, indent=1) + '\n').encode())


if __name__ == '__main__':
    utils.run_script(main)
