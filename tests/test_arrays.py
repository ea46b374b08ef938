"""Facts of files: .npz archives and pickles that need not be trusted."""

import base64
import io
import os
import pickle
import struct
import tracemalloc
import zipfile
import zlib

import h5py
import numpy
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from hypothesis.extra import numpy as hnp

import files
import utils
from formats import vgg
from data import photos

SETTINGS = settings(
    deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
DTYPES = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness='?'),
    hnp.unsigned_integer_dtypes(endianness='?'),
    hnp.floating_dtypes(endianness='?'),
    hnp.complex_number_dtypes(endianness='?'),
    hnp.byte_string_dtypes(min_len=1, max_len=5),
    hnp.unicode_string_dtypes(endianness='?', min_len=1, max_len=5),
)


def fortran(array):
    return numpy.asfortranarray(array)


ARRAYS = st.one_of(
    hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)),
    hnp.arrays(numpy.float32, (2, 3)).map(fortran),
)

# {'param values': [...], 'mean value': ..., ...} as numpy 1.16 and cPickle of Python 2.7 write it in
# protocols 0, 1 and 2, deflated; the layout of the Lasagne model zoo's vgg16.pkl.
PYTHON2 = {
    0: (
        b'eNp9Uk2PnDAMvftXoF7g0I6SMB8gVbtckVYjtVNVqsR2N4TAUjEhgrBl/n0d2GFSzc4ejPxiYz8/Oyg0hYMv2kEZHzSDh/A'
        b'B+oPfC97wDl9CEGo46tNKtJ1cHYfG1Lzr+AnmDNBrCOYMKMxJS9AbCA5+GfmQEkgpmO96C0EaYpevPuz3+/QLhckImPzgZy'
        b'MhN2yd+Pb33UTopHppvL9tV/RIK4Kg0THWNFKJl8/ej1oJ7hn7xSglwHEoXmajjC2mwH9mAyNcAMdiqjUvtapshMEeH/J6A'
        b'jeHfeqkaFVvukEYzLvMrIo5QVMc206EtSbS1A5N0RiYapKkZo4kdPemyd21JikhcKULxao5Mj1KrrxX3gzSEo6gsmSqq+7x'
        b'W/cQu29hrvgnG3NhsjEOs5FG2ViKX8kzKrTJxoJ8wk9OHxPE4hsmYpzKbIwwKPPfybl7W8jGs3u2x2KLvlYV3VpA7ZbKhls'
        b'hGcOW04PmHT/OfO3aWGj3xtY3aLPNIhoyT9dn6cq1Ix374Jzele4/u7uAyAXCBYTcnx1v8ZLFe753izggdgF3Qe4C4YLCBd'
        b'IFpQuwvwMiB1A3Qi8Rb/GCxbukRtNK+Y097JzjZef7eVcfqwCOV07V+tU/VU04yw=='
    ),
    1: (
        b'eNp1kc9rE0EUx2ezmzQdY631V1pBFk9zKCFRkR6k3Wu7JaA4oIdoJpPJ7spmNm93tpKDEATvhf4D/gEePHoQ2j+hdy8ieBA'
        b'9+AcI9mW3Bal04DOXN/Pe5zvzBizGqzLJtYHK7v1dymuZFLFIwZY6H0+mLZmkqjXOYxOJNBVTWpYpOKw8QIdmOlEUqoxXRh'
        b's+8S3zBGrMt7n1qNvt7vzFVWw+MQNeJ8VyPDy0wBvZVGfKuK+TdJhBvQeLjK8YpWW47j6NtBSume9AuSPF6Adcembj5W9vP'
        b'yi+oBMTRjqARpfbgyiAyxf4vkyVTHRm0lwaCktn1npYluEKQzFuDVBomfkW8ysmnGeJ7p1muVpk2fwvy3a7jV7oY2EuOlZC'
        b'u3sizhWshEss/KfttaKtbcJacaX56rM5aP557vW/H9/90ul5vx5/uvPu5wuvaJMMVezOXxSu8+peEHQewg3ujGIRwM3tdof'
        b'yxkSkYlyOyuBWD5rs3LzVMoZv+04ZZfTgNMraBd9SePXLryGbhMyQI4RsEeIiHtJHZsg+8h75iBwhx8hX5DdCPELqyDLSRF'
        b'yEIW1kA/OdE7199t5rhUC9HDg7NAOVt04AorrHmQ=='
    ),
    2: (
        b'eNp1kUFrE0EUx2ezmzRdY6211VhBFk97kGClSA9S9+xAwOKAHtJmMpnsrmxm83ZnW3IQghBrPAl+gX6AHnr0INiP0LsXETy'
        b'IHvwAgr7dDUiRPvjN5TH/9/+/N6m8BMNlVRFnSkPlrWGyWip4xBMwhcqGo3FLxIlsDbNIhzxJ+Ngu2zZYZd/u6/FI2lBllc'
        b'EWJdQ43IGaS01mPGy324//YBUPJbrH6qQoy3u9AwuskY5VKrVzECf9FOodWHTZipZKBHedp6ES3NH5CzazBB98h0vPTPz89'
        b'dWxZAsq1kGofGi0mdkLfbh8gdu9RIpYpTrJhLZhae5Z9csuXKFkyoweel52qUEr0wBzhPfnOa4WObb/yzFjFhoxMJA9lFw5'
        b'+zzKJKwES8E/vWu5njkNajPWfPFRv2/+fu51v53d+bzR8X4++XB7+mPXKwTivoycfIewyqr7vr/xANaYNYi4D9ffsMaIJ3x'
        b'YTkjhRgea7rkxNwvb1KTWYW59sDm3vn7BCWasW96AbBMyQU4R8ogQB/GQLjJB3iFHyAlyipwhX5BfCPEIqSPLSBNxEBe5h2'
        b'xhqnMOb80Xuz4rzp/Lf9I9mbX+Ar74xaE='
    ),
}


