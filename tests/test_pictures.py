"""Pictures as people have them: what is read beside the colours, and written again."""

import contextlib
import io
import os
import struct
import sys
import zlib

import numpy
import pytest
from PIL import Image, ImageCms

import files
import models
import stylize
import utils
from files import atomic, pictures, strips

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()


@pytest.fixture
def stylized(place, monkeypatch):
    """Stylize a file by stylize.py with a network that gives the negative; returns the pastiche as Pillow opens it."""
    monkeypatch.setattr(models, 'pastiche_function', lambda network: lambda image, *style: 1 - image)

    def stylized(name, *options, output=None):
        arguments = ['--model', 'cin.npz', '--style', 'waves', '--overwrite', name, *options]
        output = output or 'pastiche' + name[name.rindex('.') :]
        monkeypatch.setattr(sys, 'argv', ['stylize.py', *arguments, '--output', output])
        assert not stylize.main()
        return Image.open(output)

    return stylized


def rgba(height=20, width=24):
    values = numpy.random.RandomState(3).randint(0, 256, (height, width, 4)).astype('uint8')
    values[:5, :, 3], values[-5:, :, 3] = 0, 255
    return values


@pytest.mark.parametrize('extension', ['png', 'webp', 'tif'])
def test_alpha_out_equals_alpha_in(stylized, extension):
    values = rgba()
    options = dict(lossless=True) if extension == 'webp' else {}
    Image.fromarray(values).save(f'a.{extension}', **options)
    pastiche = stylized(f'a.{extension}')
    assert pastiche.mode == 'RGBA'
    numpy.testing.assert_array_equal(numpy.asarray(pastiche)[..., 3], values[..., 3])
    if extension != 'webp':
        # The network sees the photo over white.
        numpy.testing.assert_array_equal(numpy.asarray(pastiche)[..., :3], 255 - files.read_image(f'a.{extension}'))


def test_a_palette_with_a_transparent_colour_keeps_it(stylized):
    indices = numpy.random.RandomState(0).randint(0, 4, (20, 24)).astype('uint8')
    image = Image.fromarray(indices, 'P')
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.save('a.png', transparency=2)
    numpy.testing.assert_array_equal(numpy.asarray(stylized('a.png'))[..., 3], numpy.where(indices == 2, 0, 255))


def test_what_is_opaque_stays_without_alpha_and_jpeg_has_none(stylized):
    Image.fromarray(numpy.dstack([rgba()[..., :3], numpy.full((20, 24), 255, 'uint8')])).save('a.png')
    assert stylized('a.png').mode == 'RGB'
    Image.fromarray(rgba()).save('b.png')
    assert stylized('b.png', output='b.jpg').mode == 'RGB'


@pytest.mark.parametrize('extension', ['jpg', 'png', 'webp', 'tif'])
def test_profile_and_exif_are_carried_over_and_the_orientation_is_made_normal(stylized, extension):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x013B] = 6, 'Maker', 'Vincent'
    exif[0x8769] = {0x9003: '1889:06:01 12:00:00', 0xA002: 24, 0xA003: 20}
    exif[0x8825] = {1: 'N', 2: (43.0, 47.0, 24.0)}
    stored = Image.Exif()
    stored.load(exif.tobytes())
    Image.fromarray(rgba()[..., :3]).save(f'a.{extension}', exif=stored, icc_profile=PROFILE)
    pastiche = stylized(f'a.{extension}')
    assert pastiche.size == (20, 24) and pastiche.info['icc_profile'] == PROFILE
    after = pastiche.getexif()
    assert after.get(0x0112, 1) == 1 and after[0x010F] == 'Maker' and after[0x013B] == 'Vincent'
    assert after.get_ifd(0x8769)[0x9003] == '1889:06:01 12:00:00' and 0xA002 not in after.get_ifd(0x8769)
    assert after.get_ifd(0x8825)[1] == 'N' and [float(x) for x in after.get_ifd(0x8825)[2]] == [43, 47, 24]
    # And the picture is still known for what it is.
    assert files.read_origin(f'pastiche.{extension}') == files.origin('stylize', f'a.{extension}')


def test_a_profile_of_another_colour_space_is_not_carried_over(stylized):
    Image.fromarray(rgba()[..., :3]).convert('CMYK').save('a.jpg', icc_profile=PROFILE[:16] + b'CMYK' + PROFILE[20:])
    assert 'icc_profile' not in stylized('a.jpg').info


