"""Pictures of ideas: bauhaus, ribbons, planets, leaves, cut paper."""

import math
import random

from .canvas import Canvas, Point, Polygon, ball, circle, hollow, rectangle
from .palette import blend


def bauhaus(canvas: Canvas) -> None:
    """Circles, quarters and bars on a grid, in a handful of flat colours."""
    rng, tone = canvas.rng, canvas.palette.tone
    paper = blend(tone(1), (246, 240, 226), 0.6)
    canvas.sky([paper, blend(paper, tone(0.8), 0.25)])
    inks = [tone(0.06), tone(0.36), tone(0.62), canvas.palette.accent, tone(0.85)]
    cell = canvas.unit / rng.choice((4, 5, 5, 6))
    columns, rows = math.ceil(canvas.width / cell), math.ceil(canvas.height / cell)
    pen = canvas.pen()
    figures: dict[int, list[Polygon]] = {ink: [] for ink in range(len(inks))}
    for row in range(rows):
        for column in range(columns):
            x, y = column * cell, row * cell
            ground, figure = rng.sample(range(len(inks)), 2)
            if rng.random() < 0.62:
                pen.rectangle((x, y, x + cell - 1, y + cell - 1), fill=inks[ground])
            if rng.random() < 0.86:
                figures[figure] += _figure(rng, x, y, cell)
    for ink, shapes in figures.items():
        canvas.fill(shapes, inks[ink], blend(inks[ink], tone(0.1), 0.10))