def same(a, b):
    """Whether two values are the same, their types included."""
    if isinstance(a, (numpy.ndarray, numpy.generic)):
        return type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return type(a) is type(b) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or a != a)


def write(tmp_path, data, name='file'):
    path = str(tmp_path / name)
    with open(path, 'wb') as file:
        file.write(data)
    return path


def refused(load, path, *words, **options):
    """That a file is refused in one line that names it; the line."""
    with pytest.raises(utils.UserError) as error:
        load(path, **options)
    text = str(error.value)
    assert path in text and '\n' not in text
    for word in words:
        assert word in text
    return text


# ------------------------------------------------------------------------------------------------------- npz


@SETTINGS
@given(st.lists(ARRAYS, max_size=4))
def test_npz_round_trip_and_numpy_agrees(tmp_path, arrays):
    path = str(tmp_path / 'net.npz')
    files.save_npz(path, arrays)
    with numpy.load(path, allow_pickle=False) as theirs:
        ours = files.load_npz(path)
        assert list(ours) == theirs.files == [f'arr_{i}' for i in range(len(arrays))]
        for i, array in enumerate(arrays):
            assert same(array, ours[f'arr_{i}']) and same(array, theirs[f'arr_{i}'])
            assert ours[f'arr_{i}'].flags.writeable


@pytest.mark.parametrize('save', [numpy.savez, numpy.savez_compressed])
def test_npz_that_numpy_wrote(tmp_path, save):
    path = str(tmp_path / 'net.npz')
    save(
        path,
        numpy.eye(3, dtype=numpy.float32),
        numpy.asfortranarray(numpy.arange(6).reshape(2, 3)),
        meta=numpy.array('{"é": 1}'),
    )
    arrays = files.load_npz(path)
    assert same(arrays['arr_0'], numpy.eye(3, dtype=numpy.float32))
    assert (arrays['arr_1'] == numpy.arange(6).reshape(2, 3)).all()
    assert str(arrays['meta']) == '{"é": 1}'


def test_npz_of_any_names_gives_the_same_bytes_again(tmp_path):
    arrays = {'file': numpy.arange(3), 'conv1_1_W': numpy.zeros((2, 2), numpy.float32)}
    contents = []
    for name in ('a.npz', 'b.npz'):
        files.save_npz(str(tmp_path / name), arrays)
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]
    assert list(files.load_npz(str(tmp_path / 'a.npz'))) == ['file', 'conv1_1_W']


def test_npz_of_objects_is_neither_written_nor_read(tmp_path):
    path = str(tmp_path / 'net.npz')
    with pytest.raises(ValueError):
        files.save_npz(path, [numpy.array([{}])])
    assert not os.path.exists(path)
    numpy.savez(path, numpy.array([{}], dtype=object))
    refused(files.load_npz, path, 'objects')
    numpy.savez(path, numpy.zeros(3, [('a', 'f4'), ('b', 'i4')]))
    refused(files.load_npz, path, 'plain numbers')


