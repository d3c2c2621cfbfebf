"""A city at the end of the day."""

import random

from .canvas import Canvas, Point, rectangle
from .palette import RGB, blend
from .terrain import firmament


def city(canvas: Canvas) -> None:
    """A skyline at the end of the day, its windows lit."""
    rng, tone = canvas.rng, canvas.palette.tone
    firmament(canvas, 0.55, 0.12)
    for row in range(3):
        shade = (0.5, 0.27, 0.06)[row] * (0.6 if canvas.palette.at_night else 1)
        top = 0.36 + 0.13 * row
        towers, x = [], -0.02 * canvas.width
        while x < canvas.width:
            wide = canvas.unit * rng.uniform(0.045, 0.11)
            roof = canvas.height * (top + rng.random() ** 0.7 * 0.24)
            towers.append((x, roof, x + wide))
            x += wide + canvas.unit * rng.choice((0, 0, 0.006, 0.03))
        blocks = [rectangle(a, roof, b, canvas.height + 1) for a, roof, b in towers]
        blocks += [_spire(rng, *tower, canvas.unit) for tower in towers if rng.random() < 0.45]
        canvas.fill(blocks, tone(shade), tone(shade + 0.12 * (2 - row) + 0.03))
        if row:
            _windows(canvas, towers, shade, row)


def _spire(rng: random.Random, left: float, roof: float, right: float, unit: int) -> list[Point]:
    middle, wide, rise = (left + right) / 2, right - left, unit * rng.uniform(0.02, 0.09)
    if rng.random() < 0.4:
        return [(left, roof + 1), (left, roof - rise * 0.5), (right, roof + 1)]
    half, thin = wide * rng.uniform(0.2, 0.4), max(0.8, unit * 0.0012)
    shoulder = roof - rise * 0.4
    return [
        *((middle - half, roof + 1), (middle - half, shoulder), (middle - thin, shoulder)),
        *((middle - thin, roof - rise), (middle + thin, roof - rise), (middle + thin, shoulder)),
        *((middle + half, shoulder), (middle + half, roof + 1)),
    ]


def _windows(canvas: Canvas, towers: list[tuple[float, float, float]], shade: float, row: int) -> None:
    rng, pen = canvas.rng, canvas.pen()
    pitch = canvas.unit * (0.011 + 0.004 * row)
    lamps: list[RGB] = [blend(canvas.palette.accent, (255, 236, 190), share) for share in (0.2, 0.5, 0.8)]
    unlit = canvas.palette.tone(shade + 0.07)
    for left, roof, right in towers:
        columns = int((right - left - pitch) / pitch)
        margin = (right - left - columns * pitch) / 2 + pitch * 0.22
        lit = rng.uniform(0.12, 0.5)
        for storey in range(int((canvas.height * 0.94 - roof) / (pitch * 1.4))):
            y = roof + pitch * (1 + 1.4 * storey)
            for column in range(columns):
                colour = rng.choice(lamps) if rng.random() < lit else unlit
                x = left + margin + column * pitch
                pen.rectangle((x, y, x + pitch * 0.5, y + pitch * 0.7), fill=colour)
