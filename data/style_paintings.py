"""Styles of the brush: oil, ink, watercolour and pastel. Each function takes (rng, size) and returns RGB."""

import numpy as np

from style_brushes import (blur, bristles, cells, colours, craquelure, curve, dots, draw_path, drawn, facets,
                           flow_angle, grain, grid, light, mix, noise, paint_over, ramp, sample, scatter,
                           shadow, step, stroke, vary, vortices, weave, window, wobble)


def impasto_swirl(rng, size):
    """Thick night-blue oil on vortices, with lamps of cream yellow."""
    x, y = grid(size)
    angle = vortices(rng, size, 11, size * .13)
    tone = sample(noise(rng, size, size * .22, 4), x + 45 * np.cos(angle * 2), y + 45 * np.sin(angle * 2))
    scene = ramp(tone, colours('070b22 0e1d52 1a3c8c 2d64b4 5f9bcb a9cbd2'))
    for _ in range(9):
        cx, cy, r = rng.uniform(0, size), rng.uniform(0, size), rng.uniform(9, 26)
        distance = np.hypot(x - cx, y - cy)
        glow = np.exp(-(distance / r / 1.7) ** 2)
        scene = mix(scene, ramp(glow, colours('6f9e9c c9b44c f2cf4a fff3b8')), step(.12, .55, glow))
        ring = np.arctan2(x - cx, -(y - cy))
        weight = step(5.5 * r, 1.5 * r, distance)
        angle = np.arctan2((1 - weight) * np.sin(angle) + weight * np.sin(ring),
                           (1 - weight) * np.cos(angle) + weight * np.cos(ring))
    rgb, height = scene * .5, np.zeros((size, size), np.float32)
    paint_over(rng, rgb, height, scene, angle, 10, (34, 60), (9, 13), .06, body=2.2, streak=.14)
    paint_over(rng, rgb, height, scene, angle, 8, (18, 40), (4, 7), .10, .15, density=.8, body=3.2,
               streak=.16, taper=.5)
    lights = colours('f4e6a0 9fd0dc f0c040 3f86c8 123a80')
    paint_over(rng, rgb, height, scene, angle, 15, (12, 26), (3, 5), density=.45, body=4, taper=.6,
               choose=lambda r, c: mix(c, lights[r.randint(5, size=len(c))], .45))
    return light(rgb, blur(height, .7), .75, .5)


def pointillist_meadow(rng, size):
    """Dots of pure spring greens, yellows and violets, laid side by side."""
    tone = noise(rng, size, size * .2, 3, stretch=(1.8, .8))
    scene = ramp(tone, colours('3c2a78 2f6f6a 4f9a3c 9cc53a f0dc4e fbf0b4'))
    shade = step(.55, .75, noise(rng, size, size * .12, 3))
    scene = mix(scene, scene * np.array([.55, .5, .95], np.float32), shade * .85)
    flowers = step(.86, .9, noise(rng, size, 34, 2))
    scene = mix(scene, np.broadcast_to(colours('e8552c'), scene.shape), flowers)
    rgb = mix(np.broadcast_to(colours('e9dfbd'), scene.shape),
              scene, .25) * (.93 + .1 * weave(size, 3)[..., None])
    rgb, height = np.ascontiguousarray(rgb, np.float32), np.zeros((size, size), np.float32)
    sheet = bristles(rng, 3)
    pure = colours('2b2f96 5a2f9a 17806a 2f9e3f 8fc92f f7e23c f79a1e ea4a2a f6c6cf 3b8fd6 fbf6d8')

    def divide(r, c):
        """Each dot takes a pure pigment near its place's colour, one in five one from across the wheel."""
        near = np.argsort(((c[:, None] - pure[None]) ** 2).sum(-1) + r.gumbel(0, .05, (len(c), len(pure))), 1)
        pick = np.where(r.uniform(size=len(c)) < .20, r.randint(len(pure), size=len(c)), near[:, 0])
        return vary(r, mix(c, pure[pick], .8), .03)

    flat = np.zeros_like(tone)
    for spacing, low, high in ((8.5, 9, 12), (8.5, 7, 10), (9, 4, 7.5)):
        paint_over(rng, rgb, height, scene, flat, spacing, (low, high), (low, high), .05, 3, False,
                   choose=divide, sheet=sheet, taper=1., ragged=.25, streak=.06, body=1.6)
    return light(rgb, blur(height, .6), .5, .1)