def _figure(rng: random.Random, x: float, y: float, cell: float) -> list[Polygon]:
    half, kind = cell / 2, rng.randrange(6)
    if kind == 0:
        return [circle(x + half, y + half, half * rng.choice((0.98, 0.62, 0.36)))]
    if kind == 1:
        corner = rng.choice(((0, 0), (1, 0), (0, 1), (1, 1)))
        return [_wedge(x + corner[0] * cell, y + corner[1] * cell, cell, corner)]
    if kind == 2:
        bars = rng.choice((3, 4, 5))
        thick = cell / (2 * bars)
        if rng.random() < 0.5:
            tops = [y + thick * (2 * bar + 0.5) for bar in range(bars)]
            return [rectangle(x, top, x + cell, top + thick) for top in tops]
        sides = [x + thick * (2 * bar + 0.5) for bar in range(bars)]
        return [rectangle(left, y, left + thick, y + cell) for left in sides]
    if kind == 3:
        corners = [(x, y), (x + cell, y), (x + cell, y + cell), (x, y + cell)]
        return [corners[:3] if rng.random() < 0.5 else corners[1:]]
    if kind == 4:
        halves = circle(x + half, y + half, half)
        cut = len(halves) // 2
        return [halves[: cut + 1] if rng.random() < 0.5 else [*halves[cut:], halves[0]]]
    step = cell / 4
    dots = [(x + step * (i % 3 + 1), y + step * (i // 3 + 1)) for i in range(9)]
    return [circle(dx, dy, cell * 0.06) for dx, dy in dots]


def _wedge(x: float, y: float, radius: float, corner: tuple[int, int]) -> list[Point]:
    across, down = 1 - 2 * corner[0], 1 - 2 * corner[1]
    turns = [step / 30 * math.pi / 2 for step in range(31)]
    arc = [(x + across * radius * math.cos(a), y + down * radius * math.sin(a)) for a in turns]
    return [(x, y), *arc]


def ribbons(canvas: Canvas) -> None:
    """Bands of colour that flow over one another, each with its own shade."""
    rng, tone, width, height = canvas.rng, canvas.palette.tone, canvas.width, canvas.height
    at = (rng.uniform(0.2, 0.8), rng.uniform(0.1, 0.4))
    canvas.sky([tone(0.9), tone(1), tone(0.8)], canvas.palette.accent, at, 0.7)
    bands = rng.randint(7, 8)
    phases = [(rng.uniform(0, 6.3), rng.uniform(0.6, 1.7), rng.uniform(0.3, 1)) for _ in range(3)]
    lit = rng.randrange(1, bands - 1)
    for band in range(bands):
        share = band / (bands - 1)
        edge: list[Point] = []
        for step in range(61):
            across = step / 60
            sway = sum(
                weight * math.sin(phase + across * math.tau * waves + share * (1.2 + waves))
                for phase, waves, weight in phases
            )
            edge.append((across * width, height * (0.22 + 0.74 * share + 0.10 * sway)))
        # No deeper than the next bands leave bare: the rest would be painted for nothing.
        floor = min(height + 1.0, max(y for _, y in edge) + height * 0.33)
        if band % 2 == 0:
            rise, fall = canvas.unit * 0.008, canvas.unit * 0.05
            strip = [(x, y - rise) for x, y in edge] + [(x, y + fall) for x, y in edge[::-1]]
            canvas.soft([strip], tone(0), 0.022 * canvas.unit, 0.5)
        shape = [(-1.0, floor), (-1.0, edge[0][1]), *edge]
        shape += [(width + 1.0, edge[-1][1]), (width + 1.0, floor)]
        low = tone(0.78 - 0.74 * share)
        top = canvas.palette.accent if band == lit else tone(0.94 - 0.72 * share)
        canvas.fill([shape], top, low, tone(0.55 - 0.55 * share))


def planets(canvas: Canvas) -> None:
    """A world with rings and moons, among stars."""
    rng, width, height, unit = canvas.rng, canvas.width, canvas.height, canvas.unit
    dark, tone = blend(canvas.palette.tone(0), (6, 7, 16), 0.6), canvas.palette.tone
    at = (rng.uniform(0.15, 0.85), rng.uniform(0.15, 0.85))
    canvas.sky([dark, blend(dark, tone(0.3), 0.5), dark], blend(dark, tone(0.5), 0.6), at, 0.9)
    for _ in range(3):
        place = (rng.random() * width, rng.random() * height)
        canvas.glow(*place, unit * rng.uniform(0.15, 0.3), tone(rng.uniform(0.3, 0.6)), 0.3)
    _scatter(canvas)
    x, y = width * rng.uniform(0.38, 0.62), height * rng.uniform(0.36, 0.48)
    radius, light = unit * rng.uniform(0.17, 0.25), rng.choice((-1, 1))
    rings = _rings(canvas, x, y, radius) if rng.random() < 0.7 else ([], [])
    ring_tones = (tone(0.9), canvas.palette.accent)
    canvas.fill(rings[0], *ring_tones, opacity=0.75)
    _globe(canvas, x, y, radius, light)
    canvas.fill(rings[1], *ring_tones[::-1], opacity=0.85)
    for _ in range(rng.randint(1, 3)):
        turn, far = rng.uniform(0, math.tau), radius * rng.uniform(1.5, 2.2)
        moon = (x + far * 1.1 * math.cos(turn), y + far * 0.75 * math.sin(turn))
        _globe(canvas, *moon, radius * rng.uniform(0.07, 0.2), light)


def _scatter(canvas: Canvas) -> None:
    rng, pen = canvas.rng, canvas.pen()
    for _ in range(420):
        x, y = rng.random() * canvas.width, rng.random() * canvas.height
        size = canvas.unit / 1024 * rng.choice((0.4, 0.4, 0.7, 1.0, 1.7))
        colour = blend(canvas.palette.tone(0.4), (255, 253, 244), rng.random() ** 1.5)
        pen.ellipse((x - size, y - size, x + size, y + size), fill=colour)


def _globe(canvas: Canvas, x: float, y: float, radius: float, light: int) -> None:
    """A ball, striped or plain, lit from one side."""
    rng, tone = canvas.rng, canvas.palette.tone
    canvas.glow(x + light * radius * 0.15, y, radius * 1.5, tone(0.75), 0.5)
    disc = circle(x, y, radius)
    stops = [tone(rng.uniform(0.5, 0.95)) for _ in range(rng.randint(3, 11))]
    canvas.fill([disc], *stops, tone(0.6), shadow=ball(x, y, radius, (light * 0.55, -0.35)))


def _rings(canvas: Canvas, x: float, y: float, radius: float) -> tuple[list[Polygon], list[Polygon]]:
    tilt, squash = canvas.rng.uniform(-0.5, 0.5), canvas.rng.uniform(0.16, 0.32)
    behind: list[Polygon] = []
    before: list[Polygon] = []
    for inner, outer in ((1.35, 1.52), (1.56, 1.82), (1.87, 1.92)):
        for half, start in ((behind, math.pi), (before, 0.0)):
            turns = [start + math.pi * step / 60 for step in range(61)]
            arc = [
                (radius * reach * math.cos(a), radius * reach * squash * math.sin(a))
                for reach, way in ((outer, 1), (inner, -1))
                for a in turns[::way]
            ]
            cosine, sine = math.cos(tilt), math.sin(tilt)
            half.append([(x + u * cosine - v * sine, y + u * sine + v * cosine) for u, v in arc])
    return behind, before


def botanical(canvas: Canvas) -> None:
    """Stems and leaves before a large pale disc."""
    rng, tone, width, height = canvas.rng, canvas.palette.tone, canvas.width, canvas.height
    canvas.sky([tone(0.97), tone(0.86)], tone(1), (0.5, 0.4), 1.0)
    x, y = width * rng.uniform(0.35, 0.65), height * rng.uniform(0.34, 0.46)
    radius = canvas.unit * rng.uniform(0.24, 0.31)
    canvas.fill([circle(x, y, radius)], canvas.palette.accent, tone(0.85))
    slim = rng.choice((0.10, 0.16, 0.22, 0.30))
    for layer in range(3):
        leaves: list[Polygon] = []
        veins: list[Polygon] = []
        for _ in range((5, 4, 4)[layer]):
            _stem(canvas, leaves, veins, slim)
        shade = (0.66, 0.40, 0.14)[layer]
        canvas.fill(leaves, tone(shade + 0.1), tone(shade - 0.1))
        if layer:
            canvas.fill(veins, tone(shade + 0.2), opacity=0.5)


def _stem(canvas: Canvas, leaves: list[Polygon], veins: list[Polygon], slim: float) -> None:
    rng, unit = canvas.rng, canvas.unit
    x, y = canvas.width * rng.uniform(0.0, 1.0), canvas.height * 1.03
    joints, bend = rng.randint(7, 10), rng.gauss(0, 0.06)
    angle = -math.pi / 2 + rng.gauss(0, 0.13) - bend * joints / 2
    step = canvas.height * rng.uniform(0.4, 0.88) / joints
    thick = unit * 0.0022
    for joint in range(joints):
        end = (x + step * math.cos(angle), y + step * math.sin(angle))
        leaves.append([(x - thick, y), (x + thick, y), (end[0] + thick, end[1]), (end[0] - thick, end[1])])
        x, y = end
        angle += bend
        size = unit * (0.115 * math.sin(math.pi * (joint + 2) / (joints + 3)) + 0.012)
        for side in (-1, 1):
            way = angle + side * rng.uniform(0.65, 1.05)
            leaves.append(_leaf(x, y, way, size, slim))
            veins.append(_leaf(x, y, way, size * 0.88, 0.014))
    leaves.append(_leaf(x, y, angle, unit * 0.06, slim))


def _leaf(x: float, y: float, angle: float, length: float, slim: float) -> list[Point]:
    cosine, sine = math.cos(angle), math.sin(angle)
    sides = []
    for side, steps in ((1, range(8)), (-1, range(7, -1, -1))):
        for step in steps:
            along = step / 7
            out = side * slim * math.sin(math.pi * along**0.8) * (1 - 0.25 * along)
            u, v = length * along, length * out
            sides.append((x + u * cosine - v * sine, y + u * sine + v * cosine))
    return sides


def cut_paper(canvas: Canvas) -> None:
    """Sheets of paper with ever smaller holes, and a light at the bottom of them."""
    rng, tone, unit = canvas.rng, canvas.palette.tone, canvas.unit
    x, y = canvas.width * rng.uniform(0.36, 0.64), canvas.height * rng.uniform(0.36, 0.48)
    canvas.sky([tone(0.12), tone(0.04)])
    waves = [(rng.randint(1, 6), rng.uniform(0, 6.3), rng.uniform(0.1, 1)) for _ in range(3)]
    turn, sheets, way = rng.uniform(-0.5, 0.5), rng.randint(4, 5), rng.uniform(0, math.tau)
    for sheet in range(sheets, 0, -1):
        share = sheet / sheets
        off = unit * 0.10 * (1 - share)
        place = (x + off * math.cos(way), y + off * math.sin(way))
        hole = _blob(*place, unit * (0.08 + 0.50 * share**1.2), waves, turn * sheet)
        shadow = hollow(hole, unit * 0.02, 0.62)
        canvas.fill([hole], tone(1.02 - 0.82 * share), tone(0.94 - 0.82 * share), shadow=shadow)
    canvas.glow(*place, unit * 0.2, canvas.palette.accent, 0.9)
    core = blend(canvas.palette.accent, (255, 255, 255), 0.6)
    canvas.fill([circle(*place, unit * 0.05)], core, canvas.palette.accent)


def _blob(
    x: float, y: float, radius: float, waves: list[tuple[int, float, float]], turn: float
) -> list[Point]:
    edge = []
    for step in range(121):
        angle = math.tau * step / 120
        sway = sum(weight * math.sin(angle * n + phase + turn) for n, phase, weight in waves)
        reach = radius * (1 + 0.085 * sway)
        edge.append((x + reach * math.cos(angle), y + reach * math.sin(angle)))
    return edge
