"""Styles of the press and of line: woodcut, engraving, poster, chalk. Each takes (rng, size), returns RGB."""

import numpy

from style_brushes import blur, cells, flow_angle, grid, noise, sample, scatter, step, wobble
from style_brushes import bristles, curve, dots, draw_path, drawn, paint_over, some_of
from style_brushes import colours, grain, mix, ramp, vary


def woodcut_waves(rng, size):
    """Rolling seas cut in wood: Prussian blue and ivory bands along every wave, clawed foam, a sandy sky."""
    x, y = grid(size)
    wood = noise(rng, size, 5, 3, 0.6, (30, 1))
    rgb = ramp(y / size + 0.3 * (wood - 0.5), colours('d9c49a e6d6b0 efe4c8'))
    prussian, ivory = colours('12284c'), colours('f2ead4')
    for i, base in enumerate(numpy.linspace(0.065, 1.12, 8)):
        period, high = size * (0.20 + 0.045 * i) * rng.uniform(0.9, 1.2), size * (0.035 + 0.012 * i)
        phase = 2 * numpy.pi * x / period + rng.uniform(0, 7) + 1.2 * (noise(rng, size, size * 0.3, 2) - 0.5)
        lean = phase + 0.9 * numpy.sin(phase) + 0.03 * (y - base * size)  # crests that lean over
        swell = high * (1 - 2 * numpy.abs(numpy.sin(lean / 2)) ** 1.3)
        crest = base * size - swell + 5 * (noise(rng, size, 40, 3) - 0.5)
        depth = y - crest
        front = numpy.argmax(depth > 0, axis=0)  # the topmost row of the wave
        inside = step(-0.7, 0.7, depth)
        t = depth / (size * 0.16) + 0.12 * (noise(rng, size, 60, 2) - 0.5)
        bands = ramp(numpy.clip(t, 0, 1), colours('cfdcd8 7fa3b8 3f6f9c 234a7c 16335f'))
        spacing = 7.5 + 0.5 * i
        line = depth / spacing + 0.55 * numpy.sin(lean * 2 + i) + 0.5 * (noise(rng, size, 30, 2) - 0.5)
        cut = numpy.abs((line % 1) - 0.5) * 2
        thick = 0.30 + 0.34 * numpy.sin(lean + i) + 0.25 * (noise(rng, size, 70, 2) - 0.5)
        sea = mix(bands, ivory, step(thick + 0.08, thick - 0.08, 1 - cut) * 0.9)
        sea = mix(sea, prussian, step(0.14, 0.02, numpy.abs((line % 2) - 1)) * 0.9)

        along, tier = (a.ravel() for a in numpy.meshgrid(numpy.arange(0, size, 6), numpy.arange(3), indexing='ij'))
        claws = numpy.stack([along, front[along] + 5 * tier - 4], -1) + rng.normal(0, (3, 2.5), (len(along), 2))
        radii = rng.uniform(1.8, 4.6 + 0.25 * i, len(along)) * (1.15 - 0.3 * tier)
        outline = drawn(size, lambda d, s: dots(d, s, claws, radii + 1.3), 2)
        foam = drawn(size, lambda d, s: dots(d, s, claws, radii), 2)
        rgb = mix(rgb, sea, inside)
        rgb = mix(rgb, prussian, numpy.maximum(outline, step(2.2, 0.9, numpy.abs(depth))))
        rgb = mix(rgb, ivory, foam)
        flung = rng.randint(size, size=70)
        spray, radii = numpy.stack([flung, front[flung] - rng.gamma(1.5, 9, 70)], -1), rng.uniform(0.7, 2.1, 70)
        drops = drawn(size, lambda d, s: dots(d, s, spray, radii))
        rgb = mix(rgb, ivory, drops)
    rgb = wobble(rng, rgb, 1.2, 9)
    worn = step(0.80, 0.95, noise(rng, size, 4, 2, 0.7, (8, 1)))
    return mix(rgb, colours('dcd0b4'), worn * 0.35) * (0.9 + 0.14 * wood[..., None])


