"""Brushes, grounds and lights from which the styles are drawn.

Pictures are float32 arrays (size, size, 3), RGB in [0, 1]; masks, heights and noises are float32 arrays
(size, size). x grows to the right, y downwards, angles turn from x towards y, lengths are pixels. Whatever is
random takes a ``numpy.random.RandomState`` (``rng``), whose streams numpy has promised never to change.
"""

import numpy
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.special import erf


# ---------------------------------------------------------------------------------------------- colour


def colours(text):
    """Palette from a string of hexadecimal colours, as in ``'1b2a6b f2c14e'``: float32 (n, 3)."""
    return numpy.array([[int(word[i : i + 2], 16) for i in (0, 2, 4)] for word in text.split()], numpy.float32) / 255


def ramp(t, palette, stops=None):
    """Colour of every value of `t` along `palette`, piecewise linear; `stops` are even by default."""
    stops = numpy.linspace(0, 1, len(palette)) if stops is None else stops
    return numpy.stack([numpy.interp(t, stops, palette[:, c]) for c in range(3)], -1).astype(numpy.float32)


def mix(a, b, t):
    """`a` where `t` (a mask or a number) is 0 and `b` where it is 1: two pictures, colours or masks."""
    t = numpy.asarray(t, numpy.float32)
    return a + (b - a) * (t[..., None] if t.ndim and t.shape not in (numpy.shape(a), numpy.shape(b)) else t)


def vary(rng, rgb, amount):
    """`rgb` with random changes of brightness, and half as large ones of each channel, drawn per row."""
    rgb = numpy.asarray(rgb, numpy.float32)
    grey = rng.normal(0, amount, rgb.shape[:-1] + (1,))
    return (rgb + grey + rng.normal(0, amount / 2, rgb.shape)).astype(numpy.float32)


def luminance(rgb):
    """Rec. 601 luma of a picture."""
    return rgb @ numpy.array([0.299, 0.587, 0.114], numpy.float32)


# ------------------------------------------------------------------------------------- fields and noise


def grid(size):
    """Coordinates x, y of the pixels."""
    y, x = numpy.mgrid[:size, :size].astype(numpy.float32)
    return x, y


def step(edge0, edge1, t):
    """Smooth (cubic) step from 0 at `edge0` to 1 at `edge1`, either of which may be the greater."""
    t = numpy.clip((t - edge0) / (edge1 - edge0), 0, 1)
    return (t * t * (3 - 2 * t)).astype(numpy.float32)


def noise(rng, size, scale, octaves=4, gain=0.5, stretch=(1, 1)):
    """Fractal noise with values uniform in [0, 1].

    The sum of cubic interpolations of white noise, each twice as fine as the one before; its values then go
    through their own (normal) distribution function, so that equal intervals take equal areas.

    Parameters
    ----------
    rng : numpy.random.RandomState
    size : int
        Side of the square, in pixels.
    scale : float
        Size of the coarsest features, in pixels.
    octaves : int
        How many noises are added.
    gain : float
        Strength of each against the one before.
    stretch : pair of float
        Factors of `scale` along x and y.

    Returns
    -------
    float32 array of shape (size, size)
    """
    total = numpy.zeros((size, size))
    for octave in range(octaves):
        steps = [max(scale * s / 2**octave, 1) for s in (stretch[1], stretch[0])]
        coarse = rng.normal(size=[int(numpy.ceil(size / s)) + 4 for s in steps])
        at = [numpy.arange(size) / s + 1 + rng.uniform() for s in steps]
        total += gain**octave * ndimage.map_coordinates(coarse, numpy.meshgrid(*at, indexing='ij'), order=3)
    total = (total - total.mean()) / (total.std() + 1e-9)
    return (0.5 + 0.5 * erf(total / numpy.sqrt(2))).astype(numpy.float32)


def window(rng, field, size):
    """A random square of side `size` out of a larger field: as good as new noise, at no cost."""
    x, y = rng.randint(field.shape[1] - size + 1), rng.randint(field.shape[0] - size + 1)
    return field[y : y + size, x : x + size]


def sample(field, x, y):
    """`field` (with or without channels) at the positions x, y, linearly, mirrored beyond its edges."""
    if field.ndim == 2:
        return ndimage.map_coordinates(field, [y, x], order=1, mode='mirror')
    return numpy.stack([sample(field[..., c], x, y) for c in range(field.shape[2])], -1)


