"""The prompt, lettered on its picture."""

import unicodedata

from PIL import Image, ImageDraw, ImageFont

from .palette import RGB

_LINES = 3
_SMALLEST = 128  # pixels on the shorter side; below that no letter could be read
# What Unicode does not take apart by itself, and the bundled font lacks.
_SPELT = str.maketrans(
    {"ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ß": "ss", "æ": "ae", "Æ": "AE"}
    | {"œ": "oe", "Œ": "OE", "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'}
    | {"\u2013": "-", "\u2014": "-"}
)


def spell(text: str) -> str:
    """The text in letters that Pillow's own font has; what it lacks becomes a middle dot.

    A system font would have more letters, but not the same ones on every machine.
    """
    plain = unicodedata.normalize("NFKD", text.translate(_SPELT))
    kept = (letter for letter in plain if not unicodedata.combining(letter))
    shown = (x if " " <= x <= "~" else " " if x.isspace() else "\u00b7" for x in kept)
    return " ".join("".join(shown).split())


def letter(image: Image.Image, prompt: str, accent: RGB, ground: RGB) -> None:
    """Write the prompt over the foot of the picture, on a scrim so that it can be read."""
    width, height = image.size
    text = spell(prompt)
    if min(width, height) < _SMALLEST or not text:
        return
    size = max(11, round(min(width, height) / 27))
    font = ImageFont.load_default(size=size)
    margin = round(size * 1.6)
    lines = _wrap(text, font, width - 2 * margin)
    leading = round(size * 1.38)
    top = height - margin - leading * len(lines)
    _scrim(image, top - 3 * size, ground)
    pen = ImageDraw.Draw(image)
    rule = max(1, size // 9)
    pen.rectangle((margin, top - size * 0.75, margin + size * 2.4, top - size * 0.75 + rule), fill=accent)
    for row, line in enumerate(lines):
        pen.text((margin, top + row * leading), line, font=font, fill=(250, 249, 245))


def _scrim(image: Image.Image, top: int, ground: RGB) -> None:
    top = max(0, top)
    size = (image.width, image.height - top)
    fade = Image.linear_gradient("L").point([min(215, round(level * 1.05)) for level in range(256)])
    column = fade.resize((1, size[1]), Image.Resampling.BILINEAR)
    mask = column.resize(size, Image.Resampling.NEAREST)
    image.paste(Image.new("RGB", size, ground), (0, top), mask)


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: int) -> list[str]:
    """Lines that fit the room, at most three, the last one ellipsised."""
    lines: list[str] = []
    rest = text
    while rest and len(lines) < _LINES:
        fits = _fitting(rest, font, room)
        if fits < len(rest) and len(lines) == _LINES - 1:
            fits = _fitting(rest, font, room, "...")
            return [*lines, rest[:fits].rstrip(" ,.;:-") + "..."]
        broken = rest.rfind(" ", 0, fits + 1) if fits < len(rest) else fits
        fits = broken if broken > 0 else fits
        lines.append(rest[:fits].rstrip())
        rest = rest[fits:].lstrip()
    return lines


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: int, tail: str = "") -> int:
    """How many letters fit, by halving; at least one, so that wrapping always ends."""
    low, high = 1, min(len(text), room)
    while low < high:
        middle = (low + high + 1) // 2
        if font.getlength(text[:middle] + tail) <= room:
            low = middle
        else:
            high = middle - 1
    return low
