"""A picture in the making: soft skies, smooth-edged shapes, glows, shadows, in Pillow's C."""

import math
import random
from collections.abc import Callable, Iterable, Sequence

from PIL import Image, ImageDraw, ImageFilter, ImageOps

from .palette import RGB, Palette

Point = tuple[float, float]
Polygon = Sequence[Point]
Box = tuple[int, int, int, int]
Shadow = Callable[[Box], Image.Image]  # how dark each pixel of a box is

_SKY = 96  # skies are made this small and enlarged: nothing in them is sharp


def gradient(width: int, height: int, stops: Sequence[RGB]) -> Image.Image:
    """A vertical gradient through the stops, the first on top."""
    column = Image.new("RGB", (1, len(stops)))
    for row, colour in enumerate(stops):
        column.putpixel((0, row), colour)
    # From the middle of the first stop to the middle of the last: no flat bands at the ends.
    span = (0.0, 0.5, 1.0, len(stops) - 0.5) if len(stops) > 1 else None
    tall = column.resize((1, height), Image.Resampling.BILINEAR, box=span)
    return tall.resize((width, height), Image.Resampling.NEAREST)


def circle(x: float, y: float, radius: float, *, squash: float = 1.0) -> list[Point]:
    """A circle as a polygon; `squash` flattens it to an ellipse."""
    steps = max(16, min(160, round(radius)))
    turns = (2 * math.pi * step / steps for step in range(steps))
    return [(x + radius * math.cos(a), y + radius * squash * math.sin(a)) for a in turns]


def rectangle(left: float, top: float, right: float, bottom: float) -> list[Point]:
    """A rectangle as a polygon."""
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


class Canvas:
    """An RGB image with its size, palette and source of chance."""

    def __init__(self, width: int, height: int, palette: Palette, rng: random.Random) -> None:
        self.width, self.height = width, height
        self.unit = min(width, height)
        self.palette, self.rng = palette, rng
        self.image = Image.new("RGB", (width, height))

    def sky(
        self,
        stops: Sequence[RGB],
        glow: RGB | None = None,
        at: Point = (0.5, 0.5),
        reach: float = 1,
    ) -> None:
        """Fill everything with a gradient, and a glow at a place given in shares of the size."""
        small = gradient(_SKY, _SKY, stops)
        if glow is not None:
            shape = (self.unit / self.width * reach * 1.3, self.unit / self.height * reach * 1.3)
            size = (round(2 * _SKY * shape[0]) or 1, round(2 * _SKY * shape[1]) or 1)
            place = (round(at[0] * _SKY - size[0] / 2), round(at[1] * _SKY - size[1] / 2))
            small.paste(Image.new("RGB", size, glow), place, _halo(size))
        self.image = small.resize((self.width, self.height), Image.Resampling.BILINEAR)

    def glow(self, x: float, y: float, radius: float, colour: RGB, strength: float = 1.0) -> None:
        """Light that spreads round a point."""
        size = (max(2, round(2 * radius)),) * 2
        mask = _halo(size, strength)
        self.image.paste(Image.new("RGB", size, colour), (int(x - radius), int(y - radius)), mask)

    def fill(
        self,
        shapes: Iterable[Polygon],
        *colours: RGB,
        opacity: float = 1.0,
        shadow: Shadow | None = None,
    ) -> None:
        """Paint polygons, smooth-edged, in one colour or in a gradient from top to bottom.

        A `shadow` (see `hollow` and `ball`) falls on the paint, inside the polygons only.
        """
        polygons = [shape for shape in shapes if len(shape) > 2]
        box = self._around(polygons)
        if box is None:
            return
        size = (box[2] - box[0], box[3] - box[1])
        paint = gradient(*size, colours)
        if shadow is not None:
            paint.paste(Image.new("RGB", size, self.palette.tone(0)), (0, 0), shadow(box))
        # Twice the size and then halved: Pillow's own polygons have stair-stepped edges.
        mask = _mask(polygons, box, 2.0).reduce(2)
        if opacity < 1.0:
            mask = mask.point([round(level * opacity) for level in range(256)])
        self.image.paste(paint, box[:2], mask)

    def soft(self, shapes: Sequence[Polygon], colour: RGB, blur: float, opacity: float) -> None:
        """Paint with a soft edge: cloud, shadow, light. Of several shapes each covers more."""
        box = self._around(shapes, round(blur * 3))
        if box is None:
            return
        size = (box[2] - box[0], box[3] - box[1])
        # At an eighth of the size: it is blurred anyway, and far cheaper.
        mask = _mask(shapes, box, 0.125, rising=True).filter(ImageFilter.GaussianBlur(blur / 8))
        mask = mask.point([round(level * opacity) for level in range(256)])
        mask = mask.resize(size, Image.Resampling.BILINEAR)
        self.image.paste(Image.new("RGB", size, colour), box[:2], mask)

    def pen(self) -> ImageDraw.ImageDraw:
        """Pillow's own pen, for specks and upright edges that need no smoothing."""
        return ImageDraw.Draw(self.image)

    def _around(self, polygons: Sequence[Polygon], margin: int = 1) -> Box | None:
        points = [point for polygon in polygons for point in polygon]
        if not points:
            return None
        left = max(0, math.floor(min(x for x, _ in points)) - margin)
        top = max(0, math.floor(min(y for _, y in points)) - margin)
        right = min(self.width, math.ceil(max(x for x, _ in points)) + margin)
        bottom = min(self.height, math.ceil(max(y for _, y in points)) + margin)
        return (left, top, right, bottom) if left < right and top < bottom else None


