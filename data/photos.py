"""Content images for training: batches from an HDF5 dataset or a folder of photos.

What comes out depends on nothing but the seed and the iteration, so that a training run that is
resumed at iteration k sees the images that it would have seen.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import io
import os
import sys
from typing import Optional

import h5py
import numpy
from PIL import Image
from scipy import ndimage

import files
import utils

# What data/make_dataset.py writes of MS-COCO.
COCO = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'coco', 'ms-coco-256.h5')
# Splits of the content images, and the datasets of an HDF5 file that hold them.
HDF5_NAMES = {'train': 'train2014/images', 'val': 'val2014/images'}

Content = collections.namedtuple('Content', 'train val fingerprint sample')
Content.__doc__ = """Content images.

Attributes
----------
train, val : Split
    Images to train and to validate on.
fingerprint : str
    Changes when the images have other names or shapes, or another order.
sample : str
    Changes when their contents do: a hash of the sizes of all files and of some of their bytes, or of some of
    the images of an HDF5 file. Reading all would take minutes.
"""
SAMPLE_BYTES, SAMPLE_IMAGES = 4096, 64

Split = collections.namedtuple('Split', 'size read')
Split.__doc__ = """A sequence of content images.

Attributes
----------
size : int
    How many there are.
read : callable
    ``read(i, generator)`` returns image i as a uint8 array (image_size, image_size, 3), cut out at
    a place that the numpy RandomState decides, or as a list of such arrays, which need not be of one size; None if it
    cannot be read.
