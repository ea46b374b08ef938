"""figures.py at a tiny size: each figure is made, is made of what it says, and is not made twice."""

import os
import pathlib
import re
import shutil
import signal
import sys
import threading

import numpy
import pytest

import colors
import evaluation
import figures
import files
import models
import runs
import scores
import utils
from architecture import Architecture
from backend import devices
from data.photos import Reduction
from formats import networks
from support import tiny
from support.tiny import FIGURES_SCALE
from papers import common, learned_representation, page, super_resolution

from lasagne.layers import get_all_param_values, set_all_param_values


def size(folder, name):
    return files.read_image(str(folder / 'out' / name)).shape


def difference(shown, made):
    """Of the luminance, or of the colours in squares of two by two pixels: WebP has no finer ones."""
    apart = shown - made.astype(int)
    height, width, _ = apart.shape
    squares = apart.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3))
    return max(abs(apart @ colors.LUMINANCE).mean(), abs(squares).mean())


@pytest.mark.slow
def test_many_styles(make, folder, monkeypatch):
    drawn, plot = {}, common.plot

    def note(args, panels, *more, **options):
        drawn.update(panels)
        plot(args, panels, *more, **options)

    monkeypatch.setattr(common, 'plot', note)
    rows, trained = make('many-styles')
    assert trained == ['runs/many-2.npz', 'runs/single-style-a.npz', 'runs/single-style-b.npz']
    assert [row['style_name'] for row in rows] == ['style-a', 'style-b', 'mean', 'deviation']
    numbers = {row['style_name']: {k: float(v) for k, v in row.items() if k != 'style_name'} for row in rows}
    for kind in ('content', 'style'):
        for name in ('style-a', 'style-b'):
            row = numbers[name]
            numpy.testing.assert_allclose(
                row[f'{kind}_percent_more'],
                100 * (row[f'{kind}_many'] / row[f'{kind}_single'] - 1),
                rtol=1e-3,
                atol=0.02,
            )
        percents = [numbers[name][f'{kind}_percent_more'] for name in ('style-a', 'style-b')]
        numpy.testing.assert_allclose(
            numbers['mean'][f'{kind}_percent_more'], numpy.mean(percents), rtol=1e-3, atol=1e-3
        )
        numpy.testing.assert_allclose(
            numbers['deviation'][f'{kind}_percent_more'], numpy.std(percents), rtol=1e-3, atol=1e-3
        )
        # Each style's own curve, of the network of both and of its own.
        lines = drawn[f'{kind} loss while learning']
        for name, alone, shared in zip(('style-a', 'style-b'), lines[::2], lines[1::2]):
            of_both = [row for row in runs.read_table('runs/many-2/styles.csv') if row['style_name'] == name]
            assert shared[:2] == ([1, 2, 3, 4], [float(row[kind]) for row in of_both])
            own = runs.read_table(f'runs/single-{name}/metrics.csv')
            assert alone[:2] == ([1, 2], [float(row[f'val_{kind}']) for row in own])
        # Bars over the three photos, of which two are shown.
        for line, network in zip(drawn[f'final {kind} loss of photos'], ('many', 'single')):
            for index, name in enumerate(('style-a', 'style-b')):
                assert line[1][index] == pytest.approx(numbers[name][f'{kind}_{network}'], rel=1e-4)
                assert line[4][index] == pytest.approx(numbers[name][f'{kind}_{network}_deviation'], rel=1e-4)
                assert line[4][index] > 0
    # A painting and two pastiches of each of two photos.
    assert size(folder, 'many-styles.webp')[1] > 8 + 5 * 40 and size(folder, 'many-styles.png')[1] > 500
    # The network of both is trained for longer; what is trained stays trained; what was interrupted is trained on.
    assert make('many-styles') == (rows, [])
    rows, trained = make('pastiches', '--set', *(FIGURES_SCALE[1:] + ['many_iterations=5']))
    assert trained == ['runs/many-2.npz']
    for name, iterations in (('many-2', 5), ('single-style-a', 2)):
        network = models.load_network(str(folder / 'runs' / f'{name}.npz'))
        assert network.meta['training']['iterations'] == iterations
    assert [row['style_name'] for row in rows] == ['style-a', 'style-b']


