"""Pastiches of a clip that do not flicker.

Stylized by itself, each frame gets textures of its own, which swim. Here the last pastiche is brought forward by the
motion of the clip (optical flow), and a share of it replaces the new one wherever the motion can be trusted. A mean of
two textures is flatter than either, and no longer of the style: so the two are mixed in bands of frequency, and each
gets back the contrast of the new pastiche, place by place. docs/video.md has what that brings.
"""

import collections
import functools
import itertools

import cv2
import numpy

import mixtures
from videos import ahead

__all__ = ['Motion', 'motion', 'bring_forward', 'Steadier', 'pastiches', 'instability']

# For each pixel of a frame, of shape (H, W, 2), how far to the right and down it was in the frame before; and how far
# that can be trusted, in [0, 1], of shape (H, W).
Motion = collections.namedtuple('Motion', 'flow trust')

SIZE = 256  # shorter side at which the flow is found
# Half of the trust is lost where a pixel does not come back by so many pixels of that size, squared; and where it looks
# otherwise than it did by so much, of 255.
RETURN, LOOKS = 3.0, 40.0
CUT = 0.35  # least trust in the mean, within a shot
# Of the whole share, in bands of an octave from the finest; the last is what remains, in which there is no texture.
BANDS = (0.45, 0.85, 1.0, 1.0)
WINDOW = 7  # pixels of each band in which contrast is measured
MOST_CONTRAST = 2.0  # to restore


