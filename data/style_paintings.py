"""Styles of the brush: oil, ink, watercolour and pastel. Each function takes (rng, size) and returns RGB."""

import numpy

from style_brushes import blur, cells, facets, flow_angle, grid, noise, sample, scatter, step, vortices, window, wobble
from style_brushes import bristles, curve, dots, draw_path, drawn, paint_over, some_of, stroke
from style_brushes import colours, craquelure, grain, light, mix, ramp, shadow, vary, weave


def impasto_swirl(rng, size):
    """Thick night-blue oil on vortices, with lamps of cream yellow."""
    x, y = grid(size)
    angle = vortices(rng, size, 11, size * 0.13)
    tone = sample(noise(rng, size, size * 0.22, 4), x + 45 * numpy.cos(angle * 2), y + 45 * numpy.sin(angle * 2))
    scene = ramp(tone, colours('070b22 0e1d52 1a3c8c 2d64b4 5f9bcb a9cbd2'))
    for _ in range(9):
        cx, cy, r = rng.uniform(0, size), rng.uniform(0, size), rng.uniform(9, 26)
        distance = numpy.hypot(x - cx, y - cy)
        glow = numpy.exp(-((distance / r / 1.7) ** 2))
        scene = mix(scene, ramp(glow, colours('6f9e9c c9b44c f2cf4a fff3b8')), step(0.12, 0.55, glow))
        ring = numpy.arctan2(x - cx, -(y - cy))
        weight = step(5.5 * r, 1.5 * r, distance)
        angle = numpy.arctan2(
            (1 - weight) * numpy.sin(angle) + weight * numpy.sin(ring),
            (1 - weight) * numpy.cos(angle) + weight * numpy.cos(ring),
        )
    rgb, height = scene * 0.5, numpy.zeros((size, size), numpy.float32)
    paint_over(rng, rgb, height, scene, angle, 10, (34, 60), (9, 13), 0.06, body=2.2, streak=0.14)
    paint_over(
        rng, rgb, height, scene, angle, 8, (18, 40), (4, 7), 0.10, 0.15, density=0.8, body=3.2, streak=0.16, taper=0.5
    )
    lights = some_of('f4e6a0 9fd0dc f0c040 3f86c8 123a80', 0.45)
    paint_over(rng, rgb, height, scene, angle, 15, (12, 26), (3, 5), density=0.45, choose=lights, body=4, taper=0.6)
    return light(rgb, blur(height, 0.7), 0.75, 0.5)


def pointillist_meadow(rng, size):
    """Dots of pure spring greens, yellows and violets, laid side by side."""
    tone = noise(rng, size, size * 0.2, 3, stretch=(1.8, 0.8))
    scene = ramp(tone, colours('3c2a78 2f6f6a 4f9a3c 9cc53a f0dc4e fbf0b4'))
    shade = step(0.55, 0.75, noise(rng, size, size * 0.12, 3))
    scene = mix(scene, scene * numpy.array([0.55, 0.5, 0.95], numpy.float32), shade * 0.85)
    flowers = step(0.86, 0.9, noise(rng, size, 34, 2))
    scene = mix(scene, colours('e8552c'), flowers)
    rgb = mix(colours('e9dfbd'), scene, 0.25) * (0.93 + 0.1 * weave(size, 3)[..., None])
    rgb, height = numpy.ascontiguousarray(rgb, numpy.float32), numpy.zeros((size, size), numpy.float32)
    sheet = bristles(rng, 3)
    pure = colours('2b2f96 5a2f9a 17806a 2f9e3f 8fc92f f7e23c f79a1e ea4a2a f6c6cf 3b8fd6 fbf6d8')

    def divide(r, c):
        """Each dot takes a pure pigment near its place's colour, one in five one from across the wheel."""
        near = numpy.argsort(((c[:, None] - pure[None]) ** 2).sum(-1) + r.gumbel(0, 0.05, (len(c), len(pure))), 1)
        pick = numpy.where(r.uniform(size=len(c)) < 0.20, r.randint(len(pure), size=len(c)), near[:, 0])
        return vary(r, mix(c, pure[pick], 0.8), 0.03)

    flat = numpy.zeros_like(tone)
    dab = dict(follow=False, choose=divide, sheet=sheet, taper=1.0, ragged=0.25, streak=0.06, body=1.6)
    for spacing, *wide in ((8.5, 9, 12), (8.5, 7, 10), (9, 4, 7.5)):
        paint_over(rng, rgb, height, scene, flat, spacing, wide, wide, 0.05, 3, **dab)
    return light(rgb, blur(height, 0.6), 0.5, 0.1)


