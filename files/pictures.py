"""Pictures as people have them: transparency, 16 bits a channel, colour profile, EXIF, the frames of an animation.

`files.images` reads any image as one 8-bit RGB array; here is what is kept beside it, and written again.
"""

import dataclasses
import io
import struct
import sys
from typing import Optional

import numpy
from PIL import Image

import utils
import files.strips as strips
from files.atomic import atomic_write
from files.images import (
    MORE_PIXELS,
    READ_FORMATS,
    SOFTWARE,
    WRITE_FORMATS,
    check_extension,
    make_upright,
    open_image,
    orientation,
    origin_options,
    pixel_limit,
    resize_shorter_side,
    source_name,
    to_array,
    to_rgb,
)

__all__ = ['Picture', 'read_picture', 'write_picture', 'is_animated', 'eight_bits']

# Formats by what they can hold.
WITH_FRAMES, WITH_ALPHA, WITH_16_BITS = ('GIF', 'PNG', 'WEBP'), ('GIF', 'PNG', 'WEBP', 'TIFF'), ('PNG', 'TIFF')
WITH_EXIF = 'JPEG', 'PNG', 'WEBP', 'TIFF'
# Tags of EXIF that say what a picture is of, and not how its numbers are stored: description, maker, model, date,
# artist, copyright, and the blocks of the camera's settings and the place.
EXIF_TAGS = 0x010E, 0x010F, 0x0110, 0x0132, 0x013B, 0x8298, 0x8769, 0x8825
EXIF_SIZE = 0xA002, 0xA003
MAKER_NOTE = 0x927C
MOST_EXIF = 65000  # bytes; a JPEG holds no more
MOST_PROFILE = 4 * 2**20


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture with what belongs to it.

    Parameters
    ----------
    frames : list of uint8 or uint16 arrays (H, W, 3)
        RGB, over white where it is transparent; more than one in an animation.
    alphas : list of uint8 arrays (H, W), optional
        How opaque each frame is.
    deep : bool
        Whether the file has 16 bits for each channel.
    profile : bytes, optional
        The ICC profile of its RGB values.
    exif : bytes, optional
        What EXIF says of it, without the orientation, which has been applied.
    durations : list of float
        Milliseconds that each frame of an animation is shown.
    loop : int, optional
        How often an animation is repeated, 0 for ever; None for not at all.
    """

    frames: list
    alphas: Optional[list] = None
    deep: bool = False
    profile: Optional[bytes] = None
    exif: Optional[bytes] = None
    durations: tuple = ()
    loop: Optional[int] = None

    def with_frames(self, frames):
        """The picture with others in the place of its frames, which may be smaller by as much on both sides."""
        alphas = self.alphas
        if alphas and alphas[0].shape != frames[0].shape[:2]:
            top, left = ((old - new) // 2 for old, new in zip(alphas[0].shape, frames[0].shape[:2]))
            height, width = frames[0].shape[:2]
            alphas = [alpha[top : top + height, left : left + width] for alpha in alphas]
        return dataclasses.replace(self, frames=frames, alphas=alphas)


def read_picture(source, size=None, max_pixels=None):
    """Read a picture with all that `write_picture` can write again.

    Parameters
    ----------
    source, size, max_pixels
        As for `files.read_image`, whose array is the first frame. The pixels of all frames of an animation (GIF, WebP,
        APNG) count together.

    Returns
    -------
    Picture

    Raises
    ------
    utils.UserError
        As `files.read_image`.
    """
    name, max_pixels = source_name(source), pixel_limit(max_pixels)
    with open_image(source, max_pixels) as image:
        count = getattr(image, 'n_frames', 1) if image.format in WITH_FRAMES else 1
        if count * image.size[0] * image.size[1] > max_pixels:
            raise utils.UserError(
                '%s: %d frames of %d x %d pixels are more than the %s that are read at most; %s'
                % ((name, count) + image.size + (max_pixels, MORE_PIXELS))
            )
        deep = _is_deep(image)
        large = strips.read(image) if count == 1 and size is None else None
        if large:
            pixels, described = large
            return Picture([pixels], None, deep, _profile(described), _description(described))
        # The picture that shows where animations do not move is not one of the animation.
        first = 1 if count > 1 and image.info.get('default_image') else 0
        frames, alphas, durations, turned = [], [], [], None
        for number in range(first, count):
            if number:
                image.seek(number)
            image.load()
            if turned is None:
                turned = orientation(image)
            for values, parts in ((to_rgb(image), frames), (_alpha(image), alphas)):
                if values is not None:
                    values = make_upright(values, turned)
                    if size is not None:
                        values = resize_shorter_side(name, values, size, max_pixels)
                    values = to_array(values) if values.mode == 'RGB' else numpy.array(values)
                parts.append(values)
            durations.append(_duration(image))
        transparent = None
        if any(alpha is not None for alpha in alphas):
            transparent = [numpy.full(f.shape[:2], 255, 'uint8') if a is None else a for a, f in zip(alphas, frames)]
        loop = image.info.get('loop')
        return Picture(
            frames,
            transparent,
            deep,
            _profile(image),
            _description(image),
            tuple(durations) if len(frames) > 1 else (),
            loop if isinstance(loop, int) and 0 <= loop < 2**16 else None,
        )


def _profile(image):
    """The ICC profile of an open file, if it is one for RGB."""
    profile = image.info.get('icc_profile')
    good = isinstance(profile, bytes) and profile[16:20] == b'RGB ' and len(profile) <= MOST_PROFILE
    return profile if good else None


def _alpha(image):
    """The opacity of a loaded image as a grey one, or None where there is nothing transparent."""
    if image.mode in ('LA', 'PA', 'RGBA', 'La', 'RGBa'):
        alpha = image.convert({'La': 'LA', 'RGBa': 'RGBA'}.get(image.mode, image.mode)).convert('RGBA').getchannel('A')
    elif image.mode.startswith('I') and isinstance(image.info.get('transparency'), int):
        alpha = Image.fromarray(numpy.where(numpy.asarray(image) == image.info['transparency'], 0, 255).astype('uint8'))
    elif 'transparency' in image.info and image.mode in ('1', 'L', 'P', 'RGB'):
        alpha = image.convert('RGBA').getchannel('A')
    else:
        return None
    return alpha if alpha.getextrema()[0] < 255 else None


def _duration(image):
    """Milliseconds that the current frame is shown; Pillow's other kinds of numbers are none of ours."""
    duration = image.info.get('duration', 100)
    return float(duration) if isinstance(duration, (int, float)) and 0 <= duration < 10**7 else 100.0