@pytest.mark.slow
def test_finetune_and_blend(make, folder):
    settings = '--set', *(FIGURES_SCALE[1:] + ['iterations=3', 'styles=4'])
    rows, trained = make('finetune', *settings)
    assert trained == [
        f'runs/{name}.npz' for name in ('many-4', 'finetuned-style-e', 'scratch-style-e', 'scratch-style-e-longer')
    ]
    assert [(row['network'], row['loss'], row['iteration']) for row in rows] == [
        (network, loss, str(i))
        for network, last in (('fine-tuned', 1), ('from scratch', 8))
        for loss in ('content', 'style', 'total')
        for i in range(1, last + 1)
    ]
    # Eight times as many updates are those of the other network and further ones.
    short, long = (runs.read_table(f'runs/scratch-style-e{kind}/metrics.csv') for kind in ('', '-longer'))
    assert len(short) == 1 and short == long[:1] and len(long) == 8
    measured = runs.read_table('out/finetune-photos.csv')
    assert [(row['network'], row['iterations']) for row in measured] == [
        ('fine-tuned', '1'),
        ('from scratch', '1'),
        ('from scratch', '8'),
    ]
    assert all(float(row[f'{kind}_deviation']) > 0 for row in measured for kind in ('content', 'style'))
    # The painting, the photo and three pastiches.
    assert size(folder, 'finetune.webp')[1] == 8 + 5 * 40
    assert make('finetune', *settings) == (rows, [])
    rows, trained = make('blend', *settings)
    assert not trained
    assert [float(row['weight_of_style-b']) for row in rows] == [round(0.1 * i, 1) for i in range(11)]
    # Five by five pastiches of 32 pixels.
    assert size(folder, 'blend.webp') == (8 + 5 * 40, 8 + 5 * 40, 3)
    network = models.load_network(str(folder / 'runs' / 'many-4.npz'))
    grid = files.read_image(str(folder / 'out' / 'blend.webp')).astype(int)
    photo = evaluation.read_photos([str(folder / 'photos' / '0.png')], 32)['0']
    function = models.pastiche_function(network)
    for style, (top, left) in enumerate([(8, 8), (8, 168), (168, 8), (168, 168)]):
        pure = common.as_picture(evaluation.stylize(function, network, photo, style))
        assert difference(grid[top : top + 32, left : left + 32], pure) < 8


def test_losses_are_measured_on_all_photos():
    networks = [lambda photo: photo + 1, lambda photo: 2 * photo]
    measured = common.measure(
        dict(a=1, b=5), lambda photo, style: lambda image: [[None, image - photo, 3 * image]], 'style.png', networks
    )
    assert measured.tolist() == [[[1, 6], [1, 18]], [[1, 6], [5, 30]]]


@pytest.mark.slow
def test_norm_borders_and_objective(make, folder):
    rows, trained = make('norm')
    names = 'instance-norm', 'zero-padding', 'batch-norm', 'batch-norm-and-zero-padding'
    assert trained == [f'runs/fns-{name}.npz' for name in names]
    made = [models.load_network(path).architecture for path in [str(folder / path) for path in trained]]
    assert [(network.norm, network.pad) for network in made] == [
        (norm, pad) for norm in ('instance', 'batch') for pad in ('reflect', 'zero')
    ]
    assert len({row['network'] for row in rows}) == 4
    rows, trained = make('borders')
    assert trained == ['runs/fns-deconvolution.npz']
    assert len(rows) == 3 and all(float(row['checkerboard']) >= 0 for row in rows)
    rows, trained = make('objective')
    assert not trained
    found = {(row['image'], row['step']): row['objective'] for row in rows}
    for start in ('photo', 'noise'):
        values = [float(found[f'L-BFGS from the {start}', str(step)]) for step in range(4)]
        assert values == sorted(values, reverse=True)
    assert float(found['L-BFGS from the photo', '0']) == float(found['untouched photo', ''])
    # The steps that were taken are kept.
    before = {path: path.stat().st_mtime_ns for path in (folder / 'runs' / 'optimized').iterdir()}
    assert make('objective')[0] == rows
    assert {path: path.stat().st_mtime_ns for path in (folder / 'runs' / 'optimized').iterdir()} == before


