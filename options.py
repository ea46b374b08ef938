"""Command lines: what the parsers of all scripts have in common."""
import argparse
import math

import utils


class _HelpFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Keeps the line breaks of the description and shows the defaults that say something."""

    def _get_help_string(self, action):
        if action.default in (None, False) or '(default' in action.help:
            return action.help
        if isinstance(action.default, list):
            return action.help + ' (default: %s)' % ' '.join(action.default)
        return super(_HelpFormatter, self)._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line, like every other error of the scripts."""

    def __init__(self, description):
        super(Parser, self).__init__(description=description, formatter_class=_HelpFormatter, allow_abbrev=False)

    def error(self, message):
        raise utils.UserError('%s (--help lists the options)' % message)


def _number(convert, good, expected):
    def parse(text):
        try:
            value = convert(text)
        except ValueError:
            value = None
        if value is None or not math.isfinite(value) or not good(value):
            raise argparse.ArgumentTypeError('%r is not %s' % (text, expected))
        return value
    return parse


positive_int = _number(int, lambda n: 1 <= n < 2**31, 'a whole number from 1')
whole_number = _number(int, lambda n: 0 <= n < 2**31, 'a whole number from 0')
positive = _number(float, lambda x: x > 0, 'a positive number')
not_negative = _number(float, lambda x: x >= 0, 'a number from 0')
decay = _number(float, lambda x: 0 < x <= 1, 'a number above 0, up to 1')
fraction = _number(float, lambda x: 0 <= x < 1, 'a number from 0 to below 1')
