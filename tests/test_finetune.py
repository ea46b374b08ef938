"""train.py --finetune and --start-from: a trained network is trained further (arXiv:1610.07629, section 3.4)."""

import json

import numpy
import pytest

import files
import models
from support import tiny

from lasagne.layers import get_all_params

OLD, NEW = ['dots', 'waves', 'stripes'], ['chalk', 'ink']


def random_network(kind='cin', **meta):
    """A network with filters and styles as they may be after training: no two alike, few maps without life."""
    generator = numpy.random.RandomState(0)
    network = tiny.transformer(kind, OLD if kind == 'cin' else OLD[:1], (4, 4, 4), (4, 4), 1, meta)
    for param in get_all_params(network.output):
        value = param.get_value()
        param.set_value(value + generator.normal(0, 0.2, value.shape).astype('float32'))
    return network


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('finetune')
    generator = numpy.random.RandomState(1)
    models.save_network(str(folder / 'old.npz'), random_network(training=dict(iterations=7)))
    models.save_network(str(folder / 'fns.npz'), random_network('fns'))
    names = ('new/1_chalk.png', 'new/ink.png', 'old/waves.png', 'photos/a.png', 'photos/b.png', 'photos/c.png')
    tiny.noise(folder, names, generator)
    tiny.loss_network(folder / 'vgg.npz', generator)
    return folder


COMMAND = (
    'train.py --finetune old.npz --style-dir new --content photos --loss-weights vgg.npz --style-layers conv1_1 '
    '--content-layers conv1_1 --style-weight 1 --image-size 16 --style-size 20 --batch-size 2 --checkpoint-every '
    '2 --output more.npz'
).split()


@pytest.fixture(scope='module')
def trained(run, folder):
    """Three iterations, then two more by --resume."""
    for iterations, option in ((3, []), (5, ['--resume'])):
        process = run(*(COMMAND + ['--iterations', iterations] + option), cwd=str(folder))
        assert process.returncode == 0, process.stderr
    return folder / 'more.npz'


def test_filters_and_old_styles_stay_as_they_were_bit_for_bit(folder, trained):
    old, new = files.load_npz(str(folder / 'old.npz')), files.load_npz(str(trained))
    assert list(old) == list(new)
    for i, name in enumerate(list(old)[:-1]):
        if i % 3 == 0:
            assert old[name].tobytes() == new[name].tobytes()
        else:
            assert new[name].shape == (5, old[name].shape[1])
            assert old[name].tobytes() == new[name][:3].tobytes()


def test_the_new_styles_are_learned(folder, trained):
    """From the mean of the old ones; each gamma moves, and each in its own way."""
    old, new = files.load_npz(str(folder / 'old.npz')), files.load_npz(str(trained))
    for name in list(old)[2:-1:3]:
        start = old[name].mean(axis=0)
        moved = new[name][3:] - start
        # Adam's steps are of about the learning rate, 0.001.
        assert 1e-5 < abs(moved).max() < 0.02
        assert (moved[0] != moved[1]).any()


def test_the_file_says_what_it_is(folder, trained):
    network = models.load_network(str(trained))
    assert network.styles == OLD + NEW
    assert network.meta['training']['finetune'] == 'old.npz' and network.meta['training']['iterations'] == 5
    assert network.meta['training']['base'] == dict(iterations=7)
    # Again a network that can be fine-tuned, and stylized with.
    meta = json.loads(str(files.load_npz(str(trained))['meta']))
    assert meta['widths'] == [4, 4, 4] and meta['network'] == 'cin'


def test_known_styles_stay_and_new_ones_start_at_the_mean():
    network = random_network(extra='kept')
    other = models.with_styles(network, ['ink', 'stripes', 'dots'])
    assert other.styles == ['ink', 'stripes', 'dots'] and other.meta['extra'] == 'kept'
    assert network.styles == OLD
    for old, new in zip(get_all_params(network.output), get_all_params(other.output)):
        old, new = old.get_value(), new.get_value()
        if old.ndim == 4:
            assert (old == new).all()
        else:
            assert (new[1] == old[2]).all() and (new[2] == old[0]).all()
            numpy.testing.assert_allclose(new[0], old.mean(axis=0), atol=1e-7)


def test_a_single_style_of_many_is_an_fns_network():
    """In the middle of the range of colours the pastiches agree; at its ends 150 tanh is not 255 sigmoid."""
    network = random_network()
    single = models.single_style_network(network, 'waves')
    assert single.architecture.network == 'fns' and single.styles == ['waves'] and single.style is None
    photo = numpy.random.RandomState(5).uniform(size=(1, 3, 16, 20)).astype('float32')
    one = models.pastiche_function(network)(photo, numpy.eye(3, dtype='float32')[1:2])
    other = models.pastiche_function(single)(photo)
    middle = abs(one - 0.5) < 0.1
    assert middle.sum() > 100
    assert abs(one - other)[middle].max() < 0.01 and abs(one - other).max() < 0.1


@pytest.mark.parametrize('kind, model', [('cin', 'old.npz'), ('fns', 'fns.npz')])
def test_a_network_starts_from_a_trained_one(run, folder, kind, model):
    """After one step of Adam, which is at most the learning rate, every parameter is near where it started."""
    output = f'{kind}-more.npz'
    style = 'old' if kind == 'cin' else 'new/ink.png'
    process = run(
        *(
            COMMAND[:1]
            + ['--start-from', model, '--style-dir', style]
            + COMMAND[5:-1]
            + [output, '--iterations', 1, '--content-size', 18]
        ),
        cwd=str(folder),
    )
    assert process.returncode == 0, process.stderr
    network = models.load_network(str(folder / output))
    assert network.architecture.network == kind and network.styles == ['waves' if kind == 'cin' else 'ink']
    assert network.meta['training']['start_from'] == model
    base = models.load_network(str(folder / model))
    moved = 0
    for old, new in zip(get_all_params(base.output), get_all_params(network.output)):
        old, new = old.get_value(), new.get_value()
        if kind == 'cin' and old.ndim == 2:
            old = old[1:2]  # waves
        assert new.shape == old.shape and abs(new - old).max() < 1.1e-3
        moved += new.ndim == 4 and (new != old).any()
    assert moved == 8


def test_contradictions_and_bad_input_are_one_line(fails, folder):
    def complaint(*options):
        return fails(*(COMMAND[:-1] + ['other.npz', '--iterations', 1] + list(options)), cwd=str(folder))

    for option, value in (('--network', 'cin'), ('--width', 32), ('--upsampling=deconv', '')):
        assert option.split('=')[0] in complaint(*[option, value][: 1 if '=' in option else 2])
    assert 'single style' in complaint('--finetune', 'fns.npz')
    assert 'waves' in complaint('--style-dir', 'old')
    assert '--start-from' in complaint('--start-from', 'old.npz')
    assert '--content-size' in complaint('--content-size', 8)
    assert '--width' in fails(
        'train.py', '--start-from', 'old.npz', '--width', 8, *COMMAND[3:-1], 'other.npz', cwd=str(folder)
    )
    assert 'single style' in fails(
        'train.py', '--start-from', 'fns.npz', '--network', 'cin', *COMMAND[3:-1], 'other.npz', cwd=str(folder)
    )
    assert not (folder / 'other.npz').exists()
