"""Clips in and out: frames with their times, sound, and work that an interruption does not cost.

FFmpeg's libraries decode and encode, by way of PyAV. Nothing in a clip is trusted: it is read as one file, whose
contents may name no other, and frames of too many pixels are refused before they are decoded.
"""

import collections
import contextlib
import fractions
import heapq
import math
import os
import queue
import sys
import threading

import av
import numpy

import files
import utils

__all__ = [
    'FORMATS',
    'Frame',
    'Clip',
    'Folder',
    'open_input',
    'Encoder',
    'join',
    'check_extension',
    'read_origin',
    'ahead',
    'exact',
    'complaints',
]

# An image, uint8 of shape (H, W, 3), RGB; when it is shown, and for how long, in exact seconds from the beginning.
Frame = collections.namedtuple('Frame', 'image time duration')

Format = collections.namedtuple('Format', 'container codec pixels options sound')
# Frames are encoded in the order in which they are shown, so that pieces can be joined.
_H264 = ('libx264', 'yuv420p', {'crf': '18', 'preset': 'veryfast', 'bf': '0'})
_VP9 = {'crf': '28', 'b': '0', 'deadline': 'realtime', 'cpu-used': '6', 'row-mt': '1', 'auto-alt-ref': '0'}
FORMATS = {
    '.mp4': Format('mp4', *_H264, 'aac'),
    '.mov': Format('mov', *_H264, 'aac'),
    '.mkv': Format('matroska', *_H264, 'aac'),
    '.webm': Format('webm', 'libvpx-vp9', 'yuv420p', dict(_VP9, **{'lag-in-frames': '0'}), 'libopus'),
    '.gif': Format('gif', 'gif', 'pal8', {}, None),
}
MILLISECOND = fractions.Fraction(1, 1000)
MAX_SIDE = 16384  # of a frame, which H.264 can hold
# Before PyAV 19 titles in another encoding than UTF-8 make a clip unreadable, unless it is told what to do with them.
METADATA = {'metadata_errors': 'replace'} if int(av.__version__.split('.')[0]) < 19 else {}

# The numbers of the standards of colours in FFmpeg's headers (AVColorSpace), and what its scaler calls them.
_COLORS = {1: 'ITU709', 4: 'FCC', 5: 'ITU601', 6: 'ITU601', 7: 'SMPTE240M', 9: 'BT2020'}
_BT709 = 1


@contextlib.contextmanager
def complaints(path, what):
    """One line, with the path, for whatever FFmpeg has to complain of."""
    try:
        yield
    except (av.error.FFmpegError, ValueError, ArithmeticError, LookupError) as error:
        raise utils.UserError(f'{path}: {what}: {utils.reason(error)}')


@contextlib.contextmanager
def _opened(path):
    """A clip that is open for reading: no file but this one is ever opened, whatever it says."""
    try:
        files.check_regular(path)
        file = open(path, 'rb')
    except OSError as error:
        raise utils.UserError(f'{path}: cannot read: {utils.reason(error)}')
    with file:
        if os.fstat(file.fileno()).st_size == 0:
            raise utils.UserError(f'{path}: the file is empty')
        with complaints(path, 'not a clip that can be read'):
            container = av.open(file, options={'protocol_whitelist': 'none'}, **METADATA)
        with container:
            yield container


def exact(number):
    """A number as it was typed: 0.1 is a tenth."""
    return fractions.Fraction(number).limit_denominator(10**6)


