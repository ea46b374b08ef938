"""Arrays out of files that need not be trusted: .npz archives, pickles and HDF5.

`numpy.load`, `pickle.load` and the HDF5 library believe what a file says about itself. The readers here do not:
every length is checked against what is there before memory is taken for it, nothing named in a file is imported,
called or opened, and no expression in a file is evaluated. What is wrong with a file is told by an exception of
`ERRORS`; `load` turns it into one line for the user.
"""

from __future__ import annotations

import math
import re
import struct
import zipfile
import zlib
from typing import Any, BinaryIO, Callable

import numpy

import utils
from files.atomic import check_regular

ERRORS = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    OSError,
    MemoryError,
    RuntimeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)

MAX_BYTES = 2 * 2**30  # of the arrays in one file, unless GOGH_MAX_BYTES says otherwise
# The dtypes that are admitted: plain numbers, bytes and text, but no objects, records or dates.
_DTYPE = re.compile(r'[<>|=]?[biufcSU]\d{1,9}')


def make_array(data: bytes | bytearray, dtype: Any, shape: Any, order: Any = 'C') -> numpy.ndarray:
    """An array over the bytes that a file holds for it.

    Parameters
    ----------
    data : bytes-like
        Not copied: the array is read-only where `data` is bytes.
    dtype : numpy.dtype
    shape : tuple of int
    order : 'C' or 'F'

    Raises
    ------
    ValueError
        If `data` is not exactly as long as `dtype` and `shape` say, or holds text that is not Unicode.
    """
    if not isinstance(dtype, numpy.dtype) or not isinstance(shape, tuple) or order not in ('C', 'F'):
        raise ValueError('the description of an array is malformed')
    if len(shape) > 32 or any(type(side) is not int or not 0 <= side < 2**62 for side in shape):
        raise ValueError('the shape of an array is malformed')
    if dtype.itemsize == 0 or math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f'an array of {len(data)} bytes does not have the shape {shape} of {dtype}')
    array = numpy.frombuffer(data, dtype) if len(data) else numpy.empty(0, dtype)
    if dtype.kind == 'U':
        order_of_bytes: Any = dtype.byteorder
        points = array.view(numpy.dtype('u4').newbyteorder(order_of_bytes))
        if ((points > 0x10FFFF) | ((points >= 0xD800) & (points < 0xE000))).any():
            raise ValueError('an array of text is not Unicode')
    elif dtype.kind == 'b':
        array = array.view(numpy.uint8) != 0
    return array.reshape(shape, order=order)


def make_dtype(name: str) -> numpy.dtype:
    """The dtype of a name such as '<f4'; ValueError for one that is not plain numbers, bytes or text."""
    if 'O' in name:
        raise ValueError('it holds Python objects, which are never loaded')
    if not _DTYPE.fullmatch(name):
        raise ValueError(f'it holds an array of {name!r}, not of plain numbers or text')
    return numpy.dtype(name)


def check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise ValueError(
            f'it holds {size} bytes, more than the {max_bytes} that are read at most; set GOGH_MAX_BYTES to allow more'
        )


def load(path: str, max_bytes: int | None, reader: Callable[[BinaryIO, int], Any], kind: str) -> Any:
    if max_bytes is None:
        max_bytes = utils.limit('GOGH_MAX_BYTES', MAX_BYTES)
    try:
        check_regular(path)
        with open(path, 'rb') as file:
            return reader(file, max_bytes)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise utils.UserError(f'{path}: cannot read: {utils.reason(error)}')
    except ERRORS as error:
        raise utils.UserError(f'{path}: cannot read this {kind}: {utils.reason(error)}')
