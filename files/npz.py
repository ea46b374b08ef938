"""Archives of arrays, .npz, that need not be trusted."""

from __future__ import annotations

import math
import re
import zipfile
from typing import Any, BinaryIO

import numpy

from files.arrays import check_size, load, make_array, make_dtype
from files.atomic import atomic_write

_NPY_HEADER = re.compile(
    r"\{'descr': '([^']{1,20})', 'fortran_order': (True|False), "
    r"'shape': \(((?:\d{1,18}L?, ?)*(?:\d{1,18}L?)?)\),? *\} *\n?"
)


def read_npz(file: BinaryIO, max_bytes: int) -> dict[str, numpy.ndarray]:
    """Read an .npz archive, as ``numpy.load(file, allow_pickle=False)`` does.

    The sizes that the archive announces are added up and checked before anything is inflated, and nothing is
    inflated past them.

    Parameters
    ----------
    file : binary file
    max_bytes : int
        Limit for all arrays together.

    Returns
    -------
    dict of arrays
        In the order of the archive.
    """
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        check_size(sum(member.file_size for member in members), max_bytes)
        arrays = {}
        for member in members:
            name = member.filename
            if not name.endswith('.npy') or name[:-4] in arrays:
                raise ValueError(f'{name!r} is not an array, or is there twice')
            if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # Python's zipfile inflates the other methods without a limit.
                raise ValueError(f'{name!r} is encrypted or compressed in an unusual way')
            with archive.open(member) as stream:
                arrays[name[:-4]] = _read_npy(stream, member.file_size)
        return arrays


def _read_npy(stream, size):
    """Read one array in the .npy format from a stream that holds `size` bytes."""
    magic = stream.read(8)
    if len(magic) < 8 or magic[:6] != b'\x93NUMPY' or magic[6] not in (1, 2, 3):
        raise ValueError('a member is not in the .npy format')
    width = 2 if magic[6] == 1 else 4
    length = int.from_bytes(stream.read(width), 'little')
    if length > 10000:
        raise ValueError('the header of an array is too long')
    header = _NPY_HEADER.fullmatch(stream.read(length).decode('latin1'))
    if header is None:
        raise ValueError('the header of an array is malformed, or it is not of plain numbers or text')
    descr, fortran_order, shape = header.groups()
    dtype = make_dtype(descr)
    shape = tuple(int(side) for side in re.findall(r'\d+', shape))
    left = size - 8 - width - length
    if math.prod(shape) * dtype.itemsize != left:
        raise ValueError('an array is not as long as its header says')
    data = bytearray(left)
    while left:
        chunk = stream.read(min(left, 1 << 20))
        if not chunk:
            raise ValueError('an array is truncated')
        data[len(data) - left : len(data) - left + len(chunk)] = chunk
        left -= len(chunk)
    if stream.read(1):
        raise ValueError('an array is longer than its header says')
    return make_array(data, dtype, shape, 'F' if fortran_order == 'True' else 'C')


def write_npz(file: BinaryIO, arrays: Any) -> None:
    """Write arrays as `numpy.savez` does, except that the same arrays always give the same bytes.

    Parameters
    ----------
    file : binary file
    arrays : dict of arrays
        Of any name, 'file' included.
    """
    with zipfile.ZipFile(file, 'w') as archive:
        for name, array in arrays.items():
            # A ZipInfo of its own has a fixed date, where archive.open(name) would write the time.
            with archive.open(zipfile.ZipInfo(f'{name}.npy'), 'w', force_zip64=True) as member:
                numpy.lib.format.write_array(member, numpy.asanyarray(array), allow_pickle=False)


def load_npz(path: str, max_bytes: int | None = None) -> dict[str, numpy.ndarray]:
    """Read an .npz file of arrays that need not be trusted (`read_npz`).

    Parameters
    ----------
    path : str
    max_bytes : int, optional
        Limit for all arrays together, checked before anything is inflated. 2 GiB by default, or what the
        environment variable GOGH_MAX_BYTES says.

    Returns
    -------
    dict of arrays
        In the order of the file.

    Raises
    ------
    UserError
        For a file that is missing, truncated, too large, or no .npz of plain arrays; one line, naming the
        file.
    """
    return load(path, max_bytes, read_npz, '.npz file')


def save_npz(path: str, arrays_: Any) -> None:
    """Write arrays to an .npz file: atomically, uncompressed, the same bytes for the same arrays.

    Parameters
    ----------
    path : str
    arrays_ : list or dict of arrays
        Those of a list are named arr_0, arr_1, ... as `numpy.savez` does.
    """
    if not isinstance(arrays_, dict):
        arrays_ = {f'arr_{i}': array for i, array in enumerate(arrays_)}
    with atomic_write(path) as file:
        write_npz(file, arrays_)
