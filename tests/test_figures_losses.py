"""Figures of the papers on perceptual losses and on instance normalization, at a tiny size."""

import itertools
import sys

import numpy
import pytest

import figures
import files
import models
import optimization
from backend import lasagne
from papers import perceptual_losses
from support import tiny
from support.tiny import FIGURES_SCALE


def test_speed_measures_as_far_as_it_steps_and_says_what_it_extrapolates(make, monkeypatch):
    def at(steps, sizes, slowness):
        """With a clock that goes on by so many seconds whenever it is looked at."""
        ticks = zip(itertools.count(step=slowness), itertools.count())
        monkeypatch.setattr(perceptual_losses, 'clocks', lambda: next(ticks))
        return make('speed', *FIGURES_SCALE, f'timed_steps={steps}', f'timed_sizes={sizes}')[0]

    # A tenth of the steps of the paper's table.
    columns = [name.replace('00', '0') for name in perceptual_losses.TIMES]
    monkeypatch.setattr(perceptual_losses, 'COUNTS', (10, 30, 50))
    monkeypatch.setattr(perceptual_losses, 'TIMES', columns)
    (row,) = at(10, 16, slowness=2)
    assert (row['image'], row['steps_timed'], row['extrapolated']) == ('16×16', '10', '30 50')
    assert [float(row[f'seconds_{count}']) for count in (10, 30, 50)] == [20, 60, 100]
    assert [float(row[f'processor_{count}']) for count in (10, 30, 50)] == [10, 30, 50]
    assert float(row['seconds_network']) == 2 and float(row['seconds_ratio_30']) == 30
    # Fewer steps are no reason to time a size again; what is not known yet is timed.
    old, new = at(2, '16,24', slowness=1)
    assert old == row and (new['image'], new['extrapolated']) == ('24×24', '10 30 50')
    assert float(new['seconds_10']) == 10
    # More steps are.
    (again,) = at(11, 16, slowness=3)
    assert float(again['seconds_10']) == 30 and again['steps_timed'] == '11'


@pytest.fixture
def no_optimization(monkeypatch):
    """What forbids the optimization from here on: what it has made is kept."""

    def forbid():
        monkeypatch.setattr(optimization, 'minimize_lbfgs', lambda *_: pytest.fail('optimized again'))

    return forbid


@pytest.fixture(scope='module')
def deep(folder):
    """The path of a loss network of three blocks."""
    path = str(folder / 'deep.npz')
    layers = 'conv1_1', 'conv1_2', 'conv2_1', 'conv2_2', 'conv3_1'
    tiny.loss_network(path, numpy.random.RandomState(2), layers, scale=0.3)
    return path


def with_random_filters(path, **settings):
    """Write a network of a single style whose filters are of order one, so that what it does shows."""
    network, generator = tiny.transformer('fns', ['style-a'], **settings), numpy.random.RandomState(3)
    for param in lasagne.layers.get_all_params(network.output, trainable=True):
        param.set_value(generator.normal(0, 0.5, param.get_value().shape).astype('float32'))
    models.save_network(str(path), network)


def test_shallow_layers_know_more_of_a_photo_than_deep_ones(make, folder, deep, no_optimization):
    more = '--loss-weights', deep, '--content-layers', 'conv1_1,conv3_1', '--run-dir', 'content', *FIGURES_SCALE
    made = make('content-reconstruction', *more, 'steps=30')
    shallow, profound = made[0]
    assert (shallow['layer'], profound['layer']) == ('conv1_1', 'conv3_1') and not made[1]
    for row in (shallow, profound):
        assert float(row['loss']) < 0.2 * float(row['loss_of_noise'])
    assert float(shallow['pixel_difference']) < 0.7 * float(profound['pixel_difference'])
    assert float(shallow['correlation']) > 0.5 > float(profound['correlation'])
    # The photo and two reconstructions, all of 32 pixels.
    assert files.read_image(str(folder / 'out' / 'content-reconstruction.webp')).shape[1] == 8 + 3 * 40
    no_optimization()
    assert make('content-reconstruction', *more, 'steps=30') == made


