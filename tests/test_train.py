"""Training as a user starts it, resumed runs, and the data that it is fed."""

import csv
import json
import os

import h5py
import numpy
import pytest

import files
import models
import reference
import train
import training
from backend import lasagne
from conftest import ROOT
from data import photos
from support.tiny import transformer

STYLES = [
    os.path.join(ROOT, 'data', 'styles', 'misc32', name)
    for name in sorted(os.listdir(os.path.join(ROOT, 'data', 'styles', 'misc32')))
    if name.endswith('.jpg')
][:2]
SAMPLES = os.path.join(ROOT, 'data', 'samples')
SIZE = 32


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder with styles, a content dataset and a small loss network."""
    place = tmp_path_factory.mktemp('training')
    (place / 'styles').mkdir()
    for path in STYLES:
        files.write_image(str(place / 'styles' / os.path.basename(path)), files.read_image(path, size=64))
    generator = numpy.random.RandomState(0)
    weights, channels = {}, 3
    for name, width in [('conv1_1', 4), ('conv1_2', 4), ('conv2_1', 6), ('conv2_2', 6)]:
        weights[f'{name}_W'] = (generator.randn(width, channels, 3, 3) / (4 * channels**0.5)).astype('float32')
        weights[f'{name}_b'] = generator.randn(width).astype('float32')
        channels = width
    numpy.savez(str(place / 'vgg.npz'), **weights)
    with h5py.File(str(place / 'content.h5'), 'w') as file:
        for name, count in [('train2014', 6), ('val2014', 3)]:
            file[f'{name}/images'] = generator.randint(0, 256, (count, 3, SIZE, SIZE)).astype('uint8')
    return place


def options(place, output, **changes):
    """A command line for a small and quick training."""
    given = dict(
        style_dir='styles',
        content=SAMPLES,
        loss_weights='vgg.npz',
        content_layers='conv2_2',
        style_layers='conv1_2,conv2_2=2',
        normalize_losses=True,
        width=8,
        residual_blocks=1,
        image_size=SIZE,
        style_size=48,
        batch_size=2,
        iterations=20,
        checkpoint_every=10,
        learning_rate=0.01,
        output=output,
    )
    given.update(changes)
    line = ['train.py']
    for name, value in given.items():
        if value is True:
            line.append(f'--{name.replace("_", "-")}')
        elif value is not None:
            line += [f'--{name.replace("_", "-")}', value]
    return line


def start(run, place, output, **changes):
    result = run(*options(place, output, **changes), cwd=str(place))
    assert result.returncode == 0, result.stderr
    assert 'Warning' not in result.stderr and 'Traceback' not in result.stderr, result.stderr
    return result


@pytest.fixture(scope='module')
def trained(run, place):
    start(run, place, 'cin.npz')
    return place


def read_metrics(path):
    with open(str(path), newline='') as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_everything_behind(trained):
    rows = read_metrics(trained / 'cin' / 'metrics.csv')
    assert [int(row['iteration']) for row in rows] == list(range(1, 21))
    for row in rows:
        parts = [float(row[name]) for name in ('content', 'style', 'tv')]
        assert float(row['total']) == pytest.approx(sum(parts), rel=1e-5)
        assert float(row['style']) == pytest.approx(float(row['style_conv1_2']) + float(row['style_conv2_2']), rel=1e-5)
        assert bool(row['val_total']) == (int(row['iteration']) % 10 == 0)
    assert sorted(os.listdir(str(trained / 'cin'))) == [
        'checkpoint.npz',
        'losses.png',
        'metrics.csv',
        'samples',
        'styles.csv',
        'styles.png',
    ]
    assert sorted(os.listdir(str(trained / 'cin' / 'samples'))) == ['000010.jpg', '000020.jpg']
    of_styles = read_metrics(trained / 'cin' / 'styles.csv')
    assert [(row['iteration'], row['style_name']) for row in of_styles] == [
        (iteration, models.style_name(path)) for iteration in ('10', '20') for path in STYLES
    ]
    for i in (0, 2):
        mean = numpy.mean([float(row['total']) for row in of_styles[i : i + 2]])
        assert float(rows[5 * i + 9]['val_total']) == pytest.approx(mean, rel=1e-5)
    network = models.load_network(str(trained / 'cin.npz'))
    assert network.styles == [models.style_name(path) for path in STYLES]
    assert network.meta['training']['iterations'] == 20 and network.architecture.widths == (8, 16, 32)


def test_losses_fall(trained):
    total = [float(row['total']) for row in read_metrics(trained / 'cin' / 'metrics.csv')]
    assert numpy.mean(total[-5:]) < 0.7 * numpy.mean(total[:5])


def test_a_resumed_run_has_the_numbers_of_an_uninterrupted_one(run, trained):
    start(run, trained, 'resumed.npz', iterations=10)
    result = start(run, trained, 'resumed.npz', resume=True)
    assert 'no checkpoint' not in result.stderr
    for name in ('checkpoint.npz', os.path.join('..', 'resumed.npz')):
        got = numpy.load(str(trained / 'resumed' / name), allow_pickle=False)
        expected = numpy.load(str(trained / 'cin' / name.replace('resumed', 'cin')), allow_pickle=False)
        assert got.files == expected.files
        for key in got.files:
            numpy.testing.assert_array_equal(got[key], expected[key])
    got, expected = (read_metrics(trained / run_dir / 'metrics.csv') for run_dir in ('resumed', 'cin'))
    for a, b in zip(got, expected):
        assert dict(a, seconds=0) == dict(b, seconds=0)
    assert len(got) == len(expected)


def test_a_run_begun_before_an_option_existed_is_resumed_with_its_default(run, trained):
    """And with another value it is not."""
    start(run, trained, 'old.npz', iterations=2)
    path = str(trained / 'old' / 'checkpoint.npz')
    arrays = dict(numpy.load(path, allow_pickle=False))
    settings = json.loads(str(arrays['settings']))
    settings['content_layer'] = settings.pop('content_layers')  # when there was only one
    for name in ('lr_decay', 'lr_decay_every', 'style_coefficients', 'learning_rate'):
        del settings[name]
    arrays['settings'] = numpy.array(json.dumps(settings))
    numpy.savez(path, **arrays)
    result = run(*options(trained, 'old.npz', iterations=3, resume=True), cwd=str(trained))
    assert result.returncode == 1 and 'learning rate 0.001, and not 0.01' in result.stderr.splitlines()[-1]
    start(run, trained, 'old.npz', iterations=3, resume=True, learning_rate=None)


def test_the_step_decays_by_the_iteration_also_when_the_run_is_resumed(run, trained):
    """Adam's first steps are of the size of the learning rate: one of 1e-9 leaves float32 parameters as they were."""
    changes = dict(lr_decay=1e-9, lr_decay_every=2, learning_rate=0.01, checkpoint_every=1)
    photo = os.path.join(SAMPLES, 'cat.jpg')
    before = []
    for iterations in (1, 2, 4):
        start(
            run,
            trained,
            'decay.npz',
            iterations=iterations,
            resume=iterations > 1 or None,
            sample_photo=photo,
            **changes,
        )
        network = models.load_network(str(trained / 'decay.npz'))
        values = [value.copy() for value in lasagne.layers.get_all_param_values(network.output)]
        if iterations == 2:
            assert any(numpy.abs(new - old).max() > 1e-3 for new, old in zip(values, before))
        if iterations == 4:
            assert all(numpy.abs(new - old).max() < 1e-8 for new, old in zip(values, before))
        before = values
    sheet = files.read_image(str(trained / 'decay' / 'samples' / '000002_photos.jpg'))
    # The photo, of 300 x 451 or so, and both pastiches beside it.
    height, width = files.read_image(photo).shape[:2]
    assert sheet.shape[1] > 3 * min(width, 512 * width / height) and sheet.shape[0] > min(height, 512)


