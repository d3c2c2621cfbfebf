"""Pictures of the land: mountains, hills, dunes, forest, northern lights."""

import math

from .canvas import Canvas, Point, Polygon, circle
from .palette import blend
from .terrain import birds, crags, firmament, ground, outline, pine, stars


def mountains(canvas: Canvas) -> None:
    """Ridges in mist, one behind the other, under sun or moon."""
    rng, tone = canvas.rng, canvas.palette.tone
    x, y = firmament(canvas, 0.5)
    ridges = rng.randint(4, 5)
    lightest = 0.42 if canvas.palette.at_night else 0.7
    for ridge in range(ridges):
        depth = ridge / (ridges - 1)
        land = ground(canvas, crags(rng, 256), 0.46 + 0.42 * depth, 0.17 - 0.07 * depth)
        shade = lightest * (1 - depth) ** 1.15 + 0.04
        canvas.fill([land], tone(shade), tone(shade + 0.3 * (1 - depth) + 0.05))
    if rng.random() < 0.6:
        birds(canvas, canvas.width - x, y + canvas.height * 0.05)
    pines = [
        pine(
            side * canvas.width + rng.gauss(0, 0.09) * canvas.unit,
            canvas.height * 1.01,
            height,
            rng,
        )
        for side in (rng.choice((0.06, 0.94)),)
        for height in (canvas.unit * rng.uniform(0.16, 0.4) for _ in range(9))
    ]
    canvas.fill(pines, tone(0.02))


def hills(canvas: Canvas) -> None:
    """Rolling fields with round trees, and a lane that winds away."""
    rng, tone = canvas.rng, canvas.palette.tone
    firmament(canvas, 0.42)
    _clouds(canvas)
    count = 5
    for hill in range(count):
        depth = hill / (count - 1)
        land = ground(canvas, outline(rng, 80, 0.3, 1), 0.44 + 0.42 * depth, 0.07)
        shade = 0.74 - 0.58 * depth
        canvas.fill([land], tone(shade + 0.08), tone(shade - 0.12))
        if hill < count - 1:
            _copse(canvas, land[2:-3], depth, shade)
    if rng.random() < 0.6:
        birds(canvas, rng.uniform(0.3, 0.7) * canvas.width, canvas.height * 0.22)


def _clouds(canvas: Canvas) -> None:
    rng, unit = canvas.rng, canvas.unit
    puffs: list[Polygon] = []
    for _ in range(rng.randint(2, 4)):
        x, y = rng.random() * canvas.width, rng.uniform(0.1, 0.32) * canvas.height
        for _ in range(6):
            reach = unit * rng.uniform(0.04, 0.10)
            puffs.append(circle(x + rng.gauss(0, 0.09) * unit, y, reach, squash=0.18))
        canvas.soft(puffs, canvas.palette.tone(1), unit * 0.012, 0.6)
        puffs.clear()


def _copse(canvas: Canvas, crest: list[Point], depth: float, shade: float) -> None:
    rng, size = canvas.rng, canvas.unit * (0.014 + 0.034 * depth)
    start, crowns, trunks = rng.randrange(len(crest)), [], []
    for _ in range(rng.randint(3, 8)):
        x, y = crest[(start + round(rng.gauss(0, 5))) % len(crest)]
        tall, wide = size * rng.uniform(1.2, 2.2), size * rng.uniform(0.55, 0.95)
        crowns.append([(px, y - tall + (py - y) * tall / wide * 0.8) for px, py in circle(x, y, wide)])
        thin = size * 0.09
        trunks.append([(x - thin, y - tall), (x + thin, y - tall), (x + thin, y + 3), (x - thin, y + 3)])
    canvas.fill([*trunks, *crowns], canvas.palette.tone(shade - 0.16), canvas.palette.tone(shade - 0.3))


def dunes(canvas: Canvas) -> None:
    """Sand in long curves, a lit and a shaded side to each crest."""
    rng, tone = canvas.rng, canvas.palette.tone
    light_x, _ = firmament(canvas, 0.42, 0.1)
    way = 1 if light_x < canvas.width / 2 else -1
    count = 5
    for dune in range(count):
        depth = dune / (count - 1)
        peak = ((dune * 0.37 + rng.uniform(0, 0.25)) % 0.8 + 0.1) * canvas.width
        top = canvas.height * (0.36 + 0.32 * depth + rng.uniform(-0.02, 0.04))
        crest = _crest(canvas, peak, top, canvas.height * (0.14 + 0.1 * depth))
        floor = canvas.height * min(1.0, 0.72 + 0.3 * depth) + 2
        land = [*crest, (canvas.width + 2.0, floor), (-2.0, floor)]
        canvas.fill([land], tone(0.92 - 0.32 * depth), tone(0.68 - 0.3 * depth))
        lee = [point for point in crest if (point[0] - peak) * way >= 0][::way]
        spine = _spine(peak, top, way * canvas.unit * rng.uniform(0.12, 0.3), floor)
        away = (canvas.width + 2.0 if way > 0 else -2.0, floor)
        canvas.fill([[*lee, away, *spine[::-1]]], tone(0.42 - 0.32 * depth), tone(0.6 - 0.34 * depth))


