"""Super-resolution in *Perceptual Losses for Real-Time Style Transfer and Super-Resolution* (arXiv:1603.08155)."""

import os
import sys

import numpy
from PIL import Image
from scipy import ndimage

import files
import options
import scores
import upscaling
import utils
from data import photos
from formats import networks
from papers import common

# PSNR and SSIM in figures 8 and 9 of the paper, by factor, method and data set. SRCNN is not made again here.
PAPER = {
    4: {
        'bicubic': {'Set5': (28.43, 0.8114), 'Set14': (25.99, 0.7301), 'BSD100': (25.96, 0.682)},
        'pixel loss': {'Set5': (28.40, 0.8205), 'Set14': (25.75, 0.6994), 'BSD100': (25.91, 0.6680)},
        'feature loss': {'Set5': (27.09, 0.7680), 'Set14': (24.99, 0.6731), 'BSD100': (24.95, 0.6317)},
    },
    8: {
        'bicubic': {'Set5': (23.80, 0.6455), 'Set14': (22.37, 0.5518), 'BSD100': (22.11, 0.5322)},
        'pixel loss': {'Set5': (24.77, 0.6864), 'Set14': (23.02, 0.5787), 'BSD100': (22.54, 0.5526)},
        'feature loss': {'Set5': (23.26, 0.7058), 'Set14': (21.64, 0.5837), 'BSD100': (21.35, 0.5474)},
    },
}
SETS = 'Set5', 'Set14', 'BSD100'
# Standard deviations of the blur before photos are made small: as in the paper's training, and none.
BLURS = 1.0, 0.0
# Of what is shown of a photo: side in pixels, and how many times as large.
CROP, ZOOM = 96, 2


def super_resolution(args):
    """The bicubic filter and both losses at the factors 4 and 8 (arXiv:1603.08155, figures 8 and 9).

    Photos are made small, enlarged again, and compared with what they were. The paper says how the photos that it
    learns from are made small, by a blur and the bicubic filter, and not how those are that it measures on: its numbers
    for the bicubic filter are those of others for photos that are not blurred. Both are measured.
    """
    rows, device = [], options.device(args)
    sets = {os.path.basename(os.path.normpath(folder)): files.find_images([folder]) for folder in folders(args)}
    for factor in PAPER:
        methods, sheet = enlargers(args, factor, device), []
        if len(methods) == 1:
            continue
        for blur in BLURS:
            for name, paths in sets.items():
                values = {method: [] for method in methods}
                for path in utils.progress(paths, desc=f'{name}, {factor} times', unit='photo'):
                    original = divisible(files.read_image(path), factor)
                    small, measured = photos.Reduction(factor, blur)(original), {}
                    images = {method: enlarge(small) for method, enlarge in methods.items()}
                    for method, image in images.items():
                        measured[method] = scores.psnr(image, original, factor), scores.ssim(image, original, factor)
                        values[method].append(measured[method])
                    if blur == BLURS[0] and len(sheet) < args.shown:
                        sheet.append(crops(images, original))
                for method, of_photos in values.items():
                    published = PAPER[factor][method].get(name, ('', ''))
                    means = [float(mean) for mean in numpy.mean(of_photos, axis=0)]
                    rows.append([factor, blur, name, len(paths), method, *means, *published])
        labels = list(methods) + ['original']
        common.write_picture(args, files.contact_sheet(sheet, labels), f'-x{factor}')
    if not rows:
        raise utils.UserError('there is no network that enlarges 4 or 8 times: train.py --task upscale makes one')
    columns = ['factor', 'blur', 'set', 'photos', 'method', 'psnr', 'ssim', 'paper_psnr', 'paper_ssim']
    common.write_table(args, columns, rows)


def folders(args):
    """The folders with photos: those of --photos, or else what data/download.py has fetched."""
    if args.photos != [os.path.join(common.ROOT, 'data', 'samples')]:
        return args.photos
    there = [os.path.join(common.ROOT, 'data', 'sr', name) for name in SETS]
    there = [folder for folder in there if os.path.isdir(folder)]
    if not there:
        raise utils.UserError(
            'no photos to measure on: python data/download.py sr fetches those of the paper (250 MB); or give folders '
            'of your own, which are data sets, by --photos'
        )
    return there


def enlargers(args, factor, device):
    """What makes photos larger: {method: function of a small photo}; by networks of the run folder, or shipped ones."""
    methods = {'bicubic': lambda small: files.resize_bicubic(small, *(factor * side for side in small.shape[:2]))}
    for method, kind in (('pixel loss', '-pixel'), ('feature loss', '')):
        name = f'{networks.UPSCALING}x{factor}{kind}'
        own = os.path.join(args.run_dir, f'{name}.npz')
        try:
            path = networks.find_upscaling(own if os.path.exists(own) else name, factor)
        except utils.UserError as error:
            print(f'left out: {error}', file=sys.stderr)
        else:
            methods[method] = upscaling.Enhancer(path, device)
    return methods


def divisible(photo, factor):
    """A photo without the last rows and columns that are too many for its sides to be multiples of the factor."""
    height, width = (side // factor * factor for side in photo.shape[:2])
    return photo[:height, :width]


def crops(images, original):
    """The part of enlarged photos and of the original that has the most detail in the latter, made larger."""
    detail = ndimage.gaussian_gradient_magnitude(scores.luminance(original), 1.0)
    height, width = (min(CROP, side) for side in original.shape[:2])
    sums = ndimage.uniform_filter(detail, (height, width), mode='constant')
    # Where the square lies within the photo.
    top, left = height // 2, width // 2
    inner = sums[top : top + original.shape[0] - height + 1, left : left + original.shape[1] - width + 1]
    y, x = numpy.unravel_index(numpy.argmax(inner), inner.shape)
    parts = [image[y : y + height, x : x + width] for image in (*images.values(), original)]
    size = ZOOM * width, ZOOM * height
    return [numpy.array(Image.fromarray(part).resize(size, Image.Resampling.NEAREST)) for part in parts]
