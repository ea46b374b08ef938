"""Files in and out: nothing in them is trusted or run, and writing is atomic; no Theano."""
from files.arrays import ERRORS, MAX_BYTES
from files.atomic import (
    append_line,
    atomic_path,
    atomic_write,
    check_outputs,
    check_regular,
    cut_name,
    make_folder,
    sync_folder,
)
from files.hdf5 import hdf5_datasets
from files.images import (
    MAX_PIXELS,
    MOST_PIXELS,
    OTHER_EXTENSIONS,
    READ_EXTENSIONS,
    READ_FORMATS,
    WRITE_FORMATS,
    check_extension,
    cover,
    find_images,
    median_filter,
    origin,
    read_image,
    read_origin,
    thumbnail,
    to_float,
    to_uint8,
    write_image,
)
from files.npz import load_npz, read_npz, save_npz, write_npz
from files.pickles import load_pickle, read_pickle
from files.sheets import contact_sheet, style_sheet

__all__ = [
    'ERRORS', 'MAX_BYTES', 'append_line', 'atomic_path', 'atomic_write', 'check_outputs', 'check_regular',
    'cut_name', 'make_folder', 'sync_folder', 'hdf5_datasets', 'MAX_PIXELS', 'MOST_PIXELS', 'OTHER_EXTENSIONS',
    'READ_EXTENSIONS', 'READ_FORMATS', 'WRITE_FORMATS', 'check_extension', 'cover', 'find_images', 'median_filter',
    'origin', 'read_image', 'read_origin', 'thumbnail', 'to_float', 'to_uint8', 'write_image', 'load_npz',
    'read_npz', 'save_npz', 'write_npz', 'load_pickle', 'read_pickle', 'contact_sheet', 'style_sheet',
]
