"""Styles of the crafts: mosaic, glass, paper, textile, tile, stone. Each takes (rng, size), returns RGB."""

import numpy

from style_brushes import blur, cells, grid, noise, sample, scatter, step, window, wobble
from style_brushes import bristles, dots, draw_path, drawn, paint_over
from style_brushes import colours, craquelure, grain, light, mix, ramp, shadow, vary, weave


def hashed(rng, *indices):
    """Uniform random number per combination of integer arrays."""
    table = rng.uniform(size=4093)
    total = sum(numpy.asarray(index, numpy.int64) * prime for index, prime in zip(indices, (7919, 104729, 1299709)))
    return table[total % 4093].astype(numpy.float32)


def roman_mosaic(rng, size):
    """Tesserae of terracotta, ochre, cream and sea-green marble in rows around the forms, in grey mortar."""
    x, y = grid(size)
    centres = scatter(rng, size, size * 0.34, size * 0.2, 0.35)
    warp = [26 * (noise(rng, size, 120, 2) - 0.5) for _ in range(2)]
    owner, r, _ = cells(centres, size, warp)
    a = numpy.arctan2(y + warp[1] - centres[owner, 1], x + warp[0] - centres[owner, 0])
    side = 10.5
    row = numpy.floor(r / side).astype(int)
    count = numpy.maximum(numpy.round(2 * numpy.pi * (row + 0.5)), 3)
    turn = (a / (2 * numpy.pi) % 1) * count + hashed(rng, row, owner)
    column = numpy.floor(turn).astype(int)
    v, u = (r / side - row - 0.5) * side, (turn - column - 0.5) * side * (row + 0.5) * 2 * numpy.pi / count
    jig = [hashed(rng, row, column, owner) - 0.5 for _ in range(4)]
    half = side / 2 - 1.25 - 0.8 * numpy.abs(jig[0])
    tilt = 0.22 * jig[1]
    inside = half - numpy.maximum(numpy.abs(u + tilt * v), numpy.abs(v - tilt * u))
    inside = inside + 1.3 * (noise(rng, size, 6, 2) - 0.5)
    tile = step(-0.7, 0.7, inside)
    band = (row + (hashed(rng, owner) * 5).astype(int)) % 9
    form = noise(rng, size, size * 0.2, 3)
    key = ramp(numpy.clip(form + 0.25 * jig[2], 0, 1), colours('2c2a2a 6b2f20 a9502f cf8a4c e3c28a f2e6cc'))
    sea = ramp(numpy.clip(form + 0.25 * jig[2], 0, 1), colours('1c2f30 2f5a58 5d8f84 a3bca6 e8e4cc'))
    ring = colours('efe3c8 efe3c8 9c3f26 9c3f26 d89a4a d89a4a 2b2a2c efe3c8 557f78')[band]
    rgb = mix(
        mix(key, sea, hashed(rng, owner) > 0.62), ring, (hashed(rng, owner, row) > 0.35).astype(numpy.float32) * 0.85
    )
    rgb = mix(rgb, colours('262427'), (band == 6).astype(numpy.float32) * 0.8)
    rgb = rgb * (1 + 0.32 * jig[3])[..., None] + 0.05 * (noise(rng, size, 4, 3)[..., None] - 0.5)
    mortar = colours('8b8374') * (0.6 + 0.3 * noise(rng, size, 7, 3)[..., None])
    slope = (jig[0] * u + jig[1] * v) / side
    height = 3.2 * step(-0.5, 3.5, inside) + 1.5 * slope + 0.7 * noise(rng, size, 5, 2)
    return light(mix(mortar, rgb, tile), height * 1.0, 0.55, 0.25)