def cubist_facets(rng, size):
    """Earth-coloured planes sliding over one another, each shaded from one edge and hatched by the brush."""
    x, y = grid(size)
    labels, cuts = facets(rng, size, size * size / 34, numpy.deg2rad([20, 55, 100, 145]))
    small, more = facets(rng, size, size * size / 120, numpy.deg2rad([35, 80, 125, 170]))
    labels = numpy.where(noise(rng, size, size * 0.3, 2) > 0.52, labels, small + len(cuts))
    cuts = numpy.concatenate([cuts, more])
    count = len(cuts)
    mass = noise(rng, size, size * 0.2, 3)
    sizes = numpy.maximum(numpy.bincount(labels.ravel(), minlength=count), 1)
    tone = numpy.bincount(labels.ravel(), mass.ravel(), count) / sizes
    tone = 0.48 + 0.8 * (tone - 0.5) + rng.normal(0, 0.12, count)
    cx, cy = (numpy.bincount(labels.ravel(), a.ravel(), count) / sizes for a in (x, y))
    a = cuts[labels] + numpy.pi / 2
    across = ((x - cx[labels]) * numpy.cos(a) + (y - cy[labels]) * numpy.sin(a)) / numpy.sqrt(sizes[labels])
    tone = numpy.clip(tone[labels] + 0.42 * across, 0, 1)
    scene = ramp(tone, colours('120d0a 33241a 5c432a 84693f a38a58 c2ab78 e4d3a8'))
    cool = rng.uniform(size=count)[labels]
    scene = mix(scene, scene * numpy.array([0.80, 0.90, 0.88], numpy.float32), step(0.55, 0.7, cool))
    scene = mix(scene, ramp(tone, colours('2a1208 7a3a18 c07a3a e8c890')), step(0.86, 0.9, cool) * 0.8)
    borders = numpy.abs(numpy.gradient(labels.astype(float))).sum(0) > 0
    edge = step(0.1, 0.5, blur(borders.astype(numpy.float32), 1.1)) * step(0.3, 0.6, noise(rng, size, 50, 3))
    rgb, height = scene.copy(), numpy.zeros((size, size), numpy.float32)
    strokes = numpy.where(rng.uniform(size=count) < 0.6, cuts + numpy.pi / 2, cuts)[labels].astype(numpy.float32)
    paint_over(rng, rgb, height, scene, strokes, 7, (12, 26), (5, 8), 0.045, 0.12, False, body=1.4, streak=0.1)
    near = step(0.02, 0.12, blur(borders.astype(numpy.float32), 2.2))
    rgb = mix(rgb, scene * (0.9 + 0.2 * noise(rng, size, 6, 3)[..., None]), near * 0.85)  # crisp edges
    rgb = mix(rgb, rgb * 0.2, edge * 0.9)
    lit, sparse = numpy.clip(scene * 1.2 + 0.03, 0, 1), dict(density=0.4, body=1.5, streak=0.1)
    paint_over(rng, rgb, height, lit, strokes, 13, (8, 18), (2.5, 4), 0.05, 0.1, False, **sparse)
    return light(rgb * (0.95 + 0.07 * weave(size, 4)[..., None]), blur(height, 0.7), 0.6, 0.12)


