"""Pastiches of a clip that do not flicker.

Stylized by itself, each frame gets textures of its own, which swim. Here the last pastiche is brought forward by the
motion of the clip (optical flow), and a share of it replaces the new one wherever the motion can be trusted.
"""

import collections

import cv2
import numpy as np

import mixtures
from videos import ahead

__all__ = ['Motion', 'motion', 'bring_forward', 'Steadier', 'pastiches', 'instability']

# For each pixel of a frame, of shape (H, W, 2), how far to the right and down it was in the frame before; and how far
# that can be trusted, in [0, 1], of shape (H, W).
Motion = collections.namedtuple('Motion', 'flow trust')

SIZE = 256  # shorter side at which the flow is found
# Half of the trust is lost where a pixel does not come back by so many pixels of that size, squared; and where it looks
# otherwise than it did by so much, of 255.
RETURN, LOOKS = 1.0, 20.0
CUT = 0.35  # least trust in the mean, within a shot


def _small(frame):
    """A frame in grey, at the size at which the flow is found."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    scale = SIZE / min(grey.shape)
    if scale >= 1:
        return grey
    return cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _grid(shape):
    return np.stack(np.meshgrid(np.arange(shape[1], dtype=np.float32), np.arange(shape[0], dtype=np.float32)), -1)


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
    return cv2.remap(image, _grid(flow.shape) + flow, None, interpolation, borderMode=cv2.BORDER_REPLICATE)


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
    back, forth = finder.calc(b, a, None), finder.calc(a, b, None)
    astray = back + bring_forward(forth, back, cv2.INTER_LINEAR)
    # The longer the way, the less exact it is.
    length = (back**2).sum(-1)
    lost = (astray**2).sum(-1) / (RETURN * (1 + 0.02 * length))
    blurred = [cv2.GaussianBlur(image, (0, 0), 1.5).astype(np.float32) for image in (bring_forward(a, back), b)]
    change = (np.abs(blurred[0] - blurred[1]) / LOOKS) ** 2
    # What comes into the frame was nowhere before.
    there = _grid(back.shape) + back
    inside = ((there >= 0) & (there <= np.array(back.shape[1::-1], np.float32) - 1)).all(-1)
    trust = np.exp2(-lost - change) * inside
    if trust.mean() < CUT:
        return None
    # Where trust ends, it ends early: flow is wrong on both sides of an edge that moves.
    trust = cv2.GaussianBlur(cv2.erode(trust, np.ones((3, 3))), (0, 0), 1.5)
    height, width = frame.shape[:2]
    scale = np.array([width / back.shape[1], height / back.shape[0]], np.float32)
    return Motion(
        cv2.resize(back, (width, height), interpolation=cv2.INTER_LINEAR) * scale,
        cv2.resize(trust, (width, height), interpolation=cv2.INTER_LINEAR),
    )


class Steadier:
    """Makes a sequence of pastiches steady.

    Parameters
    ----------
    share : float
        Of the last pastiche, where its motion is trusted wholly; from 0 to below 1.
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
            weight = (self.share * moved.trust)[..., np.newaxis]
            mixed = pastiche + weight * (bring_forward(self.last, moved.flow).astype(np.float32) - pastiche)
            pastiche = np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)
        self.last = pastiche
        return pastiche


def pastiches(clip, stylist, times, share, done=0, state=None):
    """The pastiches of a clip. Reading it and finding its motion, stylizing, and whatever is done with them overlap.

    Parameters
    ----------
    clip : videos.Clip or videos.Folder
    stylist : pastiches.Stylist
    times : list of pairs (float, dict)
        The mixtures over time; see `mixtures.parse_times`.
    share : float
        As for `Steadier`; 0 is frame by frame.
    done : int
        Frames at the beginning that are left out.
    state : dict of arrays
        After the last of them.

    Yields
    ------
    frame : videos.Frame
        The pastiche, with the time of its frame.
    state : dict of arrays
    """
    steadier, lost = Steadier(share, state), stylist.architecture.lost

    def moving():
        before = None
        for number, frame in enumerate(clip):
            kept = frame.image[lost : frame.image.shape[0] - lost, lost : frame.image.shape[1] - lost]
            if number >= done:
                yield frame, motion(before, kept) if share and before is not None else None
            before = kept

    def stylized():
        for frame, moved in ahead(moving()):
            stylist.check(clip.path, frame.image)
            yield frame, moved, stylist(frame.image, mixtures.at(times, frame.time))

    for frame, moved, pastiche in ahead(stylized()):
        yield frame._replace(image=steadier(pastiche, moved)), steadier.state


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
    difference = (bring_forward(before, moved.flow).astype(np.float32) - frame) / 255
    return float((difference**2)[moved.trust >= trusted].mean())