class Clip:
    """The frames of a video file, upright and with square pixels.

    Parameters
    ----------
    path : str
    start : float
        Seconds to leave out at the beginning.
    duration : float, optional
        Seconds to take at most.
    size : int, optional
        The shorter side that frames are resized to.

    Attributes
    ----------
    path : str
    rate : Fraction
        Frames per second, in the mean.
    time_base : Fraction
        What the times of the frames are multiples of.
    count : int or None
        About how many frames there are.
    inputs : list of str
        The files that are read.
    damaged : int
        Packets that could not be decoded, after the frames have been read.

    Raises
    ------
    utils.UserError
        If there is no such file, or nothing in it that can be seen.
    """

    def __init__(self, path, start=0, duration=None, size=None):
        self.path, self.size, self.damaged, self.inputs = path, size, 0, [path]
        self.start, self.end = exact(start), None if duration is None else exact(duration)
        with _opened(path) as container:
            if not container.streams.video:
                raise utils.UserError(f'{path}: there is no video in this file')
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise utils.UserError(f'{path}: its video is of a kind that FFmpeg cannot decode')
            width, height = stream.codec_context.width, stream.codec_context.height
            if width * height > files.pixel_limit():
                raise utils.UserError(
                    f'{path}: frames of {width} x {height} pixels are more than the {files.pixel_limit()} '
                    f'that are read at most; {files.MORE_PIXELS}'
                )
            # What starts first is at zero, as in FFmpeg: a piece cut from a broadcast starts at any time.
            starts = [
                s.start_time * s.time_base
                for s in [stream] + list(container.streams.audio)
                if s.start_time is not None and s.time_base
            ]
            self.origin = min(starts, default=fractions.Fraction(0)) + self.start
            self.time_base = fractions.Fraction(stream.time_base or fractions.Fraction(1, 90000))
            self.rate = fractions.Fraction(stream.average_rate or stream.guessed_rate or 25)
            seconds = container.duration / 1e6 - start if container.duration else None
            if duration is not None:
                seconds = min(duration, duration if seconds is None else seconds)
            self.count = None if seconds is None else max(1, round(seconds * self.rate))

    def __iter__(self):
        """Yields a `Frame` after the other, of one size."""
        self.damaged, shape = 0, None
        with _opened(self.path) as container:
            stream = container.streams.video[0]
            stream.thread_type = 'AUTO'
            stream.codec_context.options = {'max_pixels': str(files.pixel_limit())}  # sizes may change on the way
            if self.start:
                with complaints(self.path, 'cannot find --start in it'):
                    container.seek(int(self.origin * 1000000), backward=True)
            # Where a frame without a time belongs; one that comes too early is shown right after the one before.
            following, earliest = fractions.Fraction(0), fractions.Fraction(0)
            for frame in self._decoded(container, stream):
                base = fractions.Fraction(frame.time_base or self.time_base)
                time = following if frame.pts is None else frame.pts * base - self.origin
                if self.end is not None and time >= self.end:
                    return
                duration = (getattr(frame, 'duration', None) or 0) * base or 1 / self.rate
                if time < 0:
                    continue
                time = max(time, earliest)
                following, earliest = time + duration, time + self.time_base
                image = self._image(frame, stream, shape)
                shape = image.shape[:2]
                yield Frame(image, time, duration)
        if shape is None:
            raise utils.UserError(f'{self.path}: there is no frame {"after --start" if self.start else "in it"}')

    def _decoded(self, container, stream):
        """The frames as they were stored; what is damaged is left out."""
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.error.FFmpegError, ValueError):  # the file ends where more was to come
                self.damaged += 1
                return
            try:
                frames = stream.decode(packet) if hasattr(stream, 'decode') else packet.decode()
            except (av.error.FFmpegError, ValueError):
                self.damaged += 1
                continue
            yield from frames

    def _image(self, frame, stream, shape):
        """A frame as the network takes it; of the shape (height, width) of those before, if any came."""
        if frame.width * frame.height > files.pixel_limit():
            raise utils.UserError(f'{self.path}: a frame of {frame.width} x {frame.height} pixels is too large')
        turns = _quarter_turns(frame)
        if shape is None:
            aspect = fractions.Fraction(stream.sample_aspect_ratio or 1)
            # Fractions of very long or flat pixels are mistakes of the file.
            aspect = aspect if fractions.Fraction(1, 8) <= aspect <= 8 else fractions.Fraction(1)
            width, height = frame.width * max(aspect, 1), frame.height / min(aspect, 1)
            if self.size is not None:
                scale = fractions.Fraction(self.size) / min(width, height)
                width, height = width * scale, height * scale
            width, height = max(1, round(width)), max(1, round(height))
            if width * height > files.pixel_limit() or max(width, height) > MAX_SIDE:
                raise utils.UserError(
                    f'{self.path}: frames of {width} x {height} pixels are too large: a smaller --size'
                )
        else:
            height, width = shape if turns % 2 == 0 else shape[::-1]
        source = _COLORS.get(int(frame.colorspace), 'ITU709' if frame.height >= 720 else 'ITU601')
        with complaints(self.path, 'cannot convert a frame'):
            pixels = frame.to_ndarray(
                format='rgb24',
                width=width,
                height=height,
                interpolation='LANCZOS' if (width, height) != (frame.width, frame.height) else 'BICUBIC',
                src_colorspace=source,
                dst_colorspace='ITU601',
            )
        return numpy.ascontiguousarray(numpy.rot90(pixels, turns))