def _is_deep(image):
    """Whether an open file has 16 bits for each channel, of which Pillow reads eight where there are three."""
    if image.format == 'PNG':
        place = image.fp.tell()
        image.fp.seek(24)
        bits = image.fp.read(1)
        image.fp.seek(place)
        return bits == b'\x10'
    if image.format == 'TIFF':
        bits = image.tag_v2.get(258, 1)
        return (bits[0] if isinstance(bits, tuple) and bits else bits) == 16
    return False


def _description(image):
    """What EXIF says of a picture, as bytes; None where it says nothing, or cannot be read."""
    try:
        old, new = image.getexif(), Image.Exif()
        for tag in EXIF_TAGS:
            if tag in (0x8769, 0x8825):
                block = {key: value for key, value in old.get_ifd(tag).items() if key not in EXIF_SIZE}
                if block:
                    new[tag] = block
            elif tag in old:
                new[tag] = old[tag]
        if not len(new):
            return None
        data = new.tobytes()
        if len(data) > MOST_EXIF and 0x8769 in new:
            new[0x8769] = {key: value for key, value in new[0x8769].items() if key != MAKER_NOTE}
            data = new.tobytes()
        return data if len(data) <= MOST_EXIF else None
    except Exception:
        # The picture is intact even where its EXIF block is damaged.
        return None


