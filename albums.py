"""Albums: the photos that are stylized, or enlarged, in one go, where each result goes, and what became of it."""

import collections
import json
import math
import os
import re
import sys
import time

import files
import utils

__all__ = ['Album', 'Entry', 'file_names', 'find_photos', 'store']

THUMBNAIL = 256
# A table at the end repeats the failures of longer runs, whose lines have scrolled away.
LONG_RUN = 20
# How the scripts that make albums speak of what they make: of several, of making them, and of having done it.
WORDS = {'stylize': ('pastiches', 'stylizing', 'stylized'), 'enhance': ('enlarged photos', 'enlarging', 'enlarged')}


def find_photos(images):
    """The photos that a user names: as `files.find_images`, and '-' for the standard input, as a binary file."""
    if '-' not in images:
        return files.find_images(images)
    if len(images) > 1:
        raise utils.UserError("'-', the standard input, is one photo, and stands alone")
    return [files.standard_input()]


def _name(photo):
    return photo if isinstance(photo, str) else 'stdin'


def _extension(photo):
    """What the name of a photo's pastiche ends in: as the photo, where that can be written and holds its colours."""
    if not isinstance(photo, str):
        extension = files.extension_of(photo)
    else:
        extension = os.path.splitext(photo)[1].lower()
    if extension not in files.WRITE_FORMATS or (extension == '.gif' and not files.is_animated(photo)):
        return '.png'
    return extension


def file_names(photos, labels, output, overwrite=False, script='stylize'):
    """Where to write the pastiche of each photo and style.

    A pastiche that was made before under its own name is made again there; that of another photo of the same
    name is left alone, and this one gets a number.

    Parameters
    ----------
    photos : list of str or binary file
    labels : list of str
    output : str or None
        A file for a single pastiche, a folder, or '-' for the standard output.
    overwrite : bool
        Whether to write over what is there in any case.
    script : str
        The script that makes them: one of `WORDS`.

    Returns
    -------
    dict
        {(photo, label): path}, all different.
    """
    if output is not None and (output == '-' or (os.path.splitext(output)[1] and not os.path.isdir(output))):
        if len(photos) * len(labels) > 1:
            raise utils.UserError(
                f'--output {output} is one file, and there are {len(photos) * len(labels)} {WORDS[script][0]}: give a '
                'folder'
            )
        if output != '-':
            files.check_extension(output)
        elif sys.stdout.isatty():
            raise utils.UserError('--output -: the standard output is a terminal, which shows no pictures')
        return {(photos[0], labels[0]): output}
    folder = output or ''
    names, taken, number = {}, set(), collections.Counter()
    there = set(os.listdir(folder or '.')) if os.path.isdir(folder or '.') else ()
    for photo in photos:
        stem = files.cut_name(os.path.splitext(os.path.basename(_name(photo)))[0], 100)
        extension = _extension(photo)
        for label in labels:
            # The names of styles come from a file: what is not plain must not become part of a path.
            base = '%s_%s' % (stem, files.cut_name(re.sub(r'[^\w.+-]', '-', label), 100))
            while True:
                number[base, extension] += 1
                name = base + f'-{number[base, extension]}' * (number[base, extension] > 1) + extension
                path = os.path.join(folder, name)
                made_of = files.read_origin(path) if name in there and not overwrite else None
                if path not in taken and (made_of is None or made_of == _origin(photo, script)):
                    break
            taken.add(path)
            names[photo, label] = path
    return names


def _origin(photo, script='stylize'):
    return files.origin(script, _name(photo))