def test_style_coefficients_multiply_the_style_loss_of_their_style(run, trained):
    names = [models.style_name(path) for path in STYLES]
    rows = {}
    for factor in (1, 3):
        output = f'times{factor}.npz'
        start(run, trained, output, iterations=1, style_coefficients=f'{names[0]}={factor}, {names[1]}={factor}')
        rows[factor] = read_metrics(trained / output[:-4] / 'metrics.csv')[0]
    plain = read_metrics(trained / 'cin' / 'metrics.csv')[0]
    for name in ('style', 'style_conv1_2', 'style_conv2_2'):
        assert float(rows[1][name]) == pytest.approx(float(plain[name]), rel=1e-5)
        assert float(rows[3][name]) == pytest.approx(3 * float(plain[name]), rel=1e-5)
    assert rows[3]['content'] == rows[1]['content']
    meta = models.load_network(str(trained / 'times3.npz')).meta
    assert meta['training']['style_coefficients'] == [3, 3]
    assert train.parse_coefficients('b=2.5,a=0', ['a', 'b', 'c']) == [0, 2.5, 1]


def test_bfloat16_has_nearly_the_same_losses(run, trained):
    result = run(*options(trained, 'low.npz', iterations=4, precision='bf16'), cwd=str(trained))
    if 'error: --precision bf16: ' in result.stderr:
        pytest.skip(result.stderr)
    assert result.returncode == 0, result.stderr
    exact, low = [
        numpy.array([float(row['total']) for row in read_metrics(trained / name / 'metrics.csv')[:4]])
        for name in ('cin', 'low')
    ]
    assert low[0] != exact[0] and low[:2] == pytest.approx(exact[:2], rel=0.05)  # later ones are amplified rounding


