#!/usr/bin/env python
"""Feed damaged files to every parser of files that a stranger may send.

    python tests/fuzz.py images --runs 100000       each image format
    python tests/fuzz.py npz pickle --runs 100000
    python tests/fuzz.py all --runs 1000 --seed 3

A parser may return a result or raise `utils.UserError`. Any other exception, a crash, more than ten seconds of
work for one input, or more memory than --memory is a finding: the input is kept in --findings and the exit
status is 1. With atheris installed (pip install atheris) the inputs are guided by the coverage of the Python
code; otherwise, and with --random, they are random mutations of the seeds, which a given --seed repeats. HDF5
files are parsed by a library of C, whose coverage is not seen: for h5 and vgg-h5 take --random.
"""

import argparse
import dataclasses
import glob
import io
import os
import pickle
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

try:
    import atheris
except ImportError:
    atheris = None

if atheris and __name__ == '__main__' and '--child' in sys.argv:
    with atheris.instrument_imports(
        include=['PIL', 'data.photos', 'files', 'formats', 'json', 'models', 'utils', 'zipfile']
    ):
        from PIL import (
            BmpImagePlugin,
            GifImagePlugin,
            JpegImagePlugin,
            MpoImagePlugin,  # noqa: F401
            PngImagePlugin,
            PpmImagePlugin,
            TiffImagePlugin,
            WebPImagePlugin,
        )
        import data.photos  # noqa: F401
        import models
        from formats import foreign, networks, vgg

import json  # noqa: E402
import zipfile  # noqa: E402
from unittest import mock  # noqa: E402

import h5py  # noqa: E402
import numpy  # noqa: E402
from PIL import Image  # noqa: E402

import files  # noqa: E402
import models  # noqa: E402, F811
import options  # noqa: E402
import utils  # noqa: E402
from data import photos  # noqa: E402
from formats import foreign, networks, vgg  # noqa: E402, F811
from support import torch7  # noqa: E402
from support.tiny import transformer  # noqa: E402

MAX_PIXELS, MAX_BYTES, SECONDS = 10**4, 10**6, 10

# Name of a parser to what makes its seeds (a list of bytes) and what feeds it (a function of bytes).
TARGETS = {}


def target(name, seeds):
    """Decorator: register a function that feeds bytes to a parser."""

    def register(feed):
        TARGETS[name] = seeds, feed
        return feed

    return register


# ---------------------------------------------------------------------------------------------------- parsers


def image_seeds(form):
    """Small images of every mode that a format can hold, with and without extras such as EXIF."""
    pixels = numpy.random.RandomState(0).randint(0, 256, (12, 9, 4)).astype(numpy.uint8)
    rgba = Image.fromarray(pixels, 'RGBA')
    wide = Image.fromarray(numpy.arange(108, dtype=numpy.uint16).reshape(12, 9) * 600)
    modes = 'RGB', 'L', '1', 'P', 'LA', 'CMYK', 'YCbCr', 'I', 'F'
    images = [rgba.convert(mode) for mode in modes] + [rgba, wide]
    exif = Image.Exif()
    exif[0x0112] = 6
    variants = [{}, dict(exif=exif)]
    variants += {
        'JPEG': [dict(progressive=True)],
        'PNG': [dict(transparency=3), dict(interlace=1)],
        'WEBP': [dict(lossless=True)],
        'TIFF': [
            dict(compression=name)
            for name in ('tiff_lzw', 'tiff_adobe_deflate', 'packbits', 'jpeg', 'group4', 'tiff_ccitt')
        ],
    }.get(form, [])
    if form in ('GIF', 'WEBP', 'PNG', 'TIFF'):
        variants.append(dict(save_all=True, append_images=[rgba.rotate(90).convert('RGB')]))
    seeds = []
    for image in images:
        for variant in variants:
            file = io.BytesIO()
            try:
                image.save(file, form, **variant)
            except Exception:
                continue  # a mode or option that the format does not have
            seeds.append(file.getvalue())
    return sorted(set(seeds))


