"""Asyncio SDK for ASI:One's image generation: it paces itself, and pays for each picture once."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import emulator as emulator
    from . import errors as errors
    from . import events as events
    from . import testing as testing
    from .core.usage import Usage
    from .models import Generation, Image, ImageRequest, Receipt
    from .outcomes import Done, Failed, Outcome, RunReport
    from .policies import RateLimit, RetryPolicy
    from .protocols import Sink
    from .session import ImageSession
    from .sinks import open_sink
    from .sinks.callback import CallbackSink
    from .sinks.disk import DiskSink
    from .sinks.memory import MemorySink

__all__ = [
    "CallbackSink",
    "DiskSink",
    "Done",
    "Failed",
    "Generation",
    "Image",
    "ImageRequest",
    "ImageSession",
    "MemorySink",
    "Outcome",
    "RateLimit",
    "Receipt",
    "RetryPolicy",
    "RunReport",
    "Sink",
    "Usage",
    "open_sink",
]

# The rooms are opened when a name is asked for: the command is up before aiohttp is, so that its help is
# quick and an early Ctrl-C finds it ready.
_ROOMS = {
    ".core.usage": ("Usage",),
    ".models": ("Generation", "Image", "ImageRequest", "Receipt"),
    ".outcomes": ("Done", "Failed", "Outcome", "RunReport"),
    ".policies": ("RateLimit", "RetryPolicy"),
    ".protocols": ("Sink",),
    ".session": ("ImageSession",),
    ".sinks": ("open_sink",),
    ".sinks.callback": ("CallbackSink",),
    ".sinks.disk": ("DiskSink",),
    ".sinks.memory": ("MemorySink",),
}
_OPEN_ROOMS = ("emulator", "errors", "events", "testing")
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


if not TYPE_CHECKING:  # with it, a misspelt name would pass as Any

    def __getattr__(name: str) -> Any:
        if name in _OPEN_ROOMS:
            return import_module(f".{name}", __name__)
        if name not in _ROOM_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_ROOM_OF[name], __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_OPEN_ROOMS})