def test_files_that_are_no_npz(tmp_path):
    refused(files.load_npz, write(tmp_path, b''))
    refused(files.load_npz, write(tmp_path, b'hello' * 99))
    refused(files.load_npz, str(tmp_path), 'directory')
    refused(files.load_npz, str(tmp_path / 'missing'), 'No such file')
    for name, data in (('a.txt', b'hello'), ('a.npy', b'hello'), ('../a.npy', b'')):
        with zipfile.ZipFile(str(tmp_path / 'z.npz'), 'w') as archive:
            archive.writestr(name, data)
        refused(files.load_npz, str(tmp_path / 'z.npz'))


def damaged(data, whole):
    """The bytes of a file, cut off somewhere and with up to three others in their place."""
    whole = bytearray(whole)
    del whole[data.draw(st.integers(1, len(whole))) :]
    changes = st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255))
    for place, value in data.draw(st.lists(changes, max_size=3)):
        whole[place] = value
    return bytes(whole)


@SETTINGS
@given(st.data())
def test_truncated_or_damaged_npz(tmp_path, data):
    file = io.BytesIO()
    numpy.savez_compressed(file, numpy.arange(100.0), numpy.array('text'))
    try:
        files.load_npz(write(tmp_path, damaged(data, file.getvalue())))
    except utils.UserError:
        pass


def npz(*members, **options):
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', options.pop('method', zipfile.ZIP_DEFLATED)) as archive:
        for i, member in enumerate(members):
            archive.writestr(f'arr_{i}.npy', member)
    return file.getvalue()


def npy(header, data=b''):
    header = header.encode('latin1')
    return b'\x93NUMPY\x01\0' + struct.pack('<H', len(header)) + header + data


def peak_of(call):
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_an_npz_bomb_is_refused_by_size_before_it_is_inflated(tmp_path):
    zeros = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (30000000,), }\n", bytes(3 * 10**7))
    path = write(tmp_path, npz(zeros, zeros))
    assert os.path.getsize(path) < 10**6
    assert peak_of(lambda: refused(files.load_npz, path, 'GOGH_MAX_BYTES', max_bytes=5 * 10**7)) < 10**7


def test_the_limit_on_bytes_can_be_raised(tmp_path, monkeypatch):
    path = str(tmp_path / 'net.npz')
    files.save_npz(path, [numpy.zeros(1000)])
    monkeypatch.setenv('GOGH_MAX_BYTES', '8000')
    refused(files.load_npz, path, 'GOGH_MAX_BYTES')
    monkeypatch.setenv('GOGH_MAX_BYTES', '9000')
    assert len(files.load_npz(path)['arr_0']) == 1000


def test_an_array_that_announces_less_than_it_inflates_to(tmp_path):
    # The central directory says 128 bytes; the deflated data has 30 million.
    data = bytearray(npz(npy("{'descr': '|u1', 'fortran_order': False, 'shape': (30000000,), }\n", bytes(3 * 10**7))))
    directory = data.rindex(b'PK\x01\x02')
    data[directory + 24 : directory + 28] = struct.pack('<I', 128)
    path = write(tmp_path, bytes(data))
    assert peak_of(lambda: refused(files.load_npz, path)) < 10**7


@pytest.mark.parametrize('method', [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_zipfile_inflates_without_a_limit_are_refused(tmp_path, method):
    path = write(
        tmp_path, npz(npy("{'descr': '|u1', 'fortran_order': False, 'shape': (4,), }\n", b'1234'), method=method)
    )
    refused(files.load_npz, path, 'unusual')


@pytest.mark.parametrize(
    'header',
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 999999999999999999), }",
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': {'(' * 5000}1,), }}",
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({'1, ' * 40}), }}",
        "{'descr': '|S0', 'fortran_order': False, 'shape': (5,), }",
        "{'descr': '<U999999999', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f3', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<M8[s]', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': __import__('os').getcwd(), 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,), }",
        "{'descr': '<f4'}",
        '',
        '\0' * 20000,
    ],
)
def test_headers_that_lie(tmp_path, header):
    path = write(tmp_path, npz(npy(header, b'1234')))
    assert peak_of(lambda: refused(files.load_npz, path)) < 10**7