def stained_glass(rng, size):
    """Ruby, sapphire, emerald and amber panes in lead, glowing unevenly, with rings around a few roses."""
    points = scatter(rng, size, size * 0.085, size * 0.1, 0.42)
    roses = scatter(rng, size, size * 0.42, 0, 0.25)[:5]
    for cx, cy in roses:
        points = points[numpy.hypot(points[:, 0] - cx, points[:, 1] - cy) > size * 0.165]
        for radius, n in ((0.001, 1), (0.06, 8), (0.12, 14)):
            a = numpy.arange(n) * 2 * numpy.pi / n + radius * 9
            points = numpy.concatenate(
                [points, numpy.stack([cx + size * radius * numpy.cos(a), cy + size * radius * numpy.sin(a)], -1)]
            )
    warp = [16 * (noise(rng, size, 70, 3) - 0.5) for _ in range(2)]
    pane, near, far = cells(points, size, warp)
    glass = colours('a30f1c c92a18 12338f 1b57b8 0c6b46 2f9c5a e8a21c f2cf5a 6a1f86 2aa0b8 f0e4c0')
    weights = numpy.array([0.17, 0.07, 0.17, 0.13, 0.11, 0.07, 0.11, 0.06, 0.05, 0.04, 0.02])
    hue = glass[rng.choice(len(glass), len(points), p=weights)]
    close = numpy.hypot(*(points[:, None] - roses[None]).transpose(2, 0, 1)).min(1) / size
    hue[close < 0.03] = glass[7]
    hue[(close > 0.03) & (close < 0.09)] = glass[0]
    hue[(close >= 0.09) & (close < 0.14)] = glass[3]
    hue = vary(rng, hue, 0.05)
    streaks = wobble(rng, noise(rng, size, 34, 4, 0.6, (0.5, 2.2)), 14, 50)
    shine = 0.58 + 1.05 * noise(rng, size, size * 0.25, 3) ** 1.2
    depth = numpy.clip((far - near) / 34, 0, 1)
    rgb = hue[pane] * (shine * (0.55 + 0.7 * streaks) * (0.62 + 0.5 * depth))[..., None]
    rgb = rgb + (numpy.clip(streaks - 0.62, 0, 1) * 1.0 * shine)[..., None] * (hue[pane] * 0.6 + 0.35)
    seeds = rng.uniform(0, size, (700, 2))
    radii = rng.uniform(0.6, 1.7, 700)
    bubbles = drawn(size, lambda d, s: dots(d, s, seeds, radii, 1.6))
    rgb = mix(rgb, numpy.clip(rgb * 1.5 + 0.12, 0, 1), bubbles * 0.6)
    rgb = rgb + 0.35 * blur(numpy.clip(rgb - 0.35, 0, 1), 9)
    border = far - near + 1.4 * (noise(rng, size, 14, 2) - 0.5)
    lead = step(6.6, 5.0, border)
    metal = ramp(noise(rng, size, 9, 3), colours('08080b 1b1b20 34343a'))
    round_ = numpy.sqrt(numpy.clip(1 - (numpy.clip(border, 0, 6.4) / 6.4) ** 2, 0, 1))
    metal = light(metal, round_ * 6 + noise(rng, size, 6, 2), 0.45, 0.35)
    rgb = rgb * (1 - 0.4 * numpy.exp(-numpy.clip(border - 5, 0, None) / 5))[..., None]
    return mix(rgb, metal, lead)


def marbled_paper(rng, size):
    """Ink drops floated on size, spread into one another and combed: burgundy, teal, mustard, cream."""
    x, y = grid(size)
    u, v = x.copy(), y.copy()
    # The drawing is undone from its last step to its first: combs, then a curl, then the drops.
    for angle, spacing, pull, sharp in (
        (0.0, 27.0, 21.0, 5.0),
        (numpy.pi / 2, 54.0, 36.0, 9.0),
        (0.0, 108.0, 60.0, 16.0),
    ):
        cos, sin = numpy.cos(angle), numpy.sin(angle)
        across = u * cos + v * sin + 7 * (noise(rng, size, 160, 2) - 0.5)
        lane = numpy.floor(across / spacing)
        offset = numpy.abs(across - (lane + 0.5) * spacing)
        shift = pull * numpy.exp(-offset / sharp) * numpy.where(lane % 2, 1, -1)
        u, v = u + sin * shift, v - cos * shift
    u, v = (a + 26 * (noise(rng, size, 150, 2) - 0.5) for a in (u, v))
    inks = colours('5a0f22 8a1c30 f1e6cb 135e63 d9a531 f1e6cb 1b2a3c c8553a 2f8a86 f1e6cb')
    rgb = numpy.zeros((size, size, 3), numpy.float32)
    open_ = numpy.ones((size, size), bool)
    veins = numpy.zeros((size, size), numpy.float32)
    for _ in range(460):
        cx, cy = rng.uniform(-0.1, 1.1, 2) * size
        r = size * rng.choice([0.016, 0.032, 0.06], p=[0.35, 0.4, 0.25]) * rng.uniform(0.7, 1.3)
        d2 = (u - cx) ** 2 + (v - cy) ** 2
        hit = open_ & (d2 < r * r)
        ink = inks[rng.randint(len(inks))]
        rgb[hit] = ink
        veins[hit] = (numpy.sqrt(d2[hit]) / r) ** 8
        open_ &= ~hit
        scale = numpy.sqrt(numpy.clip(1 - r * r / numpy.maximum(d2, 1e-3), 0, 1))
        u, v = numpy.where(open_, cx + (u - cx) * scale, u), numpy.where(open_, cy + (v - cy) * scale, v)
    rgb[open_] = inks[6]
    rgb = blur(rgb, 0.55)
    tide = noise(rng, size, 40, 4)
    rgb = rgb * (0.80 + 0.3 * tide[..., None]) + 0.10 * (veins[..., None] - 0.3)
    speck = step(0.90, 0.97, noise(rng, size, 4, 2))
    return mix(rgb, rgb * 1.25 + 0.06, speck * 0.6) * (0.94 + 0.09 * grain(rng, size, 1.6)[..., None])


