"""Outputs of long runs on clips: written piece by piece, so that an interrupted run carries on with what is there."""

import contextlib
import fractions
import hashlib
import io
import os
import re
import shutil


import files
import runs
import utils
import videos

__all__ = ['VideoOutput', 'FolderOutput', 'settings', 'open_output']

PIECE = 64  # frames that are encoded together: what a killed run loses at most
SETTINGS = 'settings.json'
_OURS = re.compile(r'[0-9]{6,}\.png|[0-9]{8}-[0-9]{8}\.nut|[0-9]{8}\.npz')


class VideoOutput:
    """A clip whose pieces lie in a folder until it is whole.

    Parameters
    ----------
    path : str
        Its extension is one of `videos.FORMATS`.
    folder : str
    clip : videos.Clip or videos.Folder
        What is stylized: its times are kept, and its sound.

    Attributes
    ----------
    done : int
        Frames that are there.
    state : dict of arrays
        What `keep` was given after the last of them.
    """

    def __init__(self, path, folder, clip):
        self.path, self.folder, self.clip, self.encoder, self.state = path, folder, clip, None, {}
        self.format = videos.FORMATS[videos.check_extension(path)]
        # GIF counts hundredths of a second.
        self.time_base = fractions.Fraction(1, 100) if self.format.container == 'gif' else clip.time_base
        self.pieces = self._found()
        self.done = self.pieces[-1][1] if self.pieces else 0
        if self.done:
            self.state = files.load_npz(self._state_path(self.done))

    def _piece_path(self, first, end):
        return os.path.join(self.folder, f'{first:08d}-{end:08d}.nut')

    def _state_path(self, end):
        return os.path.join(self.folder, f'{end:08d}.npz')

    def _found(self):
        """The pieces (first frame, first frame of the next) that are there, without a gap."""
        ends = {}
        for name in os.listdir(self.folder):
            match = re.fullmatch(r'([0-9]{8})-([0-9]{8})\.nut', name)
            if match:
                ends[int(match.group(1))] = int(match.group(2))
        pieces, frame = [], 0
        while ends.get(frame, 0) > frame:
            pieces.append((frame, ends[frame]))
            frame = ends[frame]
        return pieces

    def write(self, frame, state):
        """Add a frame.

        Parameters
        ----------
        frame : videos.Frame
        state : dict of arrays
            What is needed to carry on after it.
        """
        with videos.complaints(self.path, 'cannot encode'):
            if self.encoder is None:
                self.buffer, self.first = io.BytesIO(), self.done
                # NUT holds what any encoder makes, with exact times.
                self.encoder = videos.Encoder(self.buffer, self.format, 'nut', self.clip.rate, self.time_base)
            self.encoder.write(frame)
        self.done, self.state = self.done + 1, state
        if self.done - self.first == PIECE:
            self.keep()

    def keep(self):
        """Put on disk what was written since the last piece."""
        if self.encoder is None:
            return
        with videos.complaints(self.path, 'cannot encode'):
            self.encoder.close()
        self.encoder = None
        # The state first: a piece that is there has one.
        files.save_npz(self._state_path(self.done), self.state)
        with files.atomic_write(self._piece_path(self.first, self.done)) as file:
            file.write(self.buffer.getbuffer())
        with contextlib.suppress(OSError):
            os.remove(self._state_path(self.first))
        self.pieces.append((self.first, self.done))

    def finish(self):
        """Join the pieces, with the sound, under the final name, and remove them."""
        self.keep()
        with files.atomic_path(self.path) as temporary, videos.complaints(self.path, 'cannot write'):
            videos.join(
                temporary, [self._piece_path(*piece) for piece in self.pieces], self.clip, self.format, self.time_base
            )
        shutil.rmtree(self.folder, ignore_errors=True)


class FolderOutput:
    """A folder of frames, ``000001.png`` and so on; see `VideoOutput`."""

    def __init__(self, path):
        self.path, self.state, self.done = path, {}, 0
        while os.path.exists(self._name(self.done + 1)):
            self.done += 1
        if self.done:
            # Of a frame that is there, as `steadiness.Steadier` knows it.
            self.state = {'pastiche': files.read_image(self._name(self.done))}

    def _name(self, number):
        return os.path.join(self.path, f'{number:06d}.png')

    def write(self, frame, state):
        """Add a frame."""
        files.write_image(self._name(self.done + 1), frame.image)
        self.done += 1

    def keep(self):
        """All frames are on disk already."""

    finish = keep


def settings(args, model):
    """What a run is carried on with, or not; see `runs.check_settings`.

    Parameters
    ----------
    args : argparse.Namespace
        Options of video.py.
    model : str
        The network's file.
    """
    others = ('clip', 'model', 'output', 'overwrite', 'camera', 'loop', 'scheduler', 'workers', 'max_pixels')
    masks = [_fingerprint(item.rpartition('=')[2]) for item in args.style_map or []]
    return dict(
        {name: value for name, value in vars(args).items() if name not in others},
        clip=_fingerprint(args.clip),
        model=_fingerprint(model),
        masks=masks,
    )


def _fingerprint(path):
    """The size of a file and a hash of samples of it; the names of the files in a folder."""
    digest = hashlib.sha256()
    if not os.path.isfile(path):
        digest.update('\0'.join(files.find_images([path])).encode(errors='surrogateescape'))
        return digest.hexdigest()[:16]
    size = os.path.getsize(path)
    with open(path, 'rb') as file:
        for start in sorted({0, size // 2, max(0, size - 2**16)}):
            file.seek(start)
            digest.update(b'%d ' % size + file.read(2**16))
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def open_output(path, clip, settings, overwrite=False):
    """Where the pastiches go, held for this process alone: a clip, or frames in a folder.

    Parameters
    ----------
    path : str
        A folder has no extension.
    clip : videos.Clip or videos.Folder
    settings : dict
    overwrite : bool
        Write over what is there, and start anew whatever an interrupted run has left.

    Yields
    ------
    VideoOutput or FolderOutput

    Raises
    ------
    utils.UserError
        If nothing can be written there, something would be lost, or the interrupted run had other settings.
    """
    whole = bool(os.path.splitext(path)[1]) and not os.path.isdir(path)
    folder = f'{path}.pieces' if whole else path
    if whole:
        videos.check_extension(path)
        ours = os.path.exists(path) and videos.read_origin(path) == files.origin('video', clip.path)
        files.check_outputs({path: ours}, clip.inputs, overwrite)
    elif os.path.isdir(path) and os.listdir(path) and not os.path.exists(os.path.join(path, SETTINGS)):
        raise utils.UserError(f'{path}: there is something else in this folder: choose another --output')
    files.make_folder(folder)
    with runs.lock(folder):
        if overwrite:
            for name in os.listdir(folder):
                if name == SETTINGS or _OURS.fullmatch(name):
                    os.remove(os.path.join(folder, name))
        runs.check_settings(os.path.join(folder, SETTINGS), settings)
        yield VideoOutput(path, folder, clip) if whole else FolderOutput(path)