"""


@dataclasses.dataclass(frozen=True)
class Reduction:
    """How photos are made small for a network that learns to make them large again (arXiv:1603.08155, section 4.2).

    Parameters
    ----------
    factor : int
        By which height and width are divided.
    blur : float
        The standard deviation of the Gaussian blur before that, in pixels of the photo.
    most_blur : float, optional
        Let chance choose the standard deviation, between `blur` and this.
    most_noise : float
        The standard deviation of the noise that is added to the small image, in [0, 255], is drawn from 0 to this.
    worst_jpeg : int, optional
        Store the small image as a JPEG of a quality that is drawn from this to 95. (These three are neural-enhance's.)
    """

    factor: int
    blur: float = 1.0
    most_blur: float = 0.0
    most_noise: float = 0.0
    worst_jpeg: Optional[int] = None

    def __call__(self, image, generator=None):
        """A photo made small: a uint8 array (H, W, 3), whose sides are multiples of the factor, as one of H / factor.

        Without a generator nothing is left to chance: the photo is blurred and made small, and that is all.
        """
        height, width = (side // self.factor for side in image.shape[:2])
        blur = self.blur
        if generator is not None and self.most_blur > blur:
            blur = generator.uniform(blur, self.most_blur)
        # Pillow's own Gaussian blur is one of boxes, and up to seven grey values off.
        blurred = ndimage.gaussian_filter(image.astype('float32'), (blur, blur, 0), mode='reflect')
        small = files.resize_bicubic(blurred, height, width)
        if generator is not None and self.most_noise:
            small += generator.uniform(0, self.most_noise) * generator.standard_normal(small.shape)
        small = numpy.clip(numpy.rint(small), 0, 255).astype('uint8')
        if generator is not None and self.worst_jpeg:
            encoded = io.BytesIO()
            Image.fromarray(small).save(encoded, 'JPEG', quality=int(generator.randint(self.worst_jpeg, 96)))
            small = numpy.array(Image.open(encoded))
        return small

    def of(self, content):
        """The `Content` with, of each image, the small one and the image itself."""

        def reader(split):
            def read(i, generator):
                image = split.read(i, generator)
                return None if image is None else [self(image, generator), image]

            return split._replace(read=read)

        return content._replace(train=reader(content.train), val=reader(content.val))


def open_content(path, image_size, content_size=None, validation_split=0.05):
    """Open the content images.

    Parameters
    ----------
    path : str
        An HDF5 file as `data/make_dataset.py` writes it (uint8, N×3×256×256), or a folder of photos.
    image_size : int
        Side of the square cut out of each image.
    content_size : int, optional
        Photos of a folder are first resized so that this is their shorter side; `image_size` if it is
        not given. The images of an HDF5 file have been resized already.
    validation_split : float
        Share of a folder's photos that is kept for validation; an HDF5 file has its own split.

    Returns
    -------
    Content

    Raises
    ------
    utils.UserError
        If there are no such images, or they are smaller than `image_size`.
    """
    if not os.path.exists(path):
        raise utils.UserError(
            f'{path}: no such content images; give a folder of photos or an HDF5 file by --content '
            '(data/download.py and data/make_dataset.py prepare MS-COCO)'
        )
    if os.path.isdir(path):
        return _open_folder(path, image_size, content_size or image_size, validation_split)
    return _open_hdf5(path, image_size)


def _open_folder(path, image_size, content_size, validation_split):
    paths = files.find_images(path)
    fingerprint = hashlib.sha256('\n'.join(os.path.basename(p) for p in paths).encode()).hexdigest()[:16]
    count = int(round(validation_split * len(paths)))
    # Every k-th photo, since names often group photos by what they show.
    val = paths[:: len(paths) // count][:count] if count else []
    kept = set(val)
    train = [p for p in paths if p not in kept]
    if not train:
        raise utils.UserError(f'{path}: no photos are left to train on beside the {len(val)} for validation')
    complained = set()

    def reader(paths):
        def read(i, generator):
            try:
                image = files.read_image(paths[i], size=content_size)
            except utils.UserError as error:
                if i not in complained:
                    complained.add(i)
                    print(f'warning: skipped {error}', file=sys.stderr)
                return None
            return random_crop(image, image_size, generator)

        return read

    return Content(Split(len(train), reader(train)), Split(len(val), reader(val)), fingerprint, _sample_files(paths))


def _sample_files(paths):
    digest = hashlib.sha256()
    for path in paths:
        # One that cannot be read is reported, and passed over, by those who want its pixels.
        with contextlib.suppress(OSError), open(path, 'rb') as file:
            size = file.seek(0, os.SEEK_END)
            digest.update(b'%d ' % size)
            for place in (size // 2, max(0, size - SAMPLE_BYTES)):
                file.seek(place)
                digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()[:16]


def _open_hdf5(path, image_size):
    with contextlib.ExitStack() as stack:  # the file stays open if it is good
        try:
            file = stack.enter_context(h5py.File(path, 'r'))
            datasets = files.hdf5_datasets(file)
            images = {split: datasets[name] for split, name in HDF5_NAMES.items() if name in datasets}
            shapes = {split: dataset.shape for split, dataset in images.items()}
            good = 'train' in images and all(
                dataset.dtype == numpy.uint8 and dataset.ndim == 4 and dataset.shape[1] == 3 and len(dataset)
                for dataset in images.values()
            )
        except files.ERRORS as error:
            raise utils.UserError(f'{path}: neither a folder nor a readable HDF5 file: {utils.reason(error)}')
        if not good:
            raise utils.UserError(
                f'{path}: an HDF5 file of another layout: expected '
                f'{" and ".join(HDF5_NAMES.values())}, uint8, N×3×256×256'
            )
        for shape in shapes.values():
            if min(shape[2:]) < image_size:
                raise utils.UserError(
                    f'{path}: its images are {shape[2]}×{shape[3]}, too small for --image-size {image_size}'
                )
        stack.pop_all()

    def reader(dataset):
        def read(i, generator):
            try:
                image = dataset[i]
            except (OSError, RuntimeError) as error:
                raise utils.UserError(f'{path}: cannot read image {i}: {utils.reason(error)}')
            return random_crop(image.transpose(1, 2, 0), image_size, generator)

        return read

    splits = [Split(len(images[s]), reader(images[s])) if s in images else Split(0, None) for s in ('train', 'val')]
    digest = hashlib.sha256()
    for split in splits:
        for i in sorted(set(numpy.linspace(0, split.size - 1, SAMPLE_IMAGES).astype(int))) if split.size else []:
            digest.update(split.read(i, numpy.random.RandomState(0)).tobytes())
    return Content(splits[0], splits[1], repr(sorted(shapes.items())), digest.hexdigest()[:16])


def random_crop(image, size, generator):
    """A square of `size` pixels cut out of a uint8 array (H, W, 3) at a random place."""
    top, left = (generator.randint(side - size + 1) for side in image.shape[:2])
    return image[top : top + size, left : left + size]


def batches(split, batch_size, seed, start=0, workers=2, share=slice(None)):
    """Batches of training images, without end, read ahead by background workers.

    Each epoch goes through all images in an order of its own.

    Parameters
    ----------
    split : Split
    batch_size : int
    seed : int
    start : int
        Number of the first batch.
    workers : int
        Number of threads; Pillow and h5py let others run while they decode.
    share : slice
        The images of each batch that are read.

    Yields
    ------
    numpy array, or list of them
        float32, of shape (batch_size, 3, image_size, image_size), RGB in [0, 1].
    """
    ahead = 4 * workers
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        pending = collections.deque()
        number = start
        try:
            while True:
                while len(pending) < ahead:
                    pending.append(pool.submit(_read_batch, split, batch_size, seed, number, share))
                    number += 1
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _read_batch(split, batch_size, seed, number, share):
    images = []
    for place in range(number * batch_size, (number + 1) * batch_size)[share]:
        epoch, position = divmod(place, split.size)
        order = _order(seed, epoch, split.size)
        generator = numpy.random.RandomState([seed, 1, place])
        # An unreadable photo is replaced by the next one that can be read.
        for skip in range(split.size):
            image = split.read(order[(position + skip) % split.size], generator)
            if image is not None:
                break
        else:
            raise utils.UserError('none of the content images can be read')
        images.append(image)
    return _stack(images)


def _stack(images):
    """Images, or lists of images of the same kind, as a batch, or a list of batches."""
    if isinstance(images[0], list):
        return [_stack(parts) for parts in zip(*images)]
    return files.to_float(numpy.stack(images))


@functools.lru_cache(maxsize=4)
def _order(seed, epoch, size):
    """The order of the images in an epoch; every image of the epoch asks for it."""
    return numpy.random.RandomState([seed, 0, epoch]).permutation(size)


def fixed_images(split, count, seed):
    """The first `count` readable images of a split (fewer if it has fewer), always the same crops.

    Returns
    -------
    numpy array, or list of them
        float32, of shape (count, 3, image_size, image_size), RGB in [0, 1].
    """
    images = []
    for i in range(split.size):
        if len(images) == count:
            break
        image = split.read(i, numpy.random.RandomState([seed, 2, i]))
        if image is not None:
            images.append(image)
    if not images:
        raise utils.UserError('none of the content images can be read')
    return _stack(images)