def engraving(rng, size):
    """Burin lines that swell with the shade and follow the relief, crossed in the darks: black on cream."""
    x, y = grid(size)
    relief = 70 * noise(rng, size, size * 0.22, 3, 0.45)
    gy, gx = numpy.gradient(blur(relief, 3))
    folds = numpy.clip(0.52 + 0.55 * (gx * 0.75 + gy * 0.65) + 0.35 * (noise(rng, size, size * 0.3, 2) - 0.5), 0, 1)
    labels, _, _ = cells(
        scatter(rng, size, size * 0.24, size * 0.1), size, [60 * (noise(rng, size, 90, 4) - 0.5) for _ in range(2)]
    )
    turn = rng.uniform(0, numpy.pi, labels.max() + 1)[labels]
    border = blur((numpy.hypot(*numpy.gradient(labels.astype(numpy.float32))) > 0).astype(numpy.float32), 0.9)
    dark = numpy.clip(0.98 - 1.25 * folds + 0.20 * numpy.clip(blur(border, 14) * 5, 0, 1), 0, 1)
    fine = 0.12 * (noise(rng, size, 5, 2) - 0.5)

    def lines(angle, period, amount):
        """Ink of one family of lines; `amount` is the share of the period that is inked."""
        across = x * numpy.cos(angle) + y * numpy.sin(angle) + 1.1 * relief
        wave = 1 - numpy.abs((across / period % 1) - 0.5) * 2
        return step(0.2, -0.2, (1 - wave) - numpy.clip(amount + fine * (amount > 0.04), 0, 0.93))

    ink = lines(turn, 6.0, 0.03 + 0.66 * dark)
    ink = numpy.maximum(ink, lines(turn + 1.0, 6.4, 0.95 * dark - 0.36))
    ink = numpy.maximum(ink, lines(turn - 0.6, 5.2, 1.2 * dark - 0.72))
    ink = numpy.maximum(ink, step(0.25, 0.6, border))
    paper = grain(rng, size, 2)
    cream = ramp(noise(rng, size, 140, 5), colours('dcc79c ecdcb8 f4ead0')) * (0.93 + 0.1 * paper[..., None])
    ink = numpy.clip(ink * (0.86 + 0.25 * noise(rng, size, 30, 3)), 0, 1)
    return mix(cream, colours('1e140e'), ink)


def op_art(rng, size):
    """Black and white bands and checks that swell and dive, printed in slightly uneven ink."""
    x, y = grid(size)
    u, v = x.copy(), y.copy()
    for cx, cy in scatter(rng, size, size * 0.36, 0, 0.3)[:9]:
        r = size * rng.uniform(0.12, 0.2)
        d = numpy.hypot(x - cx, y - cy) / r
        if rng.uniform() < 0.5:
            pull = numpy.where(d < 1, 1 - 0.85 * numpy.sqrt(numpy.clip(1 - d**2, 0, 1)), 1)  # a ball under the checks
        else:
            pull = 1 - 0.75 * numpy.exp(-2.2 * d**2)  # a soft swelling
        u, v = cx + (u - cx) * pull, cy + (v - cy) * pull
    sway = 18 * numpy.sin(y / size * 12 + 3 * numpy.sin(x / size * 4))
    check = numpy.sin(numpy.pi * (u + 0.4 * sway) / 19) * numpy.sin(numpy.pi * v / 19)
    period = 9 + 7 * step(-1, 1, numpy.sin(y / 70))
    stripes = numpy.sin(numpy.pi * (x + 2.6 * sway + 26 * numpy.sin(y / 36)) / period)
    where = noise(rng, size, size * 0.4, 2) + 0.25 * numpy.sin(x / size * 5)
    gate = step(0.49, 0.51, where)
    field = mix(
        check / (numpy.hypot(*numpy.gradient(check)) + 0.02),
        stripes / (numpy.hypot(*numpy.gradient(stripes)) + 0.02),
        gate,
    )
    field = wobble(rng, field, 0.7, 6)
    edge = numpy.abs(where - 0.5) < 0.012
    ink = numpy.where(edge, 1, step(0.7, -0.7, field))
    paper = grain(rng, size, 2)
    ink = ink * (0.93 + 0.09 * noise(rng, size, 40, 4)) * (1 - 0.25 * step(0.88, 0.98, noise(rng, size, 3, 2)))
    return mix(
        numpy.broadcast_to(colours('f5f4f0'), (size, size, 3)) * (0.95 + 0.06 * paper[..., None]),
        numpy.broadcast_to(colours('0c0c0d'), (size, size, 3)),
        ink,
    )