def test_text_that_is_not_unicode_is_refused(tmp_path):
    for point in (0x110000, 0xD800, 0xFFFFFFFF):
        for order in '<>':
            data = npy(
                f"{{'descr': '{order}U1', 'fortran_order': False, 'shape': (), }}", struct.pack(f'{order}I', point)
            )
            refused(files.load_npz, write(tmp_path, npz(data)), 'Unicode')


def test_an_array_that_is_there_twice_is_refused(tmp_path):
    data = npz(
        npy("{'descr': '|u1', 'fortran_order': False, 'shape': (4,), }\n", b'1234'),
        npy("{'descr': '|u1', 'fortran_order': False, 'shape': (4,), }\n", b'5678'),
    )
    refused(files.load_npz, write(tmp_path, data.replace(b'arr_1', b'arr_0')), 'twice')


# --------------------------------------------------------------------------------------------------- pickles


@pytest.mark.parametrize('protocol', [0, 1, 2])
def test_a_pickle_of_python_2(tmp_path, protocol):
    content = files.load_pickle(write(tmp_path, zlib.decompress(base64.b64decode(PYTHON2[protocol]))))
    expected = {
        'param values': [
            numpy.arange(24, dtype=numpy.float32).reshape(2, 3, 4) / 8,
            numpy.array([0.5, -1], numpy.float32),
        ],
        'mean value': numpy.array([103.939, 116.779, 123.68]),
        'model type': 'vgg16',
        'synset words': ['tench, Tinca tinca', 'caf\xe9', '\u20ac'],
        'count': 3,
        'scalar': numpy.float64(2.5),
        'flag': True,
        'nothing': None,
        'big': numpy.arange(2, dtype='>i2'),
    }
    assert same({key: content[key] for key in expected}, expected) and len(content) == len(expected)


PLAIN = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.text(max_size=300),
        st.binary(max_size=300),
        ARRAYS,
        hnp.arrays(hnp.floating_dtypes(), ()).map(lambda array: array[()]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=5).map(tuple),
        st.dictionaries(st.text(max_size=9) | st.integers(), inner, max_size=4),
    ),
    max_leaves=10,
)


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
@SETTINGS
@given(PLAIN)
def test_pickle_round_trip(tmp_path, protocol, value):
    assert same(files.load_pickle(write(tmp_path, pickle.dumps(value, protocol))), value)


def test_sets_and_shared_values(tmp_path):
    value = {'set': {1, 'a', b'b'}, 'frozen': frozenset([2.5, None])}
    assert files.load_pickle(write(tmp_path, pickle.dumps(value, 4))) == value
    array, text = numpy.arange(3), 'shared'
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        a, b, c, d = files.load_pickle(write(tmp_path, pickle.dumps([array, array, text, text], protocol)))
        assert a is b and c is d and (a == array).all()
    loop = []
    loop.append(loop)
    result = files.load_pickle(write(tmp_path, pickle.dumps(loop)))
    assert result[0] is result


def test_numpy_2_names_are_admitted(tmp_path):
    data = pickle.dumps([numpy.arange(3), numpy.float32(2)], 2).replace(b'numpy.core.', b'numpy._core.')
    assert same(files.load_pickle(write(tmp_path, data)), [numpy.arange(3), numpy.float32(2)])


class Evil:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Plain:
    pass


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_names_anything_else_is_refused_by_name_and_not_run(tmp_path, protocol):
    marker = tmp_path / 'run'
    for function, arguments, name in (
        (os.mkdir, (str(marker),), 'mkdir'),
        (eval, ('1/0',), 'eval'),
        (numpy.load, ('x',), 'load'),
        (getattr, (1, 'real'), 'getattr'),
    ):
        for value in (Evil(function, *arguments), [numpy.arange(3), {'deep': Evil(function, *arguments)}]):
            text = refused(files.load_pickle, write(tmp_path, pickle.dumps(value, protocol)), name)
            assert 'names' in text
    refused(files.load_pickle, write(tmp_path, pickle.dumps(Plain(), protocol)))
    refused(files.load_pickle, write(tmp_path, pickle.dumps(Plain, protocol)), 'Plain')
    refused(files.load_pickle, write(tmp_path, pickle.dumps(numpy.array([{}]), protocol)), 'objects')
    refused(files.load_pickle, write(tmp_path, pickle.dumps(numpy.zeros(2, 'i4,f4'), protocol)))
    refused(files.load_pickle, write(tmp_path, pickle.dumps(numpy.zeros(2, 'M8[s]'), protocol)))
    refused(files.load_pickle, write(tmp_path, pickle.dumps(numpy.ma.zeros(2), protocol)))
    assert not marker.exists()