def cubist_facets(rng, size):
    """Earth-coloured planes sliding over one another, each shaded from one edge and hatched by the brush."""
    x, y = grid(size)
    labels, cuts = facets(rng, size, size * size / 34, np.deg2rad([20, 55, 100, 145]))
    small, more = facets(rng, size, size * size / 120, np.deg2rad([35, 80, 125, 170]))
    labels = np.where(noise(rng, size, size * .3, 2) > .52, labels, small + len(cuts))
    cuts = np.concatenate([cuts, more])
    count = len(cuts)
    mass = noise(rng, size, size * .2, 3)
    sizes = np.maximum(np.bincount(labels.ravel(), minlength=count), 1)
    tone = np.bincount(labels.ravel(), mass.ravel(), count) / sizes
    tone = .48 + .8 * (tone - .5) + rng.normal(0, .12, count)
    cx, cy = (np.bincount(labels.ravel(), a.ravel(), count) / sizes for a in (x, y))
    a = cuts[labels] + np.pi / 2
    across = ((x - cx[labels]) * np.cos(a) + (y - cy[labels]) * np.sin(a)) / np.sqrt(sizes[labels])
    tone = np.clip(tone[labels] + .42 * across, 0, 1)
    scene = ramp(tone, colours('120d0a 33241a 5c432a 84693f a38a58 c2ab78 e4d3a8'))
    cool = rng.uniform(size=count)[labels]
    scene = mix(scene, scene * np.array([.80, .90, .88], np.float32), step(.55, .7, cool))
    scene = mix(scene, ramp(tone, colours('2a1208 7a3a18 c07a3a e8c890')), step(.86, .9, cool) * .8)
    borders = (
    np.abs(
        np.gradient(
            labels.astype(float))[0]) +
            np.abs(
                np.gradient(
                    labels.astype(float))[1])) > 0
    edge = step(.1, .5, blur(borders.astype(np.float32), 1.1)) * step(.3, .6, noise(rng, size, 50, 3))
    rgb, height = scene.copy(), np.zeros((size, size), np.float32)
    strokes = np.where(rng.uniform(size=count) < .6, cuts + np.pi / 2, cuts)[labels].astype(np.float32)
    paint_over(rng, rgb, height, scene, strokes, 7, (12, 26), (5, 8), .045, .12, False, body=1.4, streak=.1)
    near = step(.02, .12, blur(borders.astype(np.float32), 2.2))
    rgb = mix(rgb, scene * (.9 + .2 * noise(rng, size, 6, 3)[..., None]), near * .85)      # crisp edges
    rgb = mix(rgb, rgb * .2, edge * .9)
    paint_over(rng, rgb, height, np.clip(scene * 1.2 + .03, 0, 1), strokes, 13, (8, 18), (2.5, 4), .05, .1,
               False, density=.4, body=1.5, streak=.1)
    return light(rgb * (.95 + .07 * weave(size, 4)[..., None]), blur(height, .7), .6, .12)