def halftone(rng, size):
    """Comic print: screens of cyan, magenta and yellow dots, a little out of register, with brushed black."""
    x, y = grid(size)
    height = noise(rng, size, size * 0.24, 3, 0.45)
    labels, near, far = cells(
        scatter(rng, size, size * 0.17, size * 0.1),
        size,
        [90 * (noise(rng, size, 110, 3, 0.4) - 0.5) for _ in range(2)],
    )
    flat = colours('ffe800 ff2f92 00a8e8 fff8e8 ff6a00 ffe800 7ad0f4 e8112d fff8e8 2a3fb8')
    flat = flat[rng.randint(len(flat), size=labels.max() + 1)]
    shade = numpy.clip((far - near) / 60, 0, 1)
    scene = flat[labels] * (0.55 + 0.45 * shade[..., None]) + 0.35 * (height[..., None] - 0.5)
    cmy = 1 - numpy.clip(scene, 0, 1)
    rgb = numpy.broadcast_to(colours('fbf3df'), (size, size, 3)).copy()
    for channel, angle, ink in ((2, 0.0, 'ffe000'), (1, 1.31, 'f0148c'), (0, 0.26, '009fe3')):
        dx, dy = rng.normal(0, 1.1, 2)
        u = (x + dx) * numpy.cos(angle) + (y + dy) * numpy.sin(angle)
        v = (y + dy) * numpy.cos(angle) - (x + dx) * numpy.sin(angle)
        period = 9.0
        dot = (numpy.cos(2 * numpy.pi * u / period) + numpy.cos(2 * numpy.pi * v / period)) / 4 + 0.5
        amount = sample(cmy[..., channel], x + dx, y + dy)
        cover = step(-0.10, 0.10, dot - (1.02 - 1.06 * amount))
        rgb *= 1 - cover[..., None] * (1 - colours(ink)) * 0.96
    swell = 2.2 + 2.4 * noise(rng, size, 60, 2)
    ink = step(swell + 0.8, swell - 0.8, far - near)
    folds = flow_lines(rng, size, height)
    ink = numpy.maximum(ink, folds)
    rgb = mix(rgb, colours('141016'), ink * 0.97)
    return rgb * (0.94 + 0.08 * grain(rng, size, 2)[..., None])


def flow_lines(rng, size, height):
    """Tapering brush lines along the level lines of `height`."""
    angle = flow_angle(blur(height, 6))
    black = numpy.zeros((size, size, 3), numpy.float32)
    pen = dict(sheet=bristles(rng, 60), taper=1.0, streak=0, ragged=0.1)
    paint_over(rng, black, None, numpy.ones_like(black), angle, 46, (40, 90), (2.5, 5), 0, 0.1, **pen)
    return numpy.clip(black[..., 0], 0, 1)


def chalk_slate(rng, size):
    """A blackboard: smudged slate under hatchings, rings and looping lines of white and coloured chalk."""
    tooth_map = grain(rng, size, 1.1)
    dust = noise(rng, size, size * 0.2, 5, 0.6, (1.6, 1))
    rgb = ramp(dust, colours('14201e 1d2c2a 2b3d3b 47595a')) * (0.9 + 0.2 * tooth_map[..., None])
    rgb = numpy.ascontiguousarray(rgb, numpy.float32)
    sheet, names = bristles(rng, 4, 1.0), 'f4f2ea f4f2ea f4f2ea f3b8c4 f7e28c 9fd4e6 b5e0b0'
    chalks, smear, way = colours(names), step(0.35, 0.8, tooth_map), (noise(rng, size, 150, 2) - 0.5) * 4
    sponge = dict(density=step(0.4, 0.8, dust), choose=some_of(names, 1), opacity=0.13, tooth=0.3 + 0.7 * smear)
    paint_over(rng, rgb, None, rgb.copy(), way, 26, (50, 120), (18, 34), 0.02, 0.2, sheet=sheet, **sponge)
    tooth = step(0.18, 0.55, tooth_map)
    labels, _, _ = cells(
        scatter(rng, size, size * 0.13, size * 0.05), size, [50 * (noise(rng, size, 80, 3) - 0.5) for _ in range(2)]
    )
    count = labels.max() + 1
    turn, tint = rng.uniform(0, numpy.pi, count), chalks[rng.randint(7, size=count)]
    hatched = rng.uniform(size=count) < 0.45
    way = turn[labels].astype(numpy.float32)
    chalk = dict(follow=False, sheet=sheet, tooth=tooth, ragged=0.4, dry=0.2, opacity=0.9, streak=0.05)
    paint_over(
        rng, rgb, None, tint[labels], way, 10, (34, 64), (3, 5), 0.04, 0.07, density=hatched[labels] * 0.6, **chalk
    )
    crossed = (hatched & (rng.uniform(size=count) < 0.4))[labels] * 0.8
    way = (turn[labels] + 1.1).astype(numpy.float32)
    chalk.update(ragged=0.5, dry=0, opacity=0.8)
    paint_over(rng, rgb, None, tint[labels], way, 14, (28, 50), (3, 4.5), 0.04, 0.07, density=crossed, **chalk)
    for i in range(44):
        cx, cy = rng.uniform(0, size, 2)
        if i % 3:
            path = curve(rng, (cx, cy), rng.uniform(0, 7), 90, 3.2, rng.uniform(0.04, 0.14), 8)
        else:
            a = numpy.linspace(0, rng.uniform(2, 5) * 2 * numpy.pi, 130)
            path = numpy.stack([cx + (6 + a * 1.4) * numpy.cos(a), cy + (6 + a * 1.4) * numpy.sin(a)], -1)
        mask = drawn(size, lambda d, s: draw_path(d, s, path, rng.uniform(3.2, 5.6)), 2)
        worn = step(0.20, 0.52, tooth_map + 0.25 * (noise(rng, size, 12, 2) - 0.5))
        rgb = mix(
            rgb, vary(rng, chalks[rng.randint(7)], 0.03), numpy.clip(mask * worn * 0.98 + 0.12 * blur(mask, 3), 0, 1)
        )
    return rgb


