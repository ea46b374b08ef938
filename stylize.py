"""Stylize photos with a trained network.

    python stylize.py --model cin.npz --style-index 3 photo.jpg
    python stylize.py --model misc32 --style all --grid sheet.jpg holiday/*.jpg --output pastiches/
    python stylize.py --model cin.npz --blend 0=0.7,5=0.3 photo.jpg --output blend.png
    python stylize.py --info misc32

Without photos those of data/samples are stylized.
"""
import argparse
import math
import os
import re
import sys

import compat  # noqa: F401, before all others: it names what is missing

import numpy

import options
import utils
from formats import networks

# Sides are padded to a multiple of what the two strides of 2 divide by, and the padding of the inner layers needs
# a few pixels to reflect.
MULTIPLE, SMALLEST = 4, 16
FIXED_BYTES = 2**27
# For each pixel of the photo and the pastiche, when all else is in the memory of a GPU.
HOST_BYTES = 36
THUMBNAIL = 256
SAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'data', 'samples')


def parse_arguments():
    parser = options.Parser(__doc__)
    parser.add_argument('images', nargs='*', metavar='IMAGE', help='image files, folders and patterns')
    parser.add_argument('--model', help='a trained network (.npz), or the name of one in data/models')
    options.add_network(parser)
    parser.add_argument('--style-index', metavar='INDEX,...', help="styles by number, from 0; or 'all'")
    parser.add_argument('--style', metavar='NAME,...', help="styles by name; or 'all'")
    parser.add_argument('--blend', metavar='STYLE=WEIGHT,...',
                        help='one pastiche in a mixture of styles, by number or name, such as 0=0.7,5=0.3')
    parser.add_argument('--list-styles', action='store_true', help="print the network's styles and do nothing else")
    parser.add_argument('--info', metavar='MODEL', help="print a network's settings, styles and training, and do nothing else")
    parser.add_argument('--size', type=options.positive_int, help='resize the photos to this shorter side first')
    parser.add_argument('--batch-size', type=options.positive_int, default=1,
                        help='pastiches of the same size that are computed at once')
    parser.add_argument('--output', help='file for a single pastiche, else folder '
                                         '(default: PHOTO_STYLE in the current folder)')
    parser.add_argument('--precision', choices=['float32', 'bf16'], default='float32',
                        help='of the factors of convolutions with oneDNN; bf16 is faster on processors with AVX512-BF16')
    parser.add_argument('--grid', metavar='FILE', help='write a contact sheet as well: photos down, styles across, eight beside each other')
    options.add_device(parser)
    args = parser.parse_args()
    if not (args.model or args.info):
        parser.error('--model is missing; these networks come with the project: %s' % ', '.join(networks.shipped()))
    return args


def parse_style(text, names):
    """The number of the style that `text` says by number or by name."""
    text = text.strip()
    if text in names:
        return names.index(text)
    if re.fullmatch(r'[0-9]{1,6}', text):
        if int(text) < len(names):
            return int(text)
        raise utils.UserError('there is no style %s: the styles are 0 to %d' % (text, len(names) - 1))
    raise utils.UserError('there is no style %r: --list-styles shows what there is' % text)


def parse_styles(args, names):
    """The pastiches to make of each photo, as a list of pairs (label, {style: weight})."""
    given = [option for option in ('style_index', 'style', 'blend') if getattr(args, option) is not None]
    if len(given) > 1:
        raise utils.UserError('%s contradict each other' % ' and '.join('--' + g.replace('_', '-') for g in given))
    if args.blend is not None:
        blend = {}
        for item in args.blend.split(','):
            style, equals, weight = item.rpartition('=')
            try:
                weight = options.not_negative(weight)
            except argparse.ArgumentTypeError:
                equals = ''
            if not equals:
                raise utils.UserError('--blend: %r is not STYLE=WEIGHT, such as 0=0.7' % item)
            style = parse_style(style, names)
            blend[style] = blend.get(style, 0) + weight
        if not sum(blend.values()):
            raise utils.UserError('--blend: the weights are all zero')
        return [('+'.join('%s-%g' % (names[style], weight) for style, weight in blend.items()), blend)]
    if not given:
        if len(names) == 1:
            return [(names[0], {0: 1.})]
        raise utils.UserError('the network has %d styles: choose by --style-index, --style or --blend' % len(names))
    text = getattr(args, given[0])
    if text == 'all':
        chosen = range(len(names))
    else:
        if given[0] == 'style_index' and not re.fullmatch(r'\s*[0-9]+\s*(,\s*[0-9]+\s*)*', text):
            raise utils.UserError("--style-index: %r is not a list of numbers, such as 3 or 0,3,5, nor 'all'" % text)
        chosen = list(dict.fromkeys(parse_style(item, names) for item in text.split(',')))
    return [(names[style], {style: 1.}) for style in chosen]


def file_names(images, labels, output):
    """Where to write the pastiche of each photo and style.

    Returns
    -------
    dict
        {(photo, label): path}, all different, none of them a photo.
    """
    if output is not None and os.path.splitext(output)[1] and not os.path.isdir(output):
        if len(images) * len(labels) > 1:
            raise utils.UserError('--output %s is one file, and there are %d pastiches: give a folder'
                                  % (output, len(images) * len(labels)))
        names = {(images[0], labels[0]): output}
    else:
        folder = output or ''
        names, taken = {}, set()
        for image in images:
            stem, extension = os.path.splitext(os.path.basename(image))
            extension = extension.lower() if extension.lower() in utils.WRITE_FORMATS else '.png'
            for label in labels:
                # The names of styles come from a file: what is not plain must not become part of a path.
                base = '%s_%s' % (stem, re.sub(r'[^\w.+-]', '-', label)[:100])
                name, number = base, 2
                while os.path.join(folder, name + extension) in taken:
                    name, number = '%s-%d' % (base, number), number + 1
                taken.add(os.path.join(folder, name + extension))
                names[image, label] = os.path.join(folder, name + extension)
    photos = {os.path.realpath(image) for image in images}
    for path in names.values():
        if os.path.realpath(path) in photos:
            raise utils.UserError('%s: the pastiche would overwrite a photo: choose another --output' % path)
    return names


