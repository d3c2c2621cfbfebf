"""Open water under a low light."""

from .canvas import Canvas, Polygon, rectangle
from .palette import blend
from .terrain import birds, firmament, ground, outline


def seascape(canvas: Canvas) -> None:
    """Open water under a low light, with its path of glitter, and a sail or an island."""
    rng, tone, width, height = canvas.rng, canvas.palette.tone, canvas.width, canvas.height
    horizon = rng.uniform(0.46, 0.58)
    x, _ = firmament(canvas, horizon * 1.1, 0.13)
    night = canvas.palette.at_night
    line = horizon * height
    for _ in range(rng.randint(0, 2)):
        far = ground(canvas, outline(rng, 120, 0.5, 2), horizon, 0.07)
        canvas.fill([[(px, min(py, line)) for px, py in far]], tone(0.3), tone(0.45))
    near, far_tone = (0.02, 0.42) if night else (0.12, 0.7)
    water = rectangle(-1, line, width + 1, height + 1)
    canvas.fill([water], tone(far_tone), tone((near + far_tone) / 2), tone(near))
    _swell(canvas, line, x)
    if rng.random() < 0.7:
        sail_x = (0.25 if x > width / 2 else 0.75) * width + rng.gauss(0, 0.05) * width
        _sail(canvas, sail_x, line + height * rng.uniform(0.03, 0.12))
    birds(canvas, rng.uniform(0.2, 0.8) * width, line * 0.45)


def _swell(canvas: Canvas, line: float, light_x: float) -> None:
    rng, width = canvas.rng, canvas.width
    waves: dict[str, list[Polygon]] = {"dark": [], "glitter": []}
    for _ in range(330):
        depth = rng.random() ** 1.6
        y = line + depth * (canvas.height - line)
        half, thick = width * (0.008 + 0.05 * depth * rng.random()), 0.8 + 4.5 * depth
        path = rng.random() < 0.55
        spread = canvas.unit * (0.035 + 0.10 * depth)
        x = light_x + rng.gauss(0, 1) * spread if path else rng.random() * width
        half = half * 0.7 if path else half
        lens = [(x - half, y), (x, y - thick / 2), (x + half, y), (x, y + thick / 2)]
        waves["glitter" if path else "dark"].append(lens)
    canvas.fill(waves["dark"], canvas.palette.tone(0.25), canvas.palette.tone(0.0), opacity=0.5)
    bright = blend(canvas.palette.accent, (255, 255, 255), 0.5)
    canvas.fill(waves["glitter"], bright, canvas.palette.accent, opacity=0.8)


def _sail(canvas: Canvas, x: float, y: float) -> None:
    size = canvas.unit * canvas.rng.uniform(0.07, 0.12)
    hull = [(-0.5, 0), (0.55, 0), (0.36, 0.16), (-0.36, 0.16)]
    main = [(0.02, -1.25), (0.05, -0.08), (0.55, -0.08), (0.3, -0.6)]
    jib = [(-0.03, -1.1), (-0.03, -0.08), (-0.42, -0.08)]
    hull_at, main_at, jib_at = (
        [(x + px * size, y + py * size) for px, py in shape] for shape in (hull, main, jib)
    )
    canvas.fill([hull_at], canvas.palette.tone(0.0))
    canvas.fill([main_at, jib_at], canvas.palette.tone(0.98), canvas.palette.tone(0.8))