def test_several_content_layers_are_summed(run, trained):
    """A network's first losses are those of its random filters, whatever it is trained for."""
    for output, changes in (
        ('one', dict(content_layers='conv1_2')),
        ('both', dict(content_layers='conv1_2=0.5,conv2_2', content_weight=3)),
    ):
        start(run, trained, f'{output}.npz', iterations=1, **changes)
    other, one, both = (
        float(read_metrics(trained / name / 'metrics.csv')[0]['content']) for name in ('cin', 'one', 'both')
    )
    assert both == pytest.approx((0.5 * one + 3 * other) / 2, rel=1e-5)


def test_stability_joins_the_losses_of_a_run(run, trained):
    start(run, trained, 'stable.npz', stability_weight=100.0, iterations=2, checkpoint_every=2)
    for row in read_metrics(trained / 'stable' / 'metrics.csv'):
        parts = [float(row[name]) for name in ('content', 'style', 'stability')]
        assert min(parts) > 0 and float(row['total']) == pytest.approx(sum(parts), rel=1e-5)


def test_a_moved_photo_shows_what_the_photo_shows(generator):
    images = generator.rand(2, 3, 24, 20).astype('float32')
    moved, (down, right) = training.move(images, [1, 2])
    here = [numpy.s_[max(0, -d) : min(s, s - d)] for d, s in ((down, 24), (right, 20))]
    there = [numpy.s_[max(0, d) : min(s, s + d)] for d, s in ((down, 24), (right, 20))]
    difference = moved[:, :, there[0], there[1]] - images[:, :, here[0], here[1]]
    assert 0.5 * training.NOISE < difference.std() < 1.5 * training.NOISE
    assert (training.move(images, [1, 2])[0] == moved).all()
    assert len({tuple(training.move(images, [1, i])[1]) for i in range(20)}) > 5