def suprematist(rng, size):
    """Bars, discs and wedges of pure colour adrift on scumbled white."""
    x, y = grid(size)
    ground = ramp(noise(rng, size, 60, 4), colours('cfc5b0 e6decb f0eadb f8f4ea'))
    rgb, height = ground.copy(), np.zeros((size, size), np.float32)
    drift = np.full((size, size), .9, np.float32)
    paint_over(rng, rgb, height, ground, drift, 12, (18, 36), (8, 13), .025, .8, body=1.2, streak=.05)
    paints = colours('b81f22 16130f e6b31c 1d3f8f 16130f c8452a 2c6b4a d98a94 16130f e6b31c 7a7a78')
    tilt, edges, sheet = .62, (noise(rng, 2 * size, 9, 2) - .5) * 1.6, bristles(rng)
    for i in range(120):
        scale = (.15, .085, .05)[min(i // 16, 2)] * size
        cx, cy = rng.uniform(-.02, 1.02, 2) * size
        angle = tilt + rng.choice([0, np.pi / 2, .35], p=[.55, .3, .15]) + rng.normal(0, .05)
        long, short = scale * rng.uniform(.6, 1.6), scale * rng.uniform(.08, .6)
        u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        kind = rng.uniform()
        if kind < .68:
            inside = np.minimum(long - np.abs(u), short - np.abs(v))
        elif kind < .82:
            inside = long * .55 - np.hypot(u, v)
        else:
            inside = np.minimum(long - np.abs(u), (long - u) * short / long - np.abs(v))
        shape = step(-.8, .8, inside + window(rng, edges, size))
        colour = vary(rng, paints[rng.randint(len(paints))], .03)
        layer, lift = np.tile(colour.astype(np.float32), (size, size, 1)), height.copy()
        paint_over(rng, layer, lift, layer.copy(), np.full_like(x, angle), 9, (16, 40), (5, 9), .045, .15,
                   False, mask=inside > -14, sheet=sheet, body=1.6, streak=.08)
        rgb, height = mix(rgb, layer, shape), mix(height, lift + 1.5, shape)
    rgb = mix(rgb, rgb * .55, craquelure(rng, size, 26) * .6)
    return light(rgb, blur(height, .7), .5, .08)


def ink_wash(rng, size):
    """Ridges of sumi ink that fade into mist on rice paper, with dry-brushed reeds and splashes."""
    _, y = grid(size)
    paper = grain(rng, size)
    ink = .10 * noise(rng, size, size * .3, 3)
    for i, base in enumerate(np.linspace(.02, 1.0, 8) * size):
        ridge = base + .20 * size * (noise(rng, size, size * .22, 6, .52)[:1] - .5) * (1 + .12 * i)
        depth = y - ridge + 4 * (noise(rng, size, 12, 3) - .5)
        wash = np.exp(-np.clip(depth, 0, None) / (size * (.06 + .09 * rng.uniform())))
        rock = .55 + .9 * (noise(rng, size, 26, 5, .65, (.6, 1.6)) - .35)
        edge = step(-1.2, 1.2, depth)
        ink = ink * (1 - .6 * edge) + edge * wash * rock * (.75 + .09 * i) + .16 * np.exp(-(depth / 1.8) ** 2)
    ink = np.clip(ink, 0, 1)
    ink = ink * .8 + .2 * blur(ink, 5)
    rgb = ramp(np.clip(1 - ink + .10 * (paper - .5) * (.4 + 2 * ink * (1 - ink)), 0, 1),
               colours('0b0b0f 2a2b31 5c5d62 96958f cdc8b8 efe8d3'))
    sheet = bristles(rng, 60)
    tooth = step(-.1, .45, paper)
    for _ in range(15):                                                      # clumps of reeds
        root = np.array([rng.uniform(-.02, 1.02), rng.choice([.3, .55, .8, 1.05]) + rng.normal(0,
                        .06)]) * size
        wind = rng.normal(0, .25)
        for _ in range(rng.randint(6, 15)):
            lean, long = -np.pi / 2 + wind + rng.normal(0, .38), size * rng.uniform(.08, .24)
            at = root + rng.normal(0, 7, 2) + .5 * long * np.array([np.cos(lean), np.sin(lean)])
            stroke(rng, rgb, None, at, lean, long, rng.uniform(2.5, 7), (.05, .05, .07), sheet,
                   bend=.8 * (lean + np.pi / 2) / long + rng.normal(0, .002), taper=.85, dry=rng.uniform(0,
                   .7), streak=.05, ragged=.35, tooth=tooth, opacity=rng.choice([.35, .65, .95]))
    for _ in range(9):                                                       # sweeps of a nearly dry brush
        stroke(rng, rgb, None, rng.uniform(0, size, 2), rng.normal(0, .25), rng.uniform(90, 190),
               rng.uniform(14, 30), (.07, .07, .09), sheet, bend=rng.normal(0, .003), dry=rng.uniform(.75,
               .95), streak=.04, ragged=.6, tooth=tooth, opacity=.8)

    centres, radii = rng.uniform(0, size, (380, 2)), rng.gamma(1.2, .9, 380)
    splashes = drawn(size, lambda d, s: dots(d, s, centres, radii))
    rgb = mix(rgb, np.broadcast_to(colours('15151a'), rgb.shape), splashes * .7)
    return rgb * (.94 + .09 * paper[..., None])


def drip_web(rng, size):
    """Enamel flung over raw canvas in skeins of black, white, silver and rust."""
    canvas = ramp(noise(rng, size, 50, 5), colours('8e7a5c a8926e bda884 cdb997'))
    rgb = canvas * (.82 + .25 * weave(size, 4)[..., None])
    height = weave(size, 4) * .6
    for i, (colour, wide, count) in enumerate([
            ('4a5a60', 9, 12), ('1a1714', 8, 16), ('b9b9b4', 6, 14), ('8d3b1c', 6.5, 9), ('15120f', 5.5, 22),
            ('f2ecdc', 5, 16), ('d9a02a', 4.5, 8), ('100e0d', 3.2, 26), ('f6f1e4', 2.6, 26),
            ('2f5d6a', 3.4, 8),
            ('0d0b0a', 1.6, 30)]):

        def fling(d, s):
            for _ in range(count):
                start, turn = rng.uniform(-.1, 1.1, 2) * size, rng.choice([.03, .055, .10])
                path = curve(rng, start, rng.uniform(0, 7), 150, 6., turn, 16)
                flow = np.exp(.55 * np.cumsum(rng.normal(0, .16, len(path))))
                widths = wide * np.clip(flow / np.median(flow), .25, 2.2) * rng.uniform(.6, 1.3)
                draw_path(d, s, path, widths)
                drops = path[rng.randint(len(path), size=18)] + rng.normal(0, 18, (18, 2))
                dots(d, s, drops, wide * rng.gamma(1.2, .42, 18))
        mask = drawn(size, fling, 2)
        mask = step(.3, .7, wobble(rng, mask, 1.2, 5))
        paint = colours(colour) * (.86 + .28 * noise(rng, size, 18, 3)[..., None])
        rgb = mix(rgb, rgb * .72, shadow(mask, 1.5, 1.5, 1.2) * (1 - mask))
        rgb = mix(rgb, paint, mask * (.96 if i else .7))
        height = height * (1 - .6 * mask) + 2.6 * blur(mask, 1.6) * mask
    return light(rgb, blur(height, .6), .75, .55)


def colour_fields(rng, size):
    """Veils of crimson, orange and plum scumbled over one another, soft at their borders."""
    _, y = grid(size)
    scene = np.tile(colours('3a0a18'), (size * size, 1)).reshape(size, size, 3)
    rgb, height = scene.copy(), np.zeros((size, size), np.float32)
    fields = [('b01226', -.1, .29), ('f2601a', .255, .475), ('12040c', .45, .66), ('ffa42c', .63, .83),
              ('641040', .80, 1.1)]
    sheet = bristles(rng, 110, 4.)
    for colour, top, bottom in fields:
        edge = 20 * (noise(rng, size, 90, 2) - .5) + 34 * (noise(rng, size, 11, 3, .6, (9, .8)) - .5)
        inside = np.minimum(y - top * size, bottom * size - y) + edge
        tint = colours(colour) * (.62 + .75 * noise(rng, size, 120, 4, stretch=(2.2, 1))[..., None])
        tint = mix(tint, scene * .5, .5 * step(26, 4, inside))      # the ground shows through at the borders
        rgb = mix(rgb, tint, step(-6, 16, inside) * (.82 + .16 * noise(rng, size, 14, 3, .6, (7, .8))))
    rgb = np.ascontiguousarray(rgb, np.float32)
    angle = .5 * (noise(rng, size, 120, 2) - .5)
    upright = (angle + np.where(noise(rng, size, 150, 2) > .62, 1.45, 0)).astype(np.float32)
    for veil, way in ((.55, upright), (.45, angle)):
        paint_over(rng, rgb, height, rgb.copy(), way, 17, (50, 120), (18, 38), .045, .12, sheet=sheet,
                   opacity=veil, streak=.13, body=1., dry=.9, ragged=.35)
    glow = noise(rng, size, 50, 5)
    rgb = rgb * (.85 + .3 * glow[..., None]) * (.9 + .14 * weave(size, 4)[..., None])
    return light(rgb, blur(height, .8) + .5 * weave(size, 4), .55, .06)


def watercolour_blooms(rng, size):
    """Wet washes of aqua, rose, lemon and lilac with darkened edges, their pigment in the paper's grain."""
    x, y = grid(size)
    paper = grain(rng, size, 2.5)
    density = np.zeros((size, size, 3), np.float32)          # absorbance: transparent washes add up
    paints = -np.log(colours('2a9db8 e0467c f5cf3a 8c6cc8 3fb48a f2894a 3a5fb0 d873b4'))
    fringes, pools, rings = (noise(rng, 2 * size, scale, *shape) for scale, *shape in
                             ((40, 5, .6), (60, 4), (22, 5, .65)))
    for i in range(58):
        cx, cy = rng.uniform(-.05, 1.05, 2) * size
        r = size * rng.choice([.05, .09, .16, .24], p=[.3, .35, .25, .1]) * rng.uniform(.7, 1.3)
        a = np.arctan2(y - cy, x - cx)
        lobes = sum(rng.uniform(.02, .12) * np.cos(k * a + rng.uniform(0, 7)) for k in range(2, 7))
        fringe = (window(rng, fringes, size) - .5) * .5
        depth = r * (1 + lobes + fringe) - np.hypot(x - cx, y - cy)
        wet = step(-.7, .9 + 6 * (i % 3 == 0), depth)
        rim = 1.3 * np.exp(-np.clip(depth, 0, None) / 2.2) + .35 * np.exp(-np.clip(depth, 0, None) / 12)
        pool = .25 + .75 * window(rng, pools, size)
        grains = 1 + .9 * (.5 - paper)
        amount = wet * (pool + rim * (i % 3 != 0)) * grains * rng.uniform(.18, .62)
        # A drop of clean water pushes the pigment outwards into a fringed ring.
        bx, by, br = cx + rng.normal(0, r / 3), cy + rng.normal(0, r / 3), r * rng.uniform(.25, .5)
        ring = np.hypot(x - bx, y - by) / br + .9 * (window(rng, rings, size) - .5)
        amount = amount * (1 - .7 * step(1, .72, ring)) * (1 + .9 * np.exp(-((ring - 1.04) / .07) ** 2))
        density += amount[..., None] * vary(rng, paints[i % len(paints)], .05).clip(.01)
    rgb = colours('fbf8ef') * np.exp(-density)
    centres, radii = rng.uniform(0, size, (260, 2)), rng.gamma(1.4, .7, 260)
    flecks = drawn(size, lambda d, s: dots(d, s, centres, radii))
    rgb = mix(rgb, rgb * colours('4a6ab8'), flecks * .8)
    return light(rgb, paper * 1.2, .35)


def soft_pastel(rng, size):
    """Hatched chalk pastels, peach against powder blue and violet, on grey-brown toothed paper."""
    paper = grain(rng, size, 1.2)
    warm = noise(rng, size, size * .25, 4)
    tone = noise(rng, size, size * .18, 4)
    scene = mix(ramp(tone, colours('1a1838 34387e 5a78bc 7fb0c4 c4dcd4')),
                ramp(tone, colours('3a1a2c 8c4444 d07c58 eaa47c f6d4ac')), step(.42, .58, warm))
    rgb = np.ascontiguousarray(np.broadcast_to(colours('54463f'), scene.shape) * (.9 + .2 * paper[..., None]))
    lines = flow_angle(blur(tone, 8))
    angle = mix(np.full_like(lines, -.95), lines, (noise(rng, size, 130, 2) > .62).astype(np.float32))
    sheet = bristles(rng, 10, 1.2)
    for spacing, width, open_, jitter, amount in ((11, (10, 16), .12, .05, .95), (9, (5, 8), .30, .12, .75),
                                                  (10, (3, 5), .38, .15, .6)):
        tooth = step(open_ - .30, open_ + .30, paper)
        paint_over(rng, rgb, None, np.clip(scene * 1.06, 0, 1), angle, spacing, (26, 56), width, jitter, .12,
                   False, density=amount, sheet=sheet, tooth=tooth, streak=.06, dry=.3, opacity=.9)
    accents = colours('f6e27a 57b7a5 e86a8a fdf4e2 6a4aa0')
    paint_over(rng, rgb, None, scene, angle, 20, (24, 54), (3.5, 6), .03, .2, False, density=.5, sheet=sheet,
               tooth=step(.1, .6, paper), opacity=.85, choose=lambda r, c: accents[r.randint(5, size=len(c))])
    return rgb


def sinuous_sunset(rng, size):
    """Long undulating bands of blood orange over a shore of bottle green, in thin streaky paint."""
    x, y = grid(size)
    sway = 60 * (noise(rng, size, size * .35, 2) - .5) + 26 * np.sin(x / size * 9 + 2 * y / size)
    level = (y + 1.5 * sway) / size
    swirl = np.sin(level * 40 + 3 * noise(rng, size, size * .3, 2) * 6)
    sky = ramp(np.clip(.5 + .42 * swirl + .3 * (noise(rng, size, 80, 3) - .5), 0, 1),
               colours('8e1a10 d23a14 ee6a1c f6a02c f9d468 f3ead0'))
    bend = .7 * x + .75 * y + 1.7 * sway
    land = ramp(np.clip(.5 + .45 * np.sin(bend / size * 42) + .35 * (noise(rng, size, 60, 3) - .5), 0, 1),
                colours('0b1418 12302f 1f4d4a 33595f 5f7a58 b98a4a'))
    below = step(.50, .56, level + .35 * (x / size - .5) * np.sin(x / size * 5))
    scene = mix(sky, land, below)
    angle = flow_angle(blur(mix(y + 1.5 * sway, bend, below), 4))
    rgb, height = scene * .8, np.zeros((size, size), np.float32)
    paint_over(rng, rgb, height, scene, angle, 11, (60, 110), (7, 12), .05, .06, body=1., streak=.13, dry=.4,
               taper=.6)
    paint_over(rng, rgb, height, scene, angle, 10, (40, 90), (2.5, 4.5), .11, .08, density=.7, body=1.4,
               streak=.12, dry=.4, taper=.8)
    accents = colours('fbe7a2 2a1712 3f8f9a e8481c')
    paint_over(rng, rgb, height, scene, angle, 22, (50, 100), (2, 3.5), .03, .08, density=.4, taper=.9,
               dry=.5, choose=lambda r, c: mix(c, accents[r.randint(4, size=len(c))], .7))
    return light(rgb * (.95 + .06 * weave(size, 3)[..., None]), blur(height, .7), .5, .1)


def palette_knife(rng, size):
    """A wood of emerald, lime and black-green slabs spread with the knife, split by birch-white."""
    x, y = grid(size)
    tone = noise(rng, size, size * .16, 4, stretch=(.8, 1.2))
    scene = ramp(tone, colours('04120c 0a2f1e 0f5a36 2a8a3c 7fb52c cfe04a'))
    scene = mix(scene, ramp(tone, colours('0a3038 147a78 5cc0a8 d8f0d0')),
                step(.72, .8, noise(rng, size, 70, 3)))
    trunks = np.zeros_like(tone)
    for cx in np.arange(.04, 1, .115) * size + rng.normal(0, 12, 9):
        half = rng.uniform(4, 12)
        trunks = np.maximum(trunks, step(
            half, half - 2, np.abs(x - cx - .08 * (y - size / 2) * rng.normal())))
    rgb, height = scene * .45, np.zeros((size, size), np.float32)
    sheet = bristles(rng, 90, 1.2)
    angle = np.where(noise(rng, size, 80, 2) > .5, .5, -.9) + 1.4 * (noise(rng, size, 60, 2) - .5)
    knife = dict(sheet=sheet, streak=.1, ragged=.16, follow=False)
    paint_over(rng, rgb, height, scene, angle, 17, (24, 46), (16, 26), .07, .3, body=3.0, dry=.25, **knife)
    paint_over(rng, rgb, height, scene, angle, 16, (16, 34),
               (9, 17), .11, .4, density=.75, body=4.0, dry=.3, **knife)
    bark = mix(ramp(noise(rng, size, 12, 3, stretch=(2, .7)),
               colours('2a2a26 b9bcae f2f2e6 ffffff')), scene, .1)
    paint_over(rng, rgb, height, bark, np.full_like(x, .12), 9, (12, 22), (7, 12), .05, .3, mask=trunks,
               body=4., dry=.4, **knife)
    sparks = colours('f4f27a e8f6e0 f0902c 0a1a12')
    paint_over(rng, rgb, height, scene, angle, 24, (12, 26), (7, 14), .06, .5, density=.3, body=4.5, dry=.4,
               choose=lambda r, c: mix(c, sparks[r.choice(4, len(c), p=[.35, .25, .12, .28])], .6), **knife)
    return light(rgb, blur(height, .6), .6, .3)


def lily_pond(rng, size):
    """Short wet dabs of lilac, slate and pond green, with pads and pink blossoms."""
    x, y = grid(size)
    tone = noise(rng, size, size * .16, 4, stretch=(2.2, .7))
    scene = ramp(tone, colours('2a3a5c 4a648c 7c8fbc a9a6d2 cfc2de ecdfe8'))
    depths = step(.5, .8, noise(rng, size, size * .22, 3, stretch=(.6, 1.8)))
    scene = mix(scene, ramp(tone, colours('0f2a2c 1f4f48 4a7a62 84a888 b4c8a8')), depths * .8)
    blossoms = []
    for _ in range(52):
        cx, cy = rng.uniform(0, size, 2)
        a, b = rng.uniform(20, 54), rng.uniform(8, 16)
        pad = step(1.1, .85, np.hypot((x - cx) / a, (y - cy) / b) + .3 * (noise(rng, size, 14, 2) - .5))
        shade = ramp(np.clip(.5 - (y - cy) / b * .5, 0, 1), vary(rng, colours('1c4a34 5a9a58 b4d88a'), .04))
        scene = mix(scene, shade, pad)
        if rng.uniform() < .6:
            blossoms.append((cx + rng.normal(0, a / 2), cy - b / 2))
    rgb, height = scene * .85, np.zeros((size, size), np.float32)
    angle = .5 * (noise(rng, size, 60, 3) - .5)
    paint_over(rng, rgb, height, scene, angle, 8, (18, 36), (6, 9), .05, .15, body=1.4, streak=.1)
    upright = angle + np.where(depths > .5, 1.45, 0)
    paint_over(rng, rgb, height, scene, upright, 7, (9, 20),
               (3, 5), .09, .2, False, density=.7, body=2., streak=.1)
    glints = colours('f2eef6 e9c6dc 8fb8d8 d8e4b8 6a5ca8')
    paint_over(rng, rgb, height, scene, angle, 13, (8, 18), (2.5, 4), .03, .2, density=.4, body=2.4,
               choose=lambda r, c: mix(c, glints[r.randint(5, size=len(c))], .6))
    sheet, pinks = bristles(rng, 12), colours('f7c9d8 ea7fa4 fff0ee d84a7c f6d46a')
    for bx, by in blossoms:
        for _ in range(20):
            at = (bx + rng.normal(0, 8), by + rng.normal(0, 4.5))
            stroke(rng, rgb, height, at, rng.uniform(0, 3.2), rng.uniform(9, 16), rng.uniform(4, 6),
                   pinks[rng.choice(5, p=[.32, .25, .25, .13, .05])], sheet, body=3., taper=.8, streak=.08)
    return light(rgb, blur(height, .7), .6, .12)


def orphic_discs(rng, size):
    """Wheels of the whole spectrum in rings and quarters that cut into one another, in dry brushwork."""
    x, y = grid(size)
    spectrum = colours('d6202a f06a1e f8c21c 9cc42c 1f9a58 1b8fb4 22429c 5c2c90 b82a80 f6e8d0 f2b8b0 14163a')
    centres = scatter(rng, size, size * .27, 0, .3)[:16]
    owner, _, _ = cells(centres, size)
    scene = np.zeros((size, size, 3), np.float32)
    for i, (cx, cy) in enumerate(centres):
        width = size * rng.uniform(.022, .05)
        r, a = np.hypot(x - cx, y - cy) / width, np.arctan2(y - cy, x - cx) + rng.uniform(0, 7)
        sector = np.floor(a / (2 * np.pi) * rng.choice([2, 4, 4, 6])).astype(int)
        table = rng.randint(len(spectrum), size=(80, 16))
        colour = spectrum[table[np.minimum(r, 79).astype(int), sector % 16]]
        shade = .82 + .3 * (r % 1)
        scene = np.where((owner == i)[..., None], colour * shade[..., None], scene)
    scene = wobble(rng, scene, 3, 40)
    angle = np.arctan2(x - centres[owner, 0], -(y - centres[owner, 1])).astype(np.float32)
    rgb, height = scene.copy(), np.zeros((size, size), np.float32)
    paint_over(rng, rgb, height, scene, angle, 7, (14, 28), (5, 8), .05, .12, body=1.3, streak=.11, dry=.3)
    paint_over(rng, rgb, height, np.clip(scene * 1.2, 0, 1), angle, 11, (10, 20), (2, 4), .08, .15,
               density=.5, body=1.5, streak=.1)
    return light(rgb * (.94 + .08 * weave(size, 4)[..., None]), blur(height, .7), .55, .08)