def pad_image(image):
    """Extend an image (H, W, 3) at the bottom and right to sides that the network keeps."""
    extra = [max(SMALLEST, -(-side // MULTIPLE) * MULTIPLE) - side for side in image.shape[:2]]
    return numpy.pad(image, [(0, extra[0]), (0, extra[1]), (0, 0)], mode='symmetric')


def check_memory(path, photo, bytes_per_pixel):
    """Refuse a photo whose pastiche would not fit into the memory that is available.

    Parameters
    ----------
    path : str
    photo : uint8 array (H, W, 3)
    bytes_per_pixel : float
        `models.pastiche_bytes` times the number of pastiches that are computed at once.
    """
    height, width = pad_image(photo).shape[:2]
    needed, available = bytes_per_pixel * height * width + FIXED_BYTES, utils.available_memory()
    if needed > available:
        pixels = max(0, available - FIXED_BYTES) / bytes_per_pixel
        # Sides are rounded up to the next multiple.
        fits = int(math.sqrt(pixels * min(height, width) / max(height, width))) - MULTIPLE
        raise utils.UserError('%s: %d x %d pixels take about %.1f GB of memory, and %.1f GB are available; %s'
                              % (path, photo.shape[1], photo.shape[0], needed / 1e9, available / 1e9,
                                 '--size %d would fit' % fits if fits >= SMALLEST else 'GOGH_MAX_MEMORY allows more'))


def read_all(paths, size, bytes_per_pixel, report):
    """The photos one after the other; those that cannot be read or are too large are reported."""
    for path in paths:
        try:
            photo = utils.read_image(path, size=size)
            check_memory(path, photo, bytes_per_pixel)
        except utils.UserError as error:
            report(path, error)
        else:
            yield path, photo


def in_batches(photos, styles, size):
    """Lists of up to `size` jobs (path, photo, label, blend) whose photos have the same padded shape."""
    batch = []
    for path, photo in photos:
        for label, blend in styles:
            if batch and (len(batch) == size or pad_image(batch[0][1]).shape != pad_image(photo).shape):
                yield batch
                batch = []
            batch.append((path, photo, label, blend))
    if batch:
        yield batch


def main():
    args = parse_arguments()
    path = networks.find(args.info or args.model)
    meta = networks.read_settings(path, args.network)
    names = meta['styles'] or ['style']
    if args.info or args.list_styles:
        print('\n'.join([path] + networks.describe(meta) if args.info else networks.list_styles(meta)))
        return None
    styles = parse_styles(args, names)
    if not args.images:
        print('no photos named: stylizing those of data/samples', file=sys.stderr)
    images = utils.find_images(args.images or [SAMPLES])
    outputs = file_names(images, [label for label, _ in styles], args.output)
    for folder in {os.path.dirname(path) for path in outputs.values()}:
        utils.make_folder(folder or '.')

    # Theano takes seconds to import: all that needs none of it has been answered or refused by now.
    import backend
    import layers
    import models
    backend.use(args)
    network = models.load_network(path, args.network)
    stylize = models.pastiche_function(network)
    at_once = min(args.batch_size, len(outputs))
    on_host = args.device == 'cpu'
    bytes_per_pixel = at_once * (models.pastiche_bytes(network, args.backend) if on_host else HOST_BYTES)
    failed, sheet = set(), {}

    def report(path, error):
        failed.add(path)
        print('error: %s' % utils.one_line(error), file=sys.stderr)

    with utils.progress(total=len(outputs), desc='stylizing', unit='image') as bar:
        for batch in in_batches(read_all(images, args.size, bytes_per_pixel, report), styles, args.batch_size):
            try:
                inputs = [utils.to_float(numpy.stack([pad_image(photo) for _, photo, _, _ in batch]))]
                if network.style:
                    inputs.append(numpy.concatenate([layers.style_weights(blend, len(names)) for *_, blend in batch]))
                pastiches = utils.to_uint8(stylize(*inputs))
            except MemoryError:
                for path in dict.fromkeys(path for path, *_ in batch):
                    report(path, '%s: not enough memory to stylize this photo; try a smaller --size' % path)
                continue
            for (path, photo, label, _), pastiche in zip(batch, pastiches):
                pastiche = pastiche[:photo.shape[0], :photo.shape[1]]
                utils.write_image(outputs[path, label], pastiche)
                bar.write(outputs[path, label])
                if args.grid:
                    sheet.setdefault(path, [utils.thumbnail(photo, THUMBNAIL)]).append(utils.thumbnail(pastiche, THUMBNAIL))
                bar.update()
    if args.grid and sheet:
        utils.write_image(args.grid, utils.style_sheet(list(sheet.values()), ['photo'] + [s for s, _ in styles]))
        print(args.grid)
    if failed:
        print('error: %d of %d photos could not be stylized' % (len(failed), len(images)), file=sys.stderr)
        return 1
    return None


if __name__ == '__main__':
    utils.run_script(main)
