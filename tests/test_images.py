"""Images in and out: what is read and how, what is refused, what is written and found."""

import io
import os
import struct
import tracemalloc
import zlib

import numpy
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from support.processes import python
from PIL import Image, ImageFile

import files
import utils


pytestmark = pytest.mark.filterwarnings('ignore::UserWarning:PIL', 'ignore::PIL.Image.DecompressionBombWarning')
SETTINGS = settings(
    deadline=None, derandomize=True, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def picture(height=23, width=31, seed=0):
    return numpy.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(numpy.uint8)


def encoded(image, form, **options):
    """A Pillow image (or array) as the bytes of a file."""
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, form, **options)
    return file.getvalue()


def read(data, **options):
    return files.read_image(io.BytesIO(data), **options)


# --------------------------------------------------------------------------------------------- reading images


@pytest.mark.parametrize('form', ['PNG', 'TIFF', 'BMP', 'PPM'])
@SETTINGS
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_lossless_formats_are_read_exactly(form, height, width, seed):
    image = picture(height, width, seed)
    assert (read(encoded(image, form)) == image).all()


@pytest.mark.parametrize('form, options', [('JPEG', dict(quality=95, subsampling=0)), ('WEBP', dict(quality=95))])
def test_lossy_formats_are_read_closely(form, options):
    ramp = numpy.linspace(0, 255, 64).astype(numpy.uint8)
    image = numpy.stack(numpy.broadcast_arrays(ramp, ramp[:, None], ramp[::-1]), -1)
    assert numpy.abs(read(encoded(image, form, **options)).astype(int) - image).mean() < 3


def test_the_contents_decide_and_not_the_name(tmp_path):
    path = tmp_path / 'photo.jpg'
    path.write_bytes(encoded(picture(), 'PNG'))
    assert (files.read_image(str(path)) == picture()).all()
    assert (files.read_image(path) == picture()).all()


def test_greyscale_and_1_bit_are_repeated_over_the_channels():
    grey = picture()[..., 0]
    for form in ('PNG', 'TIFF', 'BMP', 'PPM', 'GIF'):
        assert (read(encoded(grey, form)) == grey[..., None]).all()
    bits = Image.fromarray(grey).convert('1', dither=Image.Dither.NONE)
    for form in ('PNG', 'TIFF', 'BMP', 'PPM', 'GIF'):
        assert (read(encoded(bits, form)) == 255 * (grey[..., None] >= 128)).all()


def test_palettes_are_looked_up():
    image = picture(8, 8)
    palette = Image.fromarray(image).quantize(64)
    for form in ('PNG', 'GIF', 'TIFF', 'BMP'):
        assert (read(encoded(palette, form)) == image).all()


def test_cmyk_is_converted():
    ink = Image.new('CMYK', (8, 8), (255, 0, 0, 0))
    for form in ('TIFF', 'JPEG'):
        assert numpy.abs(read(encoded(ink, form))[4, 4].astype(int) - (0, 255, 255)).max() <= 2


@pytest.mark.parametrize('mode', ['RGBA', 'LA', 'PA'])
@SETTINGS
@given(st.integers(0, 99))
def test_alpha_is_composited_over_white(mode, seed):
    rgba = numpy.random.RandomState(seed).randint(0, 256, (9, 7, 4)).astype(numpy.uint8)
    image = Image.fromarray(rgba, 'RGBA')
    if mode == 'LA':
        image = image.convert('LA')
        rgba = numpy.array(image)[..., [0, 0, 0, 1]]
    elif mode == 'PA':
        # a palette whose entries are transparent to different degrees
        index = numpy.random.RandomState(seed).randint(0, 4, (9, 7)).astype(numpy.uint8)
        colours = rgba[0, :4]
        rgba = colours[index]
        image = Image.fromarray(index, 'P')
        image.putpalette(colours[:, :3].tobytes())
    options = dict(transparency=colours[:, 3].tobytes()) if mode == 'PA' else {}
    alpha = rgba[..., 3:] / 255.0
    expected = rgba[..., :3] * alpha + 255 * (1 - alpha)
    assert numpy.abs(read(encoded(image, 'PNG', **options)) - expected).max() <= 1