def sixteen(path):
    """The channels of a 16-bit PNG or TIFF of ours, decoded without Pillow's reduction to 8 bits."""

    data = open(path, 'rb').read()
    if path.endswith('.png'):
        width, height, bits, kind = struct.unpack('>IIBB', data[16:26])
        assert bits == 16
        packed, place = b'', 8
        while place < len(data):
            length = struct.unpack('>I', data[place : place + 4])[0]
            if data[place + 4 : place + 8] == b'IDAT':
                packed += data[place + 8 : place + 8 + length]
            place += 12 + length
        channels = {2: 3, 6: 4}[kind]
        rows = numpy.frombuffer(zlib.decompress(packed), 'uint8').reshape(height, -1)
        assert (rows[:, 0] == 2).all()
        return numpy.cumsum(rows[:, 1:], axis=0, dtype='uint8').view('>u2').reshape(height, width, channels)
    with Image.open(path) as image:
        tags = image.tag_v2
        assert set(tags[258]) == {16} and tags[259] == 8
        strips = [zlib.decompress(data[start : start + size]) for start, size in zip(tags[273], tags[279])]
        return numpy.frombuffer(b''.join(strips), '<u2').reshape(image.size[1], image.size[0], tags[277])


@pytest.mark.parametrize('extension', ['png', 'tif'])
@pytest.mark.parametrize('with_alpha', [False, True])
def test_sixteen_bits_in_are_sixteen_bits_out(stylized, monkeypatch, extension, with_alpha):
    values = (rgba() if with_alpha else rgba()[..., :3]).astype('uint16') * 257
    frame, alpha = values[..., :3], rgba()[..., 3] if with_alpha else None
    exif = Image.Exif()
    exif[0x010F], exif[0x8769] = 'Maker', {0x9003: '1889:06:01 12:00:00'}
    deep = files.Picture([frame], [alpha] if with_alpha else None, True, PROFILE, exif.tobytes())
    files.write_picture(f'a.{extension}', deep)
    numpy.testing.assert_array_equal(sixteen(f'a.{extension}'), values)
    # A third has no counterpart in eight bits.
    monkeypatch.setattr(models, 'pastiche_function', lambda network: lambda image, *style: image / 3)
    pastiche = stylized(f'a.{extension}')
    out = sixteen(f'pastiche.{extension}')
    numpy.testing.assert_allclose(out[..., :3], files.read_image(f'a.{extension}') * (257 / 3), atol=1)
    assert len(numpy.unique(out[..., :3] % 257)) > 2
    assert pastiche.getexif()[0x010F] == 'Maker' and pastiche.info['icc_profile'] == PROFILE
    assert files.read_origin(f'pastiche.{extension}') == files.origin('stylize', f'a.{extension}')
    if with_alpha:
        numpy.testing.assert_array_equal(out[..., 3], alpha.astype('uint16') * 257)


def test_sixteen_bits_of_grey_are_noticed(stylized):
    Image.fromarray(numpy.arange(480, dtype='uint16').reshape(20, 24) * 130).save('a.png')
    stylized('a.png')
    assert sixteen('pastiche.png').shape == (20, 24, 3)


@pytest.mark.parametrize('extension', ['gif', 'webp', 'png'])
def test_animations_are_stylized_frame_by_frame(stylized, extension):
    colours, durations = [(250, 0, 0), (0, 250, 0), (0, 0, 250)], [80, 120, 200]
    frames = [Image.new('RGB', (24, 20), colour) for colour in colours]
    options = dict(lossless=True) if extension == 'webp' else {}
    frames[0].save(f'a.{extension}', save_all=True, append_images=frames[1:], duration=durations, loop=3, **options)
    pastiche = stylized(f'a.{extension}')
    assert pastiche.n_frames == 3 and pastiche.info['loop'] == 3
    for number, (colour, duration) in enumerate(zip(colours, durations)):
        pastiche.seek(number)
        pastiche.load()
        assert pastiche.info['duration'] == duration
        shown = numpy.asarray(pastiche.convert('RGB')).reshape(-1, 3).astype(int)
        assert abs(shown - (255 - numpy.array(colour))).max() <= 6


