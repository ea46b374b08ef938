"""Making photos larger, from the command line and from Python."""

import os
import shutil

import numpy
import pytest
import scipy.ndimage
from PIL import Image

import files
import models
import upscaling
import utils
from backend import lasagne
from formats import networks
from support.tiny import transformer, upscaler
from test_models import randomize


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    """A network with batch norm, in a file."""
    path = str(tmp_path_factory.mktemp('enhance') / 'net.npz')
    models.save_network(path, upscaler(2, norm='batch'))
    return path


@pytest.fixture(scope='module')
def enhancer(model):
    return upscaling.Enhancer(model)


@pytest.fixture(scope='module')
def photo():
    return numpy.random.RandomState(3).randint(0, 256, (41, 57, 3)).astype('uint8')


def whole(path, photo):
    """What a network makes of a photo with batch norm, at once."""
    function = models.pastiche_function(models.load_network(path))
    return function(files.to_float(photo))[0].transpose(1, 2, 0)


def test_a_photo_becomes_what_the_network_makes_of_it(enhancer, model, photo):
    """Batch norm is in the filters by then."""
    large, expected = enhancer(photo), whole(model, photo)
    assert large.dtype == numpy.uint8 and large.shape == (82, 114, 3) and large.std() > 10
    assert numpy.abs(large - 255 * expected).max() < 0.51
    assert numpy.abs(enhancer(photo, deep=True) - 65535 * expected).max() < 40
    image = enhancer(Image.fromarray(photo))
    assert isinstance(image, Image.Image) and (numpy.array(image) == large).all()


@pytest.mark.parametrize('upsampling', ['nearest', 'deconv'])
def test_batch_norm_goes_into_the_filters(upsampling, generator):
    network = upscaler(4, norm='batch', upsampling=upsampling)
    other = models.without_batch_norm(network)
    assert other.architecture.norm == 'none'
    image = generator.rand(1, 3, 9, 8).astype('float32')
    images = [models.pastiche_function(net)(image) for net in (network, other)]
    assert images[0].std() > 0.05
    numpy.testing.assert_allclose(*images, atol=1e-5)


