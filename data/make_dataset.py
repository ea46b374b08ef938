#!/usr/bin/env python
"""Make the HDF5 file of photos that training reads, from folders of photos or COCO's zip files.

    python data/make_dataset.py --train data/coco/train2014.zip --val data/coco/val2014.zip

The layout is that of fast-neural-style's dataset script: datasets train2014/images and val2014/images, uint8
of shape (photos, 3, height, width), RGB. Each photo loses its bottom and right edges so that both sides are
multiples of 16, and is resized, to a square by default; grey photos are repeated over the channels. The order is that
of the file names. Files that cannot be read are left out and listed at the end.
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import environment  # noqa: F401, before all others: it names what is missing

import argparse
import collections
import concurrent.futures
import contextlib
import io
import shutil
import signal
import zipfile

import h5py
import numpy
from PIL import Image

import files  # noqa: E402
import options  # noqa: E402
import utils  # noqa: E402

MAX_FILE_BYTES = 200 * 10**6  # of one photo in a zip file


def cut(image, size=(256, 256), multiple=16):
    """Cut and resize an image as fast-neural-style's dataset script does.

    The bottom and right edges are cut off to make both sides multiples of `multiple` (a shorter side is left
    as it is), then the image is resized (bilinear, the aspect not kept).

    Parameters
    ----------
    image : uint8 array of shape (height, width, 3)
    size : pair of int
        Width and height.
    multiple : int

    Returns
    -------
    uint8 array of that height and width
    """
    height, width = (side - side % multiple or side for side in image.shape[:2])
    return numpy.asarray(Image.fromarray(image[:height, :width]).resize(size, Image.Resampling.BILINEAR))


def open_source(path):
    """The photos of a folder or a zip file.

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
            raise utils.UserError(f'{path}: neither a folder nor a readable zip file: {utils.reason(error)}')
        names = sorted(name for name in archive.namelist() if name.lower().endswith(files.READ_EXTENSIONS))
        if not names:
            raise utils.UserError(f'{path}: no images in this zip file')
        return names, lambda name: read_member(archive, path, name)
    if not os.path.isdir(path):
        raise utils.UserError(f'{path}: no such folder or zip file')
    return files.find_images(path), files.read_image


def read_member(archive, path, name):
    """Read an image that is in a zip file."""
    member = archive.getinfo(name)
    where = f'{name} in {path}'
    methods = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
    if member.file_size > MAX_FILE_BYTES or member.compress_type not in methods:
        raise utils.UserError(f'{where}: too large, or compressed in an unusual way')
    try:
        file = io.BytesIO(archive.read(member))
    except Exception as error:
        # A damaged archive: BadZipFile, zlib.error, EOFError, NotImplementedError, ...
        raise utils.UserError(f'{where}: {utils.reason(error)}')
    file.name = where
    return files.read_image(file)


def convert(read, name, size):
    """A photo as it is stored, and None; or None and what is wrong with it."""
    try:
        return cut(read(name), size).transpose(2, 0, 1), None
    except utils.UserError as error:
        return None, str(error)


class Disk:
    """A file for HDF5 to write to, from which errors come as errors.

    When a write fails, as on a full disk, the HDF5 library is left with data that it can neither write nor
    drop, and crashes as it closes the file. So it is told that all went well, and the error is kept for
    `check`.
    """

    def __init__(self, file):
        self.file = file
        self.error = None
        self.seek, self.tell, self.read, self.readinto = file.seek, file.tell, file.read, file.readinto

    def check(self):
        """Raise the error that has occurred, if any."""
        if self.error is not None:
            raise self.error

    @contextlib.contextmanager
    def keep_interrupts(self):
        """Meanwhile, keep Ctrl-C for `check`, too: h5py would swallow one that comes while it calls this file."""
        if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield
            return
        signal.signal(signal.SIGINT, lambda *_: setattr(self, 'error', self.error or KeyboardInterrupt()))
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def attempt(self, call, *arguments):
        try:
            if self.error is None:
                call(*arguments)
        except Exception as error:
            self.error = error

    def write(self, data):
        self.attempt(self.file.write, data)
        return len(data)

    def truncate(self, size):
        self.attempt(self.file.truncate, size)
        return size

    def flush(self):
        self.attempt(self.file.flush)