ARRAY = b'cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0tU\1btR'
FLOAT = b'cnumpy\ndtype\n(U\2f4K\0K\1tR(K\3U\1<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb'


def array_of(shape, data, dtype=FLOAT):
    return ARRAY + b'(K\1' + shape + dtype + b'I00\n' + data + b'tb.'


def test_the_parts_used_below_make_an_array(tmp_path):
    path = write(tmp_path, array_of(b'(K\2t', b'U\x08' + struct.pack('<2f', 1, 2)))
    assert same(files.load_pickle(path), numpy.array([1, 2], numpy.float32))


@pytest.mark.parametrize(
    'data',
    [
        # a giant array from a tiny file, in several ways
        array_of(b'(J\xff\xff\xff\x7ft', b'U\4abcd'),
        array_of(b'(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ft', b'U\0'),
        array_of(b'(K\0J\xff\xff\xff\x7fJ\xff\xff\xff\x7fJ\xff\xff\xff\x7ft', b'U\0'),
        array_of(b'(J\xff\xff\xff\xfft', b'U\4abcd'),
        array_of(b'(U\x011t', b'U\4abcd'),
        array_of(b'(I01\nt', b'U\4abcd'),
        array_of(b'K\1', b'U\4abcd'),
        array_of(b'(' + b'K\1' * 40 + b't', b'U\4abcd'),
        array_of(b'(K\1t', b'(]lt'),
        array_of(b'(K\1t', b'N'),
        array_of(b'(K\1t', b'U\4abcd', b'U\2f4'),
        array_of(b'(K\1t', b'U\4abcd', b'N'),
        array_of(b'(K\1t', b'U\4abcd', b'cnumpy\ndtype\n(U\2f4K\0K\1tR'),
        array_of(b'(K\1t', b'U\4abcd', b'cnumpy\ndtype\n'),
        array_of(b'(K\1t', b'U\4abcd', b'cnumpy\ndtype\n(U\2O8K\0K\1tR(K\3U\1|NNNK\0K\0K\0tb'),
        array_of(b'(K\1t', b'U\4abcd', b'cnumpy\ndtype\n(U\2V4K\0K\1tR(K\3U\1|NNNK\0K\0K\0tb'),
        array_of(b'(K\1t', b'U\4abcd', b'cnumpy\ndtype\n(U\2f4K\0K\1tR(K\3U\1zNNNK\0K\0K\0tb'),
        array_of(b'(K\1t', b'U\4abcd', b'cnumpy\ndtype\n(U\2f4K\0K\1tR(K\3U\1<(K\1K\2tNNK\0K\0K\0tb'),
        ARRAY + b'.',
        ARRAY + b'(tb.',
        ARRAY + b'Nb.',
        ARRAY + b'0.',
        ARRAY[:-1] + b'.',
        b'cnumpy.core.multiarray\nscalar\n(' + FLOAT + b'U\x03abctR.',
        b'cnumpy.core.multiarray\nscalar\n(tR.',
        b'cnumpy.core.numeric\n_frombuffer\n(U\4abcd' + FLOAT + b'(J\xff\xff\xff\x7ftU\1CtR.',
        b'cnumpy.core.numeric\n_frombuffer\n(U\4abcd' + FLOAT + b'(K\1tU\1ZtR.',
        # lengths that are not there
        b'T\xff\xff\xff\x7f',
        b'B\xff\xff\xff\xff',
        b'X\xff\xff\xff\xff',
        b'\x8b\xff\xff\xff\x7f',
        b'\x8e' + b'\xff' * 7 + b'\x7f',
        b'\x8d' + b'\xff' * 8,
        b'\x96' + b'\xff' * 7 + b'\x7f',
        b'\x95' + b'\xff' * 8,
        # a memo of four billion entries, which a list of them would have
        b'Nr\xff\xff\xff\xff0j\xff\xff\xff\x7f.',
        # other things than values and arrays
        b'(cos\nsystem\nU\2lso.',
        b'(U\2lsios\nsystem\n.',
        b'\x82\1.',
        b'\x83\1\0.',
        b'\x84\1\0\0\0.',
        b'Pid\n.',
        b'NQ.',
        b')\x81.',
        b'))}\x92.',
        b'\x97.',
        b'\x98.',
        b'cnumpy\nndarray\n.',
        b'(cnumpy\nndarray\nt.',
        b'](cnumpy\nndarray\nta.',
        b'\x8c\x02os\x8c\x06system\x93.',
        b'NN\x93.',
        b'NN\x86)R.',
        b'c\n\n.',
        b'c_codecs\nencode\n(V\xe9\nU\5utf-8tR.',
        b'c_codecs\nencode\n(V\\u20ac\nU\6latin1tR.',
        b'c_codecs\nencode\n(K\1U\6latin1tR.',
        b'cbuiltins\nbytes\n(J\xff\xff\xff\x7ftR.',
        # broken programs
        b'',
        b'.',
        b'0.',
        b'1.',
        b'2.',
        b't.',
        b'a.',
        b's.',
        b'e.',
        b'u.',
        b'b.',
        b'R.',
        b'q\0.',
        b'h\0.',
        b'gx\n.',
        b'(.',
        b'(((t0.',
        b'K\1K\2a.',
        b'](K\1u.',
        b'}(K\1u.',
        b']K\1\x90.',
        b'(]d.',
        b'}]K\1s.',
        b'}}K\1s.',
        b'}(]K\1u.',
        b'\x8f(]\x90.',
        b'(]\x91.',
        b'Ix\n.',
        b'L\n.',
        b'Fx\n.',
        b'S\n.',
        b"S'\n.",
        b"S'a\n.",
        b'Kx',
        b'\x80\x09N.',
        b'\xff.',
        b'I' + b'9' * 5000 + b'\n.',
        b'\x8a\xff' + b'\xff' * 10,
        b'X\1\0\0\0\xff.',
        b'K\1' * 99,
    ],
    ids=lambda data: repr(bytes(data[:20])),
)
def test_hostile_pickles_are_refused_without_taking_memory(tmp_path, data):
    path = write(tmp_path, data)
    assert peak_of(lambda: refused(files.load_pickle, path)) < 10**7