@pytest.fixture(scope='module')
def misc32(folder):
    """A network of the styles of data/styles/misc32, not trained."""
    names = [models.style_name(path) for path in files.find_images(os.path.join(figures.ROOT, 'data/styles/misc32'))]
    network = tiny.transformer('cin', names, (2, 2, 3), (3, 2), 1)
    generator = numpy.random.RandomState(1)
    set_all_param_values(
        network.output,
        [generator.normal(0, 0.5, value.shape).astype('float32') for value in get_all_param_values(network.output)],
    )
    models.save_network(str(folder / 'misc32.npz'), network)
    return network


def test_table_of_32_styles_and_blend_of_a_given_network(make, folder, misc32):
    rows, trained = make('pastiches', '--model', 'misc32.npz')
    assert not trained and [row['style_name'] for row in rows] == misc32.styles and len(rows) == 32
    # Four bands of two photos, nine columns of 32 pixels.
    height, width, _ = size(folder, 'pastiches.webp')
    assert width == 8 + 9 * 40 and 4 * 2 * 40 < height < 4 * 2 * 40 + 4 * 40
    rows, trained = make(
        *'blend --model misc32.npz --run-dir runs32 --style-dir'.split(),
        os.path.join(figures.ROOT, 'data/styles/misc32'),
    )
    assert not trained and len(rows) == 11
    assert list(rows[0]) == [
        'weight_of_pointillist-meadow',
        'style_loss_to_impasto-swirl',
        'style_loss_to_pointillist-meadow',
    ]


def test_sequence_goes_from_one_style_to_another(make, folder, misc32):
    folder_of_styles = os.path.join(figures.ROOT, 'data/styles/misc32')
    rows, trained = make(*'sequence --model misc32.npz --run-dir runs32 --style-dir'.split(), folder_of_styles)
    assert not trained and [row['weight_of_agate'] for row in rows] == [
        '0',
        '0.16667',
        '0.33333',
        '0.5',
        '0.66667',
        '0.83333',
        '1',
    ]
    assert float(rows[0]['difference_from_impasto-swirl']) == float(rows[-1]['difference_from_agate']) == 0
    assert rows[0]['difference_from_agate'] == rows[-1]['difference_from_impasto-swirl']
    # The paintings at the ends and the photo in the middle; below them seven pastiches.
    sheet = files.read_image(str(folder / 'out' / 'sequence.webp')).astype(int)
    assert sheet.shape[1] == 8 + 7 * 40
    photo = evaluation.read_photos([str(folder / 'photos' / '0.png')], 32)['0']
    function = models.pastiche_function(misc32)
    expected = {'0': common.as_picture(evaluation.stylize(function, misc32, photo, 0))}
    expected['1'] = common.as_picture(evaluation.stylize(function, misc32, photo, 31))
    for weight, left in (('0', 8), ('1', 8 + 6 * 40)):
        pastiche = sheet[-40:-8, left : left + 32]
        differences = {name: difference(pastiche, image) for name, image in expected.items()}
        assert min(differences, key=differences.get) == weight and differences[weight] < 8
    # The photo is noise, and another one would differ by 50.
    assert difference(sheet[-80:-48, 8 + 3 * 40 : 40 + 3 * 40], common.as_picture(photo)) < 16
    assert sheet[-80:-48, 48:80].min() > 240