def test_an_animation_of_transparent_frames_keeps_their_alpha(stylized):
    values = rgba()
    values[..., 3] = numpy.where(values[..., 3] > 100, 255, 0)
    frames = [Image.fromarray(values), Image.fromarray(numpy.ascontiguousarray(values[::-1]))]
    frames[0].save('a.png', save_all=True, append_images=frames[1:], duration=100, disposal=1, blend=0)
    pastiche = stylized('a.png')
    for number, frame in enumerate(frames):
        pastiche.seek(number)
        numpy.testing.assert_array_equal(numpy.asarray(pastiche.convert('RGBA'))[..., 3], numpy.asarray(frame)[..., 3])


def test_an_animation_becomes_one_by_its_default_name_and_a_still_where_the_format_holds_none(stylized, capsys):
    frames = [Image.new('RGB', (24, 20), colour) for colour in ('red', 'blue')]
    frames[0].save('a.gif', save_all=True, append_images=frames[1:], duration=100)
    assert stylized('a.gif', output='a.jpg').size == (24, 20)
    assert 'a.jpg: of 2 frames the first' in capsys.readouterr().err


def test_more_pixels_in_all_frames_than_allowed_are_refused():
    frames, data = [Image.new('RGB', (24, 20), colour) for colour in ('red', 'blue', 'red')], io.BytesIO()
    frames[0].save(data, 'GIF', save_all=True, append_images=frames[1:], duration=100)
    assert len(files.read_picture(data, max_pixels=3 * 480).frames) == 3
    with pytest.raises(utils.UserError, match='3 frames of 24 x 20 pixels'):
        files.read_picture(data, max_pixels=3 * 480 - 1)


@pytest.mark.parametrize('form', ['PNG', 'JPEG', 'WEBP', 'TIFF', 'BMP', 'GIF'])
def test_the_colours_of_a_picture_are_those_of_read_image(form):
    data = io.BytesIO()
    image = Image.fromarray(rgba() if form in ('PNG', 'WEBP', 'TIFF') else rgba()[..., :3])
    image.save(data, form)
    for size in (None, 13):
        numpy.testing.assert_array_equal(
            files.read_picture(data, size=size).frames[0], files.read_image(data, size=size)
        )


@pytest.mark.parametrize('extension', ['.heic', '.avif'])
def test_photos_of_phones_are_read_where_pillow_can(tmp_path, extension):
    path = str(tmp_path / f'a{extension}')
    if extension not in files.READ_EXTENSIONS:
        (tmp_path / f'a{extension}').write_bytes(b'\0\0\0\x18ftypheic' + bytes(100))
        with pytest.raises(utils.UserError, match=f'a{extension}: not an image .* reads it'):
            files.read_image(path)
        return
    values, exif = numpy.full((32, 48, 3), 90, 'uint8'), Image.Exif()
    values[:16], exif[0x0112] = 200, 6
    Image.fromarray(values).save(path, exif=exif.tobytes())
    # Turned to the right, once: its upper half is on the right.
    assert abs(files.read_image(path).astype(int) - numpy.rot90(values, -1))[:, [4, -5]].max() < 5


# Large pictures, by strips -------------------------------------------------------------------------------------


@pytest.fixture
def in_strips(tmp_path, monkeypatch):
    """Every picture counts as a large one, whose strips have a few rows; tells which were read by strips."""
    found = []

    def read(image, read=strips.read):
        pixels = read(image)
        found.append(bool(pixels))
        return pixels

    monkeypatch.setattr(strips, 'LARGE', 1)
    monkeypatch.setattr(strips, 'STRIP_PIXELS', 5 * 24)
    monkeypatch.setattr(strips, 'read', read)
    monkeypatch.chdir(tmp_path)
    return found