def test_clipped_gradients_average_pooling_and_kept_networks(run, trained):
    """Adam forgets the scale of a gradient, so that clipping shows in the moments: their sum of squares has a bound."""
    start(run, trained, 'clip.npz', iterations=1, clip_gradients=1e-3, checkpoint_every=1, keep_checkpoints=True)
    values = numpy.load(str(trained / 'clip' / 'checkpoint.npz'), allow_pickle=False)
    count = len(lasagne.layers.get_all_params(models.load_network(str(trained / 'clip.npz')).output))
    moments = [values[f'value_{i}'] for i in range(count, len(values.files) - 2)]
    # First moments are a tenth of the gradient after one step, second ones a thousandth of its square: far smaller.
    norm = 10 * numpy.sqrt(sum(numpy.square(moment, dtype='float64').sum() for moment in moments if moment.ndim))
    assert norm == pytest.approx(1e-3, rel=1e-2)
    kept = trained / 'clip' / 'networks' / '000001.npz'
    assert kept.read_bytes() == (trained / 'clip.npz').read_bytes()
    start(run, trained, 'average.npz', iterations=1, pool='average')
    plain, other = (read_metrics(trained / name / 'metrics.csv')[0] for name in ('cin', 'average'))
    assert plain['style_conv1_2'] == other['style_conv1_2'] and plain['style_conv2_2'] != other['style_conv2_2']
    assert models.load_network(str(trained / 'average.npz')).meta['training']['pool'] == 'average'


def test_the_widths_padding_and_constant_of_the_ancestors_are_trained_and_kept(run, trained):
    style = os.path.join('styles', os.path.basename(STYLES[0]))
    start(
        run,
        trained,
        'ancestor.npz',
        network='fns',
        style_dir=style,
        up_widths='6,5',
        pad='reflect-start',
        tanh_constant=100,
        iterations=2,
    )
    of = models.load_network(str(trained / 'ancestor.npz')).architecture
    assert (of.up_widths, of.pad, of.tanh_constant) == ((6, 5), 'reflect-start', 100)
    # A network that is started from it has them as well, and resumes.
    for more in ({}, dict(iterations=2, resume=True)):
        start(
            run,
            trained,
            'next.npz',
            **dict(
                dict(start_from='ancestor.npz', style_dir=style, iterations=1, width=None, residual_blocks=None), **more
            ),
        )
    assert models.load_network(str(trained / 'next.npz')).architecture.up_widths == (6, 5)


def test_a_network_that_loses_its_border_is_judged_by_the_middle_of_the_photo(run, trained):
    """Its first losses are those of the float64 reference, on photos without the 8 pixels on each side."""
    start(
        run,
        trained,
        'none.npz',
        pad='none',
        content='content.h5',
        iterations=1,
        checkpoint_every=1,
        normalize_losses=None,
        style_weight=1,
        sample_photo=os.path.join(SAMPLES, 'cat.jpg'),
    )
    row = read_metrics(trained / 'none' / 'metrics.csv')[0]
    lasagne.random.set_rng(numpy.random.RandomState(0))
    names = [models.style_name(path) for path in STYLES]
    network = transformer('cin', names, (8, 16, 32), (16, 8), 1, pad='none')
    images = next(photos.batches(photos.open_content(str(trained / 'content.h5'), SIZE).train, 2, seed=0)).astype(
        'float64'
    )
    style = numpy.eye(2)[training.style_schedule(2, 2, 2, 0, 0)]
    pastiche = reference.transformer(images, lasagne.layers.get_all_param_values(network.output), style, 1, pad='none')
    assert pastiche.shape == (2, 3, SIZE - 16, SIZE - 16)
    weights = files.load_npz(str(trained / 'vgg.npz'))
    found, target = (
        reference.vgg(reference.preprocess(x), weights, 'conv2_2')['conv2_2']
        for x in (pastiche, images[:, :, 8:-8, 8:-8])
    )
    assert float(row['content']) == pytest.approx(numpy.mean((found - target) ** 2), rel=1e-3)
    # The sheets show the middle of the photos beside the pastiches.
    assert files.read_image(str(trained / 'none' / 'samples' / '000001.jpg')).shape[1] == 8 + 3 * (SIZE - 16 + 8)
    assert models.load_network(str(trained / 'none.npz')).architecture.pad == 'none'