def feed_image(data):
    image = files.read_image(io.BytesIO(data), max_pixels=MAX_PIXELS)
    assert image.dtype == numpy.uint8 and image.ndim == 3 and image.shape[2] == 3
    assert image.shape[0] * image.shape[1] <= MAX_PIXELS
    picture = files.read_picture(io.BytesIO(data), max_pixels=MAX_PIXELS)
    shapes = {frame.shape[:2] for frame in picture.frames} | {alpha.shape for alpha in picture.alphas or ()}
    assert shapes == {picture.frames[0].shape[:2]}
    assert sum(frame[..., 0].size for frame in picture.frames) <= MAX_PIXELS
    for extension in ('.png', '.jpg', '.tif', '.gif'):
        # What belongs to it can be written again.
        files.write_picture(io.BytesIO(), picture, 'gogh-figure fuzz', extension)


def feed_png(data):
    """A PNG; with its checksums put right, or the parser would look no further than at them."""
    chunks, place = [data[:8]], 8
    while place + 8 <= len(data):
        length = int.from_bytes(data[place : place + 4], 'big')
        body = data[place + 4 : place + 8 + length]
        chunks.append(data[place : place + 4] + body + struct.pack('>I', zlib.crc32(body)))
        place += 12 + length
    feed_image(b''.join(chunks))


for _form in ('JPEG', 'PNG', 'WEBP', 'GIF', 'TIFF', 'BMP', 'PPM'):
    target(_form.lower(), lambda form=_form: image_seeds(form))(feed_png if _form == 'PNG' else feed_image)


def input_path(process, extension):
    """The file through which a process feeds a loader that takes a path."""
    folder = '/dev/shm' if os.path.isdir('/dev/shm') else tempfile.gettempdir()
    return os.path.join(folder, f'gogh-fuzz-{process}{extension}')


def feed_file(load, data, extension=''):
    """Feed a loader that takes a path."""
    path = input_path(os.getpid(), extension)
    try:
        with open(path, 'wb') as file:
            file.write(data)
        return load(path)
    finally:
        os.remove(path)


def check_values(value):
    """That a value is made of arrays and plain values only."""
    todo = [value]
    seen = set()
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            todo += list(value) + list(value.values())
        elif isinstance(value, (list, tuple, set, frozenset)):
            todo += value
        elif isinstance(value, (numpy.ndarray, numpy.generic)):
            assert value.dtype.kind in 'biufcSU' and value.nbytes <= MAX_BYTES
            str(value)
        else:
            plain = str, bytes, bytearray, int, float, bool, type(None), numpy.dtype
            assert isinstance(value, plain), type(value)


def npz_seeds():
    seeds = []
    for save in (numpy.savez, numpy.savez_compressed):
        file = io.BytesIO()
        save(
            file,
            numpy.arange(6, dtype=numpy.float32).reshape(2, 3),
            numpy.asfortranarray(numpy.eye(2)),
            meta=numpy.array('{"a": 1}'),
        )
        seeds.append(b'z' + file.getvalue())
    for array in (
        numpy.arange(3.0),
        numpy.array('text'),
        numpy.array(True),
        numpy.zeros((0, 2), '>i2'),
        numpy.array([{}]),
    ):
        file = io.BytesIO()
        numpy.save(file, array)
        seeds.append(b'n' + file.getvalue())
    return seeds


@target('npz', npz_seeds)
def feed_npz(data):
    """An archive ('z...'), or an array that is put into one with the right checksums ('n...')."""
    kind, data = data[:1], data[1:]
    if kind != b'z':
        file = io.BytesIO()
        with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
            archive.writestr('arr_0.npy', data)
        data = file.getvalue()
    check_values(feed_file(lambda path: files.load_npz(path, max_bytes=MAX_BYTES), data))