def linocut(rng, size):
    """Black and vermilion lino with gouge marks that follow the forms, bold and chipped."""
    form = noise(rng, size, size * 0.24, 3, 0.4)
    angle = flow_angle(blur(form, 6))
    tone = noise(rng, size, size * 0.18, 3)
    rgb = numpy.broadcast_to(colours('f3ead6'), (size, size, 3)) * (0.93 + 0.1 * grain(rng, size, 2)[..., None])
    red = wobble(rng, step(0.50, 0.53, noise(rng, size, size * 0.26, 3)), 3, 16)
    salt = 1 - 0.35 * step(0.84, 0.95, noise(rng, size, 3, 2))
    rgb = mix(rgb, colours('d2301c'), red * salt * 0.97)
    black = numpy.ones((size, size, 3), numpy.float32)
    cut = numpy.zeros_like(black)
    gouge, across = dict(sheet=bristles(rng, 40), taper=1.0, ragged=0.22, streak=0), angle + numpy.pi / 2
    greys, darks, lights = step(0.30, 0.55, tone), step(0.45, 0.2, tone) * 0.35, step(0.72, 0.8, tone)
    paint_over(rng, black, None, cut, angle, 9, (24, 46), (5, 7.5), 0, 0.08, density=greys, **gouge)
    paint_over(rng, black, None, cut, across, 11, (9, 18), (3, 5), 0, 0.2, False, density=darks, **gouge)
    gouge.update(taper=0.8, ragged=0.2)
    paint_over(rng, black, None, cut, angle, 14, (40, 70), (8, 12), 0, 0.06, density=lights, **gouge)
    ink = step(0.4, 0.6, black[..., 0])
    contour = numpy.abs(form * 9 % 1 - 0.5) < 0.035 + 0.03 * tone
    ink = numpy.maximum(ink, wobble(rng, contour.astype(numpy.float32), 1.5, 8) * (tone > 0.25))
    return mix(rgb, colours('15110f'), ink * salt * 0.97)


def psychedelic(rng, size):
    """Poster inks of magenta, orange, violet and lime in molten bands with dark outlines."""
    x, y = grid(size)
    field = noise(rng, size, size * 0.26, 2, 0.4)
    for _ in range(3):
        a = 2 * numpy.pi * noise(rng, size, size * 0.4, 2, 0.4)
        field = sample(field, x + 36 * numpy.cos(a), y + 36 * numpy.sin(a))
    bands = blur(field, 2) * 15 + 0.5 * numpy.sin(x / size * 6)
    index = numpy.floor(bands).astype(int)
    inks = colours('ff2f8e ff8a1c 6a1fb0 c8f02c ff5a3c 1fb8b0 ffd21c 3a1478')
    rgb = inks[index % len(inks)]
    inner = bands % 1
    rgb = mix(rgb, inks[(index + 3) % len(inks)], step(0.54, 0.60, inner) * step(0.86, 0.80, inner))
    swirl = numpy.sin(2 * numpy.pi * (bands * 3 + noise(rng, size, 50, 2) * 0.6)) * (index % 3 == 0)
    rgb = mix(rgb, inks[(index + 5) % len(inks)], step(0.55, 0.75, swirl))
    dots = numpy.cos(x * 0.55) * numpy.cos(y * 0.55) * (index % 4 == 1)
    rgb = mix(rgb, inks[(index + 6) % len(inks)], step(0.35, 0.55, dots))
    slope = numpy.hypot(*numpy.gradient(bands)) + 1e-3
    distance = numpy.minimum(inner, 1 - inner) / slope
    rgb = mix(rgb, colours('220a3c'), step(2.9, 1.5, distance + (noise(rng, size, 8, 2) - 0.5)))
    fade = noise(rng, size, 90, 4)
    worn = step(0.78, 0.95, noise(rng, size, 3, 3, 0.7))
    rgb = rgb * (0.80 + 0.32 * fade[..., None])
    rgb = mix(rgb, colours('f6e2c4'), worn * 0.3)
    return rgb * (0.95 + 0.08 * grain(rng, size, 2)[..., None])
