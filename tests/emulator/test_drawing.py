import hashlib
import io
import subprocess
import sys

import pytest
from PIL import Image

from asi_image_async.emulator import drawing
from asi_image_async.emulator.drawing import draw
from asi_image_async.emulator.lettering import spell

PROMPTS = [
    "a corgi's head depicted as an explosion of a nebula",
    "Salvador Dalí with a robotic half face",
    "桜の下の猫, 水彩",
    "the quiet city at night",
    "bond",
    "a boat on the ocean " * 40,
    "🦊🦊🦊",
    "an orange frog in a green forest",
]


def test_the_same_prompt_is_drawn_the_same_way_in_any_process() -> None:
    script = (
        "import hashlib, sys; from asi_image_async.emulator.drawing import draw;"
        "print(*(hashlib.sha256(draw(p, 320, 200)).hexdigest() for p in sys.argv[1:]))"
    )
    command = [sys.executable, "-c", script, *PROMPTS]
    there = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.split()
    # In another order here, so that nothing may depend on what was drawn before.
    here = {prompt: hashlib.sha256(draw(prompt, 320, 200)).hexdigest() for prompt in PROMPTS[::-1]}
    assert there == [here[prompt] for prompt in PROMPTS]


def test_prompts_and_variants_look_different() -> None:
    pictures = {draw(prompt, 128, 128, variant=v) for prompt in PROMPTS for v in range(2)}
    assert len(pictures) == 2 * len(PROMPTS)


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 300), (700, 2), (63, 65), (256, 256), (1024, 1792), (1792, 1024)]
)
def test_pictures_have_the_size_that_was_asked_for(size: tuple[int, int]) -> None:
    with Image.open(io.BytesIO(draw("a lighthouse", *size))) as picture:
        assert picture.size == size
        picture.load()


def test_the_largest_size_can_be_drawn() -> None:
    with Image.open(io.BytesIO(draw("dunes", 4096, 4096))) as picture:
        assert picture.size == (4096, 4096)


@pytest.mark.parametrize("scene", list(drawing._SCENES), ids=lambda scene: str(scene.__name__))
@pytest.mark.parametrize("size", [(64, 64), (640, 90), (90, 640)])
def test_every_scene_bears_every_proportion(
    scene: object, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "_scene", lambda words, rng: scene)
    for prompt in PROMPTS[:3]:
        assert draw(prompt, *size).startswith(b"\xff\xd8\xff")


def test_a_full_size_jpeg_weighs_what_the_service_sends() -> None:
    prompts = [f"{prompt} {n}" for prompt in PROMPTS for n in range(3)]
    weights = [len(draw(prompt, 1024, 1024)) for prompt in prompts]
    assert min(weights) >= 100_000
    assert max(weights) <= 200_000


def test_the_jpeg_is_baseline_as_the_service_sends() -> None:
    picture = draw("a bridge", 512, 512)
    assert b"\xff\xc0" in picture[:2000]
    assert b"\xff\xc2" not in picture[:2000]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
def test_every_format_is_what_it_says(format: str) -> None:
    with Image.open(io.BytesIO(draw("a red bird", 160, 120, format=format))) as picture:
        assert (picture.format, picture.size) == (format, (160, 120))


def test_letters_the_font_lacks_are_spelt_or_dotted() -> None:
    assert spell("Salvador Dalí’s łódź – Straße") == "Salvador Dali's lodz - Strasse"
    assert spell(" 猫\n and\tdog ") == "· and dog"