def batik(rng, size):
    """Wax-resist cloth of indigo, soga brown and cream: four-petalled ovals, dotted fillings, crackle."""
    x, y = grid(size)
    x, y = x + 9 * (noise(rng, size, 130, 2) - 0.5), y + 9 * (noise(rng, size, 130, 2) - 0.5)
    cream, brown, indigo, dark = colours('ecdcb8'), colours('8c4a1e'), colours('1d2c52'), colours('20120e')
    cell = 80.0
    u, v = (x / cell) % 1 - 0.5, (y / cell) % 1 - 0.5
    i, j = numpy.floor(x / cell).astype(int), numpy.floor(y / cell).astype(int)
    a, r = numpy.arctan2(v, u), numpy.hypot(u, v)
    turned = numpy.abs(((a + numpy.pi / 4) / (numpy.pi / 2)) % 1 - 0.5) * numpy.pi / 2
    along, across = r * numpy.cos(turned), r * numpy.sin(turned)
    petal = 1 - ((along - 0.35) / 0.315) ** 2 - (across / 0.185) ** 2
    rough = 0.16 * (noise(rng, size, 7, 2) - 0.5)
    ground = mix(
        numpy.broadcast_to(dark, x.shape + (3,)),
        numpy.broadcast_to(indigo, x.shape + (3,)),
        step(0.35, 0.65, noise(rng, size, size * 0.25, 3)),
    )
    brownish = (i + j) % 2 == 0
    rgb = mix(ground, numpy.where(brownish[..., None], brown, cream), step(-0.06, 0.06, petal + rough))
    rgb = mix(rgb, numpy.where(brownish[..., None], cream, brown), step(-0.06, 0.06, petal - 0.42 + rough))
    rgb = mix(rgb, dark, step(-0.08, 0.08, petal - 0.78 + rough))
    outline = step(0.10, 0.04, numpy.abs(petal + rough))
    rgb = mix(rgb, cream, outline)
    dots = numpy.cos(2 * numpy.pi * x / 8) + numpy.cos(2 * numpy.pi * y / 8) + 0.8 * (noise(rng, size, 5, 2) - 0.5)
    rgb = mix(rgb, cream, step(1.25, 1.6, dots) * (petal < -0.15) * (r > 0.13))
    flower = 0.115 * (1 + 0.28 * numpy.cos(8 * a)) - r
    rgb = mix(
        rgb,
        numpy.where(((i * 3 + j) % 4 == 0)[..., None], cream, colours('c9822e')),
        step(-0.012, 0.012, flower + 0.05 * rough),
    )
    rgb = mix(rgb, dark, step(0.035, 0.02, r))
    # Broad diagonal bands of knife motifs run across the ovals.
    t = (grid(size)[0] + grid(size)[1]) / numpy.sqrt(2) + 10 * (noise(rng, size, 150, 2) - 0.5)
    s = (grid(size)[0] - grid(size)[1]) / numpy.sqrt(2)
    lane = (t / 190) % 1
    q = (lane - 0.5) / 0.17
    knife = numpy.sin(2 * numpy.pi * (s / 46 + 0.23 * numpy.sin(q * 2.4)))
    fill = mix(brown, cream, step(-0.12, 0.12, knife + rough * 2))
    fill = mix(fill, indigo, step(0.55, 0.7, numpy.abs(knife) + rough))
    fill = mix(fill, dark, step(0.10, 0.02, numpy.abs(knife)))
    fill = mix(fill, cream, step(0.86, 0.9, numpy.abs(q)) * step(1.02, 0.97, numpy.abs(q)))
    rgb = mix(rgb, fill, step(1.03, 0.99, numpy.abs(q)))
    cracks = numpy.maximum(craquelure(rng, size, 46, 0.8), 0.8 * craquelure(rng, size, 24, 0.5))
    rgb = mix(rgb, rgb * 0.35 + 0.25 * indigo, cracks * 0.75)
    rgb = rgb * (0.80 + 0.34 * noise(rng, size, 26, 5)[..., None])
    return rgb * (0.9 + 0.14 * weave(size, 3)[..., None])