def test_a_place_in_the_memo_takes_no_memory_for_those_before_it(tmp_path):
    """Python's own unpickler makes room for all of them: these nine bytes take it 32 GB."""
    path = write(tmp_path, b'\x80\x02Nr\xff\xff\xff\x7f.')
    assert peak_of(lambda: files.load_pickle(path)) < 10**7


def test_one_string_used_many_times_takes_no_memory_without_end(tmp_path):
    # a million characters that are encoded a thousand times
    data = b'(lT' + struct.pack('<I', 10**6) + bytes(10**6) + b'q\0' + b'0'
    data += 1000 * b'c_codecs\nencode\n(h\0U\6latin1tRa' + b'.'
    path = write(tmp_path, data)
    assert peak_of(lambda: refused(files.load_pickle, path, 'GOGH_MAX_BYTES', max_bytes=3 * 10**6)) < 10**7


def test_deep_nesting_does_not_crash(tmp_path):
    for data in (
        b')' + b'\x85' * 100000 + b'.',
        b']' * 100000 + b'a' * 99999 + b'.',
        b'}' + b')' + b'\x85' * 100000 + b'Ns.',
    ):
        try:
            files.load_pickle(write(tmp_path, data))
        except utils.UserError:
            pass


def test_too_long_and_too_large_programs(tmp_path):
    refused(files.load_pickle, write(tmp_path, b'N0' * 600000 + b'N.'), 'instructions')
    refused(files.load_pickle, write(tmp_path, b'N.' + bytes(99)), 'GOGH_MAX_BYTES', max_bytes=100)


def test_files_that_are_no_pickles(tmp_path):
    refused(files.load_pickle, str(tmp_path), 'directory')
    refused(files.load_pickle, str(tmp_path / 'missing'), 'No such file')
    refused(files.load_pickle, write(tmp_path, b'\x89HDF\r\n\x1a\n' + bytes(100)))
    refused(files.load_pickle, write(tmp_path, b'PK\3\4' + bytes(100)))