def test_pastiches_are_shown_with_the_paintings_that_are_there(make, folder, misc32, capsys, monkeypatch):
    files.make_folder(str(folder / 'models'))
    shutil.copy(str(folder / 'misc32.npz'), str(folder / 'models' / 'monet10.npz'))
    monkeypatch.setattr(networks, 'MODELS', str(folder / 'models'))
    source = os.path.join(figures.ROOT, 'data/styles/misc32', '00_impasto-swirl.jpg')
    files.make_folder(str(folder / 'some'))
    shutil.copy(source, str(folder / 'some'))
    rows, _ = make('monets', '--style-dir', 'some', '--run-dir', 'runs-monets')
    assert len(rows) == 32
    said = capsys.readouterr().err
    assert 'pointillist-meadow' in said and 'impasto-swirl' not in said
    sheet = files.read_image(str(folder / 'out' / 'monets.webp')).astype(int)
    # Below the labels one painting is there, in the second of nine columns.
    painting = files.cover(files.read_image(source), 32, 32)
    top = min(range(60), key=lambda y: abs(sheet[y : y + 32, 48:80] - painting).mean())
    assert abs(sheet[top : top + 32, 48:80] - painting).mean() < 16
    assert sheet[top : top + 32, 12:40].min() > 200 and sheet[top : top + 32, 92:].min() > 200


def test_monets_need_their_network(make, monkeypatch, tmp_path):
    monkeypatch.setattr(networks, 'MODELS', str(tmp_path))
    with pytest.raises(utils.UserError, match='monet10: no such network'):
        make('monets')


def test_other_settings_need_another_folder(make, folder, misc32):
    more = '--run-dir', 'old', '--model', 'misc32.npz'
    make('pastiches', *more)
    (folder / 'old' / 'speed.csv').write_text('what those settings have made')
    with pytest.raises(utils.UserError, match='width'):
        make('pastiches', *(more + ('--set',) + tuple(FIGURES_SCALE[1:]) + ('width=3',)))


def test_settings_that_made_nothing_bind_nobody(make, misc32):
    with pytest.raises(utils.UserError, match='nowhere'):
        make('many-styles', '--run-dir', 'new', '--style-dir', 'nowhere')
    assert len(make('pastiches', '--run-dir', 'new', '--model', 'misc32.npz')[0]) == 32


def test_a_fresh_clone_says_what_it_lacks(monkeypatch, capsys, tmp_path):
    def settings(*more):
        monkeypatch.setattr(sys, 'argv', ['figures.py', 'norm'] + list(more))
        args = figures.parse_arguments()
        return args.loss_weights, args.content, capsys.readouterr().err

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(figures.vgg, 'find', lambda: 'vgg16.h5')
    weights, content, said = settings()
    assert weights == ['random'] and content == figures.SAMPLES and 'vgg16.h5' in said and figures.photos.COCO in said
    assert settings('--content', 'photos', '--loss-weights', 'a.npz') == (['a.npz'], 'photos', '')
    assert settings('--full') == (None, figures.photos.COCO, '')
    (tmp_path / 'vgg16.h5').write_text('')
    assert settings('--content', 'photos') == (None, 'photos', '')


@pytest.fixture
def series(folder, monkeypatch):
    """Make all figures, each by a stand-in that writes a table or fails; returns the status and what was begun."""
    begun, written = [], []

    def make(*more, statuses=()):
        def run(command):
            begun.append(command[2])
            monkeypatch.setattr(sys, 'argv', command[1:])
            of_child = vars(figures.parse_arguments())
            assert command[1] == os.path.join(figures.ROOT, 'figures.py') and of_child.pop('figure') == command[2]
            assert of_child == {name: value for name, value in of_all.items() if name != 'figure'}
            status = dict(statuses).get(command[2], 0)
            if not status:
                files.make_folder('out')
                pathlib.Path('out', f'{command[2]}.csv').write_text('')
            return status

        del begun[:], written[:]
        given = '--style-dir styles --content content --photos photos --loss-weights vgg.npz --output out'.split()
        argv = ['figures.py', 'all', *given, '--run-dir', 'series', *more]
        monkeypatch.chdir(folder)
        monkeypatch.setattr(common, 'run', run)
        monkeypatch.setattr(page, 'write', lambda: written.append('page'))
        monkeypatch.setattr(sys, 'argv', argv)
        of_all = vars(figures.parse_arguments())
        return figures.main(), begun + written

    return make


