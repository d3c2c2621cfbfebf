"""What flows through the house: requests, what came back for them, and where it was stored."""

from __future__ import annotations

import base64
import errno
import hashlib
import io
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticSerializationError, SchemaSerializer, core_schema, from_json, to_json

from .errors import ConfigurationError, InvalidResponseError
from .files import write_durably

if TYPE_CHECKING:
    from PIL import Image as PILImage

__all__ = [
    "Generation",
    "Image",
    "ImageRequest",
    "Prompt",
    "Receipt",
]

# The three sizes that the documentation lists, by the names people use for them.
NAMED_SIZES = {"square": "1024x1024", "landscape": "1792x1024", "portrait": "1024x1792"}
_ANY = SchemaSerializer(core_schema.any_schema())  # makes dicts of objects, and leaves sets as they are
_SIZE = re.compile(r"[1-9]\d{0,4}x[1-9]\d{0,4}|auto", re.ASCII)


class ImageRequest(BaseModel):
    """One picture to ask for: a prompt, a size, a model, and any extra fields for the JSON body.

    `size`: "square" (1024x1024), "landscape" (1792x1024), "portrait" (1024x1792), "auto", any other
    WIDTHxHEIGHT (sent as it is), or None to leave it out (the service refuses an empty one). `id` and
    `metadata` are yours: they are kept beside the picture and never sent; a file is named after the id, or
    else the prompt. Raises pydantic's ValidationError.
    """

    # A subclass may have "portrait" for its default.
    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=(), validate_default=True)

    prompt: str
    size: str | None = "1024x1024"
    model: str = Field(default="asi1-mini", min_length=1)
    id: str | None = None
    metadata: Mapping[str, Any] = Field(default_factory=dict)

    if TYPE_CHECKING:
        # Without this, type checkers refuse the extra fields that the model allows.
        def __init__(
            self,
            *,
            prompt: str,
            size: str | None = "1024x1024",
            model: str = "asi1-mini",
            id: str | int | None = None,
            metadata: Mapping[str, Any] = ...,
            **extra: Any,
        ) -> None: ...

    @field_validator("prompt", mode="after")
    @classmethod
    def _prompt_says_something(cls, prompt: str) -> str:
        if not prompt.strip():
            raise ValueError("the prompt is empty")
        return _unicode(prompt, "prompt")

    @field_validator("id", mode="after")
    @classmethod
    def _id_is_unicode(cls, id: str | None) -> str | None:
        return id and _unicode(id, "id")

    @field_validator("size", mode="after")
    @classmethod
    def _size_is_well_formed(cls, size: str | None) -> str | None:
        if size is None:
            return None
        size = NAMED_SIZES.get(size, size)
        if not _SIZE.fullmatch(size):
            raise ValueError(
                f"{size[:40]!r} is not a size: write WIDTHxHEIGHT, such as 1024x1024,"
                " or square, landscape, portrait, auto"
            )
        return size

    @field_validator("id", mode="before")
    @classmethod
    def _id_is_text(cls, value: object) -> object:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _extra_is_json(self) -> ImageRequest:
        if self.sent_beside or self.metadata:
            try:
                beside = [self.sent_beside, self.metadata]
                # Read back, as it is written with NaN and Infinity, which are not JSON.
                written = to_json(beside)
                from_json(written, allow_inf_nan=False)
                if to_json(beside) != written:
                    raise ValueError("it can be read only once: give a list")
            except (PydanticSerializationError, ValueError) as error:
                raise ValueError(f"an extra field cannot be written as JSON: {error}") from None
            if _has_set(self.sent_beside):  # it would be another request in every process
                raise ValueError("an extra field has a set in it, which has no order: give a list")
        return self

    @property
    def sent_beside(self) -> dict[str, Any]:
        """What goes into the JSON body beside prompt, model and size; the fields of a subclass too.

        Those as pydantic is told to write them: by their aliases, and none with `exclude`.
        """
        given = self.model_extra or {}
        if type(self) is ImageRequest:
            return given
        names = type(self).model_fields.keys() - ImageRequest.model_fields.keys()
        return self.model_dump(by_alias=True, include=set(names)) | given

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's, but what is changed is checked. Raises pydantic's ValidationError."""
        copied = super().model_copy(deep=deep)
        if not update:
            return copied
        aliases = {name: field.alias for name, field in type(self).model_fields.items() if field.alias}
        given = dict(copied) | dict(update)
        checked = type(self)(**{aliases.get(name, name): value for name, value in given.items()})
        # What a validator has made of the others is not made of them again.
        return super().model_copy(update={name: getattr(checked, name) for name in update}, deep=deep)

    def __hash__(self) -> int:
        return hash((self.prompt, self.size, self.model, self.id))  # of what can be hashed

    @classmethod
    def of(cls, prompt: Prompt, /, **fields: Any) -> ImageRequest:
        """Make a request of whatever stands for one; `fields` fill in what a text or mapping leaves out.

        Raises ConfigurationError, which says what is wrong with it.
        """
        if isinstance(prompt, ImageRequest):
            return prompt
        if not isinstance(prompt, str | Mapping):
            raise ConfigurationError(
                f"a prompt is text, an ImageRequest or a mapping, not {type(prompt).__name__}"
            )
        own = {"prompt": prompt} if isinstance(prompt, str) else dict(prompt)
        try:
            return cls(**{**fields, **own})
        except ValidationError as error:
            raise ConfigurationError(_explain(error)) from None
        except TypeError as error:  # a key that is not text, or the positional name of a field
            raise ConfigurationError(f"not a request: {error}") from None


def _has_set(value: object) -> bool:
    """Whether there is a set in what is written as JSON, also in a model's or a dataclass's fields."""
    if value is None or isinstance(value, str | int | float):
        return False
    if isinstance(value, set | frozenset):
        return True
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple | deque):
        return any(map(_has_set, value))
    plain = value.value if isinstance(value, Enum) else _ANY.to_python(value, warnings=False)
    return type(plain) is not type(value) and _has_set(plain)


def has_suffix(path: Path) -> bool:
    """Whether the name ends in a suffix such as ".jpg": the ".5" of "v1.5" is none."""
    return re.fullmatch(r"\.[A-Za-z][A-Za-z0-9]*", path.suffix) is not None


def _unicode(text: str, name: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"the {name} is not valid Unicode text: {error.reason}") from None
    return text


def _explain(error: ValidationError) -> str:
    """The first complaint of pydantic in one line, without the input (it may be long)."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return f"there is no {where}"
    named = re.search(rf"\b{re.escape(where)}\b", message)  # an "id" is no part of "a valid string"
    return message if named else f"{where}: {message}"


