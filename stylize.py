"""Stylize photos with a trained network.

    python stylize.py --model cin.npz --style-index 3 photo.jpg
    python stylize.py --model misc32 --style all --grid sheet.jpg holiday/*.jpg --output pastiches/
    python stylize.py --model cin.npz --blend 0=0.7,5=0.3 photo.jpg --output blend.png
    python stylize.py --model misc32 --style ink-wash --strength 0.6 --preserve-color photo.jpg
    python stylize.py --model misc32 --style-image painting.jpg photo.jpg
    python stylize.py --info misc32

Without photos those of data/samples are stylized.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(__file__))  # which PYTHONSAFEPATH leaves out
import environment  # noqa: F401, before all others: it names what is missing

import cluster
import options
import utils
from albums import Album, find_photos
from formats import networks

SAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'data', 'samples')


def parse_arguments():
    parser = options.Parser(__doc__)
    parser.add_argument(
        'images', nargs='*', metavar='IMAGE', help="image files, folders and patterns, or '-' for the standard input"
    )
    parser.add_argument('--model', help='a trained network (.npz), or the name of one in data/models')
    options.add_network(parser)
    options.add_styles(parser)
    options.add_style_maps(parser)
    options.add_new_styles(parser)
    parser.add_argument('--list-styles', action='store_true', help="print the network's styles and do nothing else")
    parser.add_argument(
        '--info', metavar='MODEL', help="print a network's settings, styles and training, and do nothing else"
    )
    parser.add_argument('--size', type=options.positive_int, help='resize the photos to this shorter side first')
    parser.add_argument(
        '--batch-size',
        type=options.positive_int,
        default=1,
        help='pastiches of the same size that are computed at once',
    )
    options.add_controls(parser)
    parser.add_argument(
        '--output',
        help="file for a single pastiche, else folder, or '-' for the standard output (default: PHOTO_STYLE in the "
        'current folder)',
    )
    options.add_precision(parser)
    parser.add_argument(
        '--tile',
        action='store_true',
        help='compute in bands: the same pastiche, in far less memory (feature maps that do not fit in go to TMPDIR); '
        'photos that do not fit otherwise are computed so in any case',
    )
    parser.add_argument(
        '--tile-statistics',
        choices=['exact', 'thumbnail'],
        default='exact',
        help="with --tile: 'thumbnail' normalizes by the statistics of a small version of the photo, for previews "
        '(docs/scale.md says how near they come)',
    )
    options.add_overwrite(parser)
    parser.add_argument(
        '--skip-existing',
        action='store_true',
        help='make no pastiche again that was made of its photo before and is not older than the photo',
    )
    parser.add_argument(
        '--json',
        action='store_true',
        help='print a JSON object for each pastiche: photo, pastiche, style, width, height, seconds, device',
    )
    parser.add_argument(
        '--grid',
        metavar='FILE',
        help='write a contact sheet as well: photos down, styles across, eight beside each other',
    )
    options.add_max_pixels(parser)
    options.add_cluster(parser, 'photos')
    options.add_device(parser)
    args = parser.parse_args()
    if not (args.model or args.info):
        parser.error(f'--model is missing; these networks come with the project: {", ".join(networks.shipped())}')
    if args.tile_statistics != 'exact' and not args.tile:
        parser.error('--tile-statistics is for --tile')
    return args


def main():
    args = parse_arguments()
    path = networks.find(args.info or args.model)
    architecture, names, meta = networks.read_settings(path, args.network)
    if args.info:
        print('\n'.join([path] + networks.describe(architecture, names, meta)))
        return None
    networks.check_task(path, architecture)
    if args.list_styles:
        print('\n'.join(networks.list_styles(names)))
        return None
    controls, new = options.controls(args), options.new_styles(args, path, names or ['style'])
    styles, spread = options.styles(args, names or ['style'], new), args.scheduler or args.workers
    if spread:
        cluster.check(new, [*args.images, args.output])
    if not args.images:
        print('no photos named: stylizing those of data/samples', file=sys.stderr)
    photos = find_photos(args.images or [SAMPLES])
    labels = [label for label, _ in styles]
    album = Album(photos, labels, args.output, args.grid, args.overwrite, args.skip_existing, args.json)
    album.prepare(path, *[style.source for style in new if style.kind == 'image'])
    if not album.outputs:
        print('all pastiches are there already', file=sys.stderr)
        return None

    settings = path, args.network, options.device(args), args.tile, args.tile_statistics
    if spread:
        with cluster.connected(args.scheduler, args.workers) as client:
            cluster.make(client, album, settings, styles, args.size, args.batch_size, controls)
        return album.close()

    # Theano takes seconds to import: all that needs none of it has been answered or refused by now.
    from pastiches import Stylist

    stylist = Stylist(*settings)
    stylist.make_styles(new, [photo for photo in photos if isinstance(photo, str)], args.loss_weights)
    if args.save_style is not None:
        stylist.save(path)
    album.make(stylist, styles, args.size, args.batch_size, controls)
    return album.close()


if __name__ == '__main__':
    utils.run_script(main)
