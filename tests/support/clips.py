"""Clips that are drawn for the tests."""

import fractions
import struct

import av
import numpy

RATE = 25


def drawing(number, height=32, width=48):
    """A frame: a square that moves over a texture, two pixels to the right from one frame to the next."""
    y, x = numpy.mgrid[:height, :width]
    image = numpy.stack([4 * x, 6 * y, 80 + 40 * numpy.sin(x / 3) * numpy.cos(y / 4)], -1).clip(0, 255)
    image[8:16, 2 * number % width : 2 * number % width + 8] = 230, 200, 60
    return image.astype('uint8')


def write(path, images, times=None, sound=None, codec='libx264', pixels='yuv420p', aspect=None, rate=RATE):
    """Write images as a clip.

    Parameters
    ----------
    times : list of int, optional
        When each image is shown, in thousandths of a second.
    sound : str, optional
        A codec: a tone as long as the images.
    """
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixels
        base = fractions.Fraction(1, rate) if times is None else fractions.Fraction(1, 1000)
        stream.codec_context.time_base = stream.time_base = base
        if aspect:
            stream.codec_context.sample_aspect_ratio = fractions.Fraction(aspect)
        tone = container.add_stream(sound, rate=48000) if sound else None
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format='rgb24')
            frame.pts, frame.time_base = number if times is None else times[number], base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if tone:
            samples = numpy.sin(numpy.arange(48000 * len(images) // rate) / 20).astype('float32')
            for start in range(0, len(samples), 960):
                part = av.AudioFrame.from_ndarray(samples[numpy.newaxis, start : start + 960], 'fltp', 'mono')
                part.sample_rate, part.pts, part.time_base = 48000, start, fractions.Fraction(1, 48000)
                for resampled in av.AudioResampler(
                    tone.codec_context.format, tone.codec_context.layout, 48000
                ).resample(part):
                    container.mux(tone.encode(resampled))
            container.mux(tone.encode(None))


def read(path):
    """The images of a clip, and their times in seconds."""
    with av.open(str(path)) as container:
        frames = [
            (frame.to_ndarray(format='rgb24'), frame.pts * frame.time_base) for frame in container.decode(video=0)
        ]
    return [image for image, _ in frames], [time for _, time in frames]


def sound_packets(path):
    """The packets of the sound of a clip, as bytes."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def turn(path, degrees):
    """Note in an mp4 file that it is to be shown turned clockwise, as telephones do."""
    data = bytearray(path.read_bytes())
    sine, cosine = {90: (1, 0), 180: (0, -1), 270: (-1, 0)}[degrees]
    at = data.index(b'tkhd') + 4 + 40
    values = [cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30]
    data[at : at + 36] = struct.pack('>9i', *values)
    path.write_bytes(data)