def _crest(canvas: Canvas, peak: float, top: float, fall: float) -> list[Point]:
    """A line that sweeps up to a peak and down again, hollow on both sides."""
    xs = sorted({-2.0, canvas.width + 2.0, peak, *(canvas.width * step / 60 for step in range(61))})
    reach = canvas.unit * canvas.rng.uniform(0.45, 0.7)
    return [(x, top + fall * (1 - math.exp(-abs(x - peak) / reach * 1.6))) for x in xs]


def _spine(peak: float, top: float, drift: float, floor: float) -> list[Point]:
    shares = (step / 24 for step in range(25))
    return [(peak + drift * (0.5 * math.sin(t * 4.6) + 0.9 * t), top + (floor - top) * t) for t in shares]


def northern_lights(canvas: Canvas) -> None:
    """Curtains of light over a line of pines, and stars through them."""
    rng, tone, width, height = canvas.rng, canvas.palette.tone, canvas.width, canvas.height
    night = blend(tone(0), (8, 10, 24), 0.55)
    at = (rng.uniform(0.2, 0.8), 0.75)
    canvas.sky([night, blend(night, tone(0.3), 0.5), tone(0.5)], tone(0.6), at, 0.6)
    stars(canvas, 0.8)
    for _ in range(3):
        _curtain(canvas, rng.choice((canvas.palette.accent, tone(0.8), tone(0.65))))
    for row in range(3):
        depth = row / 2
        land = ground(canvas, outline(rng, 80, 0.4, 2), 0.74 + 0.12 * depth, 0.05)
        pines = [
            pine(rng.random() * width, height * (0.78 + 0.12 * depth), tall, rng)
            for tall in (canvas.unit * rng.uniform(0.07, 0.15) * (1 + depth) for _ in range(22 - 5 * row))
        ]
        shade = blend(night, tone(0.4), 0.5 * (1 - depth))
        canvas.fill([land, *pines], shade, blend(shade, night, 0.5))


def _curtain(canvas: Canvas, colour: tuple[int, int, int]) -> None:
    rng, height = canvas.rng, canvas.height
    base, lean = rng.uniform(0.36, 0.58), rng.uniform(-0.2, 0.2)
    waves = [(rng.uniform(1, 4), rng.uniform(0, 6.3), rng.uniform(0.3, 1)) for _ in range(3)]
    foot: list[Point] = []
    for step in range(61):
        across = step / 60
        sway = sum(weight * math.sin(turns * math.pi * across + at) for turns, at, weight in waves)
        foot.append((across * canvas.width, height * (base + lean * (across - 0.5) + 0.05 * sway)))
    # Folds hang from the foot's points; the taller a veil the fainter, so the light fades upwards.
    hung = [(x, y, 1 + 0.4 * math.sin(x / canvas.width * rng.uniform(18, 30))) for x, y in foot]
    veils = [
        [*foot, *((x, y - tall * height * fold) for x, y, fold in hung[::-1])]
        for tall in (0.36, 0.30, 0.245, 0.195, 0.15, 0.11, 0.075, 0.045, 0.02)
    ]
    canvas.soft(veils, colour, canvas.unit * 0.012, 0.75)


def forest(canvas: Canvas) -> None:
    """Trunks that fade into the mist, and light that slants between them."""
    rng, tone, width, height = canvas.rng, canvas.palette.tone, canvas.width, canvas.height
    at = (rng.uniform(0.25, 0.75), rng.uniform(0.15, 0.4))
    canvas.sky([tone(0.5), tone(0.74), tone(0.68)], tone(1), at, 1.0)
    for row in range(4):
        depth = row / 3
        trunks: list[Polygon] = []
        for _ in range(13 - 3 * row):
            x, wide = rng.uniform(-0.02, 1.02) * width, canvas.unit * (0.007 + 0.022 * depth)
            wide *= rng.uniform(0.7, 1.4)
            lean, foot = rng.gauss(0, 0.02) * width, height * (0.74 + 0.2 * depth)
            trunks.append([(x - wide * 0.6 + lean, -2), (x + wide * 0.6 + lean, -2)])
            trunks[-1] = [*trunks[-1], (x + wide, foot), (x + wide * 2, foot + wide * 3)]
            trunks[-1] = [*trunks[-1], (x - wide * 2, foot + wide * 3), (x - wide, foot)]
        shade = 0.66 * (1 - depth) ** 1.2 + 0.05
        floor = ground(canvas, outline(rng, 90, 0.5, 2), 0.76 + 0.14 * depth, 0.025)
        canvas.fill([*trunks, floor], tone(shade + 0.05), tone(shade), tone(shade - 0.08))
        if row == 2:
            _rays(canvas, at[0] * width, at[1] * height - height * 0.6)


def _rays(canvas: Canvas, x: float, y: float) -> None:
    """Light that slants down from a point above the trees."""
    rays: list[Polygon] = []
    for _ in range(5):
        angle = canvas.rng.uniform(0.3, 0.7) * math.pi
        spread, reach = canvas.rng.uniform(0.02, 0.045), canvas.height * 1.6
        sides = (angle - spread, angle + spread)
        rays.append([(x, y), *((x + reach * math.cos(a), y + reach * math.sin(a)) for a in sides)])
    canvas.soft(rays, canvas.palette.tone(1), canvas.unit * 0.01, 0.42)
