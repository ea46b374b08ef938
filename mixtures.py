"""Which styles of a network are meant: by number, by name, or as a mixture {number: weight} of the sum one."""

import math
import os
import re
import sys

import numpy

import stylemaps
import utils

__all__ = [
    'of',
    'by_index',
    'by_name',
    'parse_indices',
    'parse_names',
    'parse_blend',
    'parse_maps',
    'parse_times',
    'at',
    'label',
]


def of(style, names):
    """The mixture that a caller from Python means.

    Parameters
    ----------
    style : int, str, dict or None
        The number or the name of a style; {number or name: weight}, whose weights are divided by their sum, and may be
        arrays (H, W), a weight for each pixel; or None, which a network of a single style takes.
    names : list of str
        The network's styles.

    Returns
    -------
    dict or stylemaps.StyleMap
        {number: weight}, or weights for each pixel.

    Raises
    ------
    utils.UserError
        If there is no such style, or the weights are negative, not finite or all zero.
    """
    if style is None:
        if len(names) > 1:
            raise utils.UserError(f'the network has {len(names)} styles: choose one, or several with weights')
        style = 0
    if isinstance(style, stylemaps.StyleMap):
        return style
    mixture = {}
    style = style if isinstance(style, dict) else {style: 1}
    if any(numpy.ndim(weight) for weight in style.values()):
        return stylemaps.of_masks({_number(key, names): mask for key, mask in style.items()})
    for key, weight in style.items():
        number = _number(key, names)
        if not (math.isfinite(weight) and weight >= 0):
            raise utils.UserError(f'the weight of the style {names[number]} is {weight}: it is a number from 0')
        mixture[number] = mixture.get(number, 0) + float(weight)
    return _normalized(mixture)


def _number(key, names):
    return by_name(key, names) if isinstance(key, str) else by_index(key, names)


def by_index(number, names):
    """The number of a style, if there is such a one."""
    if 0 <= int(number) < len(names):
        return int(number)
    raise utils.UserError(f'there is no style {str(number).strip()}: the styles are 0 to {len(names) - 1}')


def by_name(text, names):
    """The number of the style that has this name."""
    for name in (text, text.strip()):
        if name in names:
            return names.index(name)
    raise utils.UserError(f'there is no style {text.strip()!r}: --list-styles shows what there is')


def by_name_or_index(text, names):
    """The number of the style that has this name, or else this number."""
    return by_index(text, names) if text.strip().isdecimal() and text.strip() not in names else by_name(text, names)


def style_name(path):
    """The name of the style of an image: that of its file without the extension and a leading number."""
    stem = os.path.splitext(os.path.basename(path))[0]
    return re.sub(r'^[0-9]+[_-]+', '', stem) or stem


def parse_indices(text, names):
    """The numbers in ``0,3,5``, or of all styles in ``all``."""
    if text == 'all':
        return list(range(len(names)))
    if not re.fullmatch(r'\s*[0-9]{1,6}\s*(,\s*[0-9]{1,6}\s*)*', text):
        raise utils.UserError(f"--style-index: {text!r} is not a list of numbers, such as 3 or 0,3,5, nor 'all'")
    return list(dict.fromkeys(by_index(item, names) for item in text.split(',')))


def parse_names(text, names):
    """The numbers of the styles that a list of names separated by commas has, or of all styles for ``all``."""
    if text == 'all':
        return list(range(len(names)))
    parts, found = text.split(','), []
    while parts:
        # Names may have commas themselves: the longest beginning that is one, or else up to the next comma.
        length = next((n for n in range(len(parts), 1, -1) if ','.join(parts[:n]).strip() in names), 1)
        found.append(by_name(','.join(parts[:length]), names))
        parts = parts[length:]
    return list(dict.fromkeys(found))


