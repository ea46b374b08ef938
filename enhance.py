"""Make photos larger with a trained network (arXiv:1603.08155, section 4.2).

    python enhance.py photo.jpg                                         four times as high and wide: photo_x4.jpg
    python enhance.py holiday/*.jpg --output large/
    python enhance.py photo.jpg --model enhance-x4-pixel --output large.png
    python enhance.py frames/ --output large-frames/                    the frames of a clip, as video.py writes them

Networks of one's own: python train.py --task upscale --factor 4.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(__file__))  # which PYTHONSAFEPATH leaves out
import environment  # noqa: F401, before all others: it names what is missing

import options
import utils
from albums import Album, find_photos
from formats import networks


def parse_arguments():
    parser = options.Parser(__doc__)
    parser.add_argument(
        'images', nargs='+', metavar='IMAGE', help="image files, folders and patterns, or '-' for the standard input"
    )
    parser.add_argument(
        '--factor', type=options.positive_int, help='how many times as high and wide; that of the network, if not given'
    )
    parser.add_argument(
        '--model',
        help='a trained network (.npz), or the name of one in data/models (default: enhance-xFACTOR, or '
        'enhance-xFACTOR-pixel where only that is there)',
    )
    parser.add_argument(
        '--histogram-matching',
        action='store_true',
        help='make each colour as frequent as in the photo, as the paper does',
    )
    parser.add_argument(
        '--output',
        help="file for a single photo, else folder, or '-' for the standard output (default: PHOTO_xFACTOR in the "
        'current folder)',
    )
    options.add_overwrite(parser)
    parser.add_argument(
        '--skip-existing', action='store_true', help='leave photos out whose enlarged ones are not older than they'
    )
    options.add_max_pixels(parser)
    options.add_device(parser)
    return parser.parse_args()


def main():
    args = parse_arguments()
    path = networks.find_upscaling(args.model, args.factor)
    photos, label = find_photos(args.images), f'x{networks.read_settings(path)[0].factor}'
    album = Album(photos, [label], args.output, overwrite=args.overwrite, skip=args.skip_existing, script='enhance')
    album.prepare(path)
    if not album.outputs:
        print('all photos are enlarged already', file=sys.stderr)
        return None

    # Theano takes seconds to import: all that needs none of it has been answered or refused by now.
    from upscaling import Enhancer

    enhancer = Enhancer(path, options.device(args))
    wanted = [photo for photo in photos if (photo, label) in album.outputs]
    made = enhancer.enhance_files(wanted, args.histogram_matching)
    album.keep(((photo, label, picture, large) for photo, picture, large in made), enhancer.device.name)
    return album.close()


if __name__ == '__main__':
    utils.run_script(main)