def test_a_transparent_colour_becomes_white():
    image = numpy.zeros((4, 4, 3), numpy.uint8)
    image[0, 0] = 10, 20, 30
    result = read(encoded(image, 'PNG', transparency=(10, 20, 30)))
    assert (result[0, 0] == 255).all() and (result.reshape(-1, 3)[1:] == 0).all()
    grey = numpy.arange(16, dtype=numpy.uint16).reshape(4, 4) * 257
    result = read(encoded(grey, 'PNG', transparency=5 * 257))
    assert (result[1, 1] == 255).all() and (result[1, 2] == 6).all()


@pytest.mark.parametrize('form', ['PNG', 'TIFF', 'PPM'])
def test_16_bit_greyscale_is_scaled_and_not_clipped(form):
    grey = numpy.linspace(0, 65535, 1024).astype(numpy.uint16).reshape(32, 32)
    # older Pillows do not write a PPM of 16 bits
    pgm = b'P5 32 32 65535\n' + grey.astype('>u2').tobytes()
    expected = numpy.rint(grey / 257.0)
    data = pgm if form == 'PPM' else encoded(Image.fromarray(grey), form)
    error = numpy.abs(read(data).astype(int) - expected[..., None])
    assert error.max() <= (1 if form == 'PPM' else 0)


def test_a_dark_16_bit_image_stays_dark():
    assert read(encoded(Image.fromarray(numpy.full((4, 4), 300, numpy.uint16)), 'PNG')).max() == 1


def test_big_endian_16_bit_tiff():
    grey = numpy.linspace(0, 65535, 64).astype(numpy.uint16).reshape(8, 8)
    tags = [(256, 4, 8), (257, 4, 8), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 8), (278, 4, 8), (279, 4, 128)]
    directory = struct.pack('>H', len(tags))
    for tag, kind, value in tags:
        directory += struct.pack('>HHIHH' if kind == 3 else '>HHII', tag, kind, 1, value, *[0] * (kind == 3))
    data = b'MM\0*' + struct.pack('>I', 8 + 128) + grey.astype('>u2').tobytes() + directory + b'\0' * 4
    assert (read(data)[..., 0] == numpy.rint(grey / 257.0)).all()


@pytest.mark.parametrize('white', [1, 255, 65535, 1e7])
def test_floating_point_images_are_scaled(white):
    grey = (numpy.linspace(0, 1, 64) * white).astype(numpy.float32).reshape(8, 8)
    expected = numpy.rint(numpy.linspace(0, 255, 64)).reshape(8, 8)
    assert numpy.abs(read(encoded(Image.fromarray(grey), 'TIFF'))[..., 0] - expected).max() <= 1


def test_numbers_that_are_not_finite_are_black():
    grey = numpy.array([[numpy.nan, numpy.inf], [-numpy.inf, 1]], numpy.float32)
    assert read(encoded(Image.fromarray(grey), 'TIFF'))[..., 0].tolist() == [[0, 0], [0, 255]]