@SETTINGS
@given(st.data())
def test_truncated_or_damaged_pickles(tmp_path, data):
    whole = pickle.dumps(
        {'values': [numpy.arange(9.0), numpy.float32(1)], 'text': ['a', b'b', 3]},
        data.draw(st.integers(0, pickle.HIGHEST_PROTOCOL)),
    )
    try:
        files.load_pickle(write(tmp_path, damaged(data, whole)))
    except utils.UserError:
        pass


# ------------------------------------------------------------------------------------------------------ HDF5

SECRET = numpy.full((3, 3, 3, 4), 0.5, 'float32')


def elsewhere(file, name):
    """A dataset whose numbers are those of another file that the reader could open."""
    SECRET.tofile('secret')
    file.create_dataset(name, SECRET.shape, 'f4', external=[('secret', 0, SECRET.nbytes)])


def virtual(file, name):
    with h5py.File('secret.h5', 'w') as other:
        other['a'] = SECRET
    layout = h5py.VirtualLayout(SECRET.shape, 'f4')
    layout[:] = h5py.VirtualSource('secret.h5', 'a', SECRET.shape)
    file.create_virtual_dataset(name, layout)


def bomb(file, name):
    # The library inflates a chunk whole before it compares the length.
    dataset = file.create_dataset(name, SECRET.shape, 'f4', chunks=SECRET.shape, compression='gzip')
    dataset.id.write_direct_chunk((0, 0, 0, 0), zlib.compress(bytes(10**8), 9))


def unwritten(file, name):
    file.create_dataset(name, (3, 3, 3, 10**6), 'f4')


def huge_chunk(file, name):
    file.create_dataset(name, SECRET.shape, 'f4', chunks=(3, 3, 3, 10**6), maxshape=(None,) * 4)


def objects(file, name):
    file.create_dataset(name, SECRET.shape, h5py.special_dtype(vlen=numpy.uint8))


@pytest.mark.parametrize(
    'make, words',
    [
        (elsewhere, 'other files'),
        (virtual, 'other files'),
        (bomb, 'compressed'),
        (unwritten, 'longer than the file'),
        (huge_chunk, 'longer than the file'),
        (objects, 'plain numbers'),
    ],
)
def test_hdf5_that_leads_elsewhere_or_takes_memory_is_refused(tmp_path, monkeypatch, make, words):
    monkeypatch.chdir(tmp_path)
    for load, name in (
        (vgg.read, 'block1_conv1/block1_conv1_W_1:0'),
        (lambda path: photos.open_content(path, 16), 'train2014/images'),
    ):
        with h5py.File('a.h5', 'w') as file:
            make(file, name)
        refused(load, 'a.h5', name, words)


def test_links_in_hdf5_are_passed_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with h5py.File('other.h5', 'w') as file:
        file['train2014/images'] = numpy.zeros((2, 3, 16, 16), 'uint8')
        file['block1_conv1/block1_conv1_W_1:0'] = SECRET
    for link in (h5py.ExternalLink('other.h5', '/train2014'), h5py.SoftLink('/there')):
        with h5py.File('a.h5', 'w') as file:
            file['there/images'] = numpy.zeros((2, 3, 16, 16), 'uint8')
            file['there/W'] = SECRET
            file['train2014'] = link
            file['block1_conv1'] = h5py.ExternalLink('other.h5', '/block1_conv1')
        refused(lambda path: photos.open_content(path, 16), 'a.h5', 'layout')
        refused(vgg.read, 'a.h5', 'conv1_1_W is missing')


def test_hdf5_of_groups_without_end(tmp_path):
    path = str(tmp_path / 'a.h5')
    with h5py.File(path, 'w') as file:
        for i in range(30):
            file[f'g{i}'] = file['/']
        file[b'\xff'] = 1.0
        file['number'] = 2.0
    with h5py.File(path, 'r') as file:
        with pytest.raises(ValueError, match='more than 10000'):
            files.hdf5_datasets(file)
        assert list(files.hdf5_datasets(file, depth=1)) == ['number']


def test_hdf5_is_read_whatever_its_version_and_chunks(tmp_path):
    path = str(tmp_path / 'a.h5')
    for libver in ('earliest', 'latest'):
        for options in ({}, dict(chunks=(2, 3, 3, 1)), dict(maxshape=(None, 3, 3, 4))):
            with h5py.File(path, 'w', libver=libver) as file:
                file.create_dataset('a/b/c', data=SECRET, **options)
            with h5py.File(path, 'r') as file:
                assert (files.hdf5_datasets(file)['a/b/c'][()] == SECRET).all()