def test_all_figures_are_made_once_and_one_that_fails_holds_up_none(series, folder, capsys):
    names = list(figures.FIGURES)
    status, begun = series(statuses=[('blend', 1), ('speed', -9)])
    assert status == 1 and begun == names + ['page']
    assert 'failed: blend, speed;' in capsys.readouterr().err
    # The same command makes what is missing; another one, or other photos, all of them.
    assert series() == (None, ['blend', 'speed', 'page'])
    assert series() == (None, ['page'])
    assert series('--set', 'shown=1') == (None, names + ['page'])
    assert series('--set', 'shown=1', '--device', 'cpu') == (None, ['page'])
    (folder / 'out' / 'norm.csv').unlink()
    assert series('--set', 'shown=1') == (None, ['norm', 'page'])
    tiny.noise(folder, ['photos/3.png'], numpy.random.RandomState(3), (36, 36, 3))
    try:
        assert series('--set', 'shown=1') == (None, names + ['page'])
    finally:
        (folder / 'photos' / '3.png').unlink()


def test_an_interrupt_ends_all(series):
    for status in (130, -signal.SIGTERM):
        with pytest.raises(KeyboardInterrupt):
            series('--set', 'shown=2', statuses=[('monets', status)])
    assert series('--set', 'shown=2')[1] == list(figures.FIGURES)[1:] + ['page']


def test_an_interrupted_training_is_no_failed_figure(make, monkeypatch, misc32):
    """So that `all` does not go on with the next one."""
    for status, error in ((130, KeyboardInterrupt), (-signal.SIGTERM, KeyboardInterrupt), (-9, utils.UserError)):
        monkeypatch.setattr(common, 'run', lambda command: status)
        with pytest.raises(error):
            make('norm', '--run-dir', 'interrupted')


def test_precision_is_that_of_the_trainings_and_not_of_what_is_measured(make, monkeypatch, misc32):
    commands, used = [], []
    monkeypatch.setattr(common, 'run', lambda command: commands.append(command) or 1)
    monkeypatch.setattr(devices, 'use', used.append)
    with pytest.raises(utils.UserError):
        make('norm', '--run-dir', 'rounded', '--precision', 'bf16')
    (command,) = commands
    assert command[command.index('--precision') + 1] == 'bf16'
    assert used == [devices.Device('cpu', used[0].backend, 'float32')]


def reproduction(extension):
    return pathlib.Path(figures.ROOT, 'docs', f'reproduction.{extension}').read_text(encoding='utf-8')


def test_the_page_is_what_the_document_says():
    pytest.importorskip('markdown_it', reason='markdown-it-py is not installed: python install.py figures')
    assert page.render(reproduction('md')) == reproduction('html'), 'python figures.py page makes it anew'


def test_the_page_has_what_it_shows_beside_it():
    targets = re.findall(r'(?:src|href)="([^"]+)"', reproduction('html'))
    assert any(target.startswith('figures/') for target in targets)
    for target in targets:
        there = os.path.exists(os.path.join(figures.ROOT, 'docs', target))
        assert there or target.startswith('https://arxiv.org/'), target


def test_each_figure_has_a_verdict():
    rows = [line.strip('|').split('|') for line in reproduction('md').splitlines() if line.startswith('| `')]
    verdicts = {row[0].split('`')[1]: re.split('[:;]', row[5])[0].strip() for row in rows if len(row) == 6}
    assert set(verdicts) == set(figures.FIGURES)
    assert set(verdicts.values()) <= {'reproduced', 'in part', 'not', 'not run yet'}


def test_the_page_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, 'markdown_it', None)
    with pytest.raises(utils.UserError, match='python install.py figures'):
        page.render('# A')


def test_a_page_has_its_title_and_no_html_of_the_document():
    pytest.importorskip('markdown_it', reason='markdown-it-py is not installed: python install.py figures')
    made = page.render('# A & B\n\n<b>bold</b>\n\n| a |\n|---|\n| ![b](c.jpg) |\n')
    assert '<title>A &amp; B</title>' in made and '&lt;b&gt;bold' in made
    assert '<td><img src="c.jpg" alt="b" /></td>' in made


