"""Stylizing in bands is stylizing the whole photo."""

import os
import signal
import tempfile

import numpy
import pytest

import files
import models
import stylemaps
import tiles
import utils
from backend import lasagne
from layers import style_weights
from pastiches import pad_image
from support.tiny import transformer
from test_models import randomize

NETWORKS = {
    'cin': dict(network='cin', styles=['a', 'b', 'c'], residual_blocks=2),
    'zero': dict(network='cin', styles=['a', 'b'], pad='zero'),
    'no residual blocks': dict(network='cin', residual_blocks=0),
    'large filters': dict(network='cin', filter_sizes=(9, 9, 9)),
    'fns': dict(network='fns'),
    'padded at the start': dict(network='fns', pad='reflect-start', residual_blocks=2),
    'cropping': dict(network='fns', pad='none', residual_blocks=2),
    'deconvolution': dict(network='fns', upsampling='deconv'),
    'batch norm': dict(network='fns', norm='batch'),
    'of TensorFlow': dict(network='fns', pad='same', upsampling='deconv', preprocessing='none', epsilon=1e-3),
    'of PyTorch': dict(network='fns', pad='reflect', preprocessing='none', output='linear', last='bias'),
}


def pastiche(tiler, photo, mixture, **options):
    """All bands of a pastiche, which must follow each other."""
    bands = []
    for start, band in tiler.bands(photo, mixture, **options):
        assert start == sum(map(len, bands))
        bands.append(band)
    return numpy.concatenate(bands)


@pytest.mark.parametrize('name', sorted(NETWORKS))
def test_bands_of_any_height_give_the_pastiche_of_the_whole(name, generator):
    network = transformer(**NETWORKS[name])
    randomize(network)
    mixture = {len(network.styles) - 1: 0.7, 0: 0.3} if network.style and len(network.styles) > 1 else {0: 1.0}
    function, tiler = models.pastiche_function(network), tiles.Tiler(network)
    lost = 2 * network.architecture.lost
    for height, width in (51, 38), (64, 100):
        photo = generator.randint(0, 256, (height, width, 3)).astype('uint8')
        inputs = [pad_image(photo).transpose(2, 0, 1)[numpy.newaxis] / numpy.float32(255)]
        if network.style:
            inputs.append(style_weights(mixture, len(network.styles)))
        whole = function(*inputs)[0].transpose(1, 2, 0)[: height - lost, : width - lost]
        for options in (dict(rows=8), dict(rows=20, room=0), dict()):
            numpy.testing.assert_allclose(pastiche(tiler, photo, mixture, **options), whole, atol=2e-4)


@pytest.mark.parametrize('pad', ['reflect', 'same', 'reflect-start', 'none'])
def test_bands_give_the_pastiche_of_a_style_map(pad, generator):
    network = transformer('cin', ['a', 'b', 'c'], pad=pad, upsampling='deconv' if pad == 'same' else 'nearest')
    randomize(network)
    photo = generator.randint(0, 256, (52, 36, 3)).astype('uint8')
    style_map = stylemaps.of_masks({2: generator.rand(11, 9), 0: generator.rand(11, 9)})
    network_of_two = models.with_styles(network, ['c', 'a'])
    weights = style_map.weights(52, 36)[numpy.newaxis]
    whole = models.mapped_function(network_of_two)(files.to_float(photo), weights)[0].transpose(1, 2, 0)
    assert whole.shape[:2] == (52 - 2 * network.architecture.lost, 36 - 2 * network.architecture.lost)
    for options in (dict(rows=8), dict(rows=20, room=0), dict()):
        result = pastiche(tiles.Tiler(network), photo, style_map, **options)
        numpy.testing.assert_allclose(result, whole, atol=2e-4)


def test_moments_are_those_of_the_whole(generator):
    maps = (1000 + generator.randn(3, 70, 90)).astype('float32')
    moments = tiles.Moments()
    for start in range(0, 70, 17):
        moments.add(maps[:, start : start + 17])
    exact = maps.reshape(3, -1).astype('float64')
    numpy.testing.assert_allclose(moments.mean, exact.mean(axis=1), rtol=1e-7)
    numpy.testing.assert_allclose(moments.squares / moments.count, exact.var(axis=1), rtol=1e-5)


def test_the_moments_of_a_small_version_will_nearly_do(generator):
    network = transformer('cin')
    randomize(network)
    small = generator.randint(0, 256, (24, 30, 3)).astype('uint8')
    photo = small.repeat(2, axis=0).repeat(2, axis=1)
    tiler = tiles.Tiler(network)
    exact = pastiche(tiler, photo, {0: 1.0}, rows=8)
    numpy.testing.assert_allclose(pastiche(tiler, photo, {0: 1.0}, rows=8, moments_of=photo), exact, atol=2e-4)
    away = abs(pastiche(tiler, photo, {0: 1.0}, rows=8, moments_of=small) - exact).mean()
    assert 1e-4 < away < abs(exact - exact.mean(axis=(0, 1))).mean()


def test_a_photo_of_one_colour_stays_of_one_colour():
    network = transformer('cin')
    randomize(network)
    photo = numpy.full((40, 48, 3), 77, 'uint8')
    result = pastiche(tiles.Tiler(network), photo, {0: 1.0}, rows=12)
    assert numpy.ptp(result, axis=(0, 1)).max() < 1e-5


def test_a_full_disk_is_one_line_and_leaves_nothing(monkeypatch, tmp_path):
    class Full:
        def seek(self, place):
            pass

        def write(self, data):
            raise OSError(28, 'No space left on device')

    monkeypatch.setattr(tempfile, 'TemporaryFile', lambda **_: Full())
    network = transformer('cin')
    with pytest.raises(utils.UserError, match='No space left on device; TMPDIR names another folder'):
        pastiche(tiles.Tiler(network), numpy.zeros((40, 48, 3), 'uint8'), {0: 1.0}, room=0)


def test_what_is_kept_on_the_disk_has_no_name(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    kept = tiles.Map((2, 8, 5), on_disk=True)
    maps = numpy.arange(80, dtype='float32').reshape(2, 8, 5)
    kept.write(0, maps)
    kept.write(3, maps[:, :2])
    numpy.testing.assert_array_equal(kept.read(3, 5), maps[:, :2])
    numpy.testing.assert_array_equal(kept.read(5, 8), maps[:, 5:])
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_killed_leaves_no_feature_maps(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    child = os.fork()
    if not child:
        kept = tiles.Map((2, 8, 5), on_disk=True)
        kept.write(0, numpy.zeros((2, 8, 5), 'float32'))
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_lasagne_is_told_of_no_other_parameters():
    """The tiler's layers are its own: the network that it stands for keeps its filters."""
    network = transformer('cin')
    before = [value.copy() for value in lasagne.layers.get_all_param_values(network.output)]
    pastiche(tiles.Tiler(network), numpy.zeros((20, 24, 3), 'uint8'), {0: 1.0})
    for value, kept in zip(lasagne.layers.get_all_param_values(network.output), before):
        numpy.testing.assert_array_equal(value, kept)
