"""Long runs: settings to resume with, tables that grow while they last, and interrupts that lose nothing."""
import csv
import io
import json
import os
import signal

import utils

__all__ = ['check_settings', 'read_table', 'open_table', 'append_row', 'catch_interrupts']


def check_settings(path, settings):
    """Note what a run is made with, or make sure that a run to be resumed was made with the same.

    Parameters
    ----------
    path : str
        Of a JSON file in the run's folder.
    settings : dict
        Of numbers, strings and lists of them.

    Raises
    ------
    utils.UserError
        If the file is there and says something else.
    """
    settings = json.loads(json.dumps(settings))
    if os.path.exists(path):
        try:
            with open(path, encoding='utf-8') as file:
                before = json.load(file)
        except (OSError, ValueError, RecursionError) as error:
            raise utils.UserError('%s: cannot read: %s' % (path, utils.reason(error)))
        if before != settings:
            changed = [name for name in settings if not isinstance(before, dict) or before.get(name) != settings[name]]
            raise utils.UserError('%s was made with other settings (%s): give the same, or another folder'
                                  % (os.path.dirname(path) or '.', ', '.join(changed).replace('_', ' ')))
    with utils.atomic_write(path) as file:
        file.write(json.dumps(settings, sort_keys=True, indent=1).encode())


def read_table(path):
    """The rows of a CSV file with a header, as dicts of str.

    Raises
    ------
    utils.UserError
        If it cannot be read.
    """
    try:
        with open(path, newline='', encoding='utf-8') as file:
            return list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise utils.UserError('%s: cannot read this table: %s' % (path, utils.reason(error)))


def open_table(path, columns, rows=()):
    """Write a CSV file with its header, atomically, and open it to append to (`append_row`).

    Parameters
    ----------
    path : str
    columns : list of str
    rows : list of dict
        Rows of an earlier run to keep. One that lacks a column is left out: the run was cut off
        while it wrote that row.

    Returns
    -------
    text file
    """
    whole = [[row[column] for column in columns] for row in rows
             if all(row.get(column) is not None for column in columns)]
    with utils.atomic_write(path) as file:
        file.write(''.join(_line(row) + '\n' for row in [columns] + whole).encode())
    return open(path, 'a', newline='', encoding='utf-8')


def append_row(table, values, sync=False):
    """Write a row at the end of a table that `open_table` opened; see `utils.append_line`."""
    utils.append_line(table, _line(values), sync)


def _line(values):
    text = io.StringIO()
    csv.writer(text, lineterminator='').writerow(values)
    return text.getvalue()


def catch_interrupts():
    """Let Ctrl-C and SIGTERM wait for a good moment.

    Returns
    -------
    list of int
        The numbers of the signals that have come since; a second one of a kind acts at once.
    """
    caught = []

    def interrupted(number, frame):
        caught.append(number)
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    return caught