def wobble(rng, field, amount, scale, octaves=2):
    """`field` with its lines bent by up to about `amount` pixels at the given scale: a hand, not a ruler."""
    size = len(field)
    x, y = grid(size)
    dx, dy = (noise(rng, size, scale, octaves) * 2 - 1 for _ in range(2))
    return sample(field, x + amount * dx, y + amount * dy)


def blur(field, sigma):
    """Gaussian blur over the two image axes."""
    return ndimage.gaussian_filter(field, (sigma, sigma, 0)[: field.ndim], mode='mirror')


def flow_angle(field):
    """Direction of the level lines of a scalar field, in radians."""
    gy, gx = numpy.gradient(field)
    return numpy.arctan2(gx, -gy).astype(numpy.float32)


def vortices(rng, size, count, radius, drift=(1.0, 0.0)):
    """Direction, in radians, of a flow with `drift` and `count` random vortices of about the given radius."""
    x, y = grid(size)
    u, v = numpy.full_like(x, drift[0]), numpy.full_like(x, drift[1])
    for _ in range(count):
        cx, cy = rng.uniform(0, size, 2)
        r, spin = radius * rng.uniform(0.6, 1.5), rng.choice([-1, 1]) * rng.uniform(2, 4)
        fall = spin * numpy.exp(-((x - cx) ** 2 + (y - cy) ** 2) / r**2)
        u, v = u - fall * (y - cy) / r, v + fall * (x - cx) / r
    return numpy.arctan2(v, u).astype(numpy.float32)


def cells(points, size, warp=None):
    """Voronoi cells.

    Parameters
    ----------
    points : array of shape (points, 2)
        x and y of the cells' centres; they may lie outside the image.
    size : int
    warp : pair of arrays of shape (size, size), optional
        Displacements of the pixels' positions along x and y, which bend the cells' borders.

    Returns
    -------
    index, nearest, next : arrays of shape (size, size)
        The nearest point of every pixel and the distances to that and to the next nearest, in pixels.
    """
    x, y = grid(size)
    if warp is not None:
        x, y = x + warp[0], y + warp[1]
    distance, index = cKDTree(points).query(numpy.stack([x, y], -1).reshape(-1, 2), k=2)
    shape = (size, size)
    return index[:, 0].reshape(shape), distance[:, 0].reshape(shape), distance[:, 1].reshape(shape)


def scatter(rng, size, spacing, margin=0, jitter=0.5):
    """Points (n, 2) of a jittered hexagonal lattice, to `margin` pixels around the image, in random order."""
    rows = numpy.arange(-margin, size + margin + spacing, spacing * 0.87)
    columns = numpy.arange(-margin, size + margin + spacing, spacing)
    points = numpy.array([(x + (i % 2) * spacing / 2, y) for i, y in enumerate(rows) for x in columns])
    points += rng.uniform(-jitter, jitter, points.shape) * spacing
    return points[rng.permutation(len(points))]


def facets(rng, size, area, angles=None):
    """Split the image by random lines into convex facets.

    Parameters
    ----------
    rng : numpy.random.RandomState
    size : int
    area : float
        A facet is cut until it has fewer than `area` pixels, times a random factor from 1/6 to 1.
    angles : array, optional
        The directions that cuts take, give or take a little; any by default.

    Returns
    -------
    labels : array of int of shape (size, size)
    directions : array of shape (facets,)
        The angle of each facet's last cut.
    """
    x, y = (a.ravel() for a in grid(size))
    labels, directions = numpy.zeros(size * size, int), []
    stack = [(numpy.arange(size * size), 0.0)]
    while stack:
        inside, last = stack.pop()
        if len(inside) < area * 6 ** rng.uniform(-1, 0):
            labels[inside] = len(directions)
            directions.append(last)
            continue
        px, py = x[inside], y[inside]
        angle = rng.uniform(0, numpy.pi) if angles is None else rng.choice(angles) + rng.normal(0, 0.12)
        if numpy.std(px * numpy.cos(angle) + py * numpy.sin(angle)) < 0.5 * numpy.hypot(px.std(), py.std()):
            angle += numpy.pi / 2  # cut across the long side: no slivers
        across = px * numpy.cos(angle) + py * numpy.sin(angle)
        side = across < numpy.quantile(across, rng.uniform(0.35, 0.65))
        stack += [(inside[side], angle), (inside[~side], angle)]
    return labels.reshape(size, size), numpy.array(directions)