def test_checkerboard_is_seen():
    smooth = numpy.tile(numpy.linspace(0.2, 0.8, 32).reshape(1, 1, -1), (3, 32, 1))
    board = smooth + 0.1 * (numpy.indices((32, 32)).sum(axis=0) % 2)
    assert learned_representation.checkerboard(smooth) < 3
    numpy.testing.assert_allclose(learned_representation.checkerboard(board), 255 * 0.05, rtol=0.1)


def test_border_difference_tells_the_edge_from_the_middle():
    """A network that paints a white frame of two pixels along the edge."""

    def frame(image):
        framed = image.copy()
        framed[:, :, :2] = framed[:, :, -2:] = framed[:, :, :, :2] = framed[:, :, :, -2:] = 1
        return framed

    network = type('Network', (), dict(style=None, architecture=Architecture()))
    edge, inside = learned_representation.border_difference(frame, network, numpy.zeros((1, 3, 64, 64), 'float32'))
    assert inside == 0 and 255 * 0.4 < edge < 255 * 0.6


def test_bad_input_is_one_line(fails, folder):
    assert 'FIGURE' in fails('figures.py', 'figure-1')
    assert 'iteration' in fails('figures.py', 'norm', '--set', 'iteration=3')
    assert 'needs 4' in fails(
        *'figures.py pastiches --quick --style-dir photos --content content --loss-weights vgg.npz'.split(),
        cwd=str(folder),
    )


def test_an_interrupt_is_left_to_the_training(tmp_path):
    """SIGTERM goes on to it; with Ctrl-C, which a terminal sends to both, it may take its time."""
    script = tmp_path / 'script.py'
    script.write_text(
        'import signal, sys, time\n'
        'signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n'
        'open(sys.argv[1], "w").close()\n'
        'for _ in range(600): time.sleep(0.1)  # a signal on the way into a long sleep would wait for its end\n'
    )

    def interrupt():
        while not (tmp_path / 'ready').exists():
            pass
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt, daemon=True).start()
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert common.run([sys.executable, str(script), str(tmp_path / 'ready')]) == 7
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_super_resolution_measures_what_enlarges(folder, make):
    """PSNR and SSIM of photos that are made small and enlarged again, with those of the paper beside them."""
    generator = numpy.random.RandomState(1)
    tiny.noise(folder, [f'Set5/{i}.png' for i in range(2)], generator, (41, 50, 3))
    os.makedirs(str(folder / 'runs'), exist_ok=True)
    for name in ('enhance-x4', 'enhance-x4-pixel'):
        models.save_network(str(folder / 'runs' / f'{name}.npz'), tiny.upscaler(4))
    rows, trained = make('super-resolution', '--photos', 'Set5')
    assert not trained and {row['method'] for row in rows} == {'bicubic', 'pixel loss', 'feature loss'}
    assert [row['factor'] for row in rows] == ['4'] * 6 and {row['blur'] for row in rows} == {'1', '0'}
    first = rows[0]
    assert (first['set'], first['photos'], first['paper_psnr'], first['paper_ssim']) == ('Set5', '2', '28.43', '0.8114')
    values = []
    for i in range(2):
        photo = files.read_image(str(folder / 'Set5' / f'{i}.png'))[:40, :48]
        small = Reduction(4)(photo)
        values.append(scores.psnr(files.resize_bicubic(small, 40, 48), photo, 4))
    assert float(first['psnr']) == pytest.approx(numpy.mean(values), rel=1e-4)
    assert files.read_image(str(folder / 'out' / 'super-resolution-x4.webp')).shape[1] == 5 * 8 + 4 * 96


def test_super_resolution_shows_where_the_detail_is():
    photo = numpy.full((200, 220, 3), 90, 'uint8')
    photo[110:150, 150:200] = numpy.random.RandomState(0).randint(0, 256, (40, 50, 3))
    bicubic, shown = super_resolution.crops({'bicubic': photo}, photo)
    assert shown.shape == (192, 192, 3) and (bicubic == shown).all()
    assert shown.std() > 0.9 * numpy.sqrt(40 * 50 / 96**2) * photo[110:150, 150:200].std()
