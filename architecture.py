"""What a transformer network is made of: its settings, as plain data that needs no Theano."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

__all__ = ['Architecture']

SIZES = range(1, 4097)
FILTER_SIZES = range(1, 32, 2)
NORMS = 'instance', 'batch', 'none'


@dataclasses.dataclass(frozen=True)
class Architecture:
    """The settings of a transformer network (arXiv:1610.07629, table 1); `models.transformer_network` builds it.

    Parameters
    ----------
    network : {'cin', 'fns', 'upscale'}
        'cin': conditional instance normalization, image in [0, 1], output by a sigmoid.
        'fns': a single style (arXiv:1603.08155); the defaults of what follows are fast-neural-style's.
        'upscale': super-resolution (the same paper, section 4.2 and supplement): residual blocks at the size of the
        photo, and an image that is larger; `for_upscaling` has its settings.
    widths, up_widths : sequence of int
        Numbers of feature maps: of the first three convolutions, and of the two after upsampling; of 'upscale' of
        the first one, and of one to three after upsampling.
    residual_blocks : int
    epsilon : float
        Added to the variance by the normalization.
    norm : {'instance', 'batch', 'none'}
        'batch' is for 'fns' and 'upscale', 'none' (biases instead) for 'upscale' only.
    pad : {'reflect', 'zero', 'reflect-start', 'none', 'same'}
        'reflect-start', of the supplement of arXiv:1603.08155 and of fast-neural-style: the image is padded once,
        by as much as the residual blocks lose, which do not pad; all other convolutions pad with zeros. 'none', of
        fast-neural-style: the same, but the image is not padded, so that the pastiche is smaller (see `lost`). 'same',
        of TensorFlow: zeros, of which a convolution of stride 2 has those that it needs at the bottom and on the right
        first, and not at the top and on the left. That is 'zero' on an image turned by 180 degrees, and so the network
        turns its image, and the pastiche back; its filters are those for the turned image.
    upsampling : {'nearest', 'deconv'}
    filter_sizes : sequence of int
        Sides of the filters of the convolutions that `widths` has the maps of. Networks of the original repository
        from before July 2017 have 9, 9, 9.
    tanh_constant : float
        Of 'fns'; fast-neural-style's is 150, which covers the range of preprocessed images.
    preprocessing : {'vgg', 'none'}
        Of 'fns'. 'vgg': the image goes through `models.vgg_preprocess`, and the output, which is in that space, back
        to RGB. 'none', as in lengstrom's fast-style-transfer and in PyTorch's examples: the image is taken as it is,
        RGB in [0, 1], and 127.5 is added to the output, RGB in 0–255.
    output : {'tanh', 'linear', 'residual'}
        Of 'fns' and 'upscale'. 'tanh': tanh_constant · tanh. 'linear', as in PyTorch's examples: nothing. 'residual',
        of 'upscale' only (arXiv:1511.04587): it is added to the photo, which bilinear interpolation makes larger.
    last : {'norm', 'bias'}
        What follows the last convolution; a bias instead of the normalization, in networks 'fns', is
        fast-neural-style's and that of PyTorch's examples. Networks 'upscale' have one.

    Raises
    ------
    ValueError
        If these are not the settings of a network.
    """

    network: str = 'cin'
    widths: tuple = (32, 64, 128)
    up_widths: tuple = (64, 32)
    residual_blocks: int = 5
    epsilon: float = 1e-5
    norm: str = 'instance'
    pad: str = 'reflect'
    upsampling: str = 'nearest'
    filter_sizes: tuple = (9, 3, 3)
    tanh_constant: float = 150.0
    preprocessing: str = 'vgg'
    output: str = 'tanh'
    last: str = 'norm'

    def __post_init__(self):
        for name in ('widths', 'up_widths', 'filter_sizes'):  # JSON has lists
            object.__setattr__(self, name, tuple(getattr(self, name)))

        def are(values, counts, allowed):
            return len(values) in counts and all(type(value) is int and value in allowed for value in values)

        upscale, down = self.network == 'upscale', 1 if self.network == 'upscale' else 3
        good = (
            self.network in ('cin', 'fns', 'upscale')
            and are(self.widths, [down], SIZES)
            and are(self.up_widths, (1, 2, 3) if upscale else [2], SIZES)
            and are(self.filter_sizes, [down], FILTER_SIZES)
            and are([self.residual_blocks], [1], range(101))
            and type(self.epsilon) is float
            and 0 < self.epsilon < 1
            and type(self.tanh_constant) is float
            and 0 < self.tanh_constant <= 1e4
            and self.norm in dict(cin=['instance'], fns=['instance', 'batch']).get(self.network, NORMS)
            and self.pad in (('reflect', 'zero') if upscale else ('reflect', 'zero', 'reflect-start', 'none', 'same'))
            and self.preprocessing in ('vgg', 'none')
            and self.output in (('linear', 'residual') if upscale else ('tanh', 'linear'))
            and (self.last == 'norm' or (self.last == 'bias' and self.network != 'cin'))
            and self.upsampling in ('nearest', 'deconv')
            and (not upscale or (self.preprocessing, self.last) == ('none', 'bias'))
        )
        if not good:
            raise ValueError(f'{self} does not describe a network')

    @classmethod
    def from_shapes(cls, shapes: list[tuple[int, ...]], **settings: Any) -> Architecture:
        """The architecture whose parameters have these shapes: W, beta, gamma of each convolution.

        Parameters
        ----------
        shapes : list of tuple
            Gamma and beta as (styles, C), or (C,) in a network of a single style.
        **settings
            What shapes do not tell.

        Raises
        ------
        ValueError
            If they are not those of a network.
        """
        filters, betas, gammas = shapes[0::3], shapes[1::3], shapes[2::3]
        if (
            len(shapes) % 3
            or len(filters) < 6
            or len(filters) % 2
            or any(len(shape) != 4 for shape in filters)
            or betas != gammas
            or len(betas[0]) not in (1, 2)
        ):
            raise ValueError('these are not the shapes of a network')
        widths = [shape[0] for shape in filters]
        return cls(
            widths=tuple(widths[:3]),
            up_widths=tuple(widths[-3:-1]),
            filter_sizes=tuple(shape[2] for shape in filters[:3]),
            residual_blocks=(len(filters) - 6) // 2,
            **settings,
        )

    @classmethod
    def for_upscaling(cls, factor: int, width: int = 64, residual_blocks: int = 4, **settings: Any) -> Architecture:
        """A network that makes photos 2, 4 or 8 times as high and wide (arXiv:1603.08155, supplement)."""
        settings = dict(dict(output='residual'), **settings, preprocessing='none', last='bias')
        stages = (width,) * (factor.bit_length() - 1)
        architecture = cls('upscale', (width,), stages, residual_blocks, filter_sizes=(9,), **settings)
        if architecture.factor != factor:
            raise ValueError(f'a network makes photos 2, 4 or 8 times as large, not {factor}')
        return architecture

    @property
    def factor(self) -> int:
        """How many times as high and wide as the photo the image is that the network makes."""
        return 2 ** (len(self.up_widths) - len(self.widths) + 1)

    @property
    def reach(self) -> int:
        """How many pixels of the photo to each side what a network 'upscale' makes of one may depend on."""
        # A convolution after upsampling sees no more than the pixel beside it, as it was before.
        stages = sum(0.5**stage for stage in range(len(self.up_widths)))
        return math.ceil(self.filter_sizes[0] // 2 + 2 * self.residual_blocks + stages + 4 / self.factor)

    @property
    def border(self) -> int:
        """Pixels on each side that residual blocks without padding take: two each, at a quarter of its size.

        With 'reflect-start' the network adds them to the photo; with 'none' the pastiche lacks them.
        """
        return 8 * self.residual_blocks if self.pad in ('reflect-start', 'none') else 0

    @property
    def lost(self) -> int:
        """Pixels on each side of a photo that are not in its pastiche."""
        return self.border if self.pad == 'none' else 0

    @property
    def smallest_side(self) -> int:
        """The fewest pixels in height or width to train with: enough to reflect, or for a pastiche of 16."""
        if self.pad == 'none':
            return 16 + 2 * self.border
        return max(16, self.border + 4)

    def shapes(self, styles: int) -> list[tuple[str, Any]]:
        """The parameters of the network, in the order that its files have.

        Parameters
        ----------
        styles : int

        Returns
        -------
        list of (str, tuple)
            'W', 'beta', 'gamma' of each convolution, and with batch norm the running 'mean' and 'variance', or 'W' and
            'b' of the last one; each with its shape. Filters are OIHW, those of a stride-1/2 convolution IOHW.
        """
        deep, filters, maps = self.widths[-1], [], []
        for width, before, size in zip(self.widths, (3, *self.widths), self.filter_sizes):
            filters.append((width, before, size, size))
            maps.append(width)
        filters += [(deep, deep, 3, 3)] * (2 * self.residual_blocks)
        maps += [deep] * (2 * self.residual_blocks)
        for width, before in zip(self.up_widths, (deep, *self.up_widths)):
            filters.append((before, width, 3, 3) if self.upsampling == 'deconv' else (width, before, 3, 3))
            maps.append(width)
        filters.append((3, self.up_widths[-1], 9, 9))
        shapes: list[tuple[str, Any]] = []
        for number, (shape, width) in enumerate(zip(filters, maps + [3])):
            row: tuple = (styles, width) if self.network == 'cin' else (width,)
            shapes.append(('W', shape))
            if self.norm == 'none' or (self.last == 'bias' and number == len(maps)):
                shapes.append(('b', row))
                continue
            shapes += [('beta', row), ('gamma', row)]
            if self.norm == 'batch':
                shapes += [('mean', row), ('variance', row)]
        return shapes

    def pastiche_bytes(self, backend: str = 'onednn') -> float:
        """About how much memory stylizing takes.

        The feature maps between two convolutions are most of it, where they are largest: what a convolution reads
        and what it writes, or what it writes and its normalization. oneDNN's layout rounds channels up to 16.
        Theano's own convolutions write all windows of their input out first.

        Parameters
        ----------
        backend : {'onednn', 'plain'}

        Returns
        -------
        float
            Bytes for each pixel of the images in a batch, with what 'reflect-start' adds to them; a fixed part of
            128 MiB comes on top.
        """
        # Channels, and the scale of the image that they belong to; the residual blocks keep a third set of maps.
        maps = [(3, 1.0)] + [(width, 4.0**i) for i, width in enumerate(self.widths)]
        maps.append((2 * self.widths[-1], maps[-1][1]))
        maps += [(width, maps[-1][1] / 4.0 ** (i + 1)) for i, width in enumerate(self.up_widths)]
        maps.append((3, maps[-1][1]))
        sizes = [-(-channels // 16) * 16 / scale for channels, scale in maps]
        # The photo, the pastiche, and what is clipped and rounded; turned, too.
        images = (60 if self.pad == 'same' else 36) * self.factor**2
        if backend == 'onednn':
            return images + 4 * max([2 * size for size in sizes] + [x + y for x, y in zip(sizes, sizes[1:])])
        # What a convolution reads, and the side of its filters.
        down = zip([3, *self.widths], self.filter_sizes, [scale for _, scale in maps[1:]])
        windows = [size**2 * channels / scale for channels, size, scale in down]
        windows.append(9 * self.widths[-1] / maps[len(self.widths)][1])
        up = zip([self.widths[-1], *self.up_widths], [scale for _, scale in maps[len(self.widths) + 2 :]])
        windows += [9 * channels / scale for channels, scale in up]
        windows[-1] *= 9
        return images + 4 * max(2 * x + 2 * y + window for x, y, window in zip(sizes, sizes[1:], windows))