def pickle_seeds():
    value = {
        'param values': [
            numpy.arange(4, dtype=numpy.float32).reshape(2, 2),
            numpy.float64(2.5),
            numpy.array(['a', 'b']),
        ],
        'text': ['é', b'bytes', (1, 2.5, -3, 2**40, True, None), {}, ()],
        'set': {1, 'a'},
    }
    seeds = [pickle.dumps(value, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    # what Python 2 wrote: str for the bytes of an array, a one-byte length, no memo
    seeds.append(
        b'\x80\x02}U\x06valuescnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0tU\1btR'
        b'(K\1(K\2tcnumpy\ndtype\n(U\2f4K\0K\1tR(K\3U\1<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb'
        b'\x89U\x08\0\0\x80?\0\0\0@tbs.'
    )
    return seeds + [
        b'cos\nsystem\n(U\2lstR.',
        b'(icollections\nOrderedDict\n.',
        b'\x80\x04\x8c\x02os\x8c\x06system\x93.',
    ]


@target('pickle', pickle_seeds)
def feed_pickle(data):
    check_values(feed_file(lambda path: files.load_pickle(path, max_bytes=MAX_BYTES), data))


def with_limit(load):
    """A loader that reads MAX_BYTES at most."""

    def limited(path):
        with mock.patch.dict(os.environ, GOGH_MAX_BYTES=str(MAX_BYTES)):
            return load(path)

    return limited


def network_arrays():
    """The arrays of a very small network, and what its file says of it."""
    network = transformer('cin', ['style'], (1, 1, 1), (1, 1), 0)
    values = models.lasagne.layers.get_all_param_values(network.output)
    arrays = {f'arr_{i}': value for i, value in enumerate(values)}
    return arrays, json.dumps(
        dict(dataclasses.asdict(network.architecture), styles=network.styles, format=networks.FORMAT)
    ).encode()


def npz(arrays):
    file = io.BytesIO()
    numpy.savez_compressed(file, **arrays)
    return file.getvalue()


def network_seeds():
    arrays, meta = network_arrays()
    return [
        b'm' + meta,
        b'm' + meta.replace(b'cin', b'fns'),
        b'm' + meta.replace(b'"style"', b''),
        b'm[]',
        b'm1e999',
        b'z' + npz(arrays),
        b'z' + npz(dict(arrays, meta=numpy.array(meta.decode()))),
    ]


_network_arrays = []


@target('network', network_seeds)
def feed_network(data):
    """The file of a network ('z...'), or a description that is put into a good one ('m...')."""
    kind, data = data[:1], data[1:]
    if kind != b'z':
        if not _network_arrays:
            _network_arrays.append(network_arrays()[0])
        data = npz(dict(_network_arrays[0], meta=numpy.array(data.decode('latin1'))))
    network = feed_file(with_limit(models.load_network), data)
    check_values(network.meta)
    check_values(dataclasses.asdict(network.architecture))


def vgg_arrays():
    generator = numpy.random.RandomState(0)
    return [generator.rand(*shape).astype('float32') for _ in range(13) for shape in [(1, 1, 3, 3), (1,)]]


def vgg_npz_seeds():
    names = [name + suffix for name in vgg.layer_names('vgg16') for suffix in ('_W', '_b')]
    arrays = dict(zip(names, vgg_arrays()))
    return [
        npz(arrays),
        npz({name: arrays[name] for name in names[:4]}),
        npz({name: arrays[name] for name in names[4:]}),
    ]


def vgg_pkl_seeds():
    return [
        pickle.dumps({'param values': values, 'model type': 'vgg16'}, protocol)
        for values in (vgg_arrays(), vgg_arrays()[:4])
        for protocol in (0, 2, 4)
    ]


def hdf5(datasets, libver='earliest', **options):
    """An HDF5 file of datasets {name: array}."""
    file = io.BytesIO()
    with h5py.File(file, 'w', libver=libver) as archive:
        for name, value in datasets.items():
            archive.create_dataset(name, data=value, **options)
    return file.getvalue()


def vgg_h5_seeds():
    seeds = []
    for pattern, kinds in (
        ('block%s_conv%s/block%s_conv%s_%s_1:0', 'Wb'),
        ('block%s_conv%s/block%s_conv%s/%s:0', ('kernel', 'bias')),
    ):
        datasets = {
            pattern % (name * 2 + (kind,)): numpy.ones(shape, 'float32')
            for name in ('11', '12')
            for name in [tuple(name)]
            for kind, shape in zip(kinds, [(3, 3, 1, 1), (1,)])
        }
        seeds += [
            hdf5(datasets),
            hdf5(datasets, 'latest'),
            hdf5(datasets, chunks=True),
            hdf5(datasets, chunks=True, compression='gzip', shuffle=True),
        ]
    return seeds


def content_h5_seeds():
    images = numpy.arange(2 * 3 * 16 * 16).reshape(2, 3, 16, 16).astype('uint8')
    datasets = {name: images for name in photos.HDF5_NAMES.values()}
    return [
        hdf5(datasets),
        hdf5(datasets, 'latest'),
        hdf5(datasets, chunks=(1, 3, 16, 16)),
        hdf5(datasets, chunks=(1, 3, 16, 16), maxshape=(None, 3, 16, 16)),
        hdf5(datasets, chunks=(1, 3, 16, 16), compression='gzip'),
    ]


@target('h5', content_h5_seeds)
def feed_content(data):
    """A dataset of content images, of which the first are read."""

    def load(path):
        content = photos.open_content(path, 16)
        for split in content[:2]:
            for i in range(min(split.size, 2)):
                image = split.read(i, numpy.random.RandomState(0))
                assert image.dtype == numpy.uint8 and image.shape == (16, 16, 3)

    feed_file(load, data, '.h5')


def vgg_onnx_seeds():
    from test_formats import model, tensor

    b = numpy.ones(4, 'float32')
    W = numpy.ones((4, 3, 3, 3), 'float32')
    return [
        model(tensor('block1_conv1_1/convolution/x', W), tensor('block1_conv1_1/Squeeze:0', b, packed=packed))
        for packed in (False, True)
    ]


for _name, _seeds in (('npz', vgg_npz_seeds), ('pkl', vgg_pkl_seeds), ('h5', vgg_h5_seeds), ('onnx', vgg_onnx_seeds)):
    target(f'vgg-{_name}', _seeds)(
        lambda data, extension=f'.{_name}': check_values(feed_file(with_limit(vgg.read), data, extension))
    )


FIXTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'fixtures')


def fixtures(*names):
    """The contents of files in tests/fixtures."""
    contents = []
    for name in names:
        with open(os.path.join(FIXTURES, name), 'rb') as file:
            contents.append(file.read())
    return contents


def read_foreign(path):
    check_values(with_limit(foreign.read)(path)[3])


target('foreign-onnx', lambda: fixtures('styles.onnx', 'example.onnx'))(
    lambda data: feed_file(read_foreign, data, '.onnx')
)
target('foreign-pth', lambda: fixtures('example.pth', 'example-old.pth'))(
    lambda data: feed_file(read_foreign, data, '.pth')
)
target('foreign-ckpt', lambda: fixtures('magenta.ckpt'))(lambda data: feed_file(read_foreign, data, '.ckpt'))


def torch7_seeds():
    generator = numpy.random.RandomState(0)
    settings = [('instance', 'reflect-start', 'nearest'), ('batch', 'none', 'deconv')]
    return [torch7.save(torch7.network(generator, *kinds, 1, (1,) * 5)[0]) for kinds in settings]


target('foreign-t7', torch7_seeds)(lambda data: feed_file(read_foreign, data, '.t7'))


@target('foreign-index', lambda: fixtures('lengstrom.ckpt.index'))
def feed_index(data):
    numbers = input_path(os.getpid(), '.data-00000-of-00001')
    shutil.copy(os.path.join(FIXTURES, 'lengstrom.ckpt.data-00000-of-00001'), numbers)
    try:
        feed_file(read_foreign, data, '.index')
    finally:
        os.remove(numbers)


def manifest_seeds():
    with tempfile.TemporaryDirectory() as folder:
        write_deeplearnjs(folder)
        with open(os.path.join(folder, 'manifest.json'), 'rb') as file:
            return [file.read()]


def write_deeplearnjs(folder):
    """A network of lengstrom's with a map everywhere."""
    widths, shapes = (1, 1, 1, 1, 1, 3), [(9, 9, 3, 1)] + [(3, 3, 1, 1)] * 4 + [(9, 9, 1, 3)]
    arrays = [
        array
        for shape, width in zip(shapes, widths)
        for array in (numpy.ones(shape), numpy.zeros(width), numpy.ones(width))
    ]
    manifest = {}
    for i, array in enumerate(arrays):
        name = f'Variable_{i}' if i else 'Variable'
        array.astype('<f4').tofile(os.path.join(folder, name))
        manifest[name] = dict(filename=name, shape=array.shape)
    with open(os.path.join(folder, 'manifest.json'), 'w') as file:
        json.dump(manifest, file)


@target('foreign-manifest', manifest_seeds)
def feed_manifest(data):
    folder = input_path(os.getpid(), '.folder')
    os.makedirs(folder, exist_ok=True)
    try:
        write_deeplearnjs(folder)
        with open(os.path.join(folder, 'manifest.json'), 'wb') as file:
            file.write(data)
        read_foreign(folder)
    finally:
        shutil.rmtree(folder)


# ---------------------------------------------------------------------------------------------------- fuzzing

INTERESTING = [
    b'\0',
    b'\xff',
    b'\x7f',
    b'\x80',
    b'\0\0',
    b'\xff\xff',
    b'\xff\xff\xff\x7f',
    b'\x7f\xff\xff\xff',
    b'\xff' * 4,
    b'\xff' * 8,
    b'\0' * 8,
    b'\0\0\1\0',
    b'\0\1\0\0',
]


def mutate(data, other, chance):
    """A random mutation of `data`, which may take a piece of `other`."""
    data = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 3, 8])):
        place = chance.randrange(len(data) + 1)
        for _ in range(4):
            # Some formats are mostly zeros between the places that matter.
            if place < len(data) and not data[place]:
                place = chance.randrange(len(data) + 1)
        kind = chance.randrange(7)
        if kind == 0 and place < len(data):
            data[place] ^= 1 << chance.randrange(8)
        elif kind == 1 and place < len(data):
            data[place] = chance.randrange(256)
        elif kind == 2:
            value = chance.choice(INTERESTING)
            data[place : place + len(value)] = value
        elif kind == 3:
            del data[place : place + chance.choice([1, 2, 4, 16, 1000])]
        elif kind == 4:
            data[place:place] = data[place : place + chance.choice([1, 4, 16, 64])]
        elif kind == 5:
            start = chance.randrange(len(other) + 1)
            data[place : place + chance.choice([0, 16])] = other[start : start + chance.choice([1, 4, 16, 64])]
        elif data:
            data[place:place] = bytes([chance.randrange(256)])
    return bytes(data)