def _small(frame):
    """A frame in grey, at the size at which the flow is found."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    scale = SIZE / min(grey.shape)
    if scale >= 1:
        return grey
    return cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


@functools.lru_cache(maxsize=4)
def _grid(height, width):
    """Where each pixel is, (x, y), of shape (H, W, 2)."""
    return numpy.stack(
        numpy.meshgrid(numpy.arange(width, dtype=numpy.float32), numpy.arange(height, dtype=numpy.float32)), -1
    )


def bring_forward(image, flow, interpolation=cv2.INTER_CUBIC):
    """An image, such as the last pastiche, as it looks after the motion of a clip.

    Parameters
    ----------
    image : array (H, W) or (H, W, C), uint8 or float32
    flow : float32 array (H, W, 2)
        See `Motion`.

    Returns
    -------
    array as `image`
    """
    return cv2.remap(image, _grid(*flow.shape[:2]) + flow, None, interpolation, borderMode=cv2.BORDER_REPLICATE)


def motion(before, frame):
    """The motion between two frames of a clip.

    The flow is OpenCV's DIS (Kroeger et al., arXiv:1603.03590), in both directions. It is trusted as far as the way
    back leads to where it began (Sundaram et al., ECCV 2010), and as the pixel looks as it did.

    Parameters
    ----------
    before, frame : uint8 array (H, W, 3)
        Of one shape.

    Returns
    -------
    Motion or None
        None at a cut: the two have little in common.
    """
    a, b = _small(before), _small(frame)
    finder = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    finder.setFinestScale(1)  # to a pixel or two: a texture that is brought elsewhere swims
    back, forth = finder.calc(b, a, None), finder.calc(a, b, None)
    astray = back + bring_forward(forth, back, cv2.INTER_LINEAR)
    # The longer the way, the less exact it is.
    lost = _squares(astray) / (RETURN * (1 + 0.02 * _squares(back)))
    before, now = (cv2.GaussianBlur(image, (0, 0), 1.5) for image in (bring_forward(a, back, cv2.INTER_LINEAR), b))
    change = numpy.square(cv2.absdiff(before, now).astype(numpy.float32) / LOOKS)
    # What comes into the frame was nowhere before.
    x, y = cv2.split(_grid(*b.shape) + back)
    inside = (x >= 0) & (y >= 0) & (x <= b.shape[1] - 1) & (y <= b.shape[0] - 1)
    trust = numpy.exp2(-lost - change) * inside
    if trust.mean() < CUT:
        return None
    # Where trust ends, it ends early: flow is wrong on both sides of an edge that moves.
    trust = cv2.GaussianBlur(cv2.erode(trust, numpy.ones((3, 3))), (0, 0), 1.5)
    height, width = frame.shape[:2]
    scale = numpy.array([width / back.shape[1], height / back.shape[0]], numpy.float32)
    return Motion(cv2.resize(back, (width, height)) * scale, cv2.resize(trust, (width, height)))


def _squares(flow):
    """The squares of lengths."""
    x, y = cv2.split(flow)
    return x * x + y * y


def _bands(image):
    """A float32 image in bands of frequency, a Laplacian pyramid (Burt and Adelson, 1983), the finest first."""
    bands = []
    for _ in BANDS[1:]:
        smaller = cv2.pyrDown(image)
        bands.append(image - cv2.pyrUp(smaller, dstsize=image.shape[1::-1]))
        image = smaller
    return bands + [image]


def _energy(band):
    """The mean square of a band around each pixel, over all channels."""
    return cv2.blur(cv2.transform(band * band, numpy.full((1, 3), 1 / 3, numpy.float32)), (WINDOW, WINDOW))


def mix(new, old, weight):
    """Two images of nearly the same, with the contrast of the first.

    Parameters
    ----------
    new, old : uint8 array (H, W, 3)
    weight : float32 array (H, W)
        Of the old one, in [0, 1].

    Returns
    -------
    uint8 array (H, W, 3)
    """
    mixed = []
    for part, a, b in zip(BANDS, _bands(new.astype(numpy.float32)), _bands(old.astype(numpy.float32))):
        band = a + cv2.merge([part * weight] * 3) * (b - a)
        if len(mixed) < len(BANDS) - 1:
            gain = numpy.sqrt((_energy(a) + 0.5) / (_energy(band) + 0.5))
            band *= cv2.merge([numpy.clip(gain, 1 / MOST_CONTRAST, MOST_CONTRAST)] * 3)
            weight = cv2.pyrDown(cv2.erode(weight, numpy.ones((3, 3))))  # a coarse band sees beyond the edge
        mixed.append(band)
    image = mixed.pop()
    while mixed:
        band = mixed.pop()
        image = band + cv2.pyrUp(image, dstsize=band.shape[1::-1])
    return numpy.rint(numpy.clip(image, 0, 255)).astype(numpy.uint8)


class Steadier:
    """Makes a sequence of pastiches steady.

    Parameters
    ----------
    share : float
        Of the last pastiche, where its motion is trusted wholly; from 0 to below 1. The finest textures get less of it.
    state : dict of arrays
        See `state`.
    """

    def __init__(self, share, state=None):
        self.share, self.last = share, (state or {}).get('pastiche')

    @property
    def state(self):
        """What is needed to carry on: {'pastiche': the last one}."""
        return {} if self.last is None else {'pastiche': self.last}

    def __call__(self, pastiche, moved):
        """The next pastiche, made steady.

        Parameters
        ----------
        pastiche : uint8 array (H, W, 3)
        moved : Motion or None
            Since the last one; None begins anew.
        """
        if moved is not None and self.last is not None and self.last.shape == pastiche.shape:
            old = bring_forward(self.last, moved.flow)
            pastiche = mix(pastiche, old, self.share * moved.trust)
        self.last = pastiche
        return pastiche


def pastiches(clip, stylize, times, share, done=0, state=None, lost=0):
    """The pastiches of a clip. Reading it, stylizing, finding its motion, and whatever is done with them overlap.

    Parameters
    ----------
    clip : videos.Clip or videos.Folder
    stylize : callable
        Makes of an iterable of pairs (frame, mixture) an iterator over the pastiches, in their order, such as
        `pastiches.Stylist.stylize_frames`. The frames do not depend on each other here: it may work on several at once.
    times : list of pairs (float, dict)
        The mixtures over time, see `mixtures.parse_times`, or style maps.
    share : float
        As for `Steadier`; 0 is frame by frame.
    done : int
        Frames at the beginning that are left out.
    state : dict of arrays
        After the last of them.
    lost : int
        Pixels that a pastiche lacks on each side of its frame.

    Yields
    ------
    frame : videos.Frame
        The pastiche, with the time of its frame.
    state : dict of arrays
    """
    steadier, frames, before = Steadier(share, state), ahead(clip), None
    for frame in itertools.islice(frames, done):
        before = frame
    waiting = collections.deque()

    def shown():
        for frame in frames:
            waiting.append(frame)
            yield frame.image, mixtures.at(times, frame.time)

    def moving():
        nonlocal before
        for pastiche in ahead(stylize(shown())):
            frame = waiting.popleft()
            moved = motion(*(_kept(f.image, lost) for f in (before, frame))) if share and before is not None else None
            before = frame
            yield frame._replace(image=pastiche), moved

    for frame, moved in ahead(moving()):
        yield frame._replace(image=steadier(frame.image, moved)), steadier.state


def _kept(image, lost):
    """What a pastiche has of an image that lacks so many pixels on each side."""
    return image[lost : image.shape[0] - lost, lost : image.shape[1] - lost]


def instability(before, frame, moved, trusted=0.5):
    """How much an image is other than the one before it, brought forward: the mean squared difference.

    Parameters
    ----------
    before, frame : uint8 array (H, W, 3)
    moved : Motion
    trusted : float
        Pixels count whose motion is trusted so far.

    Returns
    -------
    float
        Of images in [0, 1].
    """
    difference = (bring_forward(before, moved.flow).astype(numpy.float32) - frame) / 255
    return float((difference**2)[moved.trust >= trusted].mean())
