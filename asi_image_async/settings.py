"""What a session is told, checked: the key, the address, and numbers."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys

import aiohttp
from pydantic import SecretStr
from yarl import URL

from .errors import ConfigurationError
from .protocols import Observer, Sink

__all__ = [
    "check_http",
    "check_observer",
    "check_run",
    "find_api_key",
    "find_base_url",
    "hide_key",
    "positive_seconds",
    "running_loop",
    "whole_number",
]

_DEFAULT_BASE_URL = "https://api.asi1.ai/v1"
_KEY_VARIABLES = ("ASI_ONE_API_KEY", "ASI1_API_KEY")
_BASE_URL_VARIABLES = ("ASI_ONE_BASE_URL", "ASI1_BASE_URL")


def hide_key(given: object) -> SecretStr | None:
    """The key that was given, if it may be one, as what shows itself to nobody, not even with this frame."""
    if given is not None and not isinstance(given, str | SecretStr):
        kind, given = type(given).__name__, None
        raise ConfigurationError(f"api_key must be text, not {kind}")
    return SecretStr(given) if isinstance(given, str) else given


def check_http(given: aiohttp.ClientSession | None) -> aiohttp.ClientSession | None:
    """A client of the user's, if it is one."""
    if given is not None and not isinstance(given, aiohttp.ClientSession):
        raise ConfigurationError(f"http must be an aiohttp.ClientSession, not {type(given).__name__}")
    if given is not None and not given.auto_decompress:
        raise ConfigurationError(
            "the http session does not unpack compressed replies", hint="Leave out its auto_decompress=False."
        )
    return given


def check_observer(given: Observer | None) -> Observer | None:
    """A function to call with every event; one that is async would never be awaited."""
    is_async = inspect.iscoroutinefunction(given) or inspect.iscoroutinefunction(type(given).__call__)
    if given is not None and (not callable(given) or is_async):
        raise ConfigurationError("observer must be an ordinary function", hint="It may start a task.")
    return given


def check_run(sink: object, fail_fast: object) -> None:
    """What a run is told."""
    if not isinstance(fail_fast, bool):
        raise ConfigurationError(f"fail_fast must be True or False, not {fail_fast!r}")
    if isinstance(sink, type) and isinstance(sink, Sink):
        raise ConfigurationError(f"{sink.__name__} is a class", hint="Give one made of it, not the class.")


def running_loop() -> asyncio.AbstractEventLoop:
    """The event loop, which is one of asyncio."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigurationError(
            "a session needs an event loop of asyncio", hint="Enter it in asyncio.run(), not in trio's."
        ) from None


def find_api_key(given: SecretStr | None) -> SecretStr:
    """The key, without the quotes and blanks that an .env file leaves on it."""
    if given is not None and not _bare(given):
        raise ConfigurationError("api_key is empty", hint="Give a key, or None for that of the environment.")
    found = [given, *(SecretStr(os.environ.get(name, "")) for name in _KEY_VARIABLES)]
    key = next((SecretStr(_bare(each)) for each in found if each and _bare(each)), None)
    if key is None:
        raise ConfigurationError(
            f"there is no API key: {_KEY_VARIABLES[0]} is not set, or empty",
            hint=f"Put it into {_KEY_VARIABLES[0]} (or {_KEY_VARIABLES[1]}), or give api_key;"
            " --emulate needs none.",
        )
    if not _may_be_a_key(key):
        raise ConfigurationError(
            "the API key has a line break, a blank or a character that no key has in it",
            hint=f"Copy it again, on one line, into {_KEY_VARIABLES[0]}.",
        )
    return key


def _bare(key: SecretStr) -> str:
    return _unquoted(key.get_secret_value())


def _unquoted(text: str) -> str:
    return text.strip().strip("\"'").strip()


def _may_be_a_key(key: SecretStr) -> bool:
    text = key.get_secret_value()
    return text.isascii() and text.isprintable() and " " not in text


def find_base_url(given: str | None) -> str:
    """The base URL, from what was given, the environment, or the documentation."""
    if given is not None and not isinstance(given, str):
        raise ConfigurationError(f"base_url must be text, not {type(given).__name__}")
    if given is not None and not _unquoted(given):
        raise ConfigurationError(
            "the base URL is empty", hint="Is it of an unset variable? Else leave it out."
        )
    found = given or next(filter(None, map(os.environ.get, _BASE_URL_VARIABLES)), _DEFAULT_BASE_URL)
    text = _unquoted(found).rstrip("/").removesuffix("/image/generate")
    try:
        url = URL(text)
        valid = url.scheme in ("http", "https") and bool(url.host)
        (url.raw_host or "").encode("idna")  # raises UnicodeError here, not with the first request
    except ValueError:
        valid = False
    if not valid:
        raise ConfigurationError(
            f"{found!r} is not a base URL",
            hint=f"Write it with its scheme, such as {_DEFAULT_BASE_URL}.",
        )
    if url.raw_user is not None or url.raw_password is not None:
        raise ConfigurationError(
            f"the base URL of {url.host} has a user or a password in it",
            hint="Leave it out: what is sent is the API key.",
        )
    if url.raw_query_string or url.raw_fragment:
        raise ConfigurationError(
            f"the base URL of {url.host} has a query or a fragment in it",
            hint="Leave out what comes after ? or #: it would not be sent.",
        )
    if url.scheme == "http" and (url.host or "").rstrip(".") == URL(_DEFAULT_BASE_URL).host:
        raise ConfigurationError(
            f"{found!r} would send the key unencrypted", hint=f"Write https: {_DEFAULT_BASE_URL}."
        )
    return text


def whole_number(value: int, name: str) -> int:
    """A whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name} must be a whole number of at least 1, not {value!r}")
    return value


def positive_seconds(value: float, name: str) -> float:
    """A positive number of seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not (0 < value <= sys.float_info.max):
        raise ConfigurationError(f"{name} must be a positive number of seconds, not {value!r}")
    return float(value)