def run_random(name, runs, seed, kill=False):
    """Feed random mutations of the seeds to a parser.

    Parameters
    ----------
    name : str
    runs, seed : int
    kill : bool
        Kill this process when an input takes too long, by a signal: code of C does not listen to anything else.

    Returns
    -------
    accepted : int
        How many inputs the parser took.
    finding : (bytes, Exception) or None
    """
    make_seeds, feed = TARGETS[name]
    seeds = make_seeds()
    chance = random.Random(f'{name} {seed}')
    accepted = 0
    for i in range(runs):
        data = seeds[i] if i < len(seeds) else mutate(chance.choice(seeds), chance.choice(seeds), chance)
        start = time.process_time()
        if kill:
            signal.setitimer(signal.ITIMER_PROF, 2 * SECONDS)
        try:
            feed(data)
            accepted += 1
        except utils.UserError:
            pass
        except Exception as error:
            return accepted, (data, error)
        if time.process_time() - start > SECONDS:
            return accepted, (data, RuntimeError(f'took {time.process_time() - start:.0f} seconds'))
    return accepted, None


def run_guided(name, runs, seed, findings, memory):
    """Feed a parser inputs that atheris makes. Does not return: libFuzzer ends the process."""
    make_seeds, feed = TARGETS[name]
    corpus = os.path.join(findings, f'corpus-{name}')
    os.makedirs(corpus, exist_ok=True)
    seeds = make_seeds()
    for i, data in enumerate(seeds):
        with open(os.path.join(corpus, f'seed-{i}'), 'wb') as file:
            file.write(data)

    def once(data):
        try:
            feed(data)
        except utils.UserError:
            pass

    # libFuzzer's clock runs on while the machine does other work, and following the coverage takes time too.
    longest = max(4096, max(map(len, seeds)))
    atheris.Setup(
        [
            sys.argv[0],
            f'-runs={runs}',
            f'-seed={seed + 1}',
            f'-max_len={longest}',
            f'-timeout={12 * SECONDS}',
            f'-rss_limit_mb={memory}',
            '-verbosity=0',
            '-print_final_stats=1',
            f'-artifact_prefix={findings}/{name}-',
            corpus,
        ],
        once,
    )
    atheris.Fuzz()