def add_split(file, dataset_name, source, size, pool, workers, disk):
    """Write the photos of a folder or zip file to a dataset of an HDF5 file on `disk`.

    Returns
    -------
    count : int
        Photos written.
    problems : list of str
        What is wrong with the files left out, one line each.
    """
    names, read = source
    # One photo a chunk, so that training can read them one by one in any order.
    shape = (3, size[1], size[0])
    dataset = file.create_dataset(
        dataset_name, (len(names),) + shape, numpy.uint8, chunks=(1,) + shape, maxshape=(None,) + shape
    )
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
            disk.check()
            if problem:
                problems.append(problem)
            else:
                dataset[count] = image
                count += 1
            bar.update()
    dataset.resize(count, axis=0)
    return count, problems


def size(text):
    """``256`` or ``320x240`` as a width and a height."""
    sides = [options.positive_int(side) for side in text.lower().split('x')]
    if len(sides) > 2:
        raise argparse.ArgumentTypeError(f'{text!r} is neither SIDE nor WIDTHxHEIGHT, such as 256 or 320x240')
    return tuple(sides * 2)[:2]


def parse_arguments():
    parser = options.Parser(__doc__)
    parser.add_argument('--train', metavar='DIR', required=True, help='folder or zip file of photos to train on')
    parser.add_argument('--val', metavar='DIR', help='folder or zip file of photos to validate on')
    parser.add_argument(
        '--output', metavar='FILE', default=os.path.join(HERE, 'coco', 'ms-coco-256.h5'), help='HDF5 file to write'
    )
    parser.add_argument(
        '--size',
        type=size,
        default=(256, 256),
        metavar='SIDE or WIDTHxHEIGHT',
        help='pixels of the images (default: 256)',
    )
    parser.add_argument(
        '--max-images',
        type=options.positive_int,
        metavar='N',
        help='take the first N of the photos of each folder or zip file only',
    )
    parser.add_argument(
        '--workers', type=options.positive_int, default=os.cpu_count() or 1, metavar='N', help='photos read at once'
    )
    options.add_max_pixels(parser)
    options.add_overwrite(parser)
    return parser.parse_args()


def check_output(args, photos):
    """Refuse to write where one of the inputs is, where there is no folder, or where so many photos have no room."""
    files.check_outputs({args.output: False}, [path for path in (args.train, args.val) if path], args.overwrite)
    folder, needed = os.path.dirname(args.output) or '.', photos * 3 * args.size[0] * args.size[1]
    if not os.path.isdir(folder):
        raise utils.UserError(f'{args.output}: cannot write: there is no such folder')
    if needed > shutil.disk_usage(folder).free:
        raise utils.UserError(
            f'{args.output}: needs {needed / 1e9:.1f} GB, and {shutil.disk_usage(folder).free / 1e9:.1f} GB are free'
        )


def main():
    args = parse_arguments()
    splits = [
        (name, open_source(path))
        for name, path in (('train2014/images', args.train), ('val2014/images', args.val))
        if path
    ]
    splits = [(dataset, (names[: args.max_images], read)) for dataset, (names, read) in splits]
    check_output(args, sum(len(names) for _, (names, _) in splits))

    problems, counts = [], []
    with files.atomic_write(args.output) as raw, concurrent.futures.ThreadPoolExecutor(args.workers) as pool:
        disk = Disk(raw)
        with disk.keep_interrupts(), h5py.File(disk, 'w') as file:
            for name, source in splits:
                count, wrong = add_split(file, name, source, args.size, pool, args.workers, disk)
                counts.append(f'{name} {count}')
                problems += wrong
                if not count:
                    raise utils.UserError(f'{name}: no photo can be read; the first: {wrong[0]}')
        disk.check()
    print(f'{args.output}: {", ".join(counts)}')
    if problems:
        print(f'{len(problems)} files could not be read and were left out:', file=sys.stderr)
        for problem in problems:
            print(f'  {problem}', file=sys.stderr)


if __name__ == '__main__':
    utils.run_script(main)
