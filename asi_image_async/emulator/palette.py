"""Colours that belong together: moods as three OKLCH anchors and an accent."""

import math
import random
from dataclasses import dataclass

RGB = tuple[int, int, int]
LCH = tuple[float, float, float]


def to_rgb(lightness: float, chroma: float, hue: float) -> RGB:
    """OKLCH to sRGB, clipped to what a screen can show."""
    a = chroma * math.cos(math.radians(hue))
    b = chroma * math.sin(math.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        _gamma(4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short),
        _gamma(-1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short),
        _gamma(-0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short),
    )


def _gamma(linear: float) -> int:
    linear = min(1.0, max(0.0, linear))
    level = 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
    return round(255 * level)


def blend(first: RGB, second: RGB, share: float) -> RGB:
    """The colour `share` of the way from the first to the second."""
    r, g, b = (round(p + (q - p) * share) for p, q in zip(first, second, strict=True))
    return r, g, b


@dataclass(frozen=True)
class Palette:
    """A mood: shadow, middle and light tones to move between, and one accent."""

    dark: LCH
    middle: LCH
    light: LCH
    accent_lch: LCH

    def tone(self, level: float) -> RGB:
        """A tone from shadow (0) to light (1), by way of the middle."""
        level = min(1.0, max(0.0, level))
        if level < 0.5:
            return to_rgb(*_between(self.dark, self.middle, level * 2))
        return to_rgb(*_between(self.middle, self.light, level * 2 - 1))

    @property
    def accent(self) -> RGB:
        """The one colour that stands out."""
        return to_rgb(*self.accent_lch)

    @property
    def at_night(self) -> bool:
        """Whether the sky of this mood is dark enough for stars."""
        return self.middle[0] < 0.45

    def turned(self, degrees: float) -> "Palette":
        """The same mood with every hue turned round the wheel."""
        return Palette(
            *(
                (lightness, chroma, (hue + degrees) % 360)
                for lightness, chroma, hue in (self.dark, self.middle, self.light, self.accent_lch)
            )
        )


def _between(first: LCH, second: LCH, share: float) -> LCH:
    # Hue walks the short way round, so violet meets peach by way of rose rather than green.
    turn = (second[2] - first[2] + 180) % 360 - 180
    return (
        first[0] + (second[0] - first[0]) * share,
        first[1] + (second[1] - first[1]) * share,
        first[2] + turn * share,
    )


MOODS: dict[str, Palette] = {
    "dusk": Palette((0.24, 0.07, 285), (0.60, 0.14, 10), (0.91, 0.09, 75), (0.85, 0.14, 70)),
    "dawn": Palette((0.33, 0.06, 268), (0.72, 0.09, 345), (0.95, 0.05, 65), (0.80, 0.13, 45)),
    "noon": Palette((0.33, 0.07, 245), (0.70, 0.09, 232), (0.96, 0.03, 200), (0.74, 0.16, 50)),
    "night": Palette((0.16, 0.04, 275), (0.37, 0.08, 266), (0.74, 0.07, 245), (0.92, 0.08, 92)),
    "forest": Palette((0.24, 0.05, 168), (0.57, 0.09, 152), (0.93, 0.06, 108), (0.76, 0.15, 55)),
    "ember": Palette((0.22, 0.06, 18), (0.58, 0.18, 34), (0.91, 0.11, 82), (0.80, 0.09, 210)),
    "rose": Palette((0.30, 0.08, 350), (0.68, 0.12, 5), (0.95, 0.035, 40), (0.66, 0.11, 195)),
    "lagoon": Palette((0.27, 0.06, 235), (0.64, 0.10, 205), (0.95, 0.05, 160), (0.76, 0.16, 35)),
    "lavender": Palette((0.30, 0.09, 292), (0.65, 0.11, 302), (0.94, 0.04, 335), (0.86, 0.12, 90)),
    "golden": Palette((0.28, 0.05, 45), (0.68, 0.13, 65), (0.96, 0.07, 92), (0.52, 0.12, 245)),
    "ink": Palette((0.20, 0.015, 250), (0.58, 0.02, 235), (0.95, 0.014, 85), (0.62, 0.19, 29)),
    "olive": Palette((0.28, 0.04, 128), (0.64, 0.09, 102), (0.95, 0.05, 86), (0.64, 0.17, 40)),
}

_CUES: dict[str, str] = {
    "night": "night midnight moon moonlit stars starry galaxy nebula dark space owl aurora blue",
    "dusk": "sunset dusk evening twilight purple dragon neon concert",
    "dawn": "dawn morning sunrise pastel soft pink dream",
    "noon": "sky day summer airplane snow winter ice white penguin",
    "forest": "green forest jungle grass tree trees leaf frog moss garden",
    "ember": "red fire lava volcano flame hot crimson mars orange pumpkin fox",
    "rose": "rose love flower flowers cherry blossom heart wedding",
    "lagoon": "ocean sea beach water lake river fish turquoise swimming boat",
    "lavender": "lavender violet magic fairy wizard unicorn",
    "golden": "gold golden yellow desert sand wheat sun honey lion pyramid autumn fall",
    "ink": "black charcoal ink sketch monochrome noir pencil gray grey photograph",
    "olive": "vintage retro old antique map wooden coffee tea",
}


def choose(words: frozenset[str], rng: random.Random) -> Palette:
    """The mood that the prompt's words call for, or any, each turned a little."""
    called = [name for name, cues in _CUES.items() if words & set(cues.split())]
    return MOODS[rng.choice(called or sorted(MOODS))].turned(rng.uniform(-11, 11))