@pytest.mark.parametrize('form', ['PNG', 'TIFF', 'WEBP', 'JPEG'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientation_is_applied(form, orientation):
    # where the sensor's first row and first column are in the upright picture, by the EXIF standard
    upright = numpy.zeros((16, 32, 3), numpy.uint8)
    upright[:8, :16] = 255, 0, 0
    upright[8:, :16] = 0, 255, 0
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {'WEBP': dict(lossless=True), 'JPEG': dict(quality=95, subsampling=0)}.get(form, {})
    result = read(encoded(numpy.ascontiguousarray(stored), form, exif=exif, **options))
    assert result.shape == upright.shape
    assert numpy.abs(result.astype(int) - upright).max() < 30


def test_a_damaged_exif_block_does_not_lose_the_picture():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(picture(16, 16), 'JPEG', exif=exif)
    start = data.index(b'Exif\0\0') + 6
    assert read(data[:start] + b'\xff' * 20 + data[start + 20 :]).shape == (16, 16, 3)


def test_the_first_frame_of_an_animation():
    frames = [Image.new('RGB', (8, 8), colour) for colour in ('red', 'blue')]
    for form in ('GIF', 'WEBP', 'TIFF', 'PNG'):
        data = encoded(frames[0], form, save_all=True, append_images=frames[1:])
        assert numpy.abs(read(data)[4, 4].astype(int) - (255, 0, 0)).max() <= 3


@SETTINGS
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 80))
def test_size_is_the_shorter_side_and_the_aspect_is_kept(height, width, size):
    result = read(encoded(picture(height, width), 'PNG'), size=size)
    assert min(result.shape[:2]) == size
    longer = max(height, width) * size / min(height, width)
    assert abs(max(result.shape[:2]) - longer) <= 0.5
    assert (height >= width) == (result.shape[0] >= result.shape[1])


def test_resizing_is_lanczos():
    image = Image.fromarray(picture(40, 30))
    expected = numpy.array(image.resize((15, 20), Image.Resampling.LANCZOS))
    assert (read(encoded(image, 'PNG'), size=15) == expected).all()


def test_reading_needs_little_address_space():
    # 24 megapixels within one gigabyte, Python and numpy included
    code = (
        'import files, io, resource, numpy, utils\n'
        'from PIL import Image\n'
        'file = io.BytesIO()\n'
        "Image.new('RGB', (6000, 4000), 'red').save(file, 'JPEG')\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        'resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20, used + 300 * 2**20))\n'
        'print(files.read_image(file).shape)'
    )
    done = python(code)
    assert done.stdout == '(4000, 6000, 3)\n', done.stderr


# ------------------------------------------------------------------------------------------------ bad images


def complaint(path, **options):
    """The one line that is said of a file."""
    with pytest.raises(utils.UserError) as error:
        files.read_image(str(path), **options)
    assert str(path) in str(error.value) and '\n' not in str(error.value)
    return str(error.value)


def test_files_that_are_no_images_are_told_apart(tmp_path):
    (tmp_path / 'empty.png').write_bytes(b'')
    (tmp_path / 'text.jpg').write_bytes(b'hello, world\n' * 100)
    (tmp_path / 'half.jpg').write_bytes(encoded(picture(99, 99), 'JPEG')[:2000])
    (tmp_path / 'page.eps').write_bytes(b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n')
    assert 'empty' in complaint(tmp_path / 'empty.png')
    assert 'not an image' in complaint(tmp_path / 'text.jpg')
    assert 'truncated' in complaint(tmp_path / 'half.jpg')
    assert 'not an image' in complaint(tmp_path / 'page.eps')
    assert 'no such file' in complaint(tmp_path / 'missing.png')
    assert 'folder' in complaint(tmp_path)


@pytest.mark.parametrize('form', ['PNG', 'JPEG', 'TIFF', 'BMP', 'PPM', 'WEBP', 'GIF'])
@SETTINGS
@given(st.data())
def test_a_truncated_file_is_an_image_or_an_error_of_the_users(form, data):
    whole = encoded(picture(), form)
    part = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        assert read(part).shape == (23, 31, 3)
    except utils.UserError:
        pass


def bomb_png(width, height, extra=b''):
    def chunk(name, data):
        return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))

    header = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0))
    data = chunk(b'IDAT', zlib.compress(bytes(10**6)))
    return b'\x89PNG\r\n\x1a\n' + header + extra + data + chunk(b'IEND', b'')


