"""A window that shows what a camera sees, or a clip, in the styles of a network while it happens.

The window is Tk's: Python brings it along nearly everywhere, where OpenCV's own asks for libraries that a server lacks,
and would have to be installed in its place.
"""

import collections
import contextlib
import dataclasses
import os
import threading
import time

import cv2
import numpy
from PIL import Image

import files
import mixtures
import steadiness
import utils
import videos
from controls import Controls

__all__ = ['KEYS', 'Live', 'camera', 'played', 'open_window', 'show']

# What keys do, by Tk's names of them.
KEYS = {
    'Right': 'next style',
    'Left': 'previous style',
    'Up': 'more of the next style',
    'Down': 'less of it',
    'plus': 'stronger',
    'minus': 'weaker',
    's': 'steady or frame by frame',
    'space': 'snapshot',
    'r': 'record, or stop recording',
    'q': 'quit',
}
# Keys that are the same.
ALIASES = {'n': 'Right', 'p': 'Left', 'equal': 'plus', 'KP_Add': 'plus', 'KP_Subtract': 'minus', 'Escape': 'q'}


class Newest:
    """The newest frame of a source that does not wait: what is not taken in time is dropped.

    Parameters
    ----------
    frames : iterable of uint8 array (H, W, 3)
        It is iterated in a thread, and waits itself until a frame is due.
    """

    def __init__(self, frames):
        self.frame, self.error, self.done = None, None, False
        self.changed, self.gone = threading.Condition(), False
        self.thread = threading.Thread(target=self._run, args=(frames,), daemon=True)
        self.thread.start()

    def _run(self, frames):
        error = None
        try:
            for frame in frames:
                with self.changed:
                    self.frame = frame
                    self.changed.notify()
                    if self.gone:
                        break
        except utils.UserError as complaint:
            error = complaint
        with self.changed:
            self.error, self.done = error, True
            self.changed.notify()

    def take(self, timeout):
        """The newest frame that was not taken yet, or None if none comes in so many seconds.

        Raises
        ------
        utils.UserError
            What the source complained of.
        EOFError
            If it has ended.
        """
        with self.changed:
            if self.frame is None and not self.done:
                self.changed.wait(timeout)
            frame, self.frame = self.frame, None
            if frame is None and self.done:
                raise self.error or EOFError
            return frame

    def close(self):
        """End the thread."""
        self.gone = True
        self.thread.join(2)


def camera(number, size=None):
    """What a camera sees, by its number: an iterator over frames.

    Raises
    ------
    utils.UserError
        If there is no such camera; from the iterator, if it goes away.
    """
    # OpenCV, which calls it otherwise since version 5, has a page to say of a camera that is not there.
    (cv2.setLogLevel if hasattr(cv2, 'setLogLevel') else cv2.utils.logging.setLogLevel)(0)
    source = cv2.VideoCapture(number)
    if not source.isOpened():
        raise utils.UserError(f'--camera {number}: there is no such camera, or another program uses it')

    def frames():
        while True:
            good, frame = source.read()
            if not good:
                raise utils.UserError(f'--camera {number}: the camera does not answer any more')
            if size is not None:
                scale = size / min(frame.shape[:2])
                how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
                frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=how)
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)

    return frames()


def played(clip, loop):
    """Yields the frames of a clip when they are due."""
    while True:
        start = time.monotonic()
        for frame in clip:
            time.sleep(max(0, start + float(frame.time) - time.monotonic()))
            yield frame.image
        time.sleep(max(0, start + float(frame.time + frame.duration) - time.monotonic()))
        if not loop:
            return