# -------------------------------------------------------------------------------------- ground and light


def weave(size, period=4):
    """Height of plain-woven canvas with threads `period` pixels apart, in [0, 1]."""
    x, y = grid(size)
    over = numpy.sin(numpy.pi * x / period) * numpy.sin(numpy.pi * y / period) > 0
    return numpy.where(
        over, numpy.abs(numpy.sin(numpy.pi * x / period)), numpy.abs(numpy.sin(numpy.pi * y / period))
    ).astype(numpy.float32)


def grain(rng, size, scale=2.0):
    """Height of rough paper with grains of about `scale` pixels and fainter, coarser clouds, in [0, 1]."""
    return 0.75 * noise(rng, size, scale * 2, 2, 0.7) + 0.25 * noise(rng, size, scale * 9, 2)


def light(rgb, height, relief=1.0, gloss=0.0, azimuth=-2.3):
    """Light a picture whose paint stands `height` above the ground.

    Parameters
    ----------
    rgb : array of shape (size, size, 3)
    height : array of shape (size, size)
        In pixels.
    relief : float
        Factor of the slopes.
    gloss : float
        Strength of the highlights.
    azimuth : float
        Direction of the lamp, by default the upper left.
    """
    gy, gx = numpy.gradient(height.astype(numpy.float32) * relief)
    facing = -(gx * numpy.cos(azimuth) + gy * numpy.sin(azimuth))
    facing = -facing / numpy.sqrt(1 + gx**2 + gy**2)
    shade = 1 - 0.55 * numpy.clip(facing, -1, 1)
    shine = gloss * numpy.clip(-facing, 0, 1) ** 2
    return rgb * shade[..., None] + shine[..., None]


def shadow(mask, dx, dy, softness):
    """Shadow that the shape `mask` casts: itself, moved by dx, dy and blurred."""
    return blur(ndimage.shift(mask, (dy, dx), order=1, mode='nearest'), softness)


def drawn(size, draw, scale=3):
    """Mask in [0, 1] of what `draw(image_draw, scale)` draws in 255 on a canvas `scale` times as large."""
    image = Image.new('L', (size * scale, size * scale))
    draw(ImageDraw.Draw(image), scale)
    return numpy.asarray(image.resize((size, size), Image.BOX), numpy.float32) / 255


def craquelure(rng, size, scale, width=0.9):
    """Cracks of old paint, plates of about `scale` pixels: 1 on a crack, 0 beside it."""
    warp = [(noise(rng, size, scale, 3) - 0.5) * scale for _ in range(2)]
    _, near, far = cells(scatter(rng, size, scale, scale), size, warp)
    fade = step(0.2, 0.75, noise(rng, size, scale * 5, 3))
    return step(width + 0.6, width - 0.6, far - near) * fade


# ------------------------------------------------------------------------------------------- the brush


def bristles(rng, length=40, width=2.0):
    """Sheet of paint as a brush leaves it, streaked along x, uniform in [0, 1]: float32 (512, 1024)."""
    sheet = ndimage.gaussian_filter(rng.normal(size=(512, 1024)), (width / 2, length), mode='wrap')
    sheet = (
        sheet / sheet.std() + 0.4 * ndimage.gaussian_filter(rng.normal(size=sheet.shape), (0.6, 4), mode='wrap') / 0.18
    )
    return (0.5 + 0.5 * erf(sheet / sheet.std() / numpy.sqrt(2))).astype(numpy.float32)


