"""Sheets of images with labels: contact sheets, and the pastiches of photos in many styles."""

from __future__ import annotations

import math
from typing import Any, Sequence

import numpy
from PIL import Image, ImageDraw, ImageFont


def contact_sheet(
    rows: list[list[Any]],
    column_labels: Sequence[str] | None = None,
    row_labels: Sequence[str] | None = None,
    gutter: int = 8,
    label_size: int | None = None,
) -> numpy.ndarray:
    """Lay images out in a table.

    Parameters
    ----------
    rows : list of lists of uint8 arrays of shape (height, width, 3)
        None leaves a cell empty. A column is as wide as its widest image, a row as high as its highest.
    column_labels, row_labels : list of str, optional
        Written above the columns and to the left of the rows; one that is too wide for its column is cut off
        with an ellipsis.
    gutter : int
        Space between the images and around them, in pixels.
    label_size : int, optional
        Height of the letters in pixels. By default a twelfth of the median cell's height, between 11 and 40.

    Returns
    -------
    uint8 array of shape (height, width, 3)
    """
    columns = max(len(row) for row in rows)
    heights = [max([image.shape[0] for image in row if image is not None] or [0]) for row in rows]
    widths = [
        max([row[j].shape[1] for row in rows if j < len(row) and row[j] is not None] or [0]) for j in range(columns)
    ]
    if label_size is None:
        label_size = int(numpy.clip(numpy.median(heights) / 12, 11, 40))
    font = ImageFont.load_default(label_size)
    line = int(math.ceil(label_size * 1.3))
    top = line + gutter if column_labels else 0
    left = 0
    if row_labels:
        left = gutter + int(math.ceil(max(font.getlength(str(label)) for label in row_labels)))

    xs = left + gutter + numpy.cumsum([0] + [width + gutter for width in widths])
    ys = top + gutter + numpy.cumsum([0] + [height + gutter for height in heights])
    sheet = Image.new('RGB', (int(xs[-1]), int(ys[-1])), 'white')
    draw = ImageDraw.Draw(sheet)
    for row, y in zip(rows, ys):
        for image, x in zip(row, xs):
            if image is not None:
                sheet.paste(Image.fromarray(image), (int(x), int(y)))
    for label, x, width in zip(column_labels or [], xs, widths):
        draw.text((x + width / 2, gutter), _shorten(str(label), font, width), 'black', font, anchor='ma')
    for label, y, height in zip(row_labels or [], ys, heights):
        draw.text((left, y + height / 2), str(label), 'black', font, anchor='rm')
    return numpy.array(sheet)


def style_sheet(rows: list[list[Any]], labels: list[str], most: int = 8) -> numpy.ndarray:
    """Contact sheets of photos (down) and their pastiches (across), one below the other where there are many styles.

    Parameters
    ----------
    rows : list of lists of uint8 arrays of shape (height, width, 3)
        A photo, then its pastiches.
    labels : list of str
        Of the columns.
    most : int
        Styles in one sheet; each begins with the photos.

    Returns
    -------
    uint8 array of shape (height, width, 3)
    """
    styles = len(labels) - 1
    bands = -(-styles // most)
    each = -(-styles // bands)
    sheets = [
        contact_sheet([row[:1] + row[first : first + each] for row in rows], labels[:1] + labels[first : first + each])
        for first in range(1, styles + 1, each)
    ]
    width = max(sheet.shape[1] for sheet in sheets)
    return numpy.concatenate(
        [numpy.pad(sheet, [(0, 0), (0, width - sheet.shape[1]), (0, 0)], constant_values=255) for sheet in sheets]
    )


def _shorten(text, font, width):
    """Cut `text` off so that it is at most `width` pixels wide."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f'{text}...') > width:
        text = text[:-1]
    return f'{text}...'