def kilim(rng, size):
    """Flat-woven stepped diamonds of madder, black, saffron and ivory, with the streaks of uneven dyeing."""
    knot = 5
    n = size // knot + 2
    j, i = numpy.mgrid[:n, :n]
    wide, tall = 26, 20
    bands = numpy.cumsum(numpy.tile([tall * 2, 5, 9, 5], 12))
    band = numpy.searchsorted(bands, j, side='right')
    start = numpy.concatenate([[0], bands])[band]
    v, kind = j - start, band % 4
    dyes = colours('a81f1c 161214 e09a2a efe4cc d8541e 2c4a5a 6e1418')
    stepped = numpy.abs((i + 13 * (band // 4 % 2)) % wide - wide // 2) + numpy.abs(v - tall + 0.5).astype(int)
    ring = numpy.minimum(stepped // 3, 7)
    order = numpy.array([[3, 1, 2, 0, 1, 3, 4, 0], [2, 0, 3, 1, 4, 1, 3, 6], [4, 3, 5, 3, 0, 2, 1, 0]])
    index = order[(band // 4 + ((i + 13 * (band // 4 % 2)) // wide)) % 3, ring]
    hooks = ((i % 12 < 6) ^ (v % 6 < 3)) & (ring == 7)
    index = numpy.where(hooks & ((i + v) % 4 < 2), 1, index)
    teeth = numpy.abs(i % 12 - 6) > v % 6
    index = numpy.where(kind == 1, numpy.where(teeth, 3, 1), index)
    index = numpy.where(kind == 3, numpy.where(teeth, 1, 3), index)
    zigzag = (numpy.abs(i % 18 - 9) + v) % 9
    index = numpy.where(kind == 2, numpy.array([0, 0, 2, 2, 5, 5, 3, 4, 4])[zigzag % 9], index)
    abrash = rng.normal(0, 0.05, (n, 1)) + dye_lots(rng, n)
    colour = dyes[index] * (1 + abrash + rng.normal(0, 0.06, (n, n)))[..., None]
    x, y = grid(size)
    x, y = x + 3.2 * (noise(rng, size, 70, 3) - 0.5), y + 3.2 * (noise(rng, size, 70, 3) - 0.5)
    # Each knot is a leaning thread; rows lean to and fro.
    row = numpy.clip(numpy.floor(y / knot), 0, n - 1).astype(int)
    lean = numpy.where(row % 2, 1, -1) * ((y / knot % 1) - 0.5) * 2.2
    column = numpy.clip(numpy.floor((x + lean) / knot), 0, n - 1).astype(int)
    fu, fv = ((x + lean) / knot) % 1 - 0.5, (y / knot) % 1 - 0.5
    round_ = numpy.clip(1 - 3.2 * fu**2, 0, 1) * numpy.clip(1 - 2.4 * fv**2, 0, 1)
    fibre = noise(rng, size, 3, 2, 0.7, (0.7, 2))
    rgb = colour[row, column] * (0.45 + 0.65 * round_ + 0.22 * (fibre - 0.5))[..., None]
    return light(rgb, 3.0 * round_ + 0.8 * fibre, 0.4, 0.0)


def dye_lots(rng, n):
    """Slow brightness changes of a dye from row to row: (n, 1)."""
    steps = numpy.repeat(rng.normal(0, 0.10, n // 5 + 1), 5)[:n]
    return steps[:, None]


def deco_fans(rng, size):
    """Overlapping fans of gold leaf, black lacquer and jade, ribbed and ringed."""
    x, y = grid(size)
    radius = 84.0
    x, y = x + 2.2 * (noise(rng, size, 90, 2) - 0.5), y + 2.2 * (noise(rng, size, 90, 2) - 0.5)
    rgb = numpy.zeros((size, size, 3), numpy.float32)
    height = numpy.zeros((size, size), numpy.float32)
    leaf = noise(rng, size, 30, 5, 0.6)
    gold = ramp(
        numpy.clip(leaf + 0.25 * numpy.sin(x / 60 - y / 45), 0, 1), colours('5a3a0c 9c6f1e d2a23c f2d680 fff6cf')
    )
    lacquer = ramp(noise(rng, size, 60, 4), colours('050607 0d0f12 1a1e24'))
    jade = ramp(noise(rng, size, 24, 5), colours('063a36 0c5f55 1f8a78 59b8a0'))
    ivory = ramp(noise(rng, size, 30, 4), colours('cbb894 e8dcc0 f6eedd'))
    for k in range(-2, int(size / radius * 2) + 4):
        cy = k * radius / 2
        shift = radius if k % 2 else 0
        cx = (numpy.floor((x - shift) / (2 * radius)) + 0.5) * 2 * radius + shift
        r = numpy.hypot(x - cx, y - cy - radius) / radius
        inside = (r < 1) & (y < cy + radius)
        a = numpy.arctan2(y - cy - radius, x - cx)
        kind = (numpy.floor((x - shift) / (2 * radius)).astype(int) * 2 + k) % 3
        ribs = numpy.abs((a / numpy.pi * 18) % 1 - 0.5) * 2
        rings = numpy.abs((r * 9) % 1 - 0.5) * 2
        line = numpy.choose(
            kind, [step(0.25, 0.5, rings), step(0.30, 0.55, ribs), step(0.2, 0.5, rings) * step(0.2, 0.4, ribs)]
        )
        base = numpy.where((kind == 1)[..., None], jade, lacquer)
        base = numpy.where(((r > 0.30) & (r < 0.5) & (kind == 2))[..., None], ivory, base)
        fan = mix(gold, base, line)
        rim = sum(
            step(inner, inner + 0.015, r) * step(outer, outer - 0.015, r)
            for inner, outer in ((0.24, 0.30), (0.61, 0.66), (0.90, 1.0))
        )
        fan = mix(fan, gold, rim)
        fan = fan * (1 - 0.55 * step(0.92, 1.0, r) * step(1.01, 0.99, r))[..., None] * (0.65 + 0.45 * r)[..., None]
        raised = numpy.maximum(1 - line, rim)
        rgb[inside], height[inside] = fan[inside], raised[inside]
    rgb = light(rgb, blur(height, 0.8) * 2.2 + 0.9 * leaf * height, 0.7, 0.55)
    worn = step(0.80, 0.95, noise(rng, size, 6, 4, 0.7))
    return mix(rgb, rgb * 0.55, worn * 0.6) * (0.92 + 0.14 * noise(rng, size, 3, 2)[..., None])


def paper_cut(rng, size):
    """Gouache-painted papers of coral, cobalt, leaf and sunflower, cut into fronds, each with its shadow."""
    x, y = grid(size)
    papers = colours('f2684a 1f4fb0 f7c52d 2f9a5c f6eedf e0357a 123a6a f59a2c 7cc4d8 1a1a24')
    gouache = bristles(rng, 50, 2.5)
    edges = 1.6 * (noise(rng, 2 * size, 14, 2) - 0.5)
    tints = 0.90 + 0.16 * noise(rng, 2 * size, 60, 3, stretch=(2, 0.6))

    def sheet_of(colour):
        tint = colour * window(rng, tints, size)[..., None]
        row = gouache[(y * 1.3 + 90 * rng.uniform()).astype(int) & 511, (x + 1000 * rng.uniform()).astype(int) & 1023]
        return tint + 0.085 * (row[..., None] - 0.5)

    row, column = numpy.floor(y / size * 4.2 + 0.12 * numpy.sin(x / size * 5)), numpy.floor(x / size * 3.6 + 0.15)
    panel = papers[(hashed(rng, 7 * row + column) * 9.99).astype(int)]
    rgb = sheet_of(numpy.array([1, 1, 1], numpy.float32)) * panel
    height = numpy.zeros((size, size), numpy.float32)
    for _ in range(64):
        cx, cy = rng.uniform(-0.03, 1.03, 2) * size
        long = size * rng.choice([0.08, 0.14, 0.22], p=[0.35, 0.4, 0.25]) * rng.uniform(0.8, 1.2)
        angle, kind = rng.uniform(0, 2 * numpy.pi), rng.uniform()
        u = ((x - cx) * numpy.cos(angle) + (y - cy) * numpy.sin(angle)) / long
        v = ((y - cy) * numpy.cos(angle) - (x - cx) * numpy.sin(angle)) / long
        if kind < 0.62:  # a frond: rounded fingers along a bent stem
            v = v + rng.normal(0, 0.3) * u**2
            fingers = rng.randint(3, 6)
            finger = numpy.abs(numpy.sin(numpy.pi * (u * 0.5 + 0.5 + 0.35 * numpy.abs(v)) * fingers))
            reach = numpy.sqrt(numpy.clip(1 - u**2, 0, 1)) * (0.13 + 0.50 * finger**0.8)
            inside = numpy.minimum((reach - numpy.abs(v)) * 0.8, 1 - numpy.abs(u)) * long
        elif kind < 0.80:  # a wavy ring
            a, r = numpy.arctan2(v, u), numpy.hypot(u, v)
            wave = 0.52 + 0.12 * numpy.cos(a * rng.randint(4, 8))
            inside = numpy.minimum(wave - r, r - wave * 0.45) * long
        else:  # a leaf with a slit
            blade = numpy.minimum(0.34 * (1 - u**2) - numpy.abs(v), 1 - numpy.abs(u))
            inside = numpy.minimum(blade, numpy.maximum(numpy.abs(v) - 0.035, numpy.abs(u) - 0.7)) * long
        mask = step(-0.6, 0.6, inside + window(rng, edges, size))
        cast = shadow(mask, 4, 5, 3.0)
        rgb = mix(rgb, rgb * 0.42, cast * (1 - mask) * 0.85)
        rgb = mix(rgb, sheet_of(papers[rng.randint(len(papers))]), mask)
        height = height * (1 - mask) + mask * 2
    fibre = grain(rng, size, 1.5)
    return light(rgb, blur(height, 0.6) + 0.9 * fibre, 0.4, 0.05)


def zellige(rng, size):
    """Glazed eight-pointed stars and crosses of turquoise, cobalt, white and saffron, chipped and uneven."""
    x, y = grid(size)
    x, y = x + 2 * (noise(rng, size, 80, 2) - 0.5), y + 2 * (noise(rng, size, 80, 2) - 0.5)
    cell = 128.0
    i, j = numpy.floor(x / cell).astype(int), numpy.floor(y / cell).astype(int)
    u, v = numpy.abs(x / cell % 1 - 0.5), numpy.abs(y / cell % 1 - 0.5)
    square, diamond = numpy.maximum(u, v), (u + v) / numpy.sqrt(2)
    star = numpy.minimum(square, diamond) / 0.354  # < 1 inside the union of both squares
    core = numpy.maximum(square, diamond) / 0.354
    turquoise, cobalt, white, saffron, green, night = colours('1fa8a8 1c3f9e f1efe2 e8a420 1d7a4c 131a3c')
    a = numpy.arctan2(y / cell % 1 - 0.5, x / cell % 1 - 0.5)
    sector = numpy.floor((a / (2 * numpy.pi) * 8 + 0.5) % 8).astype(int)
    kind = (i + 2 * j) % 3
    band = numpy.digitize(core, [0.28, 0.50, 0.62])
    table = numpy.array([[3, 1, 2, 0], [2, 0, 3, 1], [3, 4, 2, 5]])
    paint = numpy.stack([turquoise, cobalt, white, saffron, green, night])
    index = table[kind, numpy.minimum(band, 3)]
    points = (star < 1) & (core > 0.86)
    index = numpy.where(points, numpy.where(kind == 0, 2, numpy.where(kind == 1, 4, 0)), index)
    cross = star >= 1
    # The crosses: a rim, then four arms around a small star.
    cu, cv = numpy.abs((x / cell + 0.5) % 1 - 0.5), numpy.abs((y / cell + 0.5) % 1 - 0.5)
    hub = numpy.maximum(numpy.maximum(cu, cv), (cu + cv) / numpy.sqrt(2)) / 0.354
    index = numpy.where(
        cross, numpy.where(hub < 0.22, 3, numpy.where(hub < 0.40, 5, numpy.where(star > 1.12, 0, 2))), index
    )
    piece = index + 8 * band + 64 * sector * ((star < 1) & (core > 0.5)) + 512 * cross
    edges = numpy.zeros((size, size), numpy.float32)
    for axis in (0, 1):
        edges = numpy.maximum(
            edges, (numpy.abs(numpy.diff(piece, axis=axis, append=numpy.take(piece, [-1], axis))) > 0)
        )
    joint = step(0.18, 0.5, blur(edges, 1.05))
    glaze = hashed(rng, i * 31 + j, piece) - 0.5
    pool = noise(rng, size, 20, 4)
    rgb = paint[index] * (0.86 + 0.5 * glaze + 0.34 * (pool - 0.5))[..., None]
    rgb = rgb + 0.05 * (noise(rng, size, 5, 3)[..., None] - 0.5)
    chips = step(0.92, 0.97, noise(rng, size, 9, 3, 0.65) + 0.35 * blur(edges, 2.2))
    rgb = mix(rgb, colours('b08d64') * (0.7 + 0.5 * pool[..., None]), chips)
    rgb = mix(rgb, colours('d8cbb0') * (0.55 + 0.4 * pool[..., None]), joint)
    height = (1 - joint) * 2.4 * (1 - 0.6 * chips) + 3.0 * (hashed(rng, piece, i, j) - 0.5) * pool + 2.2 * pool
    return light(rgb, blur(height, 1.0), 0.6, 0.55)


def golden_spirals(rng, size):
    """Gold leaf strewn with bronze spirals, jewelled discs and little chequered blocks."""
    x, y = grid(size)
    squares = hashed(
        rng, numpy.floor((x + 5 * noise(rng, size, 20, 2)) / 58), numpy.floor((y + 5 * noise(rng, size, 20, 2)) / 58)
    )
    leaf = numpy.clip(0.55 * noise(rng, size, 40, 6, 0.62) + 0.45 * squares, 0, 1)
    gold = ramp(leaf, colours('6b4210 a8741c d6a032 ecc65c f8e6a0'))
    rgb, height = gold, noise(rng, size, 8, 3, 0.6) * 0.9 + squares * 0.6
    bronze, jewels = colours('3a1f0c'), colours('8c1c24 1f5a4a 23387a f2ead2 161214 b5522a 5c8f8a d89ab0 7a3a7c')
    discs = []
    for r in numpy.repeat([62, 44, 31, 21, 13, 8, 5], [12, 60, 160, 300, 500, 900, 1200]):
        px, py = rng.uniform(-0.02, 1.02, 2) * size
        if all((px - qx) ** 2 + (py - qy) ** 2 > (r + q + 1.5) ** 2 for qx, qy, q in discs):
            discs.append((px, py, r))
    lines = []
    for px, py, r in discs:
        kind = rng.uniform()
        if r >= 20 and kind < (0.72 if r < 40 else 0.85):
            turns = max(1.6, r / 11)
            t = numpy.linspace(0.04, 1, int(40 * turns))
            a = rng.uniform(0, 7) + rng.choice([-1, 1]) * 2 * numpy.pi * turns * t
            spiral = numpy.stack([px + r * 0.93 * t * numpy.cos(a), py + r * 0.93 * t * numpy.sin(a)], -1)
            lines.append((spiral, 1.6 + 2.6 * t))
            continue
        lo = slice(max(int(py - r - 2), 0), int(py + r + 3)), slice(max(int(px - r - 2), 0), int(px + r + 3))
        u, v = x[lo] - px, y[lo] - py
        if kind < 0.80 and r < 40:  # a chequered or striped block
            a = rng.choice([0, 0.2, -0.2, 0.78])
            bu, bv = u * numpy.cos(a) + v * numpy.sin(a), v * numpy.cos(a) - u * numpy.sin(a)
            half = r * 0.72
            mask = step(0.7, -0.7, numpy.maximum(numpy.abs(bu) * rng.uniform(1, 1.7), numpy.abs(bv)) - half)
            pick = (numpy.floor(bu / 5) + numpy.floor(bv / 5) * rng.randint(2)).astype(int) % 2
            pair = jewels[rng.choice([3, 4, 4, 3, 1, 0], 2)]
            fill = numpy.where(pick[..., None] == 1, pair[0], jewels[4] if rng.uniform() < 0.5 else jewels[3])
        else:  # an eye: rings of jewel colours
            distance = numpy.hypot(u, v) / r
            mask = step(1.0, 0.93, distance)
            order = rng.randint(len(jewels), size=4)
            fill = jewels[order][numpy.digitize(distance, [0.3, 0.55, 0.8])]
            fill = mix(fill, gold[lo], step(0.04, 0.0, numpy.abs((distance * 4) % 1 - 0.5)))
        rgb[lo] = mix(rgb[lo], fill * (0.85 + 0.3 * leaf[lo][..., None]), mask)
        height[lo] = height[lo] * (1 - 0.6 * mask) + 1.6 * mask
    mask = drawn(size, lambda d, s: [draw_path(d, s, path, widths) for path, widths in lines], 2)
    mask = wobble(rng, mask, 0.8, 6)
    rgb = mix(rgb, bronze * (0.7 + 0.8 * leaf[..., None]), mask * 0.95)
    height = height + 1.6 * blur(mask, 1)
    centres, radii = rng.uniform(0, size, (520, 2)), rng.uniform(1, 2.4, 520)
    pearls = drawn(size, lambda d, s: dots(d, s, centres, radii))
    rgb = mix(rgb, colours('fdf2c4'), pearls)
    return light(rgb, blur(height + pearls, 0.7), 0.65, 0.5)


def embroidery(rng, size):
    """Satin-stitched flowers and leaves of rose, crimson, mint and white on navy, itself all stitches."""
    x, y = grid(size)
    navy = ramp(noise(rng, size, 70, 3), colours('0a1030 141d4a 1e2c63'))
    rgb, height = navy.copy(), numpy.zeros((size, size), numpy.float32)
    thread = bristles(rng, 30, 1.2)
    silk = dict(sheet=thread, streak=0.10, ragged=0.12, body=2.6, follow=False, angle_jitter=0.07)
    ground = 0.5 + 0.9 * (noise(rng, size, 160, 2) - 0.5)
    paint_over(rng, rgb, height, navy, ground.astype(numpy.float32), 5.5, (12, 20), (2.4, 3.2), 0.035, **silk)
    flowers = scatter(rng, size, size * 0.155, 20, 0.25)
    for cx, cy in flowers:
        a0 = rng.uniform(0, 7)
        for k in range(3):
            a1 = a0 + k * 2.1 + rng.normal(0, 0.3)
            reach = size * rng.uniform(0.085, 0.12)
            lx, ly = cx + reach * numpy.cos(a1), cy + reach * numpy.sin(a1)
            u = (x - lx) * numpy.cos(a1) + (y - ly) * numpy.sin(a1)
            v = (y - ly) * numpy.cos(a1) - (x - lx) * numpy.sin(a1)
            inside = 1 - (u / (size * 0.062)) ** 2 - (numpy.abs(v) / (size * 0.026))
            if (inside > 0).sum() < 40:
                continue
            shade = ramp(
                numpy.clip(inside, 0, 1), colours(['0f5a4a 2f9a74 a8e0bc', '2f6a2a 7cae3c d8e890'][rng.randint(2)])
            )
            slant = (a1 + numpy.where(v > 0, 0.75, -0.75)).astype(numpy.float32)
            paint_over(
                rng, rgb, height, shade, slant, 3.6, (9, 15), (2.2, 3.0), 0.04, mask=inside, **dict(silk, body=4.0)
            )
    for cx, cy in flowers:
        petals, r0 = rng.randint(5, 9), size * rng.uniform(0.052, 0.088)
        a, r = numpy.arctan2(y - cy, x - cx) + rng.uniform(0, 7), numpy.hypot(x - cx, y - cy)
        edge = r0 * (0.72 + 0.28 * numpy.abs(numpy.cos(a * petals / 2)))
        inside = 1 - r / edge
        silks = ('7a0f2c d8285a ffb4c4', 'b01f1f f0583c ffd0a0', '8a2a6a e878b4 fff0f4', 'd8d2e0 fbf8f4 f4a0b8')
        shade = ramp(numpy.clip(r / edge, 0, 1), colours(silks[rng.randint(4)]))
        radial = numpy.arctan2(y - cy, x - cx).astype(numpy.float32)
        paint_over(
            rng, rgb, height, shade, radial, 3.6, (10, 18), (2.2, 3.2), 0.05, mask=inside, **dict(silk, body=5.0)
        )
        yellow, heart = numpy.broadcast_to(colours('f6c83c'), (size, size, 3)), dict(silk, body=6.0)
        paint_over(rng, rgb, height, yellow, radial + 1.57, 3.4, (4, 6), (3, 4), 0.06, mask=r0 * 0.24 - r, **heart)
    return light(rgb, blur(height, 0.5), 0.7, 0.35)


def patina(rng, size):
    """Rust and verdigris flaking off old plates: orange, umber and sea-green crusts, pitted and streaked."""
    x, y = grid(size)
    rust = noise(rng, size, 90, 7, 0.62)
    rust = sample(rust, x, y + 10 * (noise(rng, size, 40, 3) - 0.5))
    rgb = ramp(
        numpy.clip(rust + 0.12 * (noise(rng, size, 6, 3, 0.7) - 0.5), 0, 1),
        colours('1a0d08 4a1c0c 8c3410 c85a18 e88a34 f0b878'),
    )
    height = 5 * rust + 2.0 * noise(rng, size, 6, 3, 0.7)
    for crusts, edge, scale in (
        ('0d4a48 1f8a80 58bfa8 a8dcc4', 0.60, 80),
        ('c8d8c0 e8ecd8 9cc8b8 5aa090', 0.80, 46),
        ('10282c 1c5058 2f7c84 69a8a4', 0.74, 60),
    ):
        crust = noise(rng, size, scale, 7, 0.6) + 0.10 * (noise(rng, size, 260, 2, stretch=(0.3, 2.0)) - 0.5)
        mask = step(edge - 0.012, edge + 0.012, crust)
        tint = ramp(numpy.clip(0.2 + 0.9 * noise(rng, size, 14, 5, 0.65), 0, 1), colours(crusts))
        under = shadow(mask, 2, 2.5, 2.0) * (1 - mask)
        rgb = mix(rgb, rgb * 0.35, under * 0.8)
        rim = numpy.exp(-numpy.abs(crust - edge) / 0.012) * (1 - mask)
        rgb = mix(mix(rgb, colours('f2dcb0'), rim * 0.35), tint, mask * 0.95)
        height = height + mask * (2.6 + 2.5 * (noise(rng, size, 10, 4) - 0.5))
    runs = noise(rng, size, 26, 4, 0.6, (0.35, 6))
    rgb = mix(rgb, rgb * colours('d0622a') * 1.3, step(0.78, 0.95, runs) * 0.7)
    pits = step(0.90, 0.95, noise(rng, size, 7, 3, 0.6))
    rgb = mix(rgb, rgb * 0.25, pits * 0.9)
    return light(rgb, blur(height - 3 * pits, 0.7), 0.5, 0.10)


def agate(rng, size):
    """Cut stone: hair-fine bands of violet, rose, smoke and white around crystal hearts."""
    x, y = grid(size)
    cores = scatter(rng, size, size * 0.36, 0, 0.35)[:8]
    depth = numpy.full((size, size), 1e9, numpy.float32)
    for cx, cy in cores:
        a = numpy.arctan2(y - cy, x - cx)
        lobes = 1 + sum(rng.uniform(0.03, 0.12) * numpy.cos(k * a + rng.uniform(0, 7)) for k in (2, 3, 4, 5))
        d = numpy.hypot(x - cx, y - cy) * lobes
        depth = numpy.minimum(depth, d) - 7 * numpy.exp(-numpy.abs(depth - d) / 14)
    depth = depth + 34 * (noise(rng, size, size * 0.2, 3, 0.45) - 0.5) + 5 * (noise(rng, size, 22, 3) - 0.5)
    n = 4000
    key = rng.uniform(size=n)
    profile = numpy.interp(numpy.arange(n) / 8.0, numpy.arange(n // 3), stacked_bands(rng, n // 3))
    position = numpy.clip((depth + 60) * 8, 0, n - 1).astype(int)
    value = profile[position]
    fine = numpy.interp(depth.ravel() + 60, numpy.arange(800), key[:800]).reshape(size, size)
    rgb = ramp(
        numpy.clip(0.82 * value + 0.18 * fine + 0.05 * (noise(rng, size, 10, 3) - 0.5), 0, 1),
        colours('1c0f2c 4a2068 8a4aa4 c58ac0 f0cfd8 fbf4f0 b8a0b8 f7e6e2'),
    )
    core = step(30, 24, depth + 6 * (noise(rng, size, 10, 3) - 0.5))
    labels, near, _ = cells(scatter(rng, size, 11, 10), size)
    crystal = hashed(rng, labels)
    gem = ramp(numpy.clip(crystal * 0.8 + 0.3 * (1 - near / 9), 0, 1), colours('180a30 42207c 8458c4 d4b8f0 ffffff'))
    rgb = mix(rgb, gem, core)
    seam = step(1.5, 0.4, numpy.abs(depth - 27))
    rgb = mix(rgb, colours('f4e8e0'), seam * 0.8)
    fissure = craquelure(rng, size, 120, 0.6)
    rgb = mix(rgb, rgb * 0.5, fissure * 0.6) * (0.86 + 0.24 * noise(rng, size, 120, 5)[..., None])
    return light(rgb, core * crystal * 3 + 0.5 * noise(rng, size, 4, 2), 0.5, 0.25)


def stacked_bands(rng, n):
    """Brightness of a pile of bands of widths between hairs and fingers: (n,)."""
    widths = rng.choice([1, 2, 3, 5, 9], n, p=[0.3, 0.3, 0.2, 0.12, 0.08])
    walk = 0.5 + 0.5 * numpy.sin(numpy.cumsum(rng.normal(0, 1.1, n)))
    return numpy.repeat(walk, widths)[:n]