def stroke(
    rng,
    rgb,
    height,
    at,
    angle,
    length,
    width,
    colour,
    sheet,
    bend=0.0,
    streak=0.15,
    ragged=0.5,
    dry=0.0,
    body=1.0,
    taper=0.0,
    opacity=1.0,
    tooth=None,
):
    """Paint one stroke of the brush, in place.

    The stroke is an arc of a circle. In the coordinates along and across the arc, the streaks of the bristles
    vary the colour, fray the edges, break up the paint where the brush runs dry, and pile it up.

    Parameters
    ----------
    rng : numpy.random.RandomState
    rgb : array of shape (size, size, 3)
        The picture.
    height : array of shape (size, size) or None
        Height of its paint; None for flat paint.
    at : pair of float
        x and y of the stroke's middle.
    angle : float
        Its direction there.
    length, width : float
    colour : array of shape (3,)
    sheet : array
        What `bristles` makes.
    bend : float
        Curvature of the arc, in 1/pixels.
    streak : float
        How far the bristles vary the colour.
    ragged : float
        How far they fray the edges, as a part of the width.
    dry : float
        How far the paint runs out towards the end of the stroke, from 0 to 1.
    body : float
        Thickness of the paint, in pixels.
    taper : float
        How sharp the tips are, from 0 to 1.
    opacity : float
    tooth : array of shape (size, size), optional
        Mask of where the ground takes the paint, as rough paper does on its grains.
    """
    size = len(rgb)
    reach = 0.5 * numpy.hypot(length * 1.1, width * 1.2 + abs(bend) * length**2 / 4) + 2
    x0, x1 = int(max(at[0] - reach, 0)), int(min(at[0] + reach + 2, size))
    y0, y1 = int(max(at[1] - reach, 0)), int(min(at[1] + reach + 2, size))
    if x1 <= x0 or y1 <= y0:
        return
    dx = numpy.arange(x0, x1, dtype=numpy.float32)[None] - numpy.float32(at[0])
    dy = numpy.arange(y0, y1, dtype=numpy.float32)[:, None] - numpy.float32(at[1])
    cos, sin = numpy.float32(numpy.cos(angle)), numpy.float32(numpy.sin(angle))
    along, across = dx * cos + dy * sin, dy * cos - dx * sin
    if abs(bend) > 1e-4:
        radius = numpy.float32(1 / bend)
        along, across = (
            numpy.arctan2(along, numpy.sign(radius) * (radius - across)) * abs(radius),
            radius - numpy.sign(radius) * numpy.hypot(along, radius - across),
        )
    row, column = rng.randint(512), rng.randint(1024)
    bristle = sheet[
        (across * 2 + row + 4096).astype(numpy.int32) & 511, (along + column + 4096).astype(numpy.int32) & 1023
    ]
    t = along / length + numpy.float32(0.5)
    half = numpy.float32(width / 2)
    if taper:
        half = half * (1 - taper + taper * numpy.sqrt(numpy.clip(4 * t * (1 - t), 0, 1)))
    fray = (bristle - numpy.float32(0.5)) * numpy.float32(ragged * width)
    alpha = numpy.clip(half - numpy.abs(across) + fray * 0.5 + 0.5, 0, 1)
    alpha *= numpy.clip((numpy.float32(length / 2) - numpy.abs(along) + fray) / 2 + 0.5, 0, 1)
    if dry:
        alpha *= numpy.clip((1.3 - dry * 1.5 * numpy.clip(t, 0, 1) - (1 - bristle)) * 5, 0, 1)
    alpha *= opacity
    if tooth is not None:
        alpha *= tooth[y0:y1, x0:x1]
    colour = numpy.asarray(colour, numpy.float32)
    paint = colour + ((bristle - numpy.float32(0.5)) * numpy.float32(2 * streak))[..., None]
    patch = rgb[y0:y1, x0:x1]
    patch += (paint - patch) * alpha[..., None]
    if height is not None:
        edge = numpy.clip(1 - numpy.abs(numpy.abs(across) - half * 0.8) / (half * 0.3 + 1), 0, 1)
        relief = height[y0:y1, x0:x1]
        relief += (body * (0.35 + 0.5 * bristle + 0.35 * edge) + 0.3 * relief - relief) * alpha


