"""What landscapes are made of: outlines, ground, sky with its light, birds, pines."""

import math
import random

from .canvas import Canvas, Point, circle
from .palette import blend


def outline(rng: random.Random, steps: int, rough: float, waves: int) -> list[float]:
    """A skyline between about -1 and 1: a few sine waves, each finer one weaker."""
    parts = [
        (rough**octave, rng.uniform(0.7, 1.3) * waves * 2**octave, rng.uniform(0, 2 * math.pi))
        for octave in range(6)
    ]
    total = sum(weight for weight, _, _ in parts)
    return [
        sum(weight * math.sin(turns * step / steps * math.pi + phase) for weight, turns, phase in parts)
        / total
        for step in range(steps + 1)
    ]


def crags(rng: random.Random, steps: int) -> list[float]:
    """A jagged skyline by midpoint displacement; steps should be a power of two."""
    heights = [0.0] * (steps + 1)
    heights[0], heights[-1] = rng.uniform(-0.6, 0.6), rng.uniform(-0.6, 0.6)
    span, reach = steps, 0.9
    while span > 1:
        for left in range(0, steps, span):
            middle = (heights[left] + heights[left + span]) / 2
            heights[left + span // 2] = middle + rng.uniform(-reach, reach)
        span, reach = span // 2, reach * 0.52
    return heights


def ground(canvas: Canvas, heights: list[float], base: float, swing: float) -> list[Point]:
    """The land under an outline, down to the foot of the picture."""
    step = canvas.width / (len(heights) - 1)
    top = [(i * step, (base - swing * y) * canvas.height) for i, y in enumerate(heights)]
    right, foot = canvas.width + 2.0, canvas.height + 2.0
    return [(-2.0, top[0][1]), *top, (right, top[-1][1]), (right, foot), (-2.0, foot)]


def firmament(canvas: Canvas, horizon: float, disc: float = 0.09) -> Point:
    """Sky with sun or moon (and stars at night); tells where the light is, in pixels."""
    rng, tone = canvas.rng, canvas.palette.tone
    at = (rng.uniform(0.2, 0.8), horizon * rng.uniform(0.35, 0.85))
    night = canvas.palette.at_night
    stops = [tone(t) for t in ((0.05, 0.3, 0.62) if night else (0.5, 0.72, 0.95))]
    bright = canvas.palette.accent if night or rng.random() < 0.5 else tone(1)
    canvas.sky([*stops, stops[-1]], blend(bright, tone(1), 0.4), at, 0.55 if night else 0.8)
    if night:
        stars(canvas, horizon)
    x, y = at[0] * canvas.width, at[1] * canvas.height
    radius = canvas.unit * disc * rng.uniform(0.6, 1.1)
    canvas.fill([circle(x, y, radius)], blend(bright, (255, 255, 255), 0.55), bright)
    return x, y


def stars(canvas: Canvas, horizon: float) -> None:
    """Stars of several sizes, fewer towards the horizon."""
    rng, pen = canvas.rng, canvas.pen()
    size = canvas.unit / 1024
    for _ in range(220):
        x, y = rng.random() * canvas.width, rng.random() ** 1.3 * horizon * canvas.height
        glint = blend(canvas.palette.tone(0.9), (255, 255, 250), rng.random() ** 2)
        radius = size * rng.choice((0.4, 0.5, 0.8, 1.4))
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=glint)


def birds(canvas: Canvas, x: float, y: float) -> None:
    """A few birds far off, round a place given in pixels."""
    rng, unit, wings = canvas.rng, canvas.unit, []
    for _ in range(rng.randint(3, 7)):
        cx, cy = x + rng.gauss(0, 0.10) * unit, y + rng.gauss(0, 0.05) * unit
        span = unit * rng.uniform(0.008, 0.017)
        lift = span * rng.uniform(0.3, 0.7)
        left, right = (cx - span, cy - lift), (cx + span, cy - lift * 0.8)
        wings += [[left, (cx - span * 0.4, cy - lift * 0.9), (cx, cy), (cx, cy + span * 0.18)]]
        wings += [[right, (cx + span * 0.4, cy - lift), (cx, cy), (cx, cy + span * 0.18)]]
    canvas.fill(wings, canvas.palette.tone(0.08))


def pine(x: float, foot: float, height: float, rng: random.Random) -> list[Point]:
    """The outline of a conifer that stands at a place."""
    left: list[Point] = []
    right: list[Point] = []
    tiers = 7
    for tier in range(tiers):
        y = foot - height * (1 - (tier + 1) / tiers * 0.93)
        reach = height * 0.2 * (tier + 1) / tiers
        left += [(x - reach * rng.uniform(0.85, 1.1), y), (x - reach * 0.5, y - height * 0.02)]
        right += [(x + reach * rng.uniform(0.85, 1.1), y), (x + reach * 0.5, y - height * 0.02)]
    return [(x, foot - height), *left, (x, foot + 1), *reversed(right)]
