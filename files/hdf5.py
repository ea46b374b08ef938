"""HDF5 files that need not be trusted."""

from __future__ import annotations

import math
from typing import Any

import h5py


def hdf5_datasets(file: Any, depth: int = 4, most: int = 10000) -> dict[str, Any]:
    """The datasets in an HDF5 file, of plain numbers that lie in the file as they are.

    Only groups and datasets that are in the file itself are looked at. Soft and external links are passed over,
    and a dataset whose numbers lie in other files is refused, so that no name in a file becomes a path. So is one
    that is compressed, since the HDF5 library inflates without a limit, and one that is longer than the file.

    Parameters
    ----------
    file : h5py.File
    depth : int
        How many groups deep to look.
    most : int
        Limit for the number of links looked at.

    Returns
    -------
    dict of h5py.Dataset
        By name, such as 'train2014/images'. Their numbers are not read yet.

    Raises
    ------
    ValueError
        Naming the dataset that is refused. Any of `ERRORS` for a file that is malformed.
    """
    found, todo, seen = {}, [('', file, depth)], 0
    while todo:
        path, group, levels = todo.pop()
        for name in group:
            seen += 1
            if seen > most:
                raise ValueError(f'it holds more than {most} groups and datasets')
            # A name that is not UTF-8 comes as bytes.
            if isinstance(name, bytes) or group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
                continue
            item = group[name]
            if isinstance(item, h5py.Dataset):
                _check_dataset(path + name, item, file.id.get_filesize())
                found[path + name] = item
            elif isinstance(item, h5py.Group) and levels > 1:
                todo.append((f'{path}{name}/', item, levels - 1))
    return found


def _check_dataset(name, dataset, size):
    """Refuse a dataset in a file of `size` bytes that is not plain numbers in that file."""
    # The shape is asked for last: that of a dataset put together from others opens their files.
    layout = dataset.id.get_create_plist()
    if layout.get_external_count() or layout.get_layout() == h5py.h5d.VIRTUAL:
        raise ValueError('%.100s lies in other files' % name)
    if layout.get_nfilters():
        raise ValueError('%.100s is compressed; h5repack -f NONE makes a file that can be read' % name)
    if dataset.dtype.kind not in 'biuf':
        raise ValueError('%.100s does not hold plain numbers' % name)
    shapes = [dataset.shape] + ([layout.get_chunk()] if layout.get_layout() == h5py.h5d.CHUNKED else [])
    if any(math.prod(shape) * dataset.dtype.itemsize > size for shape in shapes):
        raise ValueError('%.100s is longer than the file' % name)
