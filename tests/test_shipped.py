"""The trained networks in data/models: they load by name, say what they are, and their styles look like themselves."""

import json
import os
import re

import numpy
import pytest

import files
import layers
import models
from conftest import ROOT
from formats import networks

SHIPPED = networks.shipped()
STYLES = os.path.join(ROOT, 'data', 'styles', 'misc32')
PAVILION = os.path.join(ROOT, 'data', 'samples', 'pavilion.jpg')


def test_the_networks_that_are_promised_are_there():
    assert {'misc32', 'misc32-slim', 'paintings16'} < set(SHIPPED) and any(name.startswith('fns-') for name in SHIPPED)


@pytest.mark.parametrize('name', SHIPPED)
def test_a_network_has_a_card_that_agrees_with_it(name):
    network = models.load_network(networks.find(name))
    with open(os.path.join(networks.MODELS, f'{name}.md'), encoding='utf-8') as file:
        card = file.read()
    count = re.fullmatch(r'[a-z]+([0-9]*)(?:-[a-z-]+)?', name).group(1)
    assert len(network.styles) == int(count or 1)
    assert network.architecture.network == ('fns' if name.startswith('fns-') else 'cin')
    training = network.meta['training']
    assert f'{training["iterations"]:,}' in card and f'--style-weight {training["style_weight"]:g}' in card
    for row in ('styles', 'content', 'loss network', 'losses', 'training', 'hardware, time', 'licence'):
        assert f'| {row}' in card


@pytest.mark.parametrize('name', networks.shipped('upscale'))
def test_a_network_that_enlarges_has_a_card_that_agrees_with_it(name):
    network = models.load_network(networks.find_upscaling(name))
    with open(os.path.join(networks.MODELS, f'{name}.md'), encoding='utf-8') as file:
        card = file.read()
    factor, kind = re.fullmatch(r'enhance-x([248])(-pixel)?', name).groups()
    training = network.meta['training']
    assert network.architecture.factor == int(factor) and training['pixel_loss'] == bool(kind)
    assert f'{training["iterations"]:,}' in card
    for row in ('factor', 'content', 'loss', 'training', 'hardware, time', 'licence'):
        assert f'| {row}' in card


def palette(image):
    """The distributions of luminance and of two colour differences: 64 quantiles each."""
    channels = image.reshape(-1, 3) @ numpy.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]]).T / [3.0, 2.0, 4.0]
    return numpy.quantile(channels, numpy.linspace(0, 1, 64), axis=0)


def test_each_of_32_styles_has_its_own_palette():
    """Of 32 styles, the four whose images' colours are nearest to a pastiche's include its own, for 28 at least."""
    network = models.load_network(networks.find('misc32'))
    with open(os.path.join(STYLES, 'styles.json'), encoding='utf-8') as file:
        assert network.styles == json.load(file)
    function = models.pastiche_function(network)
    paths = files.find_images(STYLES)
    palettes = [palette(files.read_image(path, size=128) / 255) for path in paths]
    photo = files.to_float(files.read_image(PAVILION, size=128)[None])
    ranks = []
    for style in range(32):
        pastiche = function(photo, layers.style_weights(style, 32))[0].transpose(1, 2, 0)
        distances = [abs(palette(pastiche) - other).mean() for other in palettes]
        ranks.append(numpy.argsort(distances).tolist().index(style))
    assert sum(rank < 4 for rank in ranks) >= 28, dict(zip(network.styles, ranks))