def test_a_bomb_is_refused_by_size_before_it_is_decoded(monkeypatch):
    bmp, gif = encoded(picture(), 'BMP'), encoded(picture(), 'GIF')
    bombs = {
        'PNG': bomb_png(50000, 50000),
        'PPM': b'P6 50000 50000 255\n' + bytes(1000),
        'BMP': bmp[:18] + struct.pack('<ii', 50000, 50000) + bmp[26:],
        'GIF': gif[:6] + struct.pack('<HH', 50000, 50000) + gif[10:],
    }
    monkeypatch.setattr(ImageFile.ImageFile, 'load', None)
    for data in bombs.values():
        with pytest.raises(utils.UserError, match='GOGH_MAX_PIXELS'):
            read(data)


def test_the_limit_on_pixels_can_be_raised_and_lowered(monkeypatch):
    data = encoded(picture(100, 100), 'PNG')
    assert read(data, max_pixels=10000).shape == (100, 100, 3)
    with pytest.raises(utils.UserError, match='100 x 100'):
        read(data, max_pixels=9999)
    monkeypatch.setenv('GOGH_MAX_PIXELS', '9999')
    with pytest.raises(utils.UserError, match='GOGH_MAX_PIXELS'):
        read(data)
    monkeypatch.setenv('GOGH_MAX_PIXELS', '10000')
    assert read(data).shape == (100, 100, 3)


def test_the_limit_on_pixels_is_an_option_of_the_scripts_that_read_pictures(place, fails):
    command = 'stylize.py', 'photo.png', '--model', 'cin.npz', '--style-map', 'waves=photo.png', '--max-pixels'
    line = fails(*command, '479', cwd=place, GOGH_MAX_PIXELS='480')
    assert line == (
        'error: photo.png: 24 x 20 pixels are more than the 479 that are read at most; --max-pixels or GOGH_MAX_PIXELS '
        'allows more'
    )
    assert 'photo.png: not grey' in fails(*command, '480', cwd=place, GOGH_MAX_PIXELS='479')
    assert "--max-pixels: '0' is not a whole number from 1" in fails(*command, '0', cwd=place)


def test_a_small_image_in_a_huge_tile_is_refused():
    tile = zlib.compress(bytes(30000))
    tags = [
        (256, 4, 1),
        (257, 4, 1),
        (258, 3, 8),
        (259, 3, 8),
        (262, 3, 1),
        (277, 3, 1),
        (322, 4, 40000),
        (323, 4, 40000),
        (324, 4, 8),
        (325, 4, len(tile)),
    ]
    data = b'II*\0' + struct.pack('<I', 8 + len(tile)) + tile + struct.pack('<H', len(tags))
    data += b''.join(struct.pack('<HHII', tag, kind, 1, value) for tag, kind, value in tags) + bytes(4)
    with pytest.raises(utils.UserError, match='40000 x 40000'):
        read(data)


def test_resizing_cannot_make_a_bomb_either():
    with pytest.raises(utils.UserError, match='GOGH_MAX_PIXELS'):
        read(encoded(numpy.zeros((1, 60000, 3), numpy.uint8), 'PNG'), size=512)


def test_a_bomb_in_the_text_of_a_png_takes_no_memory():
    text = b'Comment\0\0' + zlib.compress(bytes(2 * 10**8), 9)
    extra = struct.pack('>I', len(text)) + b'zTXt' + text + struct.pack('>I', zlib.crc32(b'zTXt' + text))
    data = bomb_png(10, 10, extra)
    tracemalloc.start()
    try:
        read(data)
    except utils.UserError:
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * 10**7