def test_images_too_small_for_a_trained_network_are_refused_at_once(fails, place):
    """How small depends on its padding and residual blocks, which are in its file."""
    models.save_network(
        str(place / 'deep.npz'), transformer('cin', ['a'], (4, 4, 4), (4, 4), residual_blocks=4, pad='reflect-start')
    )
    assert 'at least 36 pixels' in fails(
        *options(place, 'bad.npz', start_from='deep.npz', width=None, residual_blocks=None), cwd=str(place)
    )


def test_fns_trains_on_a_dataset_with_batch_norm_and_total_variation(run, trained):
    style = os.path.join('styles', os.path.basename(STYLES[0]))
    start(
        run,
        trained,
        'fns.npz',
        network='fns',
        style_dir=style,
        content='content.h5',
        norm='batch',
        tv_weight=1e-6,
        iterations=2,
    )
    row = read_metrics(trained / 'fns' / 'metrics.csv')[0]
    assert float(row['tv']) > 0
    network = models.load_network(str(trained / 'fns.npz'))
    assert network.architecture.network == 'fns' and network.architecture.norm == 'batch' and len(network.styles) == 1


def test_what_a_run_wrote_is_not_overwritten(run, fails, trained):
    before = (trained / 'cin.npz').read_bytes()
    assert '--resume' in fails(*options(trained, 'cin.npz'), cwd=str(trained))
    result = run(*options(trained, 'cin.npz', resume=True, iterations=30, learning_rate=0.02), cwd=str(trained))
    assert result.returncode == 1 and 'learning rate 0.01, and not 0.02' in result.stderr.splitlines()[-1]
    assert (trained / 'cin.npz').read_bytes() == before


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(style_dir='nothing'), 'nothing: no such file'),
        (dict(style_dir=f'{ROOT}/tests'), 'no images'),
        (dict(content='vgg.npz'), 'HDF5'),
        (dict(content='content.h5', image_size=64), 'too small for --image-size 64'),
        (dict(loss_weights='nothing.pkl'), 'data/download.py'),
        (dict(style_layers='conv1_2,conv3_3'), 'no layer conv3_3'),
        (dict(style_layers='conv1_2=x'), "--style-layers: 'conv1_2=x'"),
        (dict(style_layers='conv1_2,pixels'), "--style-layers: 'pixels'"),
        (dict(content_layers='conv2_2,conv2_2=2'), "--content-layers: 'conv2_2=2'"),
        (dict(iterations=5, epochs=1), 'contradict'),
        (dict(network='fns'), 'takes one'),
        (dict(norm='batch'), 'fns'),
        (dict(learning_rate=-1), 'not a positive number'),
        (dict(output='cin.pkl'), '.npz'),
        (dict(output='vgg.npz/cin.npz'), 'vgg.npz'),
        (dict(image_size=8), '16 pixels'),
        (dict(styles_per_batch=3), '--batch-size'),
        (dict(up_widths='8'), "'8' is not two numbers"),
        (dict(tanh_constant=100), '--network fns'),
        (dict(pad='reflect-start', residual_blocks=4), 'at least 36 pixels'),
        (dict(pad='none', residual_blocks=2), 'at least 48 pixels'),
        (dict(lr_decay=0.5), '--lr-decay-every'),
        (dict(lr_decay=1.5, lr_decay_every=5), 'up to 1'),
        (dict(style_coefficients='nothing=2'), "'nothing=2' is not STYLE=FACTOR"),
        (dict(style_coefficients=f'{models.style_name(STYLES[0])}=-1'), 'not a number from 0'),
        (dict(sample_photo='nothing.jpg'), 'nothing.jpg: no such file'),
        (dict(sample_photo='vgg.npz'), 'not an image'),
    ],
    ids=lambda value: ' '.join('%s=%s' % item for item in value.items()) if isinstance(value, dict) else None,
)
def test_bad_options_and_files_get_one_line(fails, place, changes, message):
    changes = dict(changes)
    if changes.get('style_dir') != 'nothing' and changes.get('network') == 'fns':
        changes['style_dir'] = 'styles'
    assert message in fails(*options(place, changes.pop('output', 'bad.npz'), **changes), cwd=str(place))
    assert not (place / 'bad.npz').exists()