def test_all_filters_of_png_are_read_by_strips(in_strips):
    """Each row by another filter, in chunks of a few bytes."""
    pixels = rgba()[..., :3].reshape(20, 72).astype(int)
    rows, above = b'', numpy.zeros(72, int)
    for number, row in enumerate(pixels):
        left, corner = (numpy.concatenate([numpy.zeros(3, int), values[:-3]]) for values in (row, above))
        first = left + above - corner
        nearest = numpy.argmin([abs(first - left), abs(first - above), abs(first - corner)], axis=0)
        paeth = numpy.choose(nearest, [left, above, corner])
        predicted = [0 * row, left, above, (left + above) // 2, paeth][number % 5]
        rows, above = rows + bytes([number % 5]) + ((row - predicted) % 256).astype('uint8').tobytes(), row
    data = zlib.compress(rows)
    chunks = [(b'IHDR', struct.pack('>IIBBBBB', 24, 20, 8, 2, 0, 0, 0)), (b'tEXt', b'Comment\0odd')]
    chunks += [(b'IDAT', data[start : start + 7]) for start in range(0, len(data), 7)] + [(b'IEND', b'')]
    with open('a.png', 'wb') as file:
        file.write(strips.SIGNATURE)
        for kind, content in chunks:
            file.write(struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content)))
    numpy.testing.assert_array_equal(numpy.asarray(Image.open('a.png')), pixels.reshape(20, 24, 3))
    numpy.testing.assert_array_equal(files.read_picture('a.png').frames[0], pixels.reshape(20, 24, 3))
    assert in_strips == [True]
    whole = open('a.png', 'rb').read()
    for end in (100, len(whole) // 2, len(whole) - 30):
        open('a.png', 'wb').write(whole[:end])
        with pytest.raises(utils.UserError, match='a.png: cannot read this image'):
            files.read_picture('a.png')


@pytest.mark.parametrize('compression', ['raw', 'tiff_lzw', 'tiff_adobe_deflate', 'packbits'])
def test_tiffs_of_several_strips_are_read_by_strips(in_strips, compression):
    pixels = rgba()[..., :3]
    Image.fromarray(pixels).save('a.tif', compression=compression, strip_size=24 * 3 * 3)
    numpy.testing.assert_array_equal(files.read_picture('a.tif').frames[0], pixels)
    assert in_strips == [True]
    data = open('a.tif', 'rb').read()
    open('a.tif', 'wb').write(data[: len(data) // 2])
    with pytest.raises(utils.UserError, match='a.tif: '):
        files.read_picture('a.tif')


@pytest.mark.parametrize('extension', ['png', 'tif', 'ppm'])
@pytest.mark.parametrize('with_alpha', [False, True])
def test_what_is_written_by_strips_is_what_was_read(in_strips, extension, with_alpha):
    frame, alpha = rgba()[..., :3], rgba()[..., 3] if with_alpha else None
    exif = Image.Exif()
    exif[0x010F] = 'Maker'
    picture = files.Picture([frame], [alpha] if with_alpha else None, False, PROFILE, exif.tobytes())
    files.write_picture(f'a.{extension}', picture, 'gogh-figure of a test')
    with Image.open(f'a.{extension}') as image:
        assert image.mode == ('RGBA' if with_alpha and extension != 'ppm' else 'RGB')
        numpy.testing.assert_array_equal(numpy.asarray(image)[..., :3], frame)
    assert extension == 'ppm' or files.read_origin(f'a.{extension}') == 'gogh-figure of a test'
    again = files.read_picture(f'a.{extension}')
    assert in_strips == [not with_alpha or extension == 'ppm']
    if extension != 'ppm':
        assert again.profile == PROFILE and b'Maker' in again.exif
        assert with_alpha == (again.alphas is not None)
    if not with_alpha:
        numpy.testing.assert_array_equal(again.frames[0], frame)
    else:
        assert extension == 'ppm' or (again.alphas[0] == alpha).all()


def test_what_cannot_be_read_by_strips_is_read_whole(in_strips):
    pixels = rgba()[..., :3]
    Image.fromarray(pixels).save('a.bmp')
    Image.fromarray(pixels).save('one-strip.tif', compression='tiff_lzw', strip_size=10**6)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save('turned.png', exif=exif)
    for name in ('a.bmp', 'one-strip.tif'):
        numpy.testing.assert_array_equal(files.read_picture(name).frames[0], pixels)
    assert files.read_picture('turned.png').frames[0].shape == (24, 20, 3)
    assert files.read_picture('a.bmp', size=10).frames[0].shape == (10, 12, 3)
    assert not any(in_strips)


def test_a_disk_that_fills_up_meanwhile_is_one_line_and_leaves_nothing(in_strips, monkeypatch):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(28, 'No space left on device')

    @contextlib.contextmanager
    def full(path):
        with atomic.atomic_path(path):
            yield Full()

    monkeypatch.setattr(pictures, 'atomic_write', full)
    for extension in ('png', 'tif', 'ppm', 'jpg'):
        with pytest.raises(utils.UserError, match=f'a.{extension}: cannot write: No space left on device'):
            files.write_picture(f'a.{extension}', files.Picture([rgba()[..., :3]]))
    assert os.listdir('.') == []
