"""No slip of the user's costs a file: what is written over, and what is not."""

import os

import h5py
import numpy
import pytest

import files
import losses
import optimization
import optimize
import runs
import stylize
from conftest import contents


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['photo.png', '--grid', 'photo.png'], 'the input photo.png'),
        (['photo.png', '--grid', './link.png'], 'the input photo.png'),
        (['photo.png', '--output', 'link.png'], 'the input photo.png'),
        (['photo.png', '--output', 'a.png', '--grid', 'a.png'], 'a.png is the name of a pastiche'),
        (['photo.png', '--grid', 'foreign.png'], '--overwrite'),
        (['photo.png', '--output', 'foreign.png'], '--overwrite'),
        (['photo.png', '--grid', 'sheet.txt'], 'sheet.txt'),
        (['photo.png', '--output', 'a.txt'], 'a.txt'),
    ],
)
def test_stylize_writes_over_no_input_and_nothing_foreign(place, refuses, arguments, message):
    (place / 'link.png').symlink_to('photo.png')
    files.write_image('foreign.png', numpy.zeros((3, 3, 3), 'uint8'))
    before = contents('photo.png', 'foreign.png', 'cin.npz')
    assert message in refuses(stylize, '--model', 'cin.npz', '--style', 'waves', *arguments)
    assert contents('photo.png', 'foreign.png', 'cin.npz') == before


def test_overwrite_allows_all_but_inputs(place, main, refuses, instant):
    files.write_image('foreign.png', numpy.zeros((3, 3, 3), 'uint8'))
    command = stylize, '--model', 'cin.npz', '--style', 'waves', 'photo.png', '--overwrite', '--output'
    assert not main(*command, 'foreign.png')
    assert files.read_image('foreign.png').shape == (20, 24, 3)
    assert 'the input' in refuses(*command, 'photo.png')


@pytest.mark.parametrize('extension', ['.png', '.jpg', '.webp', '.tif'])
def test_a_pastiche_and_a_sheet_are_made_again_under_their_own_names(place, main, instant, extension):
    command = (
        stylize,
        '--model',
        'cin.npz',
        '--style',
        'waves',
        'photo.png',
        '--output',
        f'a{extension}',
        '--grid',
        f'sheet{extension}',
    )
    assert not main(*command) and not main(*command)
    assert files.read_origin(f'a{extension}') == files.origin('stylize', 'photo.png')


def test_photos_of_one_name_get_their_own_pastiches_in_two_runs(place, main, instant):
    for folder in 'xy':
        os.mkdir(folder)
        files.write_image(f'{folder}/a.png', numpy.full((20, 20, 3), ord(folder), 'uint8'))
    command = stylize, '--model', 'cin.npz', '--style', 'waves', '--output', 'out'
    for _ in range(2):
        assert not main(*command, 'x/a.png') and not main(*command, 'y/a.png')
        assert sorted(os.listdir('out')) == ['a_waves-2.png', 'a_waves.png']
        assert [files.read_image(f'out/{name}')[0, 0, 0] for name in ('a_waves.png', 'a_waves-2.png')] == [135, 134]


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--output', 'photo.png'], 'the input photo.png'),
        (['--output', 'painting.jpg'], 'the input painting.jpg'),
        (
            ['--output', 'start.png', '--init', 'start.png', '--overwrite', '--content', 'start.png'],
            'the input start.png',
        ),
        (['--output', 'table.png'], 'table.csv exists'),
        (['--output', 'foreign.png'], 'foreign.png exists'),
    ],
)
def test_optimize_writes_over_no_input_and_nothing_foreign(place, vgg, refuses, arguments, message):
    for name in ('painting.jpg', 'start.png', 'foreign.png'):
        files.write_image(name, numpy.zeros((20, 20, 3), 'uint8'))
    (place / 'table.csv').write_text('name,price\nbread,2\n')
    before = contents('photo.png', 'painting.jpg', 'start.png', 'foreign.png', 'table.csv')
    assert message in refuses(optimize, '--content', 'photo.png', '--style', 'painting.jpg', *vgg, *arguments)
    assert contents('photo.png', 'painting.jpg', 'start.png', 'foreign.png', 'table.csv') == before


def test_carrying_on_with_an_optimization_keeps_the_losses_so_far(place, vgg, main, monkeypatch):
    monkeypatch.setattr(losses, 'target_function', lambda loss: lambda image: ([numpy.zeros(1)], [numpy.zeros(1)]))
    monkeypatch.setattr(
        optimization,
        'objective_function',
        lambda loss: lambda image, *targets: (numpy.full(5, float((image**2).sum())), 2 * image),
    )
    monkeypatch.setattr(optimize.runs, 'catch_interrupts', list)
    files.write_image('painting.jpg', numpy.zeros((20, 20, 3), 'uint8'))
    command = (
        optimize,
        '--content',
        'photo.png',
        '--style',
        'painting.jpg',
        '--output',
        'p.png',
        *vgg,
        '--optimizer',
        'adam',
        '--iterations',
        3,
    )
    assert not main(*command)
    before = runs.read_table('p.csv')
    assert not main(*command, '--init', 'p.png')
    rows = runs.read_table('p.csv')
    assert [int(row['iteration']) for row in rows] == list(range(7)) and rows[:4] == before
    # The same command without --init starts anew, and the pastiche is its own.
    assert not main(*command)
    assert len(runs.read_table('p.csv')) == 4


def test_make_dataset_writes_over_nothing(place, run, fails):
    os.mkdir('photos')
    files.write_image('photos/a.png', numpy.zeros((20, 20, 3), 'uint8'))
    before = contents('cin.npz')
    command = 'data/make_dataset.py', '--train', 'photos', '--output', 'cin.npz', '--size', 16
    assert '--overwrite' in fails(*command, cwd=str(place))
    assert contents('cin.npz') == before
    assert run(*command, '--overwrite', cwd=str(place)).returncode == 0
    assert h5py.File('cin.npz', 'r')['train2014/images'].shape == (1, 3, 16, 16)