def parse_blend(text, names):
    """The mixture in ``0=0.7,waves=0.3``; one line on stderr if its weights had to be divided by their sum."""
    mixture, item = {}, ''
    for part in text.split(','):
        item += part
        style, equals, weight = item.rpartition('=')
        if (
            not equals
            or not (style.strip() in names or re.fullmatch(r'\s*[0-9]{1,6}\s*', style))
            or _weight(weight) is None
        ):
            item += ','  # of the name of a style
            continue
        number = by_name(style, names) if style.strip() in names else by_index(style, names)
        mixture[number] = mixture.get(number, 0) + _weight(weight)
        item = ''
    if item:
        raise utils.UserError(
            f'--blend: {item[:-1]!r} is not STYLE=WEIGHT, such as 0=0.7, of a style that --list-styles shows'
        )
    normalized = _normalized(mixture)
    if any(abs(normalized[style] - weight) > 1e-6 for style, weight in mixture.items()):
        print(
            '--blend: the weights are divided by their sum, so that it is one: %s'
            % ', '.join(f'{names[style]}={weight:g}' for style, weight in normalized.items()),
            file=sys.stderr,
        )
    return normalized


def parse_maps(items, names):
    """The masks in ``waves=sky.png``, ``3=ground.png``, ..., as {number: path}."""
    masks = {}
    for item in items:
        # Both names may have an equals sign.
        places = [place for place, letter in enumerate(item) if letter == '=']
        styles = [(item[:place], item[place + 1 :]) for place in places]
        found = [(style, path) for style, path in styles if style.strip() in names]
        found += [(style, path) for style, path in styles if re.fullmatch(r'\s*[0-9]{1,6}\s*', style)]
        if not found:
            hint = '' if places else '; photos are named before this option, or after another'
            raise utils.UserError(
                f'--style-map: {item!r} is not STYLE=MASK, such as 0=sky.png, of a style that --list-styles shows{hint}'
            )
        style, path = found[0]
        number = by_name(style, names) if style.strip() in names else by_index(style, names)
        if number in masks:
            raise utils.UserError(f'--style-map: the style {names[number]} has two masks')
        masks[number] = path
    return masks


def parse_times(text, names):
    """The styles over time in ``0=ink-wash,4=lily-pond``: a list of pairs (seconds, mixture), in the order of time."""
    times = {}
    for item in re.split(r',(?=[\s0-9.]+=)', text):  # names may have commas
        seconds, equals, style = item.partition('=')
        if not equals or _weight(seconds) is None:
            raise utils.UserError(f'--style-at: {item!r} is not SECONDS=STYLE, such as 4=0')
        times[_weight(seconds)] = {by_name_or_index(style, names): 1.0}
    return sorted(times.items(), key=lambda pair: pair[0])


def at(times, seconds):
    """The mixture at a time between those that `parse_times` gives: the two around it, in proportion."""
    after = next((n for n, (time, _) in enumerate(times) if time > seconds), len(times))
    if after in (0, len(times)):
        return times[min(after, len(times) - 1)][1]
    (start, before), (end, next_one) = times[after - 1 : after + 1]
    share = float(seconds - start) / (end - start)
    if not share:
        return before
    mixture = {style: (1 - share) * weight for style, weight in before.items()}
    for style, weight in next_one.items():
        mixture[style] = mixture.get(style, 0) + share * weight
    return _normalized(mixture)


def label(mixture, names):
    """What the pastiche of a mixture is called: ``waves``, or ``waves-0.7+sun-0.3``."""
    if list(mixture.values()) == [1.0]:
        return names[next(iter(mixture))]
    return '+'.join(f'{names[style]}-{weight:g}' for style, weight in mixture.items())


def _weight(text):
    try:
        weight = float(text)
    except ValueError:
        return None
    return weight if math.isfinite(weight) and weight >= 0 else None


def _normalized(mixture):
    largest = max(mixture.values(), default=0)
    if not largest:
        raise utils.UserError('--blend: the weights are all zero')
    # Divided first: a sum of large numbers is infinite.
    total = sum(weight / largest for weight in mixture.values())
    return {style: weight / largest / total for style, weight in mixture.items()}
