"""A network's scores: its losses beside those of the untouched photo and of the optimization; enlarged photos."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

import numpy

Rows = List[Dict[str, Any]]  # of a table, by the names of its columns

__all__ = [
    'CONTENT_SCALE',
    'RELATIVE',
    'EQUAL_STYLE',
    'summarize',
    'at_equal_style',
    'relate',
    'compare',
    'summarize_comparison',
    'luminance',
    'psnr',
    'ssim',
]

# The last column of losses.csv: the content loss of an image without any features, by which that of the others is
# divided to compare networks whose loss networks or weights differ.
CONTENT_SCALE = 'content_of_nothing'
# The columns of relative.csv and equal_style.csv: see `relate` and `compare`.
RELATIVE = ['style_name', 'image', 'style_percent_of_photo', 'content_relative']
EQUAL_STYLE = ['style_name', 'photo', 'style_percent_of_photo', 'iteration', 'content_of_optimization', 'content_ratio']


def summarize(rows: Rows, names: Sequence[str], styles: list[str]) -> list[list[str]]:
    """Mean losses of each kind of image for each style, and over all styles; rows as `runs.append_row` takes them."""
    kinds = list(dict.fromkeys(row['image'] for row in rows))
    summary = []
    for style in styles + ['all styles'] * (len(styles) > 1):
        for kind in kinds:
            values = [
                [float(row[name]) for name in names]
                for row in rows
                if row['image'] == kind and style in (row['style_name'], 'all styles')
            ]
            summary.append([style, kind] + [f'{value:.5g}' for value in numpy.mean(values, axis=0)])
    return summary


def at_equal_style(trajectory: Sequence[tuple[float, float]], style: float) -> tuple[float, float] | None:
    """Where the optimization first pays no more style loss than a network does.

    Parameters
    ----------
    trajectory : list of pairs (content, style)
        The losses of each iteration of the optimization, from the first image on.
    style : float
        The network's style loss.

    Returns
    -------
    pair of float, or None
        The iteration, and the content loss there, both interpolated linearly in the style loss between the
        iteration before and the one that gets there; None if none does.
    """
    for iteration, (content, reached) in enumerate(trajectory):
        if reached <= style:
            if iteration == 0:
                return 0.0, content
            content_before, before = trajectory[iteration - 1]
            share = (before - style) / (before - reached)
            return iteration - 1 + share, content_before + share * (content - content_before)
    return None


def relate(rows: Rows, styles: list[str]) -> list[list[Any]]:
    """Style and content losses in relation to the photo's: what the weights of the losses have no part in.

    Parameters
    ----------
    rows : list of dict
        Of losses.csv.
    styles : list of str

    Returns
    -------
    list of lists
        For each style and each kind of image but the photo: style, kind, the style loss in percent of the
        untouched photo's, as the mean over layers and photos of the percentage of each, and the
        content loss divided by the mean square of the photo's features, as the mean over photos.
        Then the means over all styles.
    """
    photos = {(row['style_name'], row['photo']): row for row in rows if row['image'] == 'photo'}
    layers_of_style = [name for name in rows[0] if name.startswith('style_conv')]
    kinds = list(dict.fromkeys(row['image'] for row in rows if row['image'] != 'photo'))
    result = []
    for style in styles:
        for kind in kinds:
            percents, contents = [], []
            for row in rows:
                if (row['style_name'], row['image']) == (style, kind):
                    of_photo = photos[style, row['photo']]
                    percents += [
                        100 * float(row[name]) / float(of_photo[name])
                        for name in layers_of_style
                        if float(of_photo[name])
                    ]
                    contents += [float(row['content']) / float(row[CONTENT_SCALE])] * bool(float(row[CONTENT_SCALE]))
            result.append([style, kind, numpy.mean(percents), numpy.mean(contents)])
    if len(styles) > 1:
        result += [
            ['all styles', kind] + list(numpy.mean([row[2:] for row in result if row[1] == kind], axis=0))
            for kind in kinds
        ]
    return result


def compare(rows: Rows, trajectories: Rows) -> list[list[Any]]:
    """The network against the untouched photo and against the optimization at an equal style loss.

    Parameters
    ----------
    rows : list of dict
        Of losses.csv.
    trajectories : list of dict
        Of trajectories.csv.

    Returns
    -------
    list of lists
        For each style and photo: style, photo, the network's style loss in percent of the untouched
        photo's, the iteration at which the optimization has that style loss, its content loss there, and
        the network's content loss divided by it. The last three are None where the optimization
        does not get there; the last is None where it need not leave the photo.
    """
    found = {(row['style_name'], row['photo'], row['image']): row for row in rows}
    paths = {}
    for row in trajectories:
        paths.setdefault((row['style_name'], row['photo']), []).append((float(row['content']), float(row['style'])))
    result = []
    for pair, path in paths.items():
        content, style = (float(found[pair + ('network',)][name]) for name in ('content', 'style'))
        of_photo = float(found[pair + ('photo',)]['style'])
        there = at_equal_style(path, style)
        ratio = content / there[1] if there and there[1] else None
        result.append(
            list(pair) + [100 * style / of_photo if of_photo else None] + list(there or (None, None)) + [ratio]
        )
    return result


def summarize_comparison(comparison: list[list[Any]], styles: list[str]) -> list[list[str]]:
    """Means of `compare`'s numbers over the photos of each style, and over all: a list of lists of str."""
    summary = []
    for style in styles + ['all styles'] * (len(styles) > 1):
        chosen = [row for row in comparison if style in (row[0], 'all styles')]
        means = []
        for column in (2, 3, 5):
            values = [row[column] for row in chosen if row[column] is not None]
            means.append(f'{numpy.mean(values):.4g}' if values else '-')
        summary.append([style] + means + [f'{sum(row[3] is not None for row in chosen)} of {len(chosen)}'])
    return summary