class Live:
    """What is shown, and what keys change of it.

    Parameters
    ----------
    stylist : pastiches.Stylist
    style : int
        The number of the style to begin with.
    share : float
        As for `steadiness.Steadier`.
    folder : str
        Where snapshots and recordings go.
    controls : controls.Controls

    Attributes
    ----------
    status : str
        A line about it.
    """

    def __init__(self, stylist, style=0, share=0.7, folder='.', controls=Controls()):  # noqa: B008, it is frozen
        self.stylist, self.style, self.folder, self.controls = stylist, style, folder, controls
        self.next_share, self.steady = 0.0, share > 0
        self.steadier, self.before, self.shown = steadiness.Steadier(share or 0.7), None, None
        self.moments, self.said = collections.deque(maxlen=20), ''
        self.recording, self.quit = None, False

    def frame(self, image):
        """The pastiche of the next frame, uint8 (H, W, 3)."""
        other = (self.style + 1) % len(self.stylist.styles)
        mixture = mixtures.of({self.style: 1 - self.next_share, other: self.next_share}, self.stylist.styles)
        pastiche = self.stylist(image, mixture, **dataclasses.asdict(self.controls))
        lost = int(round(self.stylist.architecture.lost * self.controls.stroke_scale))
        kept = image[lost : image.shape[0] - lost, lost : image.shape[1] - lost]
        known = self.steady and self.before is not None and self.before.shape == kept.shape
        pastiche = self.steadier(pastiche, steadiness.motion(self.before, kept) if known else None)
        self.before = kept
        self.shown = pastiche
        self.moments.append(time.monotonic())
        if self.recording:
            self.recording.write(pastiche)
        return pastiche

    @property
    def status(self):
        names, passed = self.stylist.styles, self.moments[-1] - self.moments[0] if len(self.moments) > 1 else 0
        parts = [names[self.style]]
        if self.next_share:
            parts[0] += f' + {round(100 * self.next_share)} % {names[(self.style + 1) % len(names)]}'
        if self.controls.strength < 1:
            parts.append(f'strength {round(100 * self.controls.strength)} %')
        parts.append('steady' if self.steady else 'frame by frame')
        if passed:
            parts.append(f'{(len(self.moments) - 1) / passed:.1f} frames/s')
        if self.recording:
            parts.append('recording')
        return ' · '.join(parts + [self.said] * bool(self.said))

    def key(self, name):
        """Do what a key stands for: see `KEYS`."""
        name, styles, self.said = ALIASES.get(name, name), len(self.stylist.styles), ''
        if name in ('Right', 'Left'):
            self.style, self.next_share = (self.style + (1 if name == 'Right' else -1)) % styles, 0.0
        elif name in ('Up', 'Down'):
            self.next_share = round(min(1.0, max(0.0, self.next_share + (0.1 if name == 'Up' else -0.1))), 1)
        elif name in ('plus', 'minus'):
            strength = self.controls.strength + (0.1 if name == 'plus' else -0.1)
            self.controls = dataclasses.replace(self.controls, strength=round(min(1.0, max(0.0, strength)), 1))
        elif name == 's':
            self.steady = not self.steady
        elif name == 'space' and self.shown is not None:
            self.said = self._name('snapshot', '.png')
            files.write_image(self.said, self.shown)
        elif name == 'r':
            self.record(not self.recording)
        elif name == 'q':
            self.quit = True

    def _name(self, what, extension):
        name = os.path.join(self.folder, f'{what}-{time.strftime("%Y%m%d-%H%M%S")}')
        number = next(n for n in range(1, 10**6) if not os.path.exists(f'{name}-{n}{extension}'))
        return f'{name}-{number}{extension}'

    def record(self, on):
        """Begin to record what is shown, or end it."""
        if self.recording:
            self.recording.close()
            self.said, self.recording = self.recording.path, None
        if on:
            self.recording = Recording(self._name('recording', '.mp4'))


class Recording:
    """A clip of what is shown, as long as it lasts; under its name when it is closed."""

    def __init__(self, path):
        self.path, self.start, self.stack = path, None, contextlib.ExitStack()
        temporary = self.stack.enter_context(files.atomic_path(path))
        with videos.complaints(path, 'cannot write'):
            self.encoder = videos.Encoder(temporary, videos.FORMATS['.mp4'], 'mp4', 25, videos.MILLISECOND)
        self.shape = None

    def write(self, image):
        """Add what is shown now; an image of another size is left out."""
        now = time.monotonic()
        self.start, self.shape = self.start or now, self.shape or image.shape
        if image.shape == self.shape:
            with videos.complaints(self.path, 'cannot write'):
                self.encoder.write(videos.Frame(image, videos.exact(now - self.start), videos.exact(0.04)))

    def close(self):
        """End the clip."""
        with self.stack:
            if self.start is None:
                raise utils.UserError(f'{self.path}: nothing was shown while it was recorded')
            with videos.complaints(self.path, 'cannot write'):
                self.encoder.close()


def open_window():
    """A window, of Tk.

    Raises
    ------
    utils.UserError
        If there is no display, or no Tk.
    """
    try:
        import tkinter
    except ImportError:
        raise utils.UserError("the window takes Python's tkinter (Debian, Ubuntu: sudo apt install python3-tk)")
    try:
        window = tkinter.Tk()
    except tkinter.TclError:
        raise utils.UserError('--camera shows a window, and there is no display: a clip and --output need none')
    window.title('gogh-figure')
    return window


def show(window, live, frames):
    """Show pastiches in a window until it is closed, or the source ends.

    Parameters
    ----------
    window : tkinter.Tk
    live : Live
    frames : iterable of uint8 array (H, W, 3)
        See `Newest`.
    """
    import tkinter

    from PIL import ImageTk

    window.protocol('WM_DELETE_WINDOW', lambda: live.key('q'))
    window.bind('<Key>', lambda event: live.key(event.keysym))
    picture, status = tkinter.Label(window, borderwidth=0), tkinter.Label(window, anchor='w')
    keys = ', '.join(f'{key}: {what}' for key, what in KEYS.items())
    for label in (picture, status, tkinter.Label(window, anchor='w', justify='left', text=keys, wraplength=600)):
        label.pack(fill='x')
    newest, shown = Newest(frames), None
    try:
        while not live.quit:
            window.update()
            frame = newest.take(0.05)
            if frame is None:
                continue
            image = Image.fromarray(live.frame(numpy.ascontiguousarray(frame)))
            if shown is None or (shown.width(), shown.height()) != image.size:
                shown = ImageTk.PhotoImage(image)
                picture.configure(image=shown)
            else:
                shown.paste(image)
            status.configure(text=live.status)
    except (EOFError, tkinter.TclError):
        pass  # the end of the clip, or the display is gone
    finally:
        newest.close()
        if live.recording:
            live.record(False)
        with contextlib.suppress(tkinter.TclError):
            window.destroy()
