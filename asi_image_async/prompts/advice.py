"""The documentation's advice on prompts, applied: a judgement of words, made without a model.

It says to be specific (style, mood, lighting, composition), to be descriptive (colours, textures, artistic
styles), to name the perspective (camera angle, viewpoint) and to add context (background, setting);
"mountains", "person" and "abstract art" are its poor examples.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["ADVICE", "Judgement", "content_words", "judge_prompt"]

# What each piece of advice asks for, in the documentation's words.
ADVICE = {
    "specific": "say the style, mood, lighting or composition",
    "descriptive": "describe colours, textures or materials",
    "perspective": "name a viewpoint: close-up, from above, wide shot",
    "context": "say where and when: a setting, a background, a time of day",
}
_GOOD, _FAIR = 75, 50
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
# Endings of words that stand for style, mood, light or composition, for colour, material and texture, for a
# viewpoint, and for a place or a time. A word counts where it begins with one of these.
_MARKS = {
    "specific": """
        style painting paint oil watercolo acrylic sketch drawing drawn pencil ink charcoal engraving etching
        woodcut illustration render photo photograph portrait cartoon anime manga comic poster logo pixel 3d
        cinematic realistic photorealistic hyperreal surreal abstract minimal baroque renaissance impression
        expression cubis art-deco nouveau vintage retro cyberpunk steampunk gothic futuristic fantasy noir
        moody mood dramatic serene calm peaceful cheerful melanchol gloomy mysterious eerie dreamy cozy cosy
        lonely joyful tense epic misty foggy hazy stormy light lit sunlight moonlight candle glow backlit
        backlight shadow silhouette neon sunset sunrise dawn dusk golden-hour bokeh exposure contrast
        symmetr composition centered centred foreground minimalis rule-of-thirds negative-space detailed
        intricate
    """,
    "descriptive": """
        red orange yellow green blue purple violet pink brown black white grey gray gold golden silver bronze
        copper crimson scarlet turquoise teal cyan magenta beige ivory amber emerald navy indigo pastel
        colour color vivid vibrant pale dark bright deep rusty mossy snowy dusty wooden metal metallic stone
        marble glass crystal leather velvet silk wool paper clay brick concrete golden rough smooth glossy
        matte shiny polished cracked weathered worn furry fluffy fuzzy feather translucent transparent
        textur pattern striped spotted checkered embroidered carved ornate lush gnarled jagged
        watercolo impression expression cubis baroque nouveau art-deco gothic minimalis photorealis pixel
        ancient old tiny huge giant enormous massive tall round curved sparkling gleaming glowing misty foggy
    """,
    "perspective": """
        close-up closeup macro wide-angle wide-shot fisheye panorama panoramic aerial drone bird's-eye
        birds-eye worm's-eye overhead top-down low-angle high-angle eye-level isometric first-person
        third-person over-the-shoulder full-body headshot profile side-view front-view zoomed telephoto
        perspective viewpoint view viewed angle seen looking facing portrait shot camera lens
    """,
    "context": """
        background foreground setting landscape city street forest woods mountain valley river lake sea ocean
        beach shore desert field meadow garden park sky space moon room kitchen library museum station
        harbour harbor village castle church temple market cafe café restaurant bar office classroom stage
        night day morning noon afternoon evening dawn dusk sunset sunrise midnight twilight winter spring
        summer autumn fall rain snow storm fog table desk floor wall window roof bridge road path hill
        underwater indoors outdoors countryside jungle island cave ruins studio
    """,
}
_BEGINNINGS = {name: tuple(marks.split()) for name, marks in _MARKS.items()}
# "in a valley", "on top of": a place that the lists do not know.
_PLACED = re.compile(
    r"\b(in|on|at|under|over|above|below|beneath|behind|beside|between|through|across|inside|outside|near"
    r"|against|among|along|around|atop|by|next to|in front of|on top of)\s+(the|a|an|its|his|her|their)\b",
    re.IGNORECASE,
)
_VIEWED = re.compile(
    r"\bfrom\s+(above|below|behind|afar|the side|the front|a distance|within)\b", re.IGNORECASE
)
_SMALL_WORDS = """
    a an the of in on at to and or with by for from as is are be it its his her their this that into
    up down out over under
"""
_SMALL = frozenset(_SMALL_WORDS.split())


@dataclass(frozen=True)
class Judgement:
    """`score`: 25 for each piece of advice that is followed. `missing`: those that are not, as in ADVICE."""

    score: int
    missing: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """`good` (75 and more), `fair` (50) or `poor`."""
        return "good" if self.score >= _GOOD else "fair" if self.score >= _FAIR else "poor"


def judge_prompt(prompt: str) -> Judgement:
    """Which pieces of the documentation's advice a prompt follows, told by its words. English only."""
    words = [word.replace("’", "'") for word in _WORD.findall(prompt.lower())]
    pairs = {f"{first}-{second}" for first, second in pairwise(words)}
    followed = {
        name: any(word.startswith(beginnings) for word in (*words, *pairs))
        for name, beginnings in _BEGINNINGS.items()
    }
    followed["perspective"] |= bool(_VIEWED.search(prompt))
    followed["context"] |= bool(_PLACED.search(prompt))
    if len(content_words(prompt)) < 3:  # "abstract art", "mountains": a mark alone makes no picture
        followed = dict.fromkeys(followed, False)
    missing = tuple(name for name in ADVICE if not followed[name])
    return Judgement(25 * (len(ADVICE) - len(missing)), missing)


def content_words(prompt: str) -> frozenset[str]:
    """The words that carry the meaning, without order, case and small words."""
    return frozenset(_WORD.findall(prompt.casefold())) - _SMALL
