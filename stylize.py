"""Stylize photos with a trained network.

    python stylize.py --model cin.npz --style-index 3 photo.jpg
    python stylize.py --model misc32 --style all --grid sheet.jpg holiday/*.jpg --output pastiches/
    python stylize.py --model cin.npz --blend 0=0.7,5=0.3 photo.jpg --output blend.png
    python stylize.py --info misc32

Without photos those of data/samples are stylized.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(__file__))       # which PYTHONSAFEPATH leaves out
import environment  # noqa: F401, before all others: it names what is missing

import argparse
import collections
import math
import re

import numpy

import options
import utils
from backend import devices
from formats import networks

# Sides are padded to a multiple of what the two strides of 2 divide by, and the padding of the inner layers needs
# a few pixels to reflect.
MULTIPLE, SMALLEST = 4, 16
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
                        help='one pastiche in a mixture of styles, by name or else number, such as 0=0.7,5=0.3')
    parser.add_argument('--list-styles', action='store_true', help="print the network's styles and do nothing else")
    parser.add_argument('--info', metavar='MODEL', help="print a network's settings, styles and training, and do nothing else")
    parser.add_argument('--size', type=options.positive_int, help='resize the photos to this shorter side first')
    parser.add_argument('--batch-size', type=options.positive_int, default=1,
                        help='pastiches of the same size that are computed at once')
    parser.add_argument('--median-filter', type=options.odd, metavar='SIDE',
                        help='smooth the pastiches: each value becomes the median of a square of so many pixels, such as 3')
    parser.add_argument('--output', help='file for a single pastiche, else folder '
                                         '(default: PHOTO_STYLE in the current folder)')
    parser.add_argument('--precision', choices=['float32', 'bf16'], default='float32',
                        help='of the factors of convolutions with oneDNN; bf16 is faster on processors with AVX512-BF16')
    options.add_overwrite(parser)
    parser.add_argument('--grid', metavar='FILE', help='write a contact sheet as well: photos down, styles across, eight beside each other')
    options.add_device(parser)
    args = parser.parse_args()
    if not (args.model or args.info):
        parser.error('--model is missing; these networks come with the project: %s' % ', '.join(networks.shipped()))
    return args


def style_of_index(text, names):
    """The number of the style that `text` says by its number."""
    if int(text) < len(names):
        return int(text)
    raise utils.UserError('there is no style %s: the styles are 0 to %d' % (text.strip(), len(names) - 1))


def style_of_name(text, names):
    """The number of the style that `text` says by its name."""
    for name in (text, text.strip()):
        if name in names:
            return names.index(name)
    raise utils.UserError('there is no style %r: --list-styles shows what there is' % text.strip())


def split_names(text, names):
    """The names of a list separated by commas, some of which may have commas themselves."""
    parts, found = text.split(','), []
    while parts:
        # The longest beginning that is a name, or else up to the next comma.
        length = next((n for n in range(len(parts), 1, -1) if ','.join(parts[:n]).strip() in names), 1)
        found.append(','.join(parts[:length]))
        parts = parts[length:]
    return found


def parse_blend(text, names):
    """A mixture of styles as {style: weight}, the weights summing to one."""
    blend, item = {}, ''
    for part in text.split(','):
        item += part
        style, equals, weight = item.rpartition('=')
        try:
            weight = options.not_negative(weight)
        except argparse.ArgumentTypeError:
            equals = ''
        if not equals or not (style.strip() in names or re.fullmatch(r'\s*[0-9]{1,6}\s*', style)):
            item += ','         # of the name of a style
            continue
        number = style_of_name(style, names) if style.strip() in names else style_of_index(style, names)
        blend[number] = blend.get(number, 0) + weight
        item = ''
    if item:
        raise utils.UserError('--blend: %r is not STYLE=WEIGHT, such as 0=0.7, of a style that --list-styles shows'
                              % item[:-1])
    largest = max(blend.values())
    if not largest:
        raise utils.UserError('--blend: the weights are all zero')
    # Divided first: a sum of large numbers is infinite.
    total = sum(weight / largest for weight in blend.values())
    normalized = {style: weight / largest / total for style, weight in blend.items()}
    if any(abs(normalized[style] - weight) > 1e-6 for style, weight in blend.items()):
        print('--blend: the weights are divided by their sum, so that it is one: %s'
              % ', '.join('%s=%g' % (names[style], weight) for style, weight in normalized.items()), file=sys.stderr)
    return normalized


def parse_styles(args, names):
    """The pastiches to make of each photo, as a list of pairs (label, {style: weight})."""
    given = [option for option in ('style_index', 'style', 'blend') if getattr(args, option) is not None]
    if len(given) > 1:
        raise utils.UserError('%s contradict each other' % ' and '.join('--' + g.replace('_', '-') for g in given))
    if args.blend is not None:
        blend = parse_blend(args.blend, names)
        return [('+'.join('%s-%g' % (names[style], weight) for style, weight in blend.items()), blend)]
    if not given:
        if len(names) == 1:
            return [(names[0], {0: 1.})]
        raise utils.UserError('the network has %d styles: choose by --style-index, --style or --blend' % len(names))
    text = getattr(args, given[0])
    if text == 'all':
        chosen = range(len(names))
    elif given[0] == 'style':
        chosen = list(dict.fromkeys(style_of_name(item, names) for item in split_names(text, names)))
    else:
        if not re.fullmatch(r'\s*[0-9]{1,6}\s*(,\s*[0-9]{1,6}\s*)*', text):
            raise utils.UserError("--style-index: %r is not a list of numbers, such as 3 or 0,3,5, nor 'all'" % text)
        chosen = list(dict.fromkeys(style_of_index(item, names) for item in text.split(',')))
    return [(names[style], {style: 1.}) for style in chosen]


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
            raise utils.UserError('--output %s is one file, and there are %d pastiches: give a folder'
                                  % (output, len(images) * len(labels)))
        utils.check_extension(output)
        return {(images[0], labels[0]): output}
    folder = output or ''
    names, taken, number = {}, set(), collections.Counter()
    there = set(os.listdir(folder or '.')) if os.path.isdir(folder or '.') else ()
    for image in images:
        stem, extension = os.path.splitext(os.path.basename(image))
        stem = utils.cut_name(stem, 100)
        extension = extension.lower() if extension.lower() in utils.WRITE_FORMATS else '.png'
        for label in labels:
            # The names of styles come from a file: what is not plain must not become part of a path.
            base = '%s_%s' % (stem, utils.cut_name(re.sub(r'[^\w.+-]', '-', label), 100))
            while True:
                number[base, extension] += 1
                name = base + '-%d' % number[base, extension] * (number[base, extension] > 1) + extension
                path = os.path.join(folder, name)
                made_of = utils.read_origin(path) if name in there and not overwrite else None
                if path not in taken and (made_of is None or made_of == utils.origin('stylize', image)):
                    break
            taken.add(path)
            names[image, label] = path
    return names


def pad_image(image):
    """Extend an image (H, W, 3) at the bottom and right to sides that the network keeps."""
    extra = [max(SMALLEST, -(-side // MULTIPLE) * MULTIPLE) - side for side in image.shape[:2]]
    return numpy.pad(image, [(0, extra[0]), (0, extra[1]), (0, 0)], mode='symmetric')


def small(image):
    """An image as it is shown on the contact sheet: so high, unless that makes it more than four times as wide."""
    height, width = image.shape[:2]
    return utils.thumbnail(image, max(1, min(THUMBNAIL, 4 * THUMBNAIL * height // width)))


def check_size(path, photo, lost):
    """Refuse a photo of which a network that loses pixels on each side would leave next to nothing."""
    if min(photo.shape[:2]) < SMALLEST + 2 * lost:
        raise utils.UserError('%s: %d x %d pixels, of which the network loses %d on each side: it takes %d at least; '
                              '--size enlarges photos' % (path, photo.shape[1], photo.shape[0], lost, SMALLEST + 2 * lost))


def check_memory(path, photo, architecture, bytes_per_pixel, held=0):
    """Refuse a photo whose pastiche would not fit into the memory that is available; see `utils.check_memory`."""
    lost = architecture.lost
    utils.check_memory(path, photo, bytes_per_pixel, held=held, added=architecture.border - lost,
                       smallest=SMALLEST + 2 * lost)


def check_outputs(args, model, outputs):
    """Refuse names that cannot be written to, or that are those of other files; see `utils.check_outputs`."""
    ours = {path: utils.read_origin(path) == utils.origin('stylize', image)
            for (image, _), path in outputs.items() if os.path.exists(path)}
    paths = {path: ours.get(path, False) for path in outputs.values()}
    if args.grid:
        most = utils.MOST_PIXELS.get(utils.check_extension(args.grid), math.inf)
        photos, bands = len({image for image, _ in outputs}), -(-len({label for _, label in outputs}) // 8)
        if photos * bands * THUMBNAIL > most:
            raise utils.UserError('--grid %s: a sheet of %d photos would be more than %d pixels high; .png has no limit'
                                  % (args.grid, photos, most))
        if os.path.realpath(args.grid) in map(os.path.realpath, paths):
            raise utils.UserError('--grid %s is the name of a pastiche as well: choose another' % args.grid)
        paths[args.grid] = utils.read_origin(args.grid) == utils.origin('sheet')
    utils.check_outputs(paths, [image for image, _ in outputs] + [model], args.overwrite)


def read_all(paths, size, architecture, bytes_per_pixel, report, held):
    """The photos one after the other; those that are too small, cannot be read or whose pastiche does not fit are reported."""
    lost = architecture.lost
    for path in paths:
        try:
            photo = utils.read_image(path, size=size)
            if lost:
                check_size(path, photo, lost)
            check_memory(path, photo, architecture, bytes_per_pixel, held())
        except utils.UserError as error:
            report(path, error)
        else:
            yield path, photo


def batch_size(most, photo, architecture, bytes_per_pixel, held):
    """How many pastiches of a photo are computed at once: at most so many, fewer where those do not fit."""
    added = architecture.border - architecture.lost
    pixels = (photo.shape[0] + 2 * added) * (photo.shape[1] + 2 * added)
    room = utils.available_memory(held=held) - utils.FIXED_BYTES
    fit = min(most, max(1, int(min(room / (bytes_per_pixel * pixels), most))))
    if fit < most:
        utils.say_once('--batch-size %d: so many pastiches of %d x %d pixels do not fit into the memory, computing %d at once'
                       % (most, photo.shape[1], photo.shape[0], fit))
    return fit


def in_batches(photos, styles, size):
    """Lists of jobs (path, photo, label, blend) whose photos have the same padded shape, up to `size(photo)` of them."""
    batch = []
    for path, photo in photos:
        limit = size(photo)
        for label, blend in styles:
            if batch and (len(batch) >= limit or pad_image(batch[0][1]).shape != pad_image(photo).shape):
                yield batch
                batch = []
            batch.append((path, photo, label, blend))
    if batch:
        yield batch


def main():
    args = parse_arguments()
    path = networks.find(args.info or args.model)
    architecture, styles, meta = networks.read_settings(path, args.network)
    names = styles or ['style']
    if args.info or args.list_styles:
        print('\n'.join([path] + networks.describe(architecture, names, meta) if args.info else networks.list_styles(names)))
        return None
    styles = parse_styles(args, names)
    if not args.images:
        print('no photos named: stylizing those of data/samples', file=sys.stderr)
    images = utils.find_images(args.images or [SAMPLES])
    outputs = file_names(images, [label for label, _ in styles], args.output, args.overwrite)
    check_outputs(args, path, outputs)
    for folder in {os.path.dirname(path) for path in list(outputs.values()) + [args.grid or '.']}:
        utils.make_folder(folder or '.')

    # Theano takes seconds to import: all that needs none of it has been answered or refused by now.
    import layers
    import models
    device = devices.use(options.device(args))
    network = models.load_network(path, args.network)
    stylize = models.pastiche_function(network)
    at_once = min(args.batch_size, len(outputs))
    on_host = device.name == 'cpu'
    bytes_per_pixel = architecture.pastiche_bytes(device.backend) if on_host else HOST_BYTES
    lost, failed, sheet = architecture.lost, set(), {}

    def report(path, error):
        failed.add(path)
        print('error: %s' % utils.one_line(error), file=sys.stderr)

    def compute(batch):
        """The pastiches of a batch, and which are finite; half by half where the memory runs out after all."""
        try:
            inputs = [utils.to_float(numpy.stack([pad_image(photo) for _, photo, _, _ in batch]))]
            if network.style:
                inputs.append(numpy.concatenate([layers.style_weights(blend, len(names)) for *_, blend in batch]))
            pastiches = stylize(*inputs)
            return utils.to_uint8(pastiches), numpy.isfinite(pastiches).all(axis=(1, 2, 3))
        except MemoryError:
            if len(batch) == 1:
                raise
        # Not in the handler, which keeps what was computed so far.
        utils.say_once('not enough memory for %d pastiches at once: computing them half by half' % len(batch))
        halves = batch[:len(batch) // 2], batch[len(batch) // 2:]
        return [numpy.concatenate(parts) for parts in zip(*map(compute, halves))]

    with utils.progress(total=len(outputs), desc='stylizing', unit='image') as bar:
        photos = read_all(images, args.size, architecture, bytes_per_pixel, report, devices.held_memory)
        for batch in in_batches(photos, styles, lambda photo: batch_size(at_once, photo, architecture, bytes_per_pixel,
                                                                         devices.held_memory())):
            try:
                pastiches, finite = compute(batch)
            except MemoryError:
                for path in dict.fromkeys(path for path, *_ in batch):
                    report(path, '%s: not enough memory to stylize this photo; try a smaller --size' % path)
                continue
            for (path, photo, label, _), pastiche, good in zip(batch, pastiches, finite):
                pastiche = pastiche[:photo.shape[0] - 2 * lost, :photo.shape[1] - 2 * lost]
                if args.median_filter:
                    pastiche = utils.median_filter(pastiche, args.median_filter)
                try:
                    if not good:
                        raise utils.UserError('%s: the pastiche in %s holds numbers that are not finite' % (path, label))
                    utils.write_image(outputs[path, label], pastiche, utils.origin('stylize', path))
                    bar.write(outputs[path, label])
                except utils.UserError as error:
                    report(path, error)
                    pastiche = None
                if args.grid:
                    row = sheet.setdefault(path, [small(photo)])
                    row.append(None if pastiche is None else small(pastiche))
                bar.update()
    if args.grid and sheet:
        utils.write_image(args.grid, utils.style_sheet(list(sheet.values()), ['photo'] + [s for s, _ in styles]),
                          utils.origin('sheet'))
        print(args.grid)
    if failed:
        print('error: %d of %d photos could not be stylized' % (len(failed), len(images)), file=sys.stderr)
        return 1
    return None


if __name__ == '__main__':
    utils.run_script(main)
