"""What is minimized: by a network's pastiches in training, and by the image of an optimization."""

from __future__ import annotations

import dataclasses
import re

import utils

__all__ = ['Objective', 'MAX_WEIGHT', 'PIXELS', 'POOLS', 'STYLE_LAYERS', 'parse_layers']

# Squares of gradients still fit into a float.
MAX_WEIGHT = 1e12
# Modes of Theano's pooling, by the names that they have for users.
POOLS = {'max': 'max', 'average': 'average_exc_pad'}
# What stands for a content layer where pixels are compared, and no features of them.
PIXELS = 'pixels'
# Of the style loss, in the papers.
STYLE_LAYERS = 'conv1_2,conv2_2,conv3_3,conv4_3'


@dataclasses.dataclass(frozen=True)
class Objective:
    """A perceptual loss (arXiv:1603.08155, section 3.2); `losses.perceptual_losses` states it.

    Parameters
    ----------
    networks : list of dict
        Weights of the loss networks, as `models.loss_network` takes them.
    content_layers, style_layers : list of pairs (str, float)
        Layers of the content and of the style loss and their weights, each of which is divided by the number of
        layers. `PIXELS` are those of the image, RGB in [0, 1].
    tv_weight : float
        Weight of the total variation loss.
    normalize : bool
        Divide each style term by the mean square of its target Gram matrix and each content term by that
        of its target features, which makes loss networks of any scale alike.
    divide_by_channels : bool
        See `losses.gram_matrix`.
    pool : {'max', 'average_exc_pad'}
        Pooling of the loss networks.
    """

    networks: list
    content_layers: list
    style_layers: list
    tv_weight: float = 0.0
    normalize: bool = False
    divide_by_channels: bool = False
    pool: str = 'max'


def parse_layers(option: str, text: str, default_weight: float, pixels: bool = False) -> list[tuple[str, float]]:
    """``conv1_2,conv2_2=4e-4``, what an option was given, as a list of pairs (layer, weight).

    Parameters
    ----------
    option, text : str
    default_weight : float
        Of the layers that are given none.
    pixels : bool
        Whether `PIXELS` are a layer, too.

    Raises
    ------
    utils.UserError
        For what is no layer of a VGG network, and weights that are negative or more than `MAX_WEIGHT`.
    """
    layers: dict[str, float] = {}
    known = 'conv[1-5]_[1-4]' + f'|{PIXELS}' * pixels
    for item in text.split(','):
        match = re.fullmatch(rf'\s*({known})\s*(?:=\s*([0-9.eE+-]+))?\s*', item)
        try:
            if not match:
                raise ValueError(item)
            layer, weight = match[1], default_weight if match[2] is None else float(match[2])
        except ValueError:
            raise utils.UserError(f'{option}: {item!r} is not LAYER or LAYER=WEIGHT, such as conv1_2=4e-4')
        if not 0 <= weight <= MAX_WEIGHT or layer in layers:
            raise utils.UserError(f'{option}: {item!r} has a bad weight or repeats a layer')
        layers[layer] = weight
    return list(layers.items())