def hollow(shape: Polygon, blur: float, opacity: float) -> Shadow:
    """The shadow of a hole's own edge, as if it were lit from above."""

    def fall(box: Box) -> Image.Image:
        lowered = [(x, y + blur) for x, y in shape]
        # The blur must see the hole's surroundings, so what lies beyond the box counts as edge.
        small = ImageOps.expand(_mask([lowered], box, 0.125), 4)
        small = ImageOps.crop(small.filter(ImageFilter.GaussianBlur(blur / 8)), 4)
        dark = small.point([round((255 - level) * opacity) for level in range(256)])
        return dark.resize((box[2] - box[0], box[3] - box[1]), Image.Resampling.BILINEAR)

    return fall


def ball(x: float, y: float, radius: float, light: Point) -> Shadow:
    """The shadow that makes a disc a ball; `light` is the bright spot, in radii off the middle."""

    def fall(box: Box) -> Image.Image:
        night = [round(250 * min(1.0, max(0.0, level - 46) / 84) ** 1.2) for level in range(256)]
        reach = radius * 2.1
        left, top = x + light[0] * radius - reach, y + light[1] * radius - reach
        zoom = 256 / (2 * reach)
        # The part of a large radial gradient, centred on the light, that lies behind the box.
        edges = ((box[0] - left, box[1] - top), (box[2] - left, box[3] - top))
        (a, b), (c, d) = ((_inside(u * zoom), _inside(v * zoom)) for u, v in edges)
        size = (box[2] - box[0], box[3] - box[1])
        far = Image.radial_gradient("L").point(night)
        return far.resize(size, Image.Resampling.BILINEAR, box=(a, b, max(c, a + 1), max(d, b + 1)))

    return fall


def _inside(edge: float) -> float:
    return min(255.0, max(0.0, edge))


def _mask(polygons: Sequence[Polygon], box: Box, scale: float, *, rising: bool = False) -> Image.Image:
    size = (math.ceil((box[2] - box[0]) * scale), math.ceil((box[3] - box[1]) * scale))
    mask = Image.new("L", size)
    pen = ImageDraw.Draw(mask)
    for count, polygon in enumerate(polygons, 1):
        level = 255 * count // len(polygons) if rising else 255
        pen.polygon([((x - box[0]) * scale, (y - box[1]) * scale) for x, y in polygon], fill=level)
    return mask


def _halo(size: tuple[int, int], strength: float = 1.0) -> Image.Image:
    # radial_gradient rises to 180 at the middle of each side, and to 255 only in the corners.
    fall = [round(255 * strength * max(0.0, 1 - level / 179) ** 2) for level in range(256)]
    return Image.radial_gradient("L").point(fall).resize(size, Image.Resampling.BILINEAR)