def test_reading_is_silent(tmp_path):
    # A file with a damaged EXIF block and a palette file with transparent entries make Pillow warn.
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(picture(16, 16), 'JPEG', exif=exif)
    start = data.index(b'Exif\0\0') + 10
    (tmp_path / 'a.jpg').write_bytes(data[:start] + b'\xff\xff' + data[start + 2 :])
    image = Image.fromarray(picture(8, 8)).quantize(4)
    image.save(str(tmp_path / 'b.png'), transparency=bytes([0, 9, 99, 255]))
    (tmp_path / 'c.tif').write_bytes(encoded(picture(), 'TIFF')[:-20])
    code = (
        'import files, utils\n'
        "for name in 'a.jpg', 'b.png', 'c.tif':\n"
        f"    try: files.read_image({str(tmp_path)!r} + '/' + name)\n"
        '    except utils.UserError: pass'
    )
    done = python(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


# ------------------------------------------------------------------------------------------- writing images


@pytest.mark.parametrize('name', ['a.png', 'a.PNG', 'a.tif', 'a.tiff', 'a.bmp', 'a.ppm'])
def test_lossless_writing(tmp_path, name):
    files.write_image(str(tmp_path / name), picture())
    assert (files.read_image(str(tmp_path / name)) == picture()).all()
    files.write_image(str(tmp_path / name), picture() / 255.0)
    assert (files.read_image(str(tmp_path / name)) == picture()).all()


def test_jpeg_keeps_the_full_resolution_of_colour(tmp_path):
    for name in ('a.jpg', 'a.jpeg', 'a.JPG'):
        files.write_image(str(tmp_path / name), picture())
        with Image.open(str(tmp_path / name)) as image:
            assert [layer[1:3] for layer in image.layer] == 3 * [(1, 1)]
            assert max(image.quantization[0]) <= 12  # the tables of quality 95


def test_floats_are_rounded_and_clipped(tmp_path):
    image = numpy.array([[[-0.5, 0.5 / 255 - 1e-6, 0.5 / 255 + 1e-6], [1.2, 254.4 / 255, 254.6 / 255]]])
    files.write_image(str(tmp_path / 'a.png'), image)
    assert files.read_image(str(tmp_path / 'a.png')).tolist() == [[[0, 0, 1], [255, 254, 255]]]


def test_what_cannot_be_written_as_an_image(tmp_path):
    for name, image, words in (
        ('a.xyz', picture(), '.png'),
        ('a', picture(), '.png'),
        ('a.webp', numpy.zeros((1, 16384, 3), numpy.uint8), 'WEBP'),
        ('a.jpg', numpy.zeros((1, 65536, 3), numpy.uint8), 'JPEG'),
        (os.path.join('missing', 'a.png'), picture(), 'cannot write'),
    ):
        with pytest.raises(utils.UserError, match=words) as error:
            files.write_image(str(tmp_path / name), image)
        assert name in str(error.value)
    assert os.listdir(tmp_path) == []


# -------------------------------------------------------------------------------------------------- batches


@SETTINGS
@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_to_float_and_back(count, height, width, seed):
    images = numpy.random.RandomState(seed).randint(0, 256, (count, height, width, 3)).astype(numpy.uint8)
    batch = files.to_float(images)
    assert batch.shape == (count, 3, height, width) and batch.dtype == numpy.float32 and batch.flags.c_contiguous
    assert abs(batch[0, 2, height - 1, 0] - images[0, height - 1, 0, 2] / 255.0) < 1e-7
    assert (files.to_uint8(batch) == images).all()
    assert (files.to_float(images[0]) == batch[:1]).all()


def test_to_uint8_rounds_and_clips():
    values = numpy.array([-1, 0, 0.4 / 255, 0.6 / 255, 254.6 / 255, 1, 2, 0.5]).reshape(1, 1, 1, 8).repeat(3, 1)
    assert files.to_uint8(values)[0, 0, :, 1].tolist() == [0, 0, 0, 1, 255, 255, 255, 128]


# ------------------------------------------------------------------------------------------- finding images


@pytest.fixture
def photos(tmp_path):
    for name in ('b.png', 'a.JPG', 'c.webp', 'notes.txt', '.hidden.png', 'd[1].png'):
        (tmp_path / name).write_bytes(b'')
    (tmp_path / 'folder.png').mkdir()
    (tmp_path / 'folder.png' / 'inner.gif').write_bytes(b'')
    (tmp_path / 'empty').mkdir()
    return tmp_path


def found(photos, *arguments):
    paths = files.find_images([str(photos / argument) for argument in arguments])
    return [os.path.relpath(path, str(photos)) for path in paths]


def test_a_folder_stands_for_its_images_in_order(photos):
    assert found(photos, '.') == ['a.JPG', 'b.png', 'c.webp', 'd[1].png']
    assert files.find_images(str(photos)) == files.find_images([photos])


def test_patterns_that_the_shell_did_not_expand(photos):
    assert found(photos, '*.png') == ['b.png', 'd[1].png']
    assert found(photos, '[ab].*') == ['a.JPG', 'b.png']
    assert found(photos, '**/*.gif') == ['folder.png/inner.gif']
    assert found(photos, 'd[1].png') == ['d[1].png'], 'a file of that very name comes first'


def test_the_order_is_that_of_the_arguments_without_duplicates(photos):
    assert found(photos, 'c.webp', '.', 'a.JPG', './b.png') == ['c.webp', 'a.JPG', 'b.png', 'd[1].png']
    assert found(photos, 'notes.txt') == ['notes.txt'], 'a file that is named is taken at its word'


@pytest.mark.parametrize(
    'argument, words', [('missing.png', 'no such file'), ('empty', 'no images in'), ('*.bmp', 'no images match')]
)
def test_arguments_that_mean_nothing(photos, argument, words):
    with pytest.raises(utils.UserError, match=words) as error:
        found(photos, 'a.JPG', argument)
    assert argument in str(error.value)


# -------------------------------------------------------------------------------------------- contact sheets


def test_many_styles_are_laid_out_in_bands_that_begin_with_the_photo():
    photo, styles = numpy.full((10, 12, 3), 200, 'uint8'), [numpy.full((10, 12, 3), 10 + i, 'uint8') for i in range(5)]
    sheet = files.style_sheet([[photo] + styles], ['photo'] + list('abcde'), most=3)
    band = sheet.shape[0] // 2
    for half, there, elsewhere in ((sheet[:band], (10, 11, 12), (13, 14)), (sheet[band:], (13, 14), (10, 11, 12))):
        assert (half == 200).all(axis=2).sum() >= photo[..., 0].size
        for value in there:
            assert (half == value).all(axis=2).sum() >= photo[..., 0].size
        for value in elsewhere:
            assert (half == value).all(axis=2).sum() < photo[..., 0].size
    numpy.testing.assert_array_equal(
        files.style_sheet([[photo] + styles], ['photo'] + list('abcde')),
        files.contact_sheet([[photo] + styles], ['photo'] + list('abcde')),
    )


def test_a_contact_sheet_holds_the_images_unchanged():
    a, b, c = picture(20, 30, 1), picture(25, 10, 2), picture(5, 5, 3)
    sheet = files.contact_sheet([[a, b], [None, c]], gutter=4)
    assert sheet.shape == (4 + 25 + 4 + 5 + 4, 4 + 30 + 4 + 10 + 4, 3)
    assert (sheet[4:24, 4:34] == a).all()
    assert (sheet[4:29, 38:48] == b).all()
    assert (sheet[33:38, 38:43] == c).all()
    assert (sheet[33:38, 4:34] == 255).all() and (sheet[:4] == 255).all() and (sheet[:, 34:38] == 255).all()


def test_labels_are_drawn_beside_the_images_and_never_over_them():
    cell = numpy.full((60, 80, 3), 128, numpy.uint8)
    bare = files.contact_sheet([[cell, cell]])
    sheet = files.contact_sheet([[cell, cell]], ['Starry Night', 'x' * 200], ['a row'])
    top, left = sheet.shape[0] - bare.shape[0], sheet.shape[1] - bare.shape[1]
    assert (sheet[top:, left:] == bare).all()
    for part in (sheet[:top, left : left + 96], sheet[:top, left + 96 :], sheet[top:, :left]):
        assert (part.min(-1) < 64).sum() > 20, 'there is black ink'
    # the long label stays within its column
    assert (sheet[:top, left + 88 : left + 95] == 255).all()
