"""Stylize photos with a trained network.

    python stylize.py --model cin.npz --style-index 3 photo.jpg
    python stylize.py --model misc32 --style all --grid sheet.jpg holiday/*.jpg --output pastiches/
    python stylize.py --model cin.npz --blend 0=0.7,5=0.3 photo.jpg --output blend.png
    python stylize.py --info misc32

Without photos those of data/samples are stylized.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(__file__))  # which PYTHONSAFEPATH leaves out
import environment  # noqa: F401, before all others: it names what is missing

import collections
import math
import re

import files
import options
import utils
from formats import networks

THUMBNAIL = 256
SAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'data', 'samples')


def parse_arguments():
    parser = options.Parser(__doc__)
    parser.add_argument('images', nargs='*', metavar='IMAGE', help='image files, folders and patterns')
    parser.add_argument('--model', help='a trained network (.npz), or the name of one in data/models')
    options.add_network(parser)
    options.add_styles(parser)
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
    parser.add_argument(
        '--median-filter',
        type=options.odd,
        metavar='SIDE',
        help='smooth the pastiches: each value becomes the median of a square of so many pixels, such as 3',
    )
    parser.add_argument(
        '--output', help='file for a single pastiche, else folder (default: PHOTO_STYLE in the current folder)'
    )
    parser.add_argument(
        '--precision',
        choices=['float32', 'bf16'],
        default='float32',
        help='of the factors of convolutions with oneDNN; bf16 is faster on processors with AVX512-BF16',
    )
    options.add_overwrite(parser)
    parser.add_argument(
        '--grid',
        metavar='FILE',
        help='write a contact sheet as well: photos down, styles across, eight beside each other',
    )
    options.add_device(parser)
    args = parser.parse_args()
    if not (args.model or args.info):
        parser.error(f'--model is missing; these networks come with the project: {", ".join(networks.shipped())}')
    return args


def file_names(images, labels, output, overwrite=False):
    """Where to write the pastiche of each photo and style.

    A pastiche that was made before under its own name is made again there; that of another photo of the same
    name is left alone, and this one gets a number.

    Parameters
    ----------
    images, labels : list of str
    output : str or None
        A file for a single pastiche, or a folder.
    overwrite : bool
        Whether to write over what is there in any case.

    Returns
    -------
    dict
        {(photo, label): path}, all different.
    """
    if output is not None and os.path.splitext(output)[1] and not os.path.isdir(output):
        if len(images) * len(labels) > 1:
            raise utils.UserError(
                '--output %s is one file, and there are %d pastiches: give a folder'
                % (output, len(images) * len(labels))
            )
        files.check_extension(output)
        return {(images[0], labels[0]): output}
    folder = output or ''
    names, taken, number = {}, set(), collections.Counter()
    there = set(os.listdir(folder or '.')) if os.path.isdir(folder or '.') else ()
    for image in images:
        stem, extension = os.path.splitext(os.path.basename(image))
        stem = files.cut_name(stem, 100)
        extension = extension.lower() if extension.lower() in files.WRITE_FORMATS else '.png'
        for label in labels:
            # The names of styles come from a file: what is not plain must not become part of a path.
            base = '%s_%s' % (stem, files.cut_name(re.sub(r'[^\w.+-]', '-', label), 100))
            while True:
                number[base, extension] += 1
                name = base + '-%d' % number[base, extension] * (number[base, extension] > 1) + extension
                path = os.path.join(folder, name)
                made_of = files.read_origin(path) if name in there and not overwrite else None
                if path not in taken and (made_of is None or made_of == files.origin('stylize', image)):
                    break
            taken.add(path)
            names[image, label] = path
    return names


def small(image):
    """An image as it is shown on the contact sheet: so high, unless that makes it more than four times as wide."""
    height, width = image.shape[:2]
    return files.thumbnail(image, max(1, min(THUMBNAIL, 4 * THUMBNAIL * height // width)))


def check_outputs(args, model, outputs):
    """Refuse names that cannot be written to, or that are those of other files; see `files.check_outputs`."""
    ours = {
        path: files.read_origin(path) == files.origin('stylize', image)
        for (image, _), path in outputs.items()
        if os.path.exists(path)
    }
    paths = {path: ours.get(path, False) for path in outputs.values()}
    if args.grid:
        most = files.MOST_PIXELS.get(files.check_extension(args.grid), math.inf)
        photos, bands = len({image for image, _ in outputs}), -(-len({label for _, label in outputs}) // 8)
        if photos * bands * THUMBNAIL > most:
            raise utils.UserError(
                '--grid %s: a sheet of %d photos would be more than %d pixels high; .png has no limit'
                % (args.grid, photos, most)
            )
        if os.path.realpath(args.grid) in map(os.path.realpath, paths):
            raise utils.UserError(f'--grid {args.grid} is the name of a pastiche as well: choose another')
        paths[args.grid] = files.read_origin(args.grid) == files.origin('sheet')
    files.check_outputs(paths, [image for image, _ in outputs] + [model], args.overwrite)


def main():
    args = parse_arguments()
    path = networks.find(args.info or args.model)
    architecture, names, meta = networks.read_settings(path, args.network)
    if args.info or args.list_styles:
        print(
            '\n'.join(
                [path] + networks.describe(architecture, names, meta) if args.info else networks.list_styles(names)
            )
        )
        return None
    styles = options.styles(args, names or ['style'])
    if not args.images:
        print('no photos named: stylizing those of data/samples', file=sys.stderr)
    images = files.find_images(args.images or [SAMPLES])
    outputs = file_names(images, [label for label, _ in styles], args.output, args.overwrite)
    check_outputs(args, path, outputs)
    for folder in {os.path.dirname(path) for path in list(outputs.values()) + [args.grid or '.']}:
        files.make_folder(folder or '.')

    # Theano takes seconds to import: all that needs none of it has been answered or refused by now.
    from pastiches import Stylist

    stylist = Stylist(path, args.network, options.device(args))
    failed, sheet = set(), {}
    with utils.progress(total=len(outputs), desc='stylizing', unit='image') as bar:
        for path, label, photo, pastiche in stylist.stylize_files(images, styles, args.size, args.batch_size):
            thumbnail = None
            try:
                if isinstance(pastiche, utils.UserError):
                    raise pastiche
                if args.median_filter:
                    pastiche = files.median_filter(pastiche, args.median_filter)
                files.write_image(outputs[path, label], pastiche, files.origin('stylize', path))
                thumbnail = small(pastiche) if args.grid else None
                bar.write(outputs[path, label])
            except utils.UserError as error:
                failed.add(path)
                print(f'error: {utils.one_line(error)}', file=sys.stderr)
            if label is not None:
                if args.grid:
                    sheet.setdefault(path, [small(photo)]).append(thumbnail)
                bar.update()
    if sheet:
        files.write_image(
            args.grid,
            files.style_sheet(list(sheet.values()), ['photo'] + [s for s, _ in styles]),
            files.origin('sheet'),
        )
        print(args.grid)
    if failed:
        print(f'error: {len(failed)} of {len(images)} photos could not be stylized', file=sys.stderr)
        return 1
    return None


if __name__ == '__main__':
    utils.run_script(main)