def _quarter_turns(frame):
    """By how many quarters, counterclockwise, a frame is to be turned so that it is upright."""
    data = frame.side_data.get('DISPLAYMATRIX')
    if data is None:
        return 0
    matrix = numpy.frombuffer(bytes(data), '<i4', 9)
    # [a b; c d] of the matrix that turns what is stored into what is shown, in 16.16 (ISO 14496-12, 8.3.2).
    return int(round(numpy.degrees(numpy.arctan2(-matrix[1], matrix[0])) / 90)) % 4


class Folder:
    """The images of a folder, or those that match a pattern, as a clip; see `Clip`.

    Parameters
    ----------
    path : str
    rate : Fraction
        Frames per second.
    start, duration, size
        As for `Clip`.
    """

    damaged = 0

    def __init__(self, path, rate, start=0, duration=None, size=None):
        self.path, self.rate, self.size = path, exact(rate), size
        first = math.ceil(exact(start) * self.rate)
        last = None if duration is None else math.ceil((exact(start) + exact(duration)) * self.rate)
        self.images = files.find_images([path])[first:last]
        if not self.images:
            raise utils.UserError(f'{path}: there is no frame after --start')
        self.time_base, self.count, self.inputs = 1 / self.rate, len(self.images), self.images

    def __iter__(self):
        shape = None
        for number, path in enumerate(self.images):
            image = files.read_image(path, self.size)
            if shape not in (None, image.shape):
                raise utils.UserError(
                    f'{path}: {image.shape[1]} x {image.shape[0]} pixels, and the frames before have '
                    f'{shape[1]} x {shape[0]}: all of a clip are of one size'
                )
            shape = image.shape
            yield Frame(image, number / self.rate, 1 / self.rate)


def open_input(path, rate=None, start=0, duration=None, size=None):
    """What is to be stylized: a `Folder` of frames, or a `Clip`.

    Raises
    ------
    utils.UserError
        If it cannot be read, or a rate is given for a clip, which has its own.
    """
    if os.path.isdir(path) or any(c in path for c in '*?[') and not os.path.exists(path):
        return Folder(path, rate or 25, start, duration, size)
    if rate is not None:
        raise utils.UserError(f'--rate is for frames in a folder, and {path} is a clip, whose times are kept')
    return Clip(path, start, duration, size)


# ---------------------------------------------------------------------------------------------
# Writing
# ---------------------------------------------------------------------------------------------


