"""ASI:One's image service on your own machine, for tests, demonstrations and rehearsals.

    async with emulator(latency=0.1) as base_url: ...

It is a stranger to the client of this package: it imports nothing of it, so that a mistake
which they shared could not hide. Importing this loads neither aiohttp nor Pillow; using it does.
"""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .knobs import SHAPES, Fault, Knobs, make_knobs

if TYPE_CHECKING:
    from .server import Emulator

__all__ = ["SHAPES", "Emulator", "Fault", "Knobs", "emulator", "serve"]


def emulator(
    knobs: Knobs | None = None, *, host: str = "127.0.0.1", port: int = 0, **options: Any
) -> "Emulator":
    """An emulator to enter with `async with`, which gives its base URL.

    Takes ready-made `Knobs`, or their fields as keywords. Port 0 is any free one.
    """
    _require_extra()
    from .server import Emulator

    if not isinstance(knobs, Knobs | None):
        raise TypeError(f"knobs are Knobs, not {knobs!r}; give their fields as keywords")
    if knobs is not None and options:
        raise TypeError("give either knobs or their fields as keywords, not both")
    return Emulator(knobs or make_knobs(options), host=host, port=port)


async def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    knobs: Knobs | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Run the emulator until cancelled, on loopback unless told otherwise; `on_ready` hears the base URL."""
    import asyncio  # pytest imports this in every run

    async with emulator(knobs, host=host, port=port) as base_url:
        if on_ready is not None:
            on_ready(base_url)
        await asyncio.Event().wait()


def _require_extra() -> None:
    for needed, pip_name in (("aiohttp", "aiohttp"), ("PIL", "Pillow")):
        try:
            importlib.import_module(needed)
        except ImportError as error:
            raise ImportError(
                f"the emulator needs {pip_name}: pip install 'asi_image_async[emulator]'",
                name=needed,
            ) from error


def __getattr__(name: str) -> Any:
    if name == "Emulator":
        _require_extra()
        from .server import Emulator

        return Emulator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