def main():
    parser = options.Parser(__doc__)
    parser.add_argument(
        'parsers', nargs='+', metavar='PARSER', help=f'{", ".join(TARGETS)}, images (all image formats) or all'
    )
    parser.add_argument('--runs', type=options.positive_int, default=100000, help='inputs for each parser')
    parser.add_argument('--seed', type=options.whole_number, default=0, help='of the mutations')
    parser.add_argument('--random', action='store_true', help='random mutations even where atheris is installed')
    parser.add_argument('--memory', type=options.positive_int, default=1500, help='limit in megabytes')
    parser.add_argument(
        '--findings',
        default=os.path.join(tempfile.gettempdir(), 'gogh-fuzz'),
        help='folder for inputs that a parser fails on',
    )
    parser.add_argument('--child', action='store_true', help=argparse.SUPPRESS)
    args = parser.parse_args()
    groups = {'images': [name for name in TARGETS if name.upper() in files.READ_FORMATS], 'all': list(TARGETS)}
    names = [name for parser_name in args.parsers for name in groups.get(parser_name, [parser_name])]
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        raise utils.UserError(f'no such parser: {", ".join(unknown)}')
    os.makedirs(args.findings, exist_ok=True)

    if args.child and atheris and not args.random:
        run_guided(names[0], args.runs, args.seed, args.findings, args.memory)
    if args.child:
        accepted, finding = run_random(names[0], args.runs, args.seed, kill=True)
        if finding:
            data, error = finding
            path = os.path.join(args.findings, f'{names[0]}-finding')
            with open(path, 'wb') as file:
                file.write(data)
            print(f'kept in {path}')
            raise error
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f'accepted {accepted}, peak memory {peak} MB')
        return 1 if peak > args.memory else 0

    # Each parser in a process of its own: a crash of one is seen, and the others are still tried.
    failed = False
    for name in names:
        start = time.time()
        command = [
            sys.executable,
            os.path.abspath(__file__),
            name,
            '--child',
            '--runs',
            str(args.runs),
            '--seed',
            str(args.seed),
            '--memory',
            str(args.memory),
            '--findings',
            args.findings,
        ]
        child = subprocess.Popen(command + ['--random'] * args.random, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output = child.communicate()[0].decode('utf-8', 'replace')
        for path in glob.glob(input_path(child.pid, '*')):
            kept = os.path.join(args.findings, f'{name}-finding')
            shutil.move(path, kept)
            output += f'ended by signal {-child.returncode}; the input is kept in {kept}\n'
        facts = [
            line
            for line in output.split('\n')
            if line.startswith(('accepted', 'stat::number_of_executed_units', 'stat::peak_rss_mb'))
        ]
        print(
            f'{name:<8} {"failed" if child.returncode else "passed"}: {args.runs} inputs in '
            f'{time.time() - start:.0f} s; {"; ".join(facts)}',
            flush=True,
        )
        if child.returncode:
            failed = True
            print(output[-5000:])
    return 1 if failed else 0


if __name__ == '__main__':
    utils.run_script(main)