class Encoder:
    """Frames, encoded into a file or into memory.

    Parameters
    ----------
    file : str or binary file
    format : Format
    container : str
        In which the frames are put.
    rate, time_base : Fraction
        As of a `Clip`.
    """

    def __init__(self, file, format, container, rate, time_base):
        self.format, self.stream, self.durations, self.last = format, None, {}, -1
        self.rate, self.time_base = fractions.Fraction(rate).limit_denominator(100000), time_base
        self.container = av.open(file, 'w', format=container)

    def write(self, frame):
        """Encode a `Frame`; an odd last row or column is left out where colours are stored for two by two pixels."""
        image = frame.image
        if self.format.pixels == 'yuv420p':
            image = image[: max(2, image.shape[0] // 2 * 2), : max(2, image.shape[1] // 2 * 2)]
        if self.stream is None:
            self.stream = self._start(*image.shape[:2])
        if self.format.pixels == 'pal8':
            picture = _in_256_colors(image)
        else:
            picture = av.VideoFrame.from_ndarray(numpy.ascontiguousarray(image), format='rgb24').reformat(
                format=self.format.pixels, src_colorspace='ITU601', dst_colorspace='ITU709'
            )
        picture.pts, picture.time_base = max(round(frame.time / self.time_base), self.last + 1), self.time_base
        self.last = picture.pts
        self.durations[picture.pts] = max(1, round(frame.duration / self.time_base))
        self._mux(self.stream.encode(picture))

    def _start(self, height, width):
        stream = self.container.add_stream(self.format.codec, rate=self.rate, options=dict(self.format.options))
        stream.width, stream.height, stream.pix_fmt = width, height, self.format.pixels
        context = stream.codec_context
        stream.time_base = context.time_base = self.time_base
        if self.format.pixels == 'yuv420p':
            context.colorspace = context.color_primaries = context.color_trc = _BT709
            context.color_range = 1  # of 16 to 235
        return stream

    def _mux(self, packets):
        for packet in packets:
            packet.duration = self.durations.pop(packet.pts, packet.duration)
            self.container.mux(packet)

    def close(self):
        """Write what is still held back, and the end of the file."""
        if self.stream is not None:
            self._mux(self.stream.encode(None))
        self.container.close()


def _in_256_colors(image):
    """An image as GIF has them: 256 colours of its own, with error diffusion."""
    from PIL import Image

    quantized = Image.fromarray(image).quantize(256)
    palette = numpy.zeros((256, 4), numpy.uint8)
    colors = numpy.array(quantized.getpalette(), numpy.uint8).reshape(-1, 3)
    palette[: len(colors), :3] = colors[:, ::-1]
    palette[:, 3] = 255
    frame = av.VideoFrame(image.shape[1], image.shape[0], 'pal8')
    plane = numpy.zeros((image.shape[0], frame.planes[0].line_size), numpy.uint8)
    plane[:, : image.shape[1]] = numpy.asarray(quantized)
    frame.planes[0].update(plane.tobytes())
    frame.planes[1].update(palette.tobytes())
    return frame


def join(path, pieces, clip, format, time_base):
    """Make one clip of encoded pieces, with the sound of another.

    Parameters
    ----------
    path : str
    pieces : list of str
        Files that `Encoder` wrote, in their order.
    clip : Clip or Folder
        Whose sound is copied: its packets as they are, where the container may have them.
    format : Format
    time_base : Fraction
        Of the pieces.
    """
    options = {'movflags': 'faststart'} if format.container in ('mp4', 'mov') else {}
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(av.open(path, 'w', format=format.container, options=options))
        output.metadata['comment'] = files.origin('video', clip.path)
        picture = _copied_stream(output, stack.enter_context(av.open(pieces[0])).streams.video[0])
        picture.time_base = time_base
        packets = [_pictures(pieces, picture)]
        if isinstance(clip, Clip) and format.sound:
            packets.append(_sound(clip, stack.enter_context(_opened(clip.path)), output, format))
        # FFmpeg's writer holds packets back until it has seen one of each stream: they come in the order of time.
        for _, packet in heapq.merge(*packets, key=lambda item: item[0]):
            output.mux(packet)


def _pictures(pieces, stream):
    """The packets of all pieces, as pairs (seconds, packet)."""
    last = -1
    for piece in pieces:
        with av.open(piece) as container:
            for packet in container.demux(video=0):
                if packet.pts is not None:  # the last one is empty
                    packet.pts = packet.dts = last = max(packet.pts, last + 1)
                    packet.stream = stream
                    yield packet.pts * packet.time_base, packet


def _sound(clip, container, output, format):
    """The packets of the sound of a clip, as pairs (seconds, packet), in streams that are added to the output."""
    copies, coders = {}, {}
    for stream in container.streams.audio:
        if stream.codec_context is None:  # that nobody can decode
            continue
        if {stream.codec_context.name, _encoded_name(stream)} & set(output.supported_codecs):
            copies[stream.index] = _copied_stream(output, stream)
        else:
            rate = 48000 if format.sound == 'libopus' else stream.codec_context.sample_rate
            coders[stream.index] = output.add_stream(format.sound, rate=rate)
    return _sound_packets(clip, container, copies, coders)


def _encoded_name(stream):
    """The name of what a decoder decodes, where it is not its own: mp3float decodes mp3."""
    codec = stream.codec_context.codec
    names = {'mp3float': 'mp3', 'libopus': 'opus', 'libvorbis': 'vorbis'}
    return getattr(codec, 'canonical_name', None) or names.get(codec.name, codec.name)  # PyAV 12 has no canonical names


def _sound_packets(clip, container, copies, coders):
    streams = [s for s in container.streams.audio if s.index in copies or s.index in coders]
    if not streams:
        return
    if clip.start:
        container.seek(int(clip.origin * 1000000), backward=True)
    resamplers = {
        index: av.AudioResampler(coder.codec_context.format or 'fltp', coder.codec_context.layout, coder.rate)
        for index, coder in coders.items()
    }
    try:
        for packet in container.demux(streams):
            index, base = packet.stream.index, packet.time_base
            if packet.dts is None or packet.pts is None:
                continue
            time = packet.pts * base - clip.origin
            if (clip.start and time < 0) or (clip.end is not None and time >= clip.end):
                continue
            if index in copies:
                offset = round(clip.origin / base)
                packet.pts, packet.dts, packet.stream = packet.pts - offset, packet.dts - offset, copies[index]
                yield packet.dts * base, packet
                continue
            for frame in packet.decode():
                frame.pts -= round(clip.origin / frame.time_base)
                for part in resamplers[index].resample(frame):
                    yield from _encoded(coders[index], part)
    except (av.error.FFmpegError, ValueError):
        clip.damaged += 1  # the file ends where more was to come
    for index, coder in coders.items():
        for part in resamplers[index].resample(None):
            yield from _encoded(coder, part)
        yield from _encoded(coder, None)


def _encoded(coder, frame):
    return [(packet.dts * packet.time_base, packet) for packet in coder.encode(frame)]


def _copied_stream(output, template):
    """A stream for packets as they are, in any version of PyAV."""
    if hasattr(output, 'add_stream_from_template'):
        return output.add_stream_from_template(template)
    return output.add_stream(template=template)


def check_extension(path):
    """The extension of a clip that is to be written, in small letters.

    Raises
    ------
    utils.UserError
        For one that is not in `FORMATS`.
    """
    extension = os.path.splitext(path)[1].lower()
    if extension not in FORMATS:
        raise utils.UserError(f'{path}: cannot write a clip of this kind; the name should end in {", ".join(FORMATS)}')
    return extension


def read_origin(path):
    """What a clip says that it was made of (`files.origin`), or None."""
    try:
        with av.open(path, options={'protocol_whitelist': 'file'}) as container:
            note = container.metadata.get('comment') or container.metadata.get('COMMENT')
    except (av.error.FFmpegError, ValueError):
        return None
    return note if note and note.startswith('gogh-figure ') else None


def ahead(iterable, depth=2):
    """Iterate in a thread of its own, by so many items ahead; an exception there is raised here, in its place."""
    items, gone, end = queue.Queue(depth), threading.Event(), object()

    def put(item):
        while not gone.is_set():
            with contextlib.suppress(queue.Full):
                items.put(item, timeout=0.1)
                return True
        return False

    def work():
        try:
            for item in iterable:
                if not put((item, None)):
                    break
            put((end, None))
        except BaseException as error:
            put((end, error))
        finally:
            if hasattr(iterable, 'close'):
                iterable.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, error = items.get()
            if error is not None:
                raise error
            if item is end:
                return
            yield item
    finally:
        gone.set()
        # At the end of the process threads are not run any more, and a generator that was left is closed only then.
        if not sys.is_finalizing():
            thread.join()