def small(image):
    """An image as it is shown on the contact sheet: so high, unless that makes it more than four times as wide."""
    height, width = image.shape[:2]
    return files.thumbnail(image, max(1, min(THUMBNAIL, 4 * THUMBNAIL * height // width)))


# What became of a pastiche: what --json prints of it; the photo and the pastiche as the contact sheet shows them.
Entry = collections.namedtuple('Entry', 'photo label report photo_small small')


def store(path, photo, label, picture, pastiche, device, seconds, for_sheet=False, script='stylize'):
    """Write a pastiche, or note why there is none.

    Parameters
    ----------
    path : str
        Where to, or '-' for the standard output.
    photo : str or binary file
    label : str
        Its style.
    picture, pastiche : files.Picture
        As `pastiches.Stylist.stylize_files` yields them.
    device : str
    seconds : float
        For the report.
    for_sheet : bool
        Whether a contact sheet is to be made.
    script : str
        As for `file_names`.

    Returns
    -------
    Entry
    """
    report, small_pastiche = {'photo': _name(photo), 'style': label}, None
    try:
        if isinstance(pastiche, utils.UserError):
            raise pastiche
        if path == '-':
            files.write_picture(sys.stdout.buffer, pastiche, extension=_extension(photo))
        else:
            files.write_picture(path, pastiche, _origin(photo, script))
        height, width = pastiche.frames[0].shape[:2]
        report.update(pastiche=path, width=width, height=height, seconds=round(seconds, 3), device=device)
        small_pastiche = small(files.eight_bits(pastiche.frames[0])) if for_sheet else None
    except utils.UserError as error:
        report['error'] = utils.one_line(error)
    photo_small = small(picture.frames[0]) if for_sheet and picture is not None else None
    return Entry(photo, label, report, photo_small, small_pastiche)


class Album:
    """What is to be made of photos, and what became of it.

    Parameters
    ----------
    photos : list of str or binary file
    labels : list of str
        What the pastiches of a photo are called.
    output, grid : str, optional
        Where the pastiches and the contact sheet go.
    overwrite : bool
        Whether to write over files that no such album wrote.
    skip : bool
        Whether to leave the pastiches alone that were made before and are not older than their photos.
    as_json : bool
        Whether to print an object for each pastiche and not its path.
    script : str
        As for `file_names`.

    Attributes
    ----------
    outputs : dict
        {(photo, label): path} of what is to be made.

    Raises
    ------
    utils.UserError
        For names that do not go together.
    """

    def __init__(
        self, photos, labels, output=None, grid=None, overwrite=False, skip=False, as_json=False, script='stylize'
    ):
        self.photos, self.labels, self.grid, self.script = photos, labels, grid, script
        self.overwrite, self.as_json = overwrite, as_json
        if output == '-' and (grid or as_json or skip):
            raise utils.UserError('--output - goes with no --grid, --json or --skip-existing')
        if skip and grid:
            raise utils.UserError('--skip-existing and --grid contradict each other: a sheet shows all pastiches')
        self.to_stdout = output == '-'
        self.outputs = file_names(photos, labels, output, overwrite, script)
        self.skipped = [key for key, path in self.outputs.items() if skip and _is_made(path, key[0], script)]
        for key in self.skipped:
            del self.outputs[key]
        self._failures, self._sheet = {}, {}

    def prepare(self, *inputs):
        """Refuse names that cannot be written to or are those of other files (`files.check_outputs`); make folders.

        Parameters
        ----------
        *inputs : str
            What is read beside the photos.
        """
        if self.to_stdout:
            return
        paths = {
            path: files.read_origin(path) == _origin(photo, self.script) if os.path.exists(path) else False
            for (photo, _), path in self.outputs.items()
        }
        if self.grid:
            most = files.MOST_PIXELS.get(files.check_extension(self.grid), math.inf)
            bands = -(-len(self.labels) // 8)
            if len(self.photos) * bands * THUMBNAIL > most:
                raise utils.UserError(
                    f'--grid {self.grid}: a sheet of {len(self.photos)} photos would be more than '
                    f'{most} pixels high; .png has no limit'
                )
            if os.path.realpath(self.grid) in map(os.path.realpath, paths):
                raise utils.UserError(f'--grid {self.grid} is the name of a pastiche as well: choose another')
            paths[self.grid] = files.read_origin(self.grid) == files.origin('sheet')
        photos = [photo for photo in self.photos if isinstance(photo, str)]
        files.check_outputs(paths, photos + list(inputs), self.overwrite)
        for folder in {os.path.dirname(path) for path in paths}:
            files.make_folder(folder or '.')

    def make(self, stylist, styles, size, batch_size, controls):
        """Make the pastiches, with a progress bar.

        Parameters
        ----------
        stylist : pastiches.Stylist
        styles, size, batch_size, controls
            As its `stylize_files` takes them.
        """
        made = stylist.stylize_files(self.photos, styles, size, batch_size, controls, self.skipped)
        self.keep(made, stylist.device.name)

    def keep(self, made, device):
        """Write what is made, with a progress bar.

        Parameters
        ----------
        made : iterable of (photo, label, picture, pastiche)
            As `stylize_files` of `pastiches.Stylist` yields them.
        device : str
        """
        start = time.perf_counter()

        def stored():
            nonlocal start
            for photo, label, picture, result in made:
                path, seconds = self.outputs.get((photo, label)), time.perf_counter() - start
                yield store(path, photo, label, picture, result, device, seconds, bool(self.grid), self.script)
                start = time.perf_counter()

        self.note(stored())

    def note(self, entries):
        """Say what became of the pastiches, an iterable of `Entry`, with a progress bar."""
        with utils.progress(total=len(self.outputs), desc=WORDS[self.script][1], unit='image') as bar:
            for entry in entries:
                report = entry.report
                if 'error' in report:
                    self._failures.setdefault(entry.photo, report['error'])
                    print(f'error: {report["error"]}', file=sys.stderr)
                if self.as_json:
                    bar.write(json.dumps(report))
                elif 'error' not in report and not self.to_stdout:
                    bar.write(report['pastiche'])
                if entry.photo_small is not None:
                    self._sheet.setdefault(entry.photo, {})[entry.label] = entry
                bar.update(entry.label is not None)

    def close(self):
        """Write the contact sheet, say what failed, and return the status of the program."""
        if self._sheet:
            rows = [
                [next(iter(made.values())).photo_small] + [made[label].small for label in self.labels if label in made]
                for made in (self._sheet[photo] for photo in self.photos if photo in self._sheet)
            ]
            sheet = files.style_sheet(rows, ['photo'] + self.labels)
            files.write_image(self.grid, sheet, files.origin('sheet'))
            print(self.grid, file=sys.stderr if self.as_json else sys.stdout)
        if not self._failures:
            return None
        if len(self.photos) > LONG_RUN:
            width = max(len(utils.one_line(_name(photo))) for photo in self._failures)
            for photo, cause in self._failures.items():
                name = utils.one_line(_name(photo))
                print(
                    f'{name:{width}}  {cause[len(name) + 2 :] if cause.startswith(name + ": ") else cause}',
                    file=sys.stderr,
                )
        count, done = len(self._failures), WORDS[self.script][2]
        print(f'error: {count} of {len(self.photos)} photos could not be {done}', file=sys.stderr)
        return 1


def _is_made(path, photo, script):
    """Whether the pastiche of a photo is there, and not older than the photo."""
    if not isinstance(photo, str) or not os.path.isfile(path) or files.read_origin(path) != _origin(photo, script):
        return False
    return os.path.getmtime(path) >= os.path.getmtime(photo)
