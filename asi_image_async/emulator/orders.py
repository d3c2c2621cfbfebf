"""What a request asks for, checked as the service checks it."""

import re
from dataclasses import dataclass
from typing import Any

_SIZE = re.compile(r"([1-9][0-9]{0,3})x([1-9][0-9]{0,3})")
_LONGEST = 4096


class Refused(Exception):
    """The request cannot be served as it stands: a 400."""


@dataclass(frozen=True)
class Order:
    """A well-formed request: so many pictures of a prompt at a size."""

    prompt: str
    width: int
    height: int
    model: str
    n: int


def read_order(body: Any, *, honour_n: bool) -> Order:
    """The order in a JSON body; raises `Refused` with what is wrong with it."""
    if not isinstance(body, dict):
        raise Refused("The body must be a JSON object")
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise Refused("Invalid prompt provided")
    model = body.get("model", "asi1-mini")
    if not isinstance(model, str) or not model:
        raise Refused("Invalid model provided")
    n = body.get("n", 1) if honour_n else 1
    if type(n) is not int or not 1 <= n <= 4:
        raise Refused("n must be from 1 to 4")
    width, height = _read_size(body.get("size", "1024x1024"))
    return Order(prompt, width, height, model, n)


def _read_size(size: Any) -> tuple[int, int]:
    if size == "auto":
        return 1024, 1024
    found = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if found is None:
        raise Refused("Invalid size provided")
    width, height = int(found[1]), int(found[2])
    if max(width, height) > _LONGEST:
        raise Refused(f"Invalid size provided: at most {_LONGEST} a side")
    return width, height