def luminance(image: numpy.ndarray) -> numpy.ndarray:
    """The Y of ITU-R BT.601, from 16 to 235 and not rounded, of an image (H, W, 3), RGB in 0-255; float64."""
    return 16 + image.astype('float64') @ numpy.array([65.481, 128.553, 24.966]) / 255


def psnr(image: numpy.ndarray, original: numpy.ndarray, border: int = 0) -> float:
    """The peak signal-to-noise ratio of an image, in decibels, as papers on super-resolution take it.

    Parameters
    ----------
    image, original : uint8 arrays (H, W, 3), RGB
        Of which `luminance` is compared.
    border : int
        Pixels on each side that do not count: as many as the factor of enlargement, by custom.
    """
    image, original = (_inside(luminance(values), border) for values in (image, original))
    error = numpy.square(image - original).mean()
    return float(10 * numpy.log10(255**2 / error)) if error else float('inf')


def ssim(image: numpy.ndarray, original: numpy.ndarray, border: int = 0) -> float:
    """The mean structural similarity of two images: Wang et al. 2004, equation 13, with the settings of their code.

    That is a Gaussian window of 11 by 11 pixels with a standard deviation of 1.5, where it lies within the image, and
    the constants 0.01 and 0.03. The parameters are those of `psnr`.
    """
    x, y = (_inside(luminance(values), border) for values in (image, original))
    mean_x, mean_y = _windowed(x), _windowed(y)
    variance_x, variance_y = _windowed(x * x) - mean_x**2, _windowed(y * y) - mean_y**2
    covariance = _windowed(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float((similarity / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))).mean())


def _inside(values, border):
    return values[border : values.shape[0] - border, border : values.shape[1] - border]


def _windowed(values):
    """Means of a plane (H, W) under a Gaussian window, where that lies within it."""
    window = numpy.exp(-(numpy.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window /= window.sum()
    for axis in (0, 1):
        length = values.shape[axis] - 10
        values = sum(weight * values.take(range(start, start + length), axis) for start, weight in enumerate(window))
    return values
