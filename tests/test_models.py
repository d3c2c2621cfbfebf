"""What flows: a request that can be sent, and a picture that knows itself."""

from __future__ import annotations

import base64
import errno
import hashlib
import io
import os
import pickle
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow
from pydantic import (
    BaseModel,
    Field,
    PrivateAttr,
    RootModel,
    ValidationError,
    field_serializer,
    field_validator,
)
from pydantic_core import from_json, to_json

from asi_image_async.core.decode import to_image
from asi_image_async.core.naming import digest
from asi_image_async.core.usage import images_asked
from asi_image_async.core.wire import encode_request
from asi_image_async.errors import ConfigurationError
from asi_image_async.models import Generation, Image, ImageRequest

pytestmark = pytest.mark.anyio

FOX = ImageRequest(prompt="a fox")


@pytest.fixture
def image() -> Image:
    file = io.BytesIO()
    Pillow.new("RGB", (5, 3), "red").save(file, "JPEG")
    return to_image(file.getvalue())


@pytest.fixture
def generation(image: Image) -> Generation:
    return Generation(request=FOX, images=(image,))


# A request


def test_a_prompt_is_enough_and_the_defaults_are_the_documentation_s() -> None:
    assert (FOX.size, FOX.model, FOX.id, FOX.metadata) == ("1024x1024", "asi1-mini", None, {})


@pytest.mark.parametrize(
    ("size", "sent"),
    [
        ("square", "1024x1024"), ("landscape", "1792x1024"), ("portrait", "1024x1792"), ("auto", "auto"),
        ("512x512", "512x512"), ("1x99999", "1x99999"), (None, None),
    ],
)  # fmt: skip
def test_sizes_have_names_and_unknown_ones_are_sent_as_they_are(size: str | None, sent: str | None) -> None:
    assert ImageRequest(prompt="a fox", size=size).size == sent


