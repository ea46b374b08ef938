#!/usr/bin/env python
"""
Make the HDF5 file of photos that training reads, from folders of photos or COCO's zip files.

    python data/make_dataset.py --train data/coco/train2014.zip --val data/coco/val2014.zip

The layout is that of fast-neural-style's dataset script: datasets train2014/images and val2014/images, uint8
of shape (photos, 3, size, size), RGB. Each photo loses its bottom and right edges so that both sides are
multiples of 16, and is resized to a square; grey photos are repeated over the channels. The order is that of
the file names. Files that cannot be read are left out and listed at the end.
"""

import argparse
import collections
import concurrent.futures
import io
import os
import shutil
import sys
import zipfile

import h5py
import numpy as np
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

import utils  # noqa: E402

MAX_FILE_BYTES = 200 * 10**6       # of one photo in a zip file


def square(image, size=256, multiple=16):
    """
    Cut and resize an image as fast-neural-style's dataset script does.

    The bottom and right edges are cut off to make both sides multiples of `multiple` (a shorter side is left
    as it is), then the image is resized to a square (bilinear, the aspect not kept).

    Parameters
    ----------
    image : uint8 array of shape (height, width, 3)
    size : int
        Side of the square.
    multiple : int

    Returns
    -------
    uint8 array of shape (size, size, 3)
    """
    height, width = (side - side % multiple or side for side in image.shape[:2])
    return np.asarray(Image.fromarray(image[:height, :width]).resize((size, size), Image.Resampling.BILINEAR))


def open_source(path):
    """
    The photos of a folder or a zip file.

    Returns
    -------
    names : list of str
        Sorted.
    read : callable
        ``read(name)`` is the photo as a uint8 array of shape (height, width, 3); it raises `utils.UserError`
        for one that cannot be read. May be called by several threads at once.
    """
    if os.path.isfile(path):
        try:
            archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise utils.UserError('%s: neither a folder nor a readable zip file: %s'
                                  % (path, utils.reason(error)))
        names = sorted(name for name in archive.namelist() if name.lower().endswith(utils.READ_EXTENSIONS))
        if not names:
            raise utils.UserError('%s: no images in this zip file' % path)
        return names, lambda name: read_member(archive, path, name)
    if not os.path.isdir(path):
        raise utils.UserError('%s: no such folder or zip file' % path)
    return utils.find_images(path), utils.read_image


def read_member(archive, path, name):
    """Read an image that is in a zip file."""
    member = archive.getinfo(name)
    where = '%s in %s' % (name, path)
    methods = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
    if member.file_size > MAX_FILE_BYTES or member.compress_type not in methods:
        raise utils.UserError('%s: too large, or compressed in an unusual way' % where)
    try:
        file = io.BytesIO(archive.read(member))
    except Exception as error:
        # A damaged archive: BadZipFile, zlib.error, EOFError, NotImplementedError, ...
        raise utils.UserError('%s: %s' % (where, utils.reason(error)))
    file.name = where
    return utils.read_image(file)


def convert(read, name, size):
    """A photo as it is stored, and None; or None and what is wrong with it."""
    try:
        return square(read(name), size).transpose(2, 0, 1), None
    except utils.UserError as error:
        return None, str(error)


def add_split(file, dataset_name, source, size, pool, workers):
    """
    Write the photos of a folder or zip file to a dataset.

    Returns
    -------
    count : int
        Photos written.
    problems : list of str
        What is wrong with the files left out, one line each.
    """
    names, read = source
    # One photo a chunk, so that training can read them one by one in any order.
    shape = (3, size, size)
    dataset = file.create_dataset(dataset_name, (len(names),) + shape, np.uint8, chunks=(1,) + shape,
                                  maxshape=(None,) + shape)
    count, problems = 0, []
    waiting, names_left = collections.deque(), iter(names)
    with utils.progress(total=len(names), desc=dataset_name.split('/')[0], unit='photo') as bar:
        while True:
            # Only so many photos are in memory, and they are written in the order of their names.
            while len(waiting) < 4 * workers:
                name = next(names_left, None)
                if name is None:
                    break
                waiting.append(pool.submit(convert, read, name, size))
            if not waiting:
                break
            image, problem = waiting.popleft().result()
            if problem:
                problems.append(problem)
            else:
                dataset[count] = image
                count += 1
            bar.update()
    dataset.resize(count, axis=0)
    return count, problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--train', metavar='DIR', required=True, help='folder or zip file of photos to train on')
    parser.add_argument('--val', metavar='DIR', help='folder or zip file of photos to validate on')
    parser.add_argument('--output', metavar='FILE', default=os.path.join(HERE, 'coco', 'ms-coco-256.h5'),
                        help='HDF5 file to write (default: %(default)s)')
    parser.add_argument('--size', type=int, default=256, help='side of the squares (default: %(default)s)')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1, metavar='N',
                        help='photos read at once (default: %(default)s, the number of processors)')
    args = parser.parse_args()
    if args.size < 1 or args.workers < 1:
        raise utils.UserError('--size and --workers must be at least 1')

    splits = [(name, open_source(path)) for name, path in (('train2014/images', args.train),
                                                           ('val2014/images', args.val)) if path]
    folder = os.path.dirname(args.output) or '.'
    needed = sum(len(names) for _, (names, _) in splits) * 3 * args.size**2
    if not os.path.isdir(folder):
        raise utils.UserError('%s: cannot write: there is no such folder' % args.output)
    if needed > shutil.disk_usage(folder).free:
        raise utils.UserError('%s: needs %.1f GB, and %.1f GB are free'
                              % (args.output, needed / 1e9, shutil.disk_usage(folder).free / 1e9))

    problems, counts = [], []
    with utils.atomic_path(args.output) as temporary, \
            concurrent.futures.ThreadPoolExecutor(args.workers) as pool:
        try:
            with h5py.File(temporary, 'w') as file:
                for name, source in splits:
                    count, wrong = add_split(file, name, source, args.size, pool, args.workers)
                    counts.append('%s %d' % (name, count))
                    problems += wrong
                    if not count:
                        raise utils.UserError('%s: none of the photos can be read; the first: %s'
                                              % (name, wrong[0]))
        except RuntimeError as error:
            # h5py's other way to say that the disk is full
            raise OSError(str(error))
    print('%s: %s' % (args.output, ', '.join(counts)))
    if problems:
        print('%d files could not be read and were left out:' % len(problems), file=sys.stderr)
        for problem in problems:
            print('  ' + problem, file=sys.stderr)


if __name__ == '__main__':
    utils.run_script(main)
