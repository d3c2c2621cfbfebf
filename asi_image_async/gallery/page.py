"""The page itself: one file, in which nothing runs but its own script."""

from __future__ import annotations

import base64
import hashlib
import html
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any

from pydantic_core import to_json

__all__ = ["make_page"]

# In JSON these can stand as escapes; in HTML they could end the script, or begin a comment.
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def make_page(title: str, data: dict[str, Any], *, live: bool = False) -> str:
    """The page of `data` (its entries, filters, and where pictures and thumbnails are), as HTML.

    Texts come from strangers: they are written as JSON that no HTML is in, and shown as text. The policy lets
    run the one script that is ours, and load pictures from beside the page; nothing else, from nowhere else.
    """
    style, script = _part("page.css"), _part("page.js")
    policy = [
        "default-src 'none'",
        "img-src 'self' file: data:",
        f"style-src {_hash(style)}",
        f"script-src {_hash(script)}",
        "base-uri 'none'",
        "form-action 'none'",
        *(["connect-src 'self'"] if live else []),
    ]
    return Template(_part("page.html")).substitute(
        policy="; ".join(policy),
        title=html.escape(title),
        style=style,
        script=script,
        data=_as_script_data(data | {"live": live}),
    )


def _as_script_data(data: dict[str, Any]) -> str:
    text = to_json(data, inf_nan_mode="null").decode(errors="replace")
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    return text


@cache
def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