# The data --------------------------------------------------------------------------------------


def test_every_epoch_goes_through_all_images_in_its_own_order(place):
    content = photos.open_content(str(place / 'content.h5'), SIZE)
    with h5py.File(str(place / 'content.h5'), 'r') as file:
        images = [image.tobytes() for image in file['train2014/images'][()]]
    batches = photos.batches(content.train, 2, seed=0)
    seen = [images.index((255 * image + 0.5).astype('uint8').tobytes()) for _ in range(6) for image in next(batches)]
    assert sorted(seen[:6]) == sorted(seen[6:]) == list(range(6)) and seen[:6] != seen[6:]


def test_batches_carry_on_where_they_are_asked_to(place):
    content = photos.open_content(SAMPLES, 24, validation_split=0)
    first = [b for b, _ in zip(photos.batches(content.train, 2, seed=3), range(5))]
    later = next(photos.batches(content.train, 2, seed=3, start=4, workers=1))
    numpy.testing.assert_array_equal(later, first[4])
    other = next(photos.batches(content.train, 2, seed=4))
    assert (other != first[0]).any()
    assert (
        first[0].shape == (2, 3, 24, 24)
        and first[0].dtype == numpy.float32
        and 0 <= first[0].min() < first[0].max() <= 1
    )


def test_crops_are_cut_out_of_photos_of_the_content_size(tmp_path):
    """A gradient of 128 levels over 128 pixels: a crop of 16 pixels spans 16 levels, or all if it is the photo."""
    gradient = numpy.broadcast_to(numpy.arange(128, dtype='uint8')[:, None, None], (128, 128, 3))
    files.write_image(str(tmp_path / 'a.png'), gradient)
    spans = []
    for content_size in (None, 128):
        content = photos.open_content(str(tmp_path), 16, content_size, validation_split=0)
        crop = content.train.read(0, numpy.random.RandomState(0))
        assert crop.shape == (16, 16, 3)
        spans.append(int(crop.max()) - int(crop.min()))
    assert spans[0] > 110 and spans[1] == 15


def test_unreadable_photos_are_skipped_with_a_warning(tmp_path, capsys):
    for i in range(3):
        files.write_image(str(tmp_path / f'{i}.png'), numpy.full((40, 50, 3), 80 * i, 'uint8'))
    (tmp_path / '1.png').write_bytes(b'no image')
    content = photos.open_content(str(tmp_path), 16, validation_split=0)
    batches = photos.batches(content.train, 3, seed=0)
    levels = {int(round(255 * value)) for value in next(batches)[:, 0, 0, 0]}
    assert levels <= {0, 160}
    assert '1.png' in capsys.readouterr().err


def test_a_folder_is_split_for_validation(tmp_path):
    for i in range(20):
        files.write_image(str(tmp_path / f'{i:02d}.png'), numpy.full((16, 16, 3), i, 'uint8'))
    content = photos.open_content(str(tmp_path), 16, validation_split=0.25)
    assert content.train.size == 15 and content.val.size == 5
    levels = [{int(split.read(i, numpy.random)[0, 0, 0]) for i in range(split.size)} for split in content[:2]]
    assert levels[0] | levels[1] == set(range(20)) and not levels[0] & levels[1]


def test_style_schedule():
    drawn = [training.style_schedule(5, 4, 4, 0, i) for i in range(200)]
    assert set(numpy.concatenate(drawn)) == set(range(5))
    numpy.testing.assert_array_equal(drawn[7], training.style_schedule(5, 4, 4, 0, 7))
    assert all(len(set(training.style_schedule(5, 4, 1, 0, i))) == 1 for i in range(20))