def paint_over(
    rng,
    rgb,
    height,
    reference,
    angle,
    spacing,
    length,
    width,
    colour_jitter=0.05,
    angle_jitter=0.1,
    follow=True,
    mask=None,
    density=1.0,
    choose=None,
    sheet=None,
    **brush,
):
    """Cover a picture with strokes, in place.

    Parameters
    ----------
    rng, rgb, height
        As for `stroke`.
    reference : array of shape (size, size, 3)
        Where strokes take their colours from.
    angle : array of shape (size, size)
        Where they take their directions from.
    spacing : float
        Strokes are centred on a jittered lattice with this spacing.
    length, width : pair of float
        Ranges.
    colour_jitter, angle_jitter : float
        Standard deviations of what is added to colour and direction.
    follow : bool
        Whether strokes bend with the field of directions.
    mask : array of shape (size, size), optional
        Keeps strokes to where it exceeds a half.
    density : float or array of shape (size, size)
        The share of strokes that are painted.
    choose : callable, optional
        ``choose(rng, colours)`` makes the strokes' colours from those of the reference, both (strokes, 3).
    sheet : array, optional
        What `bristles` makes; new by default.
    **brush
        The other arguments of `stroke`.

    Returns
    -------
    rgb
    """
    size = len(rgb)
    sheet = bristles(rng) if sheet is None else sheet
    points = scatter(rng, size, spacing, margin=spacing)
    x, y = numpy.clip(points, 0, size - 1).round().astype(int).T
    base = vary(rng, reference[y, x], colour_jitter)
    if choose is not None:
        base = choose(rng, base)
    directions = angle[y, x] + rng.normal(0, angle_jitter, len(points))
    if follow:
        cos, sin = numpy.cos(angle), numpy.sin(angle)
        (cy, cx), (sy, sx) = numpy.gradient(cos), numpy.gradient(sin)
        turn = cos * (cos * sx + sin * sy) - sin * (cos * cx + sin * cy)
        bends = numpy.clip(blur(turn, 2)[y, x], -1.2 / length[1], 1.2 / length[1])
    else:
        bends = numpy.zeros(len(points))
    keep = rng.uniform(size=len(points)) < (density[y, x] if isinstance(density, numpy.ndarray) else density)
    if mask is not None:
        keep &= mask[y, x] > 0.5
    lengths, widths = rng.uniform(*length, len(points)), rng.uniform(*width, len(points))
    for i in numpy.flatnonzero(keep):
        stroke(
            rng, rgb, height, points[i], directions[i], lengths[i], widths[i], base[i], sheet, bend=bends[i], **brush
        )
    return rgb


def some_of(palette, amount, shares=None):
    """What `paint_over` takes as `choose`: mix `amount` of a colour out of the palette into each stroke's own.

    Parameters
    ----------
    palette : str
        As for `colours`.
    amount : float
        From 0, the stroke's own colour, to 1, the palette's.
    shares : sequence of float, optional
        How often each colour is taken; all alike by default.
    """
    paints = colours(palette)

    def choose(rng, own):
        count, n = len(paints), len(own)
        taken = paints[rng.randint(count, size=n) if shares is None else rng.choice(count, n, p=shares)]
        return taken if amount == 1 else mix(own, taken, amount)

    return choose


def curve(rng, start, angle, steps, stride, turn, smooth=12):
    """Path of a moving hand: `steps` points `stride` pixels apart, its direction turning by about `turn`
    radians a step, with changes of turn spread over `smooth` steps."""
    turns = ndimage.gaussian_filter1d(rng.normal(size=steps), smooth, mode='wrap')
    angles = angle + numpy.cumsum(turn * turns / (turns.std() + 1e-9))
    return numpy.asarray(start) + stride * numpy.cumsum(numpy.stack([numpy.cos(angles), numpy.sin(angles)], -1), 0)


def dots(image_draw, scale, centres, radii, tall=1.0, fill=255):
    """Draw ellipses of the given half widths, `tall` times as high, into such an `ImageDraw`."""
    for (x, y), r in zip(centres, radii):
        image_draw.ellipse([v * scale for v in (x - r, y - r * tall, x + r, y + r * tall)], fill=fill)


def draw_path(image_draw, scale, path, widths):
    """Draw a path (points, 2) of varying width into an `ImageDraw` of a canvas `scale` times as large."""
    path = numpy.asarray(path) * scale
    widths = numpy.broadcast_to(numpy.asarray(widths, float), len(path)) * scale / 2
    for (x, y), (x1, y1), r in zip(path[:-1], path[1:], widths):
        n = int(numpy.hypot(x1 - x, y1 - y) / max(r * 0.5, 1)) + 1
        for t in numpy.arange(n) / n:
            cx, cy = x + (x1 - x) * t, y + (y1 - y) * t
            image_draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=255)
