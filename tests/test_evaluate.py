"""evaluate.py against the formulas in float64, and as a user runs it."""

import argparse
import csv
import dataclasses
import shutil

import numpy
import pytest

import evaluation
import files
import models
import options
import reference
import scores
import utils
from objective import Objective
from formats import vgg
from support import tiny

from lasagne.layers import get_all_param_values, set_all_param_values

STYLES = ['dots', 'waves', 'stripes']
LAYERS = [('conv1_1', 1.5), ('conv1_2', 4.0)]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A network of three styles, the images of two of them, photos, and a loss network of two convolutions."""
    folder = tmp_path_factory.mktemp('evaluate')
    generator = numpy.random.RandomState(0)
    training = dict(
        content_layer='conv1_1',
        content_weight=2.0,
        style_layers='conv1_1=1.5,conv1_2',
        style_weight=4.0,
        tv_weight=1e-6,
        normalize_losses=True,
        image_size=16,
        style_size=24,
    )
    network = tiny.transformer('cin', STYLES, (2, 2, 3), (3, 2), 1, dict(training=training))
    set_all_param_values(
        network.output,
        [generator.normal(0, 0.5, value.shape).astype('float32') for value in get_all_param_values(network.output)],
    )
    models.save_network(str(folder / 'cin.npz'), network)
    for name, shape in (
        ('styles/02_stripes.png', (24, 30, 3)),
        ('styles/dots.png', (40, 24, 3)),
        ('photos/a.png', (16, 16, 3)),
        ('photos/b.png', (16, 24, 3)),
        ('photos/c.png', (16, 16, 3)),
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        files.write_image(str(folder / name), generator.randint(256, size=shape).astype('uint8'))
    tiny.loss_network(folder / 'vgg.npz', generator, ('conv1_1', 'conv1_2'), 0.05)
    return folder


COMMAND = (
    'evaluate.py --model cin.npz --style-dir styles --photos photos --count 2 --iterations 2 --loss-weights '
    'vgg.npz --output evaluation'
).split()


@pytest.fixture(scope='module')
def result(run, folder):
    """The finished process, and losses.csv as {(style, photo, kind of image): {loss: value}}."""
    process = run(*COMMAND, cwd=str(folder))
    assert process.returncode == 0, process.stderr
    return process, table(folder)


def table(folder):
    with open(str(folder / 'evaluation' / 'losses.csv')) as file:
        rows = list(csv.DictReader(file))
    return {
        (row.pop('style_name'), row.pop('photo'), row.pop('image')): {k: float(v) for k, v in row.items()}
        for row in rows
    }


def expected_losses(folder, image, photo, style):
    """The perceptual loss, with the settings of `folder`, from the formulas."""
    weights = files.load_npz(str(folder / 'vgg.npz'))

    def features(x):
        return reference.vgg(reference.preprocess(x.astype('float64')), weights, 'conv1_2')

    of_image, of_photo, of_style = features(image), features(photo), features(style)
    content = of_photo['conv1_1']
    content = 2 * numpy.mean((of_image['conv1_1'] - content) ** 2) / numpy.mean(content**2)
    by_layer = []
    for name, weight in LAYERS:
        target = reference.gram(of_style[name])
        by_layer.append(weight / 2 * numpy.mean((reference.gram(of_image[name]) - target) ** 2) / numpy.mean(target**2))
    tv = 1e-6 * reference.total_variation(255 * image.astype('float64'))[0]
    return numpy.array([content + sum(by_layer) + tv, content, sum(by_layer), tv] + by_layer)


def test_every_style_and_photo_is_judged(result):
    _, rows = result
    assert sorted(rows) == sorted(
        (style, photo, kind)
        for style in ('dots', 'stripes')
        for photo in ('a', 'b')
        for kind in ('photo', 'network', 'optimization 2')
    )


def test_losses_are_those_of_the_formulas(folder, result):
    """The untouched photo and the network's pastiche, in the network's own order of styles."""
    params = list(files.load_npz(str(folder / 'cin.npz')).values())[:-1]
    for number, file in ((0, 'dots.png'), (2, '02_stripes.png')):
        style = files.to_float(files.read_image(str(folder / 'styles' / file), size=24))
        photo = files.to_float(files.read_image(str(folder / 'photos' / 'a.png')))
        pastiche = reference.transformer(photo.astype('float64'), params, numpy.eye(3)[[number]], 1)
        for kind, image in (('photo', photo), ('network', pastiche)):
            values = list(result[1][STYLES[number], 'a', kind].values())[:-1]
            numpy.testing.assert_allclose(values, expected_losses(folder, image, photo, style), rtol=2e-3, atol=1e-5)


def test_a_network_that_loses_its_border_is_judged_by_the_middle_of_the_photo(folder, run):
    network = models.load_network(str(folder / 'cin.npz'))
    cropping = network._replace(architecture=dataclasses.replace(network.architecture, pad='none'))
    models.save_network(str(folder / 'none.npz'), cropping)
    process = run(
        *(
            'evaluate.py --model none.npz --style-dir styles --photos photos --count 1 --image-size 32 '
            '--loss-weights vgg.npz --iterations 0 --output none'
        ).split(),
        cwd=str(folder),
    )
    assert process.returncode == 0, process.stderr
    rows = {(row['style_name'], row['image']): row for row in csv.DictReader(open(str(folder / 'none' / 'losses.csv')))}
    photo = evaluation.read_photos([str(folder / 'photos' / 'a.png')], 32)['a']
    style = files.to_float(files.read_image(str(folder / 'styles' / 'dots.png'), size=24))
    pastiche = reference.transformer(
        photo.astype('float64'), get_all_param_values(network.output), numpy.eye(3)[[0]], 1, pad='none'
    )
    middle = photo[:, :, 8:-8, 8:-8]
    for kind, image in (('photo', middle), ('network', pastiche)):
        values = [float(rows['dots', kind][name]) for name in list(rows['dots', kind])[3:-1]]
        numpy.testing.assert_allclose(values, expected_losses(folder, image, middle, style), rtol=2e-3, atol=1e-5)
    # The photo and two pastiches.
    assert files.read_image(str(folder / 'none' / 'grid_network.jpg')).shape[1] == 8 + 3 * (16 + 8)


def test_the_optimization_starts_from_the_photo_and_improves_on_it(result):
    for (style, photo, kind), row in result[1].items():
        if kind == 'photo':
            assert row['content'] == 0
            assert result[1][style, photo, 'optimization 2']['total'] < row['total']


def test_means_are_printed_and_written(folder, result):
    process, rows = result
    with open(str(folder / 'evaluation' / 'summary.csv')) as file:
        summary = {(row['style_name'], row['image']): row for row in csv.DictReader(file)}
    assert len(summary) == 9
    for (style, kind), row in summary.items():
        of_kind = [r for (s, _, k), r in rows.items() if k == kind and style in (s, 'all styles')]
        for name in ('total', 'content', 'style_conv1_2'):
            numpy.testing.assert_allclose(float(row[name]), numpy.mean([r[name] for r in of_kind]), rtol=1e-4)
            assert row[name] in process.stdout
    # 2 rows of photos, 3 columns of 16 pixels with gutters between them.
    for kind in ('network', 'optimization_2'):
        grid = files.read_image(str(folder / 'evaluation' / f'grid_{kind}.jpg'))
        assert grid.shape[1] == 8 + 3 * (16 + 8) and grid.shape[0] > 2 * (16 + 8)


def read(folder, name):
    with open(str(folder / 'evaluation' / name)) as file:
        return list(csv.DictReader(file))


def test_losses_in_relation_to_the_photo(folder, result):
    """Percentages of each layer, not of their sum, and content that no weight has a part in."""
    process, losses = result
    rows = {(row['style_name'], row['image']): row for row in read(folder, 'relative.csv')}
    assert sorted(rows) == sorted(
        (style, kind) for style in ('dots', 'stripes', 'all styles') for kind in ('network', 'optimization 2')
    )
    for style in ('dots', 'stripes'):
        percents = [
            100 * losses[style, photo, 'network'][name] / losses[style, photo, 'photo'][name]
            for photo in 'ab'
            for name in ('style_conv1_1', 'style_conv1_2')
        ]
        # The content loss of this network is divided by the photo's square already; its weight is 2.
        contents = [losses[style, photo, 'network']['content'] / 2 for photo in 'ab']
        row = rows[style, 'network']
        numpy.testing.assert_allclose(
            [float(row['style_percent_of_photo']), float(row['content_relative'])],
            [numpy.mean(percents), numpy.mean(contents)],
            rtol=1e-3,
        )
        assert row['style_percent_of_photo'] in process.stdout


def test_content_in_relation_to_the_photo_without_normalization():
    row = dict(
        style_name='dots', photo='a', total='1', style='1', style_conv1_1='3', style_conv1_2='1', content_of_nothing='4'
    )
    rows = [
        dict(row, image='photo', content='0', style_conv1_1='30', style_conv1_2='2'),
        dict(row, image='network', content='2'),
    ]
    assert scores.relate(rows, ['dots']) == [['dots', 'network', 30.0, 0.5]]


def test_trajectories_lead_from_the_photo_to_the_optimized_image(folder, result):
    rows = read(folder, 'trajectories.csv')
    assert [(row['style_name'], row['photo'], row['iteration']) for row in rows] == [
        (style, photo, str(i)) for style in ('dots', 'stripes') for photo in ('a', 'b') for i in range(3)
    ]
    for row in rows:
        kind = {'0': 'photo', '2': 'optimization 2'}.get(row['iteration'])
        if kind:
            for name, value in list(result[1][row['style_name'], row['photo'], kind].items())[:-1]:
                numpy.testing.assert_allclose(float(row[name]), value, rtol=1e-5)


def test_network_and_optimization_at_an_equal_style_loss(folder, result):
    """The table holds what the losses and the trajectories say; its means are printed."""
    process, losses = result
    rows, percents = read(folder, 'equal_style.csv'), []
    for row, (style, photo, *numbers) in zip(
        rows, scores.compare(read(folder, 'losses.csv'), read(folder, 'trajectories.csv'))
    ):
        assert (row['style_name'], row['photo']) == (style, photo)
        percents.append(100 * losses[style, photo, 'network']['style'] / losses[style, photo, 'photo']['style'])
        numpy.testing.assert_allclose(float(row['style_percent_of_photo']), percents[-1], rtol=1e-4)
        assert [row[name] for name in scores.EQUAL_STYLE[2:]] == [
            '' if number is None else f'{number:.5g}' for number in numbers
        ]
    assert len(percents) == len(rows) == 4 and 'all styles' in process.stdout
    assert f'{numpy.mean(percents):.4g}' in process.stdout


def test_where_the_optimization_reaches_a_style_loss():
    path = [(0.0, 8.0), (1.0, 6.0), (3.0, 2.0), (2.0, 4.0), (5.0, 1.0)]
    assert scores.at_equal_style(path, 9) == (0, 0)
    assert scores.at_equal_style(path, 6) == (1, 1)
    # The first time counts.
    assert scores.at_equal_style(path, 3) == (1.75, 2.5)
    assert scores.at_equal_style(path, 1.5) == (3 + 2.5 / 3, 2 + 2.5)
    assert scores.at_equal_style(path, 0.5) is None


def test_comparison_at_an_equal_style_loss():
    def row(photo, image, content, style):
        return dict(style_name='dots', photo=photo, image=image, content=str(content), style=str(style))

    rows = [row(photo, 'photo', 0, 8) for photo in 'abc'] + [
        row('a', 'network', 3, 4),
        row('b', 'network', 3, 0.5),
        row('c', 'network', 3, 10),
    ]
    steps = [
        dict(style_name='dots', photo=photo, content=str(content), style=str(style))
        for photo in 'abc'
        for content, style in ((0, 8), (2, 4), (4, 1))
    ]
    comparison = scores.compare(rows, steps)
    assert comparison == [
        ['dots', 'a', 50, 1, 2, 1.5],
        ['dots', 'b', 6.25, None, None, None],
        ['dots', 'c', 125, 0, 0, None],
    ]
    assert scores.summarize_comparison(comparison, ['dots']) == [['dots', '60.42', '0.5', '1.5', '2 of 3']]


def test_an_interrupted_evaluation_carries_on(run, fails, folder, result):
    """What was measured is kept, a row that was cut off in the middle is measured again."""
    path = folder / 'evaluation' / 'losses.csv'
    before = table(folder)
    lines = path.read_text().splitlines(True)
    kept = lines[:1] + [lines[1].replace('0', '7')] + lines[2:8]
    path.write_text(''.join(kept) + lines[8][:25])
    steps = (folder / 'evaluation' / 'trajectories.csv').read_text()
    assert 'losses.csv exists' in fails(*COMMAND, cwd=str(folder))
    assert 'iterations' in fails(*(COMMAND + ['--resume', '--iterations', 3]), cwd=str(folder))
    process = run(*(COMMAND + ['--resume']), cwd=str(folder))
    assert process.returncode == 0, process.stderr
    after = table(folder)
    changed = [key for key in before if after[key] != before[key]]
    assert list(after) == list(before) and changed == [list(before)[0]]
    assert (folder / 'evaluation' / 'trajectories.csv').read_text() == steps


def test_bad_input_is_one_line(fails, folder):
    def complaint(*options):
        return fails(*(COMMAND[:-1] + ['elsewhere'] + list(options)), cwd=str(folder))

    shutil.copytree(str(folder / 'photos'), str(folder / 'other'), dirs_exist_ok=True)
    assert 'none of the 3' in complaint('--style-dir', 'other')
    assert 'image-size' in complaint('--image-size', 8)


def test_settings_come_from_the_network_unless_they_are_given(monkeypatch):
    monkeypatch.setattr(vgg, 'random_weights', dict)

    network = tiny.transformer('fns', widths=(2, 2, 3), up_widths=(3, 2))

    def settings(training, **given):
        args = argparse.Namespace(**dict(dict.fromkeys(evaluation.KINDS), loss_weights=['random'], **given))
        network.meta['training'] = training
        settled = argparse.Namespace(**dict(vars(args), **evaluation.settings(args, network)))
        return options.objective(settled, 'fns'), settled

    loss, args = settings(
        dict(style_layers='conv1_1', style_weight=3, content_layers='conv1_2=2,conv1_1', image_size=64)
    )
    assert (
        loss.style_layers == [('conv1_1', 3.0)]
        and loss.content_layers == [('conv1_2', 2.0), ('conv1_1', 1.0)]
        and args.image_size == 64
    )
    assert loss.divide_by_channels and args.content_size == 64
    assert settings(dict(image_size=64, content_size=256))[1].content_size == 256
    # Networks from before there could be several.
    assert settings(dict(content_layer='conv1_2', content_weight=3))[0].content_layers == [('conv1_2', 3.0)]
    # A file of a stranger's may say anything; what makes no sense is as if it were not there.
    for nonsense in (None, 'x', dict(style_layers=3, style_weight='a', image_size=1.5, normalize_losses=1)):
        loss, args = settings(nonsense)
        assert loss.content_layers == [(options.NETWORK_DEFAULTS['fns']['content_layers'], 1.0)]
        assert (
            [weight for _, weight in loss.style_layers] == [20.0] * 4 and not loss.normalize and args.image_size == 256
        )


@pytest.mark.parametrize('normalize', [False, True])
def test_the_content_loss_of_nothing_is_that_of_the_sum_over_the_layers(normalize, generator):
    loss = Objective([], [('conv1_1', 3.0), ('conv2_1', 5.0)], [], 0.0, normalize, False, 'max')
    contents = [generator.rand(1, 2, 4, 5), generator.rand(1, 3, 2, 2)]
    first, second = ((content**2).sum() / content.size for content in contents)
    expected = (3 * first / first + 5 * second / second) / 2 if normalize else (3 * first + 5 * second) / 2
    assert evaluation.content_of_nothing(loss, contents) == pytest.approx(expected, rel=1e-12)


def test_photos_are_cut_out_of_the_middle_of_the_content_size(tmp_path):
    generator = numpy.random.RandomState(3)
    image = generator.randint(256, size=(40, 60, 3)).astype('uint8')
    files.write_image(str(tmp_path / 'a.png'), image)
    photo = evaluation.read_photos([str(tmp_path / 'a.png')], 20, 40)['a']
    numpy.testing.assert_array_equal(files.to_uint8(photo)[0], image[10:30, 20:40])


def test_styles_are_found_by_name():
    assert evaluation.find_styles(['x/03_b.jpg', 'x/a.png', 'x/c.png'], ['a', 'b']) == [
        (0, 'x/a.png'),
        (1, 'x/03_b.jpg'),
    ]
    assert evaluation.find_styles(['x/c.png'], ['style']) == [(0, 'x/c.png')]
    with pytest.raises(utils.UserError):
        evaluation.find_styles(['x/c.png', 'x/d.png'], ['a', 'b'])