def is_animated(path):
    """Whether a file is an animation that can be read; False also for what is no image."""
    try:
        with Image.open(path, formats=READ_FORMATS) as image:
            return image.format in WITH_FRAMES and bool(getattr(image, 'is_animated', False))
    except Exception:  # as many kinds as there are ways not to be an image
        return False


def write_picture(path, picture, origin=None, extension=None):
    """Write a picture atomically, in the format that its extension names, with what that format can hold.

    Parameters
    ----------
    path : str or binary file
        As for `files.write_image`; also .gif. A file is written to as it is.
    picture : Picture
    origin : str, optional
        As for `files.write_image`.
    extension : str, optional
        Of the format; of `path`, if it is a file.

    Raises
    ------
    utils.UserError
        As `files.write_image`.
    """
    name, options = WRITE_FORMATS[extension or check_extension(path)]
    if hasattr(path, 'write'):
        encoded = io.BytesIO()
        _encode(encoded, getattr(path, 'name', path), name, options, picture, origin)
        path.write(encoded.getbuffer())
        return
    with atomic_write(path) as file:
        _encode(file, path, name, options, picture, origin)


def _encode(file, path, name, options, picture, origin):
    """Write a picture in one of Pillow's formats."""
    frames, alphas = picture.frames, picture.alphas if name in WITH_ALPHA else None
    if len(frames) > 1 and name not in WITH_FRAMES:
        print(f'{path}: of {len(frames)} frames the first: {name} holds no animation', file=sys.stderr)
        frames, alphas = frames[:1], alphas and alphas[:1]
    if picture.exif is None or name not in WITH_EXIF:
        options = dict(options, **origin_options(name, origin))
    else:
        exif = Image.Exif()
        exif.load(picture.exif)
        noted = origin_options(name, origin)
        if 'exif' in noted:
            exif[SOFTWARE] = origin
        options = dict(options, **dict(noted, exif=exif))
    if picture.profile:
        options['icc_profile'] = picture.profile
    try:
        deep, large = frames[0].dtype == numpy.uint16, frames[0][..., 0].size >= strips.LARGE
        if len(frames) == 1 and name in WITH_16_BITS and (deep or large):
            write = strips.write_png if name == 'PNG' else strips.write_tiff
            return write(file, frames[0], alphas and alphas[0], options)
        if name == 'PPM' and large:
            return strips.write_ppm(file, eight_bits(frames[0]))
        pillow = [
            Image.fromarray(numpy.dstack([frame, alphas[i]]) if alphas else frame)
            for i, frame in enumerate(map(eight_bits, frames))
        ]
        if len(frames) > 1:
            options.update(save_all=True, append_images=pillow[1:], duration=_durations(name, picture.durations))
            if name == 'GIF':
                options['disposal'] = 2 if alphas else 0
            if picture.loop is not None or name == 'PNG':
                # A PNG without a number is repeated for ever; one is played once.
                options['loop'] = picture.loop if picture.loop is not None else 1
        encoded = io.BytesIO()
        pillow[0].save(encoded, name, **options)
        file.write(encoded.getbuffer())
    except (OSError, ValueError, struct.error) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # a full disk
        raise utils.UserError(
            f'{path}: cannot write {frames[0].shape[1]} x {frames[0].shape[0]} pixels as {name}: {utils.reason(error)}'
        )


def eight_bits(frame):
    """A frame of 16 bits, or of 8, in 8 bits."""
    return frame if frame.dtype == numpy.uint8 else numpy.rint(frame / numpy.float32(257)).astype(numpy.uint8)


def _durations(name, durations):
    return [int(round(duration)) for duration in durations] if name == 'WEBP' else list(durations)