@pytest.mark.parametrize(
    "size", ["", "big", "1024", "1024x", "x1024", "0x512", "012x512", "512x-1", "512X512", "512x512 ",
             "1024×1024", "512x512\n", "100000x1", "٣x٣", "Square"]
)  # fmt: skip
def test_a_malformed_size_is_refused_with_those_that_are_known(size: str) -> None:
    with pytest.raises(ConfigurationError, match="square, landscape, portrait"):
        ImageRequest.of("a fox", size=size)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("", "the prompt is empty"),
        (" \n\t\u3000", "the prompt is empty"),
        ("\ud800", "not valid Unicode"),
        (b"a fox", "not bytes"),
        (None, "not NoneType"),
        (7, "not int"),
        (["a fox"], "not list"),
        ({}, "there is no prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": "a fox", "size": 512}, "size"),
        ({"prompt": "a fox", "size": "9" * 10**6}, "is not a size"),
        ({"prompt": "a fox", "model": ""}, "model"),
        ({"prompt": "a fox", "model": "\ud800"}, "model: .* unicode"),
        ({"prompt": "a fox", "id": True}, "id"),
        ({"prompt": "a fox", "id": 1.5}, "id"),
        ({"prompt": "a fox", "id": "\ud800"}, "the id is not valid Unicode"),
        ({"prompt": "a fox", "metadata": "x"}, "metadata"),
        ({"prompt": "a fox", 1: 2}, "not a request"),
        ({"prompt": "a fox", "seed": object()}, "cannot be written as JSON"),
        ({"prompt": "a fox", "seed": float("nan")}, "cannot be written as JSON"),
        ({"prompt": "a fox", "seed": {"a": [float("inf")]}}, "cannot be written as JSON"),
        ({"prompt": "a fox", "style": "\ud800"}, "cannot be written as JSON"),
        ({"prompt": "a fox", "tags": (tag for tag in "ab")}, "only once: give a list"),
        ({"prompt": "a fox", "metadata": {"a": b"\xff"}}, "cannot be written as JSON"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_not_a_request_is_refused_in_one_short_line(prompt: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        ImageRequest.of(prompt)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_the_fields_of_a_mapping_go_before_those_of_the_call() -> None:
    defaults = {"size": "portrait", "seed": 1}
    assert ImageRequest.of("a fox", **defaults) == ImageRequest(prompt="a fox", size="portrait", seed=1)
    own = ImageRequest.of({"prompt": "a fox", "size": "square", "id": 7}, **defaults)
    assert own == ImageRequest(prompt="a fox", size="square", seed=1, id="7")
    assert ImageRequest.of(own, size="portrait") is own


def test_a_request_is_frozen_and_survives_pickling() -> None:
    request = ImageRequest(prompt="a fox", seed=1, id="7", metadata={"a": 1})
    with pytest.raises(ValidationError):
        request.prompt = "an owl"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(request)) == request


def test_a_prompt_is_kept_to_the_letter() -> None:
    assert ImageRequest.of("  a\u0308 fox\n").prompt == "  a\u0308 fox\n"


# A picture


def test_a_picture_tells_its_sum_and_its_data_url_and_shows_itself(image: Image) -> None:
    encoded = base64.b64encode(image.data).decode()
    assert image.sha256 == hashlib.sha256(image.data).hexdigest()
    assert image.data_url == f"data:image/jpeg;base64,{encoded}"
    bundle = image._repr_mimebundle_(include=None, exclude=None)
    assert bundle["image/jpeg"] == encoded
    assert "5" in bundle["text/plain"]
    assert encoded not in repr(image)
    assert len(repr(image)) < 200
    assert image.to_pil().size == (5, 3)


def test_without_pillow_the_way_to_it_is_told(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="pip install Pillow"):
        image.to_pil()


@pytest.mark.parametrize("kind", [str, Path])
async def test_a_picture_is_saved_with_the_right_suffix_where_there_is_none(
    image: Image, tmp_path: Path, kind: Callable[[Path], str | Path]
) -> None:
    saved = await image.save(kind(tmp_path / "fox"))
    assert saved == tmp_path / "fox.jpg"
    assert saved.read_bytes() == image.data
    assert await image.save(kind(tmp_path / "fox.png")) == tmp_path / "fox.png"  # as the user would have it
    assert await image.save(kind(tmp_path / "fox 1.5 wide")) == tmp_path / "fox 1.5 wide.jpg"
    assert await image.save(kind(tmp_path / "v1.5")) == tmp_path / "v1.5.jpg"
    assert sorted(os.listdir(tmp_path)) == ["fox 1.5 wide.jpg", "fox.jpg", "fox.png", "v1.5.jpg"]


async def test_saving_where_there_is_no_directory_is_an_oserror(image: Image, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        await image.save(tmp_path / "gone" / "fox")
    assert str(raised.value) == f"[Errno 2] No such file or directory: '{tmp_path / 'gone' / 'fox.jpg'}'"


@pytest.mark.parametrize("name", ["a\0b", "gone\0/b", "\ud800"])
async def test_saving_under_a_name_that_no_system_takes_is_an_oserror(
    image: Image, tmp_path: Path, name: str
) -> None:
    with pytest.raises(OSError) as raised:
        await image.save(tmp_path / name)
    assert (raised.value.errno, raised.value.filename) == (errno.EINVAL, str(tmp_path / f"{name}.jpg"))
    assert os.listdir(tmp_path) == []


def test_a_generation_shows_its_first_picture(generation: Generation, image: Image) -> None:
    assert generation.image is image
    assert generation._repr_mimebundle_() == image._repr_mimebundle_()
    skipped = Generation(request=generation.request, images=())
    assert skipped._repr_mimebundle_() == {"text/plain": repr(skipped)}
    assert pickle.loads(pickle.dumps(generation)) == generation


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["", "folder"])
async def test_a_picture_is_not_saved_beside_a_folder_of_that_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    with pytest.raises(IsADirectoryError):
        await Image(b"x", "image/jpeg", ".jpg", 1, 1).save(name)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_equal_requests_have_one_hash_and_are_one_key() -> None:
    made = {ImageRequest(prompt="a", metadata={"n": [1]}): 1}
    assert made[ImageRequest(prompt="a", metadata={"n": [1]})] == 1
    assert ImageRequest(prompt="a", metadata={"n": [2]}) not in made


def test_what_has_no_end_is_no_extra_field() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(ConfigurationError, match="cannot be written as JSON"):
        ImageRequest.of("a fox", tags=endless)


class Options(BaseModel):
    tags: Any


@dataclass
class Row:
    tags: Any


class Moods(Enum):
    BOTH = frozenset({"calm", "wild"})


class Sorted(BaseModel):
    tags: set[str]

    @field_serializer("tags")
    def in_order(self, tags: set[str]) -> list[str]:
        return sorted(tags)


@pytest.mark.parametrize(
    "extra",
    [
        {"a", "b"}, {"deep": [{"a"}]}, Options(tags={"a"}), [Row({"a"})], deque([{"a"}]), Moods.BOTH,
        RootModel[set[str]]({"a"}), deque([Options(tags=[Row(deque([Options(tags={"a"})]))])]),
    ],
)  # fmt: skip
def test_a_set_which_has_no_order_is_refused(extra: object) -> None:
    # Pydantic 2.8 writes no deque at all.
    with pytest.raises(ConfigurationError, match=r"give a list|unknown type"):
        ImageRequest.of("a fox", tags=extra)


@pytest.mark.parametrize(
    "extra",
    [Options(tags=["a"]), Row({"a": 1}), b"a", Path("a"), datetime.min, Sorted(tags={"a"})],
)
def test_what_has_an_order_may_be_of_any_kind(extra: object) -> None:
    request = ImageRequest.of("a fox", tags=extra)
    assert digest(request) == digest(ImageRequest.of("a fox", tags=from_json(to_json(extra))))


class Styled(ImageRequest):
    style: str = "oil"


class Order(ImageRequest):
    """As somebody with an API of their own may have it."""

    size: str | None = "portrait"
    guidance: float = Field(default=1.0, alias="guidance_scale")
    customer: str | None = Field(default=None, exclude=True)
    _note: str = PrivateAttr(default="")

    @field_validator("prompt")
    @classmethod
    def _in_oil(cls, prompt: str) -> str:
        return f"{prompt}, oil on canvas"


def test_a_subclass_says_to_pydantic_what_is_sent_and_under_which_name() -> None:
    order = Order(prompt="a cat", guidance_scale=7.5, customer="jane@example.org", steps=3)
    assert (order.sent_beside, order.size) == ({"guidance_scale": 7.5, "steps": 3}, "1024x1792")
    assert b"jane" not in encode_request(order)


def test_a_copy_of_a_subclass_is_the_same_but_for_what_is_changed() -> None:
    order = Order(prompt="a cat", guidance_scale=7.5, customer="jane@example.org", steps=3)
    order._note = "urgent"
    copy = order.model_copy(update={"size": "square", "steps": 4})
    assert (copy.prompt, copy.size) == ("a cat, oil on canvas", "1024x1024")
    assert (copy.guidance, copy.customer, copy._note) == (7.5, "jane@example.org", "urgent")
    assert copy.sent_beside == {"guidance_scale": 7.5, "steps": 4}
    assert order.model_copy(update={"guidance": 2.0}).sent_beside == {"guidance_scale": 2.0, "steps": 3}
    with pytest.raises(ValidationError):
        order.model_copy(update={"guidance": "much"})


def test_the_fields_of_a_subclass_are_sent_and_make_another_request() -> None:
    ink = Styled(prompt="a fox", style="ink")
    assert from_json(encode_request(ink))["style"] == "ink"
    assert digest(ink) != digest(Styled(prompt="a fox"))
    same = ImageRequest(prompt="a fox", style="ink")  # type: ignore[call-arg]
    assert (digest(ink), images_asked(Counted(prompt="a fox"))) == (digest(same), 4)


class Counted(ImageRequest):
    n: int = 4


def test_a_copy_with_changes_is_checked() -> None:
    request = ImageRequest(prompt="a fox", metadata={"row": 1}, seed=7)  # type: ignore[call-arg]
    wide = request.model_copy(update={"size": "landscape"})
    assert (wide.size, wide.metadata, wide.model_extra) == ("1792x1024", {"row": 1}, {"seed": 7})
    assert request.model_copy() == request
    for wrong in ({"prompt": " "}, {"size": "huge"}, {"tags": {"a", "b"}}, {"x": object()}):
        with pytest.raises(ValidationError):
            request.model_copy(update=wrong)
