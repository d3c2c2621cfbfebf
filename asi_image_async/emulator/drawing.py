"""A picture for a prompt: the same one in every process, and worth looking at."""

import hashlib
import io
import random
import re
from collections.abc import Callable
from functools import lru_cache

from PIL import Image, ImageChops

from . import abstracts, landscapes, palette
from .canvas import Canvas
from .cityscape import city
from .lettering import letter
from .seascape import seascape

_LARGEST = 2_000_000  # pixels that are composed; larger pictures are enlarged from that
_SMALLEST = 64  # pixels a side that are composed; smaller pictures are shrunk from that
_GRAIN = 512  # pixels a side of the repeated tile of grain
_BYTES_PER_PIXEL = (0.1, 0.185)  # 105 to 194 kB at 1024x1024, inside what the service sends

_SCENES: dict[Callable[[Canvas], None], str] = {
    landscapes.mountains: "mountain mountains hill hills snow alps rock valley eagle castle dragon",
    seascape: "ocean sea beach boat ship sail wave island fish whale lake river water",
    city: "city street building skyline tower car bus train road house bridge robot",
    landscapes.hills: "farm field meadow grass horse cow sheep barn village picnic countryside dog",
    landscapes.northern_lights: "aurora night winter polar bear penguin arctic wizard campfire",
    landscapes.dunes: "desert sand dune dunes camel pyramid sahara mars safari lion elephant",
    landscapes.forest: "forest tree trees woods bear deer owl squirrel fox wolf path mushroom",
    abstracts.bauhaus: "abstract bauhaus geometric cubist square circle triangle sign number",
    abstracts.ribbons: "music dance song silk wind flow guitar violin smoke horse flag wave",
    abstracts.planets: "space planet moon star stars galaxy astronaut nebula earth rocket",
    abstracts.botanical: "flower flowers leaf plant garden tea rose bird butterfly vase fruit bee",
    abstracts.cut_paper: "cave tunnel paper origami heart love portal egg cake eye portrait",
}


def draw(prompt: str, width: int, height: int, *, variant: int = 0, format: str = "JPEG") -> bytes:
    """The picture for a prompt, encoded: the same bytes for the same arguments, anywhere.

    `width` and `height` are pixels, from 1. `variant` tells pictures of one prompt apart.
    `format` is one of Pillow's names: JPEG, PNG, WEBP, GIF, AVIF.
    """
    digest = hashlib.sha256(f"{variant}\0{prompt}".encode(errors="surrogatepass")).digest()
    rng = random.Random(int.from_bytes(digest))  # pictures, not secrets
    words = frozenset(re.findall(r"[a-z]+", prompt.lower()))
    colours = palette.choose(words, rng)
    canvas = Canvas(*_composed(width, height), colours, rng)
    _scene(words, rng)(canvas)
    image = ImageChops.add(canvas.image, _film(*canvas.image.size), 1.0, -128)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    letter(image, prompt, colours.accent, palette.blend(colours.tone(0), (0, 0, 0), 0.5))
    return _encode(image, format)


def _composed(width: int, height: int) -> tuple[int, int]:
    """The size to compose at: bounded both ways, and about as long as it is broad."""
    scale = min(1.0, (_LARGEST / (width * height)) ** 0.5)
    return max(_SMALLEST, round(width * scale)), max(_SMALLEST, round(height * scale))


def _scene(words: frozenset[str], rng: random.Random) -> Callable[[Canvas], None]:
    called = [scene for scene, cues in _SCENES.items() if words & set(cues.split())]
    return rng.choice(called or list(_SCENES))


@lru_cache(maxsize=2)
def _film(width: int, height: int) -> Image.Image:
    """Grain and vignette, as what to add to a picture, plus 128."""
    chance = random.Random(20260101)  # grain, not secrets
    side = (_GRAIN, _GRAIN)
    first, second = (Image.frombytes("L", side, chance.randbytes(_GRAIN**2)) for _ in range(2))
    # Two even noises make a triangular one, which looks more like film than either.
    tile = Image.blend(first, second, 0.5).point([112 + level // 8 for level in range(256)])
    grain = Image.new("L", (width, height))
    for left in range(0, width, _GRAIN):
        for top in range(0, height, _GRAIN):
            grain.paste(tile, (left, top))
    corners = Image.radial_gradient("L").point([level * level * 30 // 65025 for level in range(256)])
    shade = corners.resize((width, height), Image.Resampling.BILINEAR)
    return ImageChops.subtract(grain, shade).convert("RGB")


def _encode(image: Image.Image, format: str) -> bytes:
    out = io.BytesIO()
    if format.upper() not in ("JPEG", "JPG"):
        image.save(out, format=format.upper())
        return out.getvalue()
    image.save(out, format="JPEG", quality=75)
    low, high = (share * image.width * image.height for share in _BYTES_PER_PIXEL)
    if image.width * image.height >= 2**16 and not low <= out.tell() <= high:
        quality = 62 if out.tell() > high else 82
        out = io.BytesIO()
        image.save(out, format="JPEG", quality=quality)
    return out.getvalue()