Prompt: TypeAlias = str | ImageRequest | Mapping[str, Any]


@dataclass(frozen=True)
class Image:
    """A picture as it came: its bytes, and what the bytes themselves say of it.

    `mime_type`, `suffix` (".jpg"), `width` and `height` (pixels) are told from the bytes, whatever the
    reply claims.
    """

    data: bytes = field(repr=False)
    mime_type: str
    suffix: str
    width: int
    height: int

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the bytes, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def data_url(self) -> str:
        """The picture as a `data:` URL, for a web page or a chat."""
        return f"data:{self.mime_type};base64,{base64.b64encode(self.data).decode()}"

    async def save(self, path: str | Path) -> Path:
        """Write the picture to `path`, whole or not at all; adds the right suffix where it has none.

        Returns the path written. Raises OSError.
        """
        return await anyio.to_thread.run_sync(self._save, Path(path))

    def _save(self, target: Path) -> Path:
        if not target.name or target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "name a file, not a folder", str(target))
        if not has_suffix(target):
            target = target.with_name(target.name + self.suffix)
        write_durably(target, self.data)
        return target

    def to_pil(self) -> PILImage.Image:
        """The picture for Pillow (`pip install Pillow`)."""
        try:
            from PIL import Image as pillow
        except ImportError as error:
            raise ImportError("to_pil() needs Pillow: pip install Pillow") from error
        return pillow.open(io.BytesIO(self.data))

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {
            self.mime_type: base64.b64encode(self.data).decode(),
            "text/plain": repr(self),
        }


@dataclass(frozen=True, kw_only=True)
class Generation:
    """What came back for one request.

    `created`: an aware datetime, or None. `attempts`: tries in all. `elapsed`: seconds from the first
    try to the last byte, waiting included. `raw`: the reply without its picture data. `occurrence`:
    0 for the first time this very request stands in a run, 1 for the second, and so on. `left_out`: what is
    wrong with each picture of the reply that could not be had, and may have been billed too.
    """

    request: ImageRequest
    images: tuple[Image, ...]
    created: datetime | None = None
    revised_prompt: str | None = None
    request_id: str | None = None
    attempts: int = 1
    elapsed: float = 0.0
    raw: Any = field(default=None, repr=False)
    occurrence: int = 0
    left_out: tuple[InvalidResponseError, ...] = ()

    @property
    def image(self) -> Image:
        """The first picture."""
        return self.images[0]

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return self.image._repr_mimebundle_() if self.images else {"text/plain": repr(self)}


@dataclass(frozen=True)
class Receipt:
    """A sink's word that the pictures of one generation would survive a crash.

    `locations`: where each picture is (a path, a URL), in the order of its images.
    """

    locations: tuple[str, ...] = ()
    bytes_written: int = 0