@pytest.mark.parametrize('upsampling, norm', [('nearest', 'batch'), ('deconv', 'none')])
def test_squares_are_the_whole_photo(upsampling, norm, tmp_path, generator, monkeypatch):
    """Within a grey value, wherever they touch; also where they are as narrow as may be."""
    path = str(tmp_path / 'net.npz')
    models.save_network(path, upscaler(2, norm=norm, upsampling=upsampling))
    photo = generator.randint(0, 256, (75, 90, 3)).astype('uint8')
    expected = upscaling.Enhancer(path)(photo)
    for most in (40, 16):
        monkeypatch.setattr(upscaling, 'MOST', most)
        monkeypatch.setattr(upscaling, 'LEAST', most)
        sizes, enhancer = [], upscaling.Enhancer(path)
        function = enhancer._function
        enhancer._function = lambda image: sizes.append(image.shape[2:]) or function(image)  # noqa: B023
        assert numpy.abs(enhancer(photo).astype(int) - expected).max() <= 1
        assert len(sizes) == -(-75 // most) * -(-90 // most)
        assert max(max(size) for size in sizes) <= most + 2 * enhancer.architecture.reach


def test_what_does_not_fit_is_computed_in_squares(model, photo, monkeypatch):
    """And refused where the least of squares does not fit either."""
    monkeypatch.setattr(upscaling, 'LEAST', 8)
    expected, enhancer = upscaling.Enhancer(model)(photo), upscaling.Enhancer(model)
    least = enhancer._bytes_per_pixel * (8 + 2 * enhancer.architecture.reach) ** 2
    room = utils.FIXED_BYTES + 4 * upscaling.RESULT_BYTES * photo[..., 0].size + least
    monkeypatch.setattr(upscaling.devices, 'held_memory', lambda: 0)
    monkeypatch.setenv('GOGH_MAX_MEMORY', str(int(1.01 * room)))
    calls, function = [], enhancer._function
    enhancer._function = lambda image: calls.append(image.shape) or function(image)
    assert numpy.abs(enhancer(photo).astype(int) - expected).max() <= 1 and len(calls) == 4
    monkeypatch.setenv('GOGH_MAX_MEMORY', str(int(0.99 * room)))
    with pytest.raises(utils.UserError, match='57 x 41 pixels take about'):
        enhancer(photo)


def test_a_histogram_is_matched(generator):
    """Each colour's values have the shares of the photo's, and stay in their order."""
    photo = numpy.clip(generator.normal(90, 30, (60, 50, 3)), 0, 255).astype('uint8')
    image = numpy.clip(scipy.ndimage.zoom(photo, (2, 2, 1), order=1) * 0.6 + 80, 0, 255).astype('uint8')
    for values in (image, image.astype('uint16') * 257):
        matched = upscaling.match_histogram(values, photo)
        assert matched.dtype == values.dtype and matched.shape == values.shape
        white = numpy.iinfo(values.dtype).max
        for channel in range(3):
            quantiles = [
                numpy.quantile(x, numpy.linspace(0.02, 0.98, 30)) for x in (photo[..., channel], matched[..., channel])
            ]
            numpy.testing.assert_allclose(quantiles[1] / white, quantiles[0] / 255, atol=4 / 255)
            order = numpy.argsort(values[..., channel], axis=None, kind='stable')
            assert (numpy.diff(matched[..., channel].ravel()[order].astype(int)) >= 0).all()
    numpy.testing.assert_allclose(upscaling.match_histogram(photo, photo), photo, atol=0)


def test_the_command_makes_files_of_all_kinds_larger(run, model, photo, tmp_path):
    folder = tmp_path / 'photos'
    folder.mkdir()
    files.write_image(str(folder / 'a.jpg'), photo)
    alpha = numpy.zeros(photo.shape[:2], 'uint8')
    alpha[10:30, 10:40] = 255
    Image.fromarray(numpy.dstack([photo, alpha])).save(str(folder / 'b.png'))
    exif = Image.Exif()
    exif[0x010F] = 'maker'
    Image.fromarray(photo).save(str(folder / 'c.tif'), exif=exif)
    frames = [Image.fromarray(photo), Image.fromarray(photo[::-1])]
    frames[0].save(str(folder / 'd.webp'), save_all=True, append_images=frames[1:], lossless=True)
    result = run('enhance.py', 'photos', '--model', model, '--output', 'large', cwd=str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert sorted(os.listdir(str(tmp_path / 'large'))) == ['a_x2.jpg', 'b_x2.png', 'c_x2.tif', 'd_x2.webp']
    for name in os.listdir(str(tmp_path / 'large')):
        with Image.open(str(tmp_path / 'large' / name)) as image:
            assert image.size == (114, 82)
            assert getattr(image, 'n_frames', 1) == (2 if name.startswith('d') else 1)
            if name.startswith('b'):
                grown = Image.fromarray(alpha).resize((114, 82), Image.Resampling.BICUBIC)
                numpy.testing.assert_array_equal(numpy.array(image)[..., 3], numpy.array(grown))
            if name.startswith('c'):
                assert image.getexif()[0x010F] == 'maker'
    expected = numpy.rint(255 * whole(model, photo)).astype('uint8')
    assert (files.read_image(str(tmp_path / 'large' / 'c_x2.tif')) == expected).mean() > 0.99
    # A second run makes them again; what is not older than its photo is left alone when asked for.
    again = run('enhance.py', 'photos', '--model', model, '--output', 'large', '--skip-existing', cwd=str(tmp_path))
    assert again.returncode == 0 and 'all photos are enlarged already' in again.stderr


def test_one_bad_photo_does_not_keep_the_others(run, model, photo, tmp_path):
    files.write_image(str(tmp_path / 'good.png'), photo)
    (tmp_path / 'bad.png').write_bytes(b'no image')
    files.write_image(str(tmp_path / 'small.png'), photo[:5])
    result = run('enhance.py', 'bad.png', 'small.png', 'good.png', '--model', model, cwd=str(tmp_path))
    assert result.returncode == 1 and (tmp_path / 'good_x2.png').exists()
    lines = [line for line in result.stderr.splitlines() if line.startswith('error')]
    assert len(lines) == 3 and 'bad.png: not an image' in lines[0]
    assert 'small.png: 57 x 5 pixels: each side takes 8 at least' in lines[1]
    assert lines[2] == 'error: 2 of 3 photos could not be enlarged'


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--factor', '4'], 'a network of the factor 2, and --factor is 4'),
        (['--model', 'none.npz'], 'none.npz: no such network'),
        (['--model', 'enhance-x8'], 'train.py --task upscale --factor 4 --output enhance-x8.npz'),
        (['--model', 'misc32'], 'a network that stylizes, and does not make photos larger'),
        (['--output', 'large.xyz'], 'cannot write an image of this kind'),
    ],
    ids=str,
)
def test_slips_are_one_line(without_theano, model, photo, tmp_path, arguments, message):
    files.write_image(str(tmp_path / 'photo.png'), photo)
    shutil.copy(model, str(tmp_path / 'net.npz'))
    given = arguments if '--model' in arguments else ['--model', 'net.npz', *arguments]
    done = without_theano('enhance.py', 'photo.png', *given, cwd=str(tmp_path))
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 1 and len(lines) == 1 and message in lines[0], done.stderr


def test_too_large_a_result_is_refused(enhancer, photo, monkeypatch, tmp_path):
    monkeypatch.setenv('GOGH_MAX_PIXELS', '9000')
    with pytest.raises(utils.UserError, match='114 x 82 pixels, more than the 9000'):
        enhancer(photo)
    files.write_image(str(tmp_path / 'photo.png'), photo)
    ((path, picture, error),) = enhancer.enhance_files([str(tmp_path / 'photo.png')])
    assert picture.frames[0].shape == photo.shape and 'photo.png: it would have 114 x 82' in str(error)


def test_other_arrays_are_refused(enhancer, photo):
    for wrong in (photo.astype(float), photo[..., 0], photo[:4]):
        with pytest.raises(utils.UserError):
            enhancer(wrong)


def test_numbers_that_are_not_finite_are_no_photo(tmp_path, photo):
    path, network = str(tmp_path / 'net.npz'), upscaler(2, norm='none')
    for param in lasagne.layers.get_all_params(network.output):
        param.set_value(1e38 * numpy.abs(param.get_value()))
    models.save_network(path, network)
    with pytest.raises(utils.UserError, match='not finite'):
        upscaling.Enhancer(path)(photo)


def test_networks_are_found_by_their_factor(tmp_path, monkeypatch):
    monkeypatch.setattr(networks, 'MODELS', str(tmp_path))
    for factor in (2, 4):
        models.save_network(str(tmp_path / f'enhance-x{factor}.npz'), upscaler(factor))
    network = transformer('cin', ['a'])
    randomize(network)
    models.save_network(str(tmp_path / 'misc.npz'), network)
    assert networks.find_upscaling().endswith('enhance-x4.npz')
    assert networks.find_upscaling(factor=2).endswith('enhance-x2.npz')
    with pytest.raises(utils.UserError, match='enhance-x8: no such network; .* enhance-x2, enhance-x4; '):
        networks.find_upscaling(factor=8)
    assert networks.shipped() == ['misc'] and networks.shipped('upscale') == ['enhance-x2', 'enhance-x4']