def test_gram_matrices_are_met_by_images_of_another_structure(make, deep, no_optimization):
    more = '--loss-weights', deep, '--style-layers', 'conv1_1,conv2_1', '--run-dir', 'style', *FIGURES_SCALE, 'steps=30'
    rows, trained = made = make('style-reconstruction', *more)
    assert [row['layer'] for row in rows] == ['conv1_1', 'conv2_1', 'all of them'] and not trained
    for row in rows:
        assert float(row['loss']) < 0.05 * float(row['loss_of_noise']) and abs(float(row['correlation'])) < 0.5
    no_optimization()
    assert make('style-reconstruction', *more) == made


def test_network_and_optimization_are_shown_side_by_side(make, folder, no_optimization):
    with_random_filters(folder / 'fns.npz')
    rows, trained = made = make('side-by-side', '--model', 'fns.npz')
    assert not trained and len(rows) == 2 * 3
    for photo, optimized, network in (rows[:3], rows[3:]):
        assert [row['image'] for row in (photo, optimized, network)] == ['photo', 'optimization', 'network']
        assert photo['content'] == '0' and float(network['content']) > 0
        assert (photo['steps'], optimized['steps'], network['steps']) == ('0', '3', '0')
        assert float(optimized['total']) < float(photo['total'])
        assert float(optimized['style']) < float(network['style'])
    # The curves of the objective are those of the same images.
    curves, trained = made_curves = make('objective', '--model', 'fns.npz')
    objective = {(row['image'], row['step']): float(row['objective'] or 'nan') for row in curves}
    for place, key in enumerate((('untouched photo', ''), ('L-BFGS from the photo', '3'), ('network', ''))):
        assert objective[key] == pytest.approx(numpy.mean([float(row['total']) for row in rows[place::3]]), rel=1e-3)
    assert not trained and objective['L-BFGS from the noise', '3'] < objective['L-BFGS from the noise', '0']
    no_optimization()
    assert make('side-by-side', '--model', 'fns.npz') == made
    assert make('objective', '--model', 'fns.npz') == made_curves


def test_sizes_keep_the_aspect_and_measure_each_beside_the_photo_of_that_size(make, folder):
    with_random_filters(folder / 'fns.npz')
    files.write_image(
        str(folder / 'wide.png'), numpy.random.RandomState(0).randint(0, 256, (40, 80, 3)).astype('uint8')
    )
    rows, trained = make('sizes', '--model', 'fns.npz', '--photos', 'wide.png')
    assert not trained and [(row['size'], row['photos']) for row in rows] == [('16', '1'), ('24', '1')]
    assert all(float(row['style_percent_of_photo']) > 0 and float(row['content_relative']) > 0 for row in rows)
    # The photo and two pastiches, twice as wide as high.
    sheet = files.read_image(str(folder / 'out' / 'sizes.webp'))
    assert sheet.shape[1] > 3 * (64 + 8)


def test_instance_norm_does_not_see_the_contrast_of_a_photo_and_batch_norm_does(make, folder):
    (folder / 'contrast').mkdir()
    for label in ('instance', 'batch'):
        with_random_filters(folder / 'contrast' / f'fns-{label}-norm.npz', norm=label)
    rows, trained = make('contrast', '--run-dir', 'contrast')
    assert not trained
    found = {row['image']: row for row in rows}
    assert list(found) == ['style', 'photo', 'optimization', 'instance norm', 'batch norm']
    assert float(found['photo']['ratio']) == pytest.approx(0.25, rel=0.02)
    assert float(found['instance norm']['ratio']) == pytest.approx(1, abs=0.01)
    assert float(found['instance norm']['difference_of_the_two']) < 1
    assert float(found['batch norm']['difference_of_the_two']) > 10


def test_nothing_is_said_of_training_where_there_is_none(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def said(*words):
        monkeypatch.setattr(sys, 'argv', ['figures.py', *words, '--loss-weights', 'a.npz'])
        figures.parse_arguments()
        return capsys.readouterr().err

    assert not said('content-reconstruction') and not said('contrast') and not said('sizes', '--model', 'misc32')
    assert 'training' in said('norm') and 'training' in said('sizes')
