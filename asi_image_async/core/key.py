"""The key: what it is sent as, and how it is kept out of all that is shown."""

from __future__ import annotations

import re
from typing import Any, AnyStr

from pydantic import SecretBytes, SecretStr
from pydantic_core import to_json

__all__ = ["Key"]

# So much of a key is a secret too: a text that is cut short may end in the middle of it. A shorter key is a
# stand-in, and may be a part of ordinary words, or be one; these are not: sk_test, my-key.
_SHORTEST_SECRET = 8
_NO_WORD = re.compile(r"(?=.*[_-]).{4,}")


class _Hidden(str):
    """A text that shows itself to nobody: what prints a traceback may print what is in its frames."""

    def __repr__(self) -> str:
        return "'***'"


class Key:
    """A key that nothing shows."""

    def __init__(self, key: SecretStr) -> None:
        self._key = key
        self._in_json = SecretBytes(to_json(key.get_secret_value()[:_SHORTEST_SECRET])[1:-1])

    @property
    def authorization(self) -> str:
        """The value of the `Authorization` header."""
        return _Hidden(f"Bearer {self._key.get_secret_value()}")

    def forget(self, error: BaseException) -> None:
        """Take the key out of an error of ours, and drop its frames, which hold what was sent and came."""
        error.args = self.hide(error.args)
        vars(error).update(self.hide(vars(error)))
        cause: BaseException | None = error
        while cause is not None:  # not its context, which may be an error that the user is handling
            cause.__traceback__ = None
            cause = cause.__cause__

    def hide(self, value: Any) -> Any:
        """The value with the key taken out of every text in it, for a service may repeat what it was sent."""
        key = self._key.get_secret_value()
        is_secret = len(key) >= _SHORTEST_SECRET or _NO_WORD.fullmatch(key)
        return value if not is_secret or self._is_free(value) else _without(key, value)

    def _is_free(self, value: Any) -> bool:
        """Whether the key is surely in no text of what is JSON: told of all of it at once."""
        try:
            return self._in_json.get_secret_value() not in to_json(value)
        except ValueError:
            return False


def _without(key: str, value: Any) -> Any:
    if isinstance(value, str):
        return _masked(key, value, "***")
    if isinstance(value, bytes):
        return _masked(key.encode(), value, b"***")
    if isinstance(value, list | tuple):
        return type(value)([_without(key, item) for item in value])
    if isinstance(value, dict):
        return {_without(key, name): _without(key, item) for name, item in value.items()}
    return value


def _masked(key: AnyStr, text: AnyStr, mask: AnyStr) -> AnyStr:
    masked, start = text[:0], 0
    while (at := text.find(key[:_SHORTEST_SECRET], start)) >= 0:
        end = at + next(n for n in range(len(key), 0, -1) if text.startswith(key[:n], at))
        in_word = text[max(at - 1, 0) : at].isalnum() or text[end : end + 1].isalnum()
        masked += text[start:end] if in_word and len(key) < _SHORTEST_SECRET else text[start:at] + mask
        start = end
    return masked + text[start:]