def suprematist(rng, size):
    """Bars, discs and wedges of pure colour adrift on scumbled white."""
    x, y = grid(size)
    ground = ramp(noise(rng, size, 60, 4), colours('cfc5b0 e6decb f0eadb f8f4ea'))
    rgb, height = ground.copy(), numpy.zeros((size, size), numpy.float32)
    drift = numpy.full((size, size), 0.9, numpy.float32)
    paint_over(rng, rgb, height, ground, drift, 12, (18, 36), (8, 13), 0.025, 0.8, body=1.2, streak=0.05)
    paints = colours('b81f22 16130f e6b31c 1d3f8f 16130f c8452a 2c6b4a d98a94 16130f e6b31c 7a7a78')
    tilt, edges, sheet = 0.62, (noise(rng, 2 * size, 9, 2) - 0.5) * 1.6, bristles(rng)
    for i in range(120):
        scale = (0.15, 0.085, 0.05)[min(i // 16, 2)] * size
        cx, cy = rng.uniform(-0.02, 1.02, 2) * size
        angle = tilt + rng.choice([0, numpy.pi / 2, 0.35], p=[0.55, 0.3, 0.15]) + rng.normal(0, 0.05)
        long, short = scale * rng.uniform(0.6, 1.6), scale * rng.uniform(0.08, 0.6)
        u = (x - cx) * numpy.cos(angle) + (y - cy) * numpy.sin(angle)
        v = (y - cy) * numpy.cos(angle) - (x - cx) * numpy.sin(angle)
        kind = rng.uniform()
        if kind < 0.68:
            inside = numpy.minimum(long - numpy.abs(u), short - numpy.abs(v))
        elif kind < 0.82:
            inside = long * 0.55 - numpy.hypot(u, v)
        else:
            inside = numpy.minimum(long - numpy.abs(u), (long - u) * short / long - numpy.abs(v))
        shape = step(-0.8, 0.8, inside + window(rng, edges, size))
        colour = vary(rng, paints[rng.randint(len(paints))], 0.03)
        layer, lift = numpy.tile(colour.astype(numpy.float32), (size, size, 1)), height.copy()
        along, flat = numpy.full_like(x, angle), dict(follow=False, sheet=sheet, body=1.6, streak=0.08)
        paint_over(rng, layer, lift, layer.copy(), along, 9, (16, 40), (5, 9), 0.045, 0.15, mask=inside > -14, **flat)
        rgb, height = mix(rgb, layer, shape), mix(height, lift + 1.5, shape)
    rgb = mix(rgb, rgb * 0.55, craquelure(rng, size, 26) * 0.6)
    return light(rgb, blur(height, 0.7), 0.5, 0.08)


def ink_wash(rng, size):
    """Ridges of sumi ink that fade into mist on rice paper, with dry-brushed reeds and splashes."""
    _, y = grid(size)
    paper = grain(rng, size)
    ink = 0.10 * noise(rng, size, size * 0.3, 3)
    for i, base in enumerate(numpy.linspace(0.02, 1.0, 8) * size):
        ridge = base + 0.20 * size * (noise(rng, size, size * 0.22, 6, 0.52)[:1] - 0.5) * (1 + 0.12 * i)
        depth = y - ridge + 4 * (noise(rng, size, 12, 3) - 0.5)
        wash = numpy.exp(-numpy.clip(depth, 0, None) / (size * (0.06 + 0.09 * rng.uniform())))
        rock = 0.55 + 0.9 * (noise(rng, size, 26, 5, 0.65, (0.6, 1.6)) - 0.35)
        edge = step(-1.2, 1.2, depth)
        ink = ink * (1 - 0.6 * edge) + edge * wash * rock * (0.75 + 0.09 * i) + 0.16 * numpy.exp(-((depth / 1.8) ** 2))
    ink = numpy.clip(ink, 0, 1)
    ink = ink * 0.8 + 0.2 * blur(ink, 5)
    rgb = ramp(
        numpy.clip(1 - ink + 0.10 * (paper - 0.5) * (0.4 + 2 * ink * (1 - ink)), 0, 1),
        colours('0b0b0f 2a2b31 5c5d62 96958f cdc8b8 efe8d3'),
    )
    sheet = bristles(rng, 60)
    tooth = step(-0.1, 0.45, paper)
    reed, sweep = dict(tooth=tooth, taper=0.85, streak=0.05, ragged=0.35), dict(tooth=tooth, streak=0.04, ragged=0.6)
    for _ in range(15):  # clumps of reeds
        root = numpy.array([rng.uniform(-0.02, 1.02), rng.choice([0.3, 0.55, 0.8, 1.05]) + rng.normal(0, 0.06)]) * size
        wind = rng.normal(0, 0.25)
        for _ in range(rng.randint(6, 15)):
            lean, long = -numpy.pi / 2 + wind + rng.normal(0, 0.38), size * rng.uniform(0.08, 0.24)
            at = root + rng.normal(0, 7, 2) + 0.5 * long * numpy.array([numpy.cos(lean), numpy.sin(lean)])
            width, bend = rng.uniform(2.5, 7), 0.8 * (lean + numpy.pi / 2) / long + rng.normal(0, 0.002)
            reed.update(bend=bend, dry=rng.uniform(0, 0.7), opacity=rng.choice([0.35, 0.65, 0.95]))
            stroke(rng, rgb, None, at, lean, long, width, (0.05, 0.05, 0.07), sheet, **reed)
    for _ in range(9):  # sweeps of a nearly dry brush
        at, angle, long, width = rng.uniform(0, size, 2), rng.normal(0, 0.25), rng.uniform(90, 190), rng.uniform(14, 30)
        sweep.update(bend=rng.normal(0, 0.003), dry=rng.uniform(0.75, 0.95))
        stroke(rng, rgb, None, at, angle, long, width, (0.07, 0.07, 0.09), sheet, opacity=0.8, **sweep)
    centres, radii = rng.uniform(0, size, (380, 2)), rng.gamma(1.2, 0.9, 380)
    splashes = drawn(size, lambda d, s: dots(d, s, centres, radii))
    rgb = mix(rgb, colours('15151a'), splashes * 0.7)
    return rgb * (0.94 + 0.09 * paper[..., None])


def drip_web(rng, size):
    """Enamel flung over raw canvas in skeins of black, white, silver and rust."""
    canvas = ramp(noise(rng, size, 50, 5), colours('8e7a5c a8926e bda884 cdb997'))
    rgb = canvas * (0.82 + 0.25 * weave(size, 4)[..., None])
    height = weave(size, 4) * 0.6
    enamels = colours('4a5a60 1a1714 b9b9b4 8d3b1c 15120f f2ecdc d9a02a 100e0d f6f1e4 2f5d6a 0d0b0a')
    breadths, counts = (9, 8, 6, 6.5, 5.5, 5, 4.5, 3.2, 2.6, 3.4, 1.6), (12, 16, 14, 9, 22, 16, 8, 26, 26, 8, 30)
    for i, (enamel, wide, count) in enumerate(zip(enamels, breadths, counts)):

        def fling(d, s):
            for _ in range(count):
                start, turn = rng.uniform(-0.1, 1.1, 2) * size, rng.choice([0.03, 0.055, 0.10])
                path = curve(rng, start, rng.uniform(0, 7), 150, 6.0, turn, 16)
                flow = numpy.exp(0.55 * numpy.cumsum(rng.normal(0, 0.16, len(path))))
                widths = wide * numpy.clip(flow / numpy.median(flow), 0.25, 2.2) * rng.uniform(0.6, 1.3)
                draw_path(d, s, path, widths)
                drops = path[rng.randint(len(path), size=18)] + rng.normal(0, 18, (18, 2))
                dots(d, s, drops, wide * rng.gamma(1.2, 0.42, 18))

        mask = drawn(size, fling, 2)
        mask = step(0.3, 0.7, wobble(rng, mask, 1.2, 5))
        paint = enamel * (0.86 + 0.28 * noise(rng, size, 18, 3)[..., None])
        rgb = mix(rgb, rgb * 0.72, shadow(mask, 1.5, 1.5, 1.2) * (1 - mask))
        rgb = mix(rgb, paint, mask * (0.96 if i else 0.7))
        height = height * (1 - 0.6 * mask) + 2.6 * blur(mask, 1.6) * mask
    return light(rgb, blur(height, 0.6), 0.75, 0.55)


def colour_fields(rng, size):
    """Veils of crimson, orange and plum scumbled over one another, soft at their borders."""
    _, y = grid(size)
    scene = numpy.tile(colours('3a0a18'), (size * size, 1)).reshape(size, size, 3)
    rgb, height = scene.copy(), numpy.zeros((size, size), numpy.float32)
    tops, bottoms = (-0.1, 0.255, 0.45, 0.63, 0.80), (0.29, 0.475, 0.66, 0.83, 1.1)
    sheet = bristles(rng, 110, 4.0)
    for colour, top, bottom in zip(colours('b01226 f2601a 12040c ffa42c 641040'), tops, bottoms):
        edge = 20 * (noise(rng, size, 90, 2) - 0.5) + 34 * (noise(rng, size, 11, 3, 0.6, (9, 0.8)) - 0.5)
        inside = numpy.minimum(y - top * size, bottom * size - y) + edge
        tint = colour * (0.62 + 0.75 * noise(rng, size, 120, 4, stretch=(2.2, 1))[..., None])
        tint = mix(tint, scene * 0.5, 0.5 * step(26, 4, inside))  # the ground shows through at the borders
        rgb = mix(rgb, tint, step(-6, 16, inside) * (0.82 + 0.16 * noise(rng, size, 14, 3, 0.6, (7, 0.8))))
    rgb = numpy.ascontiguousarray(rgb, numpy.float32)
    angle = 0.5 * (noise(rng, size, 120, 2) - 0.5)
    upright = (angle + numpy.where(noise(rng, size, 150, 2) > 0.62, 1.45, 0)).astype(numpy.float32)
    scumble = dict(sheet=sheet, streak=0.13, body=1.0, dry=0.9, ragged=0.35)
    for veil, way in ((0.55, upright), (0.45, angle)):
        paint_over(rng, rgb, height, rgb.copy(), way, 17, (50, 120), (18, 38), 0.045, 0.12, opacity=veil, **scumble)
    glow = noise(rng, size, 50, 5)
    rgb = rgb * (0.85 + 0.3 * glow[..., None]) * (0.9 + 0.14 * weave(size, 4)[..., None])
    return light(rgb, blur(height, 0.8) + 0.5 * weave(size, 4), 0.55, 0.06)


def watercolour_blooms(rng, size):
    """Wet washes of aqua, rose, lemon and lilac with darkened edges, their pigment in the paper's grain."""
    x, y = grid(size)
    paper = grain(rng, size, 2.5)
    density = numpy.zeros((size, size, 3), numpy.float32)  # absorbance: transparent washes add up
    paints = -numpy.log(colours('2a9db8 e0467c f5cf3a 8c6cc8 3fb48a f2894a 3a5fb0 d873b4'))
    fringes, pools, rings = (
        noise(rng, 2 * size, scale, *shape) for scale, *shape in ((40, 5, 0.6), (60, 4), (22, 5, 0.65))
    )
    for i in range(58):
        cx, cy = rng.uniform(-0.05, 1.05, 2) * size
        r = size * rng.choice([0.05, 0.09, 0.16, 0.24], p=[0.3, 0.35, 0.25, 0.1]) * rng.uniform(0.7, 1.3)
        a = numpy.arctan2(y - cy, x - cx)
        lobes = sum(rng.uniform(0.02, 0.12) * numpy.cos(k * a + rng.uniform(0, 7)) for k in range(2, 7))
        fringe = (window(rng, fringes, size) - 0.5) * 0.5
        depth = r * (1 + lobes + fringe) - numpy.hypot(x - cx, y - cy)
        wet = step(-0.7, 0.9 + 6 * (i % 3 == 0), depth)
        rim = 1.3 * numpy.exp(-numpy.clip(depth, 0, None) / 2.2) + 0.35 * numpy.exp(-numpy.clip(depth, 0, None) / 12)
        pool = 0.25 + 0.75 * window(rng, pools, size)
        grains = 1 + 0.9 * (0.5 - paper)
        amount = wet * (pool + rim * (i % 3 != 0)) * grains * rng.uniform(0.18, 0.62)
        # A drop of clean water pushes the pigment outwards into a fringed ring.
        bx, by, br = cx + rng.normal(0, r / 3), cy + rng.normal(0, r / 3), r * rng.uniform(0.25, 0.5)
        ring = numpy.hypot(x - bx, y - by) / br + 0.9 * (window(rng, rings, size) - 0.5)
        amount = amount * (1 - 0.7 * step(1, 0.72, ring)) * (1 + 0.9 * numpy.exp(-(((ring - 1.04) / 0.07) ** 2)))
        density += amount[..., None] * vary(rng, paints[i % len(paints)], 0.05).clip(0.01)
    rgb = colours('fbf8ef') * numpy.exp(-density)
    centres, radii = rng.uniform(0, size, (260, 2)), rng.gamma(1.4, 0.7, 260)
    flecks = drawn(size, lambda d, s: dots(d, s, centres, radii))
    rgb = mix(rgb, rgb * colours('4a6ab8'), flecks * 0.8)
    return light(rgb, paper * 1.2, 0.35)


def soft_pastel(rng, size):
    """Hatched chalk pastels, peach against powder blue and violet, on grey-brown toothed paper."""
    paper = grain(rng, size, 1.2)
    warm = noise(rng, size, size * 0.25, 4)
    tone = noise(rng, size, size * 0.18, 4)
    scene = mix(
        ramp(tone, colours('1a1838 34387e 5a78bc 7fb0c4 c4dcd4')),
        ramp(tone, colours('3a1a2c 8c4444 d07c58 eaa47c f6d4ac')),
        step(0.42, 0.58, warm),
    )
    rgb = numpy.ascontiguousarray(colours('54463f') * (0.9 + 0.2 * paper[..., None]))
    lines = flow_angle(blur(tone, 8))
    angle = mix(numpy.full_like(lines, -0.95), lines, (noise(rng, size, 130, 2) > 0.62).astype(numpy.float32))
    side, lit = dict(follow=False, sheet=bristles(rng, 10, 1.2)), numpy.clip(scene * 1.06, 0, 1)
    for spacing, width, open_, jitter, amount in (
        (11, (10, 16), 0.12, 0.05, 0.95),
        (9, (5, 8), 0.30, 0.12, 0.75),
        (10, (3, 5), 0.38, 0.15, 0.6),
    ):
        side.update(density=amount, tooth=step(open_ - 0.30, open_ + 0.30, paper), streak=0.06, dry=0.3, opacity=0.9)
        paint_over(rng, rgb, None, lit, angle, spacing, (26, 56), width, jitter, 0.12, **side)
    accents = some_of('f6e27a 57b7a5 e86a8a fdf4e2 6a4aa0', 1)
    side.update(density=0.5, tooth=step(0.1, 0.6, paper), streak=0.15, dry=0, opacity=0.85, choose=accents)
    paint_over(rng, rgb, None, scene, angle, 20, (24, 54), (3.5, 6), 0.03, 0.2, **side)
    return rgb


def sinuous_sunset(rng, size):
    """Long undulating bands of blood orange over a shore of bottle green, in thin streaky paint."""
    x, y = grid(size)
    sway = 60 * (noise(rng, size, size * 0.35, 2) - 0.5) + 26 * numpy.sin(x / size * 9 + 2 * y / size)
    level = (y + 1.5 * sway) / size
    swirl = numpy.sin(level * 40 + 3 * noise(rng, size, size * 0.3, 2) * 6)
    sky = ramp(
        numpy.clip(0.5 + 0.42 * swirl + 0.3 * (noise(rng, size, 80, 3) - 0.5), 0, 1),
        colours('8e1a10 d23a14 ee6a1c f6a02c f9d468 f3ead0'),
    )
    bend = 0.7 * x + 0.75 * y + 1.7 * sway
    land = ramp(
        numpy.clip(0.5 + 0.45 * numpy.sin(bend / size * 42) + 0.35 * (noise(rng, size, 60, 3) - 0.5), 0, 1),
        colours('0b1418 12302f 1f4d4a 33595f 5f7a58 b98a4a'),
    )
    below = step(0.50, 0.56, level + 0.35 * (x / size - 0.5) * numpy.sin(x / size * 5))
    scene = mix(sky, land, below)
    angle = flow_angle(blur(mix(y + 1.5 * sway, bend, below), 4))
    rgb, height = scene * 0.8, numpy.zeros((size, size), numpy.float32)
    paint_over(
        rng, rgb, height, scene, angle, 11, (60, 110), (7, 12), 0.05, 0.06, body=1.0, streak=0.13, dry=0.4, taper=0.6
    )
    thin = dict(density=0.7, body=1.4, streak=0.12, dry=0.4, taper=0.8)
    paint_over(rng, rgb, height, scene, angle, 10, (40, 90), (2.5, 4.5), 0.11, 0.08, **thin)
    accent = dict(density=0.4, taper=0.9, dry=0.5, choose=some_of('fbe7a2 2a1712 3f8f9a e8481c', 0.7))
    paint_over(rng, rgb, height, scene, angle, 22, (50, 100), (2, 3.5), 0.03, 0.08, **accent)
    return light(rgb * (0.95 + 0.06 * weave(size, 3)[..., None]), blur(height, 0.7), 0.5, 0.1)


def palette_knife(rng, size):
    """A wood of emerald, lime and black-green slabs spread with the knife, split by birch-white."""
    x, y = grid(size)
    tone = noise(rng, size, size * 0.16, 4, stretch=(0.8, 1.2))
    scene = ramp(tone, colours('04120c 0a2f1e 0f5a36 2a8a3c 7fb52c cfe04a'))
    scene = mix(scene, ramp(tone, colours('0a3038 147a78 5cc0a8 d8f0d0')), step(0.72, 0.8, noise(rng, size, 70, 3)))
    trunks = numpy.zeros_like(tone)
    for cx in numpy.arange(0.04, 1, 0.115) * size + rng.normal(0, 12, 9):
        half = rng.uniform(4, 12)
        trunks = numpy.maximum(trunks, step(half, half - 2, numpy.abs(x - cx - 0.08 * (y - size / 2) * rng.normal())))
    rgb, height = scene * 0.45, numpy.zeros((size, size), numpy.float32)
    sheet = bristles(rng, 90, 1.2)
    angle = numpy.where(noise(rng, size, 80, 2) > 0.5, 0.5, -0.9) + 1.4 * (noise(rng, size, 60, 2) - 0.5)
    knife = dict(sheet=sheet, streak=0.1, ragged=0.16, follow=False)
    paint_over(rng, rgb, height, scene, angle, 17, (24, 46), (16, 26), 0.07, 0.3, body=3.0, dry=0.25, **knife)
    paint_over(
        rng, rgb, height, scene, angle, 16, (16, 34), (9, 17), 0.11, 0.4, density=0.75, body=4.0, dry=0.3, **knife
    )
    bark = mix(ramp(noise(rng, size, 12, 3, stretch=(2, 0.7)), colours('2a2a26 b9bcae f2f2e6 ffffff')), scene, 0.1)
    knife.update(dry=0.4)
    level = numpy.full_like(x, 0.12)
    paint_over(rng, rgb, height, bark, level, 9, (12, 22), (7, 12), 0.05, 0.3, mask=trunks, body=4.0, **knife)
    knife.update(choose=some_of('f4f27a e8f6e0 f0902c 0a1a12', 0.6, [0.35, 0.25, 0.12, 0.28]))
    paint_over(rng, rgb, height, scene, angle, 24, (12, 26), (7, 14), 0.06, 0.5, density=0.3, body=4.5, **knife)
    return light(rgb, blur(height, 0.6), 0.6, 0.3)


def lily_pond(rng, size):
    """Short wet dabs of lilac, slate and pond green, with pads and pink blossoms."""
    x, y = grid(size)
    tone = noise(rng, size, size * 0.16, 4, stretch=(2.2, 0.7))
    scene = ramp(tone, colours('2a3a5c 4a648c 7c8fbc a9a6d2 cfc2de ecdfe8'))
    depths = step(0.5, 0.8, noise(rng, size, size * 0.22, 3, stretch=(0.6, 1.8)))
    scene = mix(scene, ramp(tone, colours('0f2a2c 1f4f48 4a7a62 84a888 b4c8a8')), depths * 0.8)
    blossoms = []
    for _ in range(52):
        cx, cy = rng.uniform(0, size, 2)
        a, b = rng.uniform(20, 54), rng.uniform(8, 16)
        pad = step(1.1, 0.85, numpy.hypot((x - cx) / a, (y - cy) / b) + 0.3 * (noise(rng, size, 14, 2) - 0.5))
        shade = ramp(numpy.clip(0.5 - (y - cy) / b * 0.5, 0, 1), vary(rng, colours('1c4a34 5a9a58 b4d88a'), 0.04))
        scene = mix(scene, shade, pad)
        if rng.uniform() < 0.6:
            blossoms.append((cx + rng.normal(0, a / 2), cy - b / 2))
    rgb, height = scene * 0.85, numpy.zeros((size, size), numpy.float32)
    angle = 0.5 * (noise(rng, size, 60, 3) - 0.5)
    paint_over(rng, rgb, height, scene, angle, 8, (18, 36), (6, 9), 0.05, 0.15, body=1.4, streak=0.1)
    upright = angle + numpy.where(depths > 0.5, 1.45, 0)
    paint_over(
        rng, rgb, height, scene, upright, 7, (9, 20), (3, 5), 0.09, 0.2, False, density=0.7, body=2.0, streak=0.1
    )
    glint = dict(density=0.4, body=2.4, choose=some_of('f2eef6 e9c6dc 8fb8d8 d8e4b8 6a5ca8', 0.6))
    paint_over(rng, rgb, height, scene, angle, 13, (8, 18), (2.5, 4), 0.03, 0.2, **glint)
    sheet, pinks = bristles(rng, 12), colours('f7c9d8 ea7fa4 fff0ee d84a7c f6d46a')
    for bx, by in blossoms:
        for _ in range(20):
            at = (bx + rng.normal(0, 8), by + rng.normal(0, 4.5))
            turn, long, width = rng.uniform(0, 3.2), rng.uniform(9, 16), rng.uniform(4, 6)
            pink = pinks[rng.choice(5, p=[0.32, 0.25, 0.25, 0.13, 0.05])]
            stroke(rng, rgb, height, at, turn, long, width, pink, sheet, body=3.0, taper=0.8, streak=0.08)
    return light(rgb, blur(height, 0.7), 0.6, 0.12)


def orphic_discs(rng, size):
    """Wheels of the whole spectrum in rings and quarters that cut into one another, in dry brushwork."""
    x, y = grid(size)
    spectrum = colours('d6202a f06a1e f8c21c 9cc42c 1f9a58 1b8fb4 22429c 5c2c90 b82a80 f6e8d0 f2b8b0 14163a')
    centres = scatter(rng, size, size * 0.27, 0, 0.3)[:16]
    owner, _, _ = cells(centres, size)
    scene = numpy.zeros((size, size, 3), numpy.float32)
    for i, (cx, cy) in enumerate(centres):
        width = size * rng.uniform(0.022, 0.05)
        r, a = numpy.hypot(x - cx, y - cy) / width, numpy.arctan2(y - cy, x - cx) + rng.uniform(0, 7)
        sector = numpy.floor(a / (2 * numpy.pi) * rng.choice([2, 4, 4, 6])).astype(int)
        table = rng.randint(len(spectrum), size=(80, 16))
        colour = spectrum[table[numpy.minimum(r, 79).astype(int), sector % 16]]
        shade = 0.82 + 0.3 * (r % 1)
        scene = numpy.where((owner == i)[..., None], colour * shade[..., None], scene)
    scene = wobble(rng, scene, 3, 40)
    angle = numpy.arctan2(x - centres[owner, 0], -(y - centres[owner, 1])).astype(numpy.float32)
    rgb, height = scene.copy(), numpy.zeros((size, size), numpy.float32)
    paint_over(rng, rgb, height, scene, angle, 7, (14, 28), (5, 8), 0.05, 0.12, body=1.3, streak=0.11, dry=0.3)
    lit = numpy.clip(scene * 1.2, 0, 1)
    paint_over(rng, rgb, height, lit, angle, 11, (10, 20), (2, 4), 0.08, 0.15, density=0.5, body=1.5, streak=0.1)
    return light(rgb * (0.94 + 0.08 * weave(size, 4)[..., None]), blur(height, 0.7), 0.55, 0.08)
