"""`asi-image emulate`: the service on your own machine."""

from __future__ import annotations

import asyncio
import errno
import os
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ConfigurationError
from ..policies import RateLimit
from .interrupts import Interrupts
from .loop import run_loop
from .speech import Voice, print_line, visible

if TYPE_CHECKING:
    from ..emulator import Knobs

__all__ = ["emulate"]

_ANY_KEY = "emulator"
_PORT_HINT = "Name another port; --port 0 takes any free one."
_HOST_HINT = "Name an address of this machine, such as --host 127.0.0.1."


def emulate(
    *, host: str, port: int, latency: float, rates: Sequence[str], shape: str, key: str | None
) -> int:
    """Serve until Ctrl-C; returns the exit status. Raises ConfigurationError."""
    knobs = _knobs(latency, rates, shape, key)
    try:
        run_loop(_serve(host, port, knobs))
    except ImportError as error:
        raise ConfigurationError(str(error), hint="Install what it names, then run this again.") from None
    except OSError as error:
        code = error.errno or 0  # below 0: of the looking up of a name
        reason = os.strerror(code) if code > 0 else error.strerror or error
        raise ConfigurationError(
            f"cannot serve on {host}, port {port}: {reason}",
            hint=_PORT_HINT if error.errno in (errno.EADDRINUSE, errno.EACCES) else _HOST_HINT,
        ) from None
    except KeyboardInterrupt:
        pass
    return 0


def _knobs(latency: float, rates: Sequence[str], shape: str, key: str | None) -> Knobs:
    from ..emulator import SHAPES, Knobs

    limits = [RateLimit.parse(rate) for rate in rates]
    known = {name.lower(): name for name in SHAPES}
    if shape.lower() not in known:
        raise ConfigurationError(f"{shape!r} is not a shape", hint=f"There are {', '.join(SHAPES)}.")
    return Knobs(
        api_key=key or None,
        latency=latency,
        shape=known[shape.lower()],
        rate_limit=[(limit.n, limit.per) for limit in limits],
    )


async def _serve(host: str, port: int, knobs: Knobs) -> None:
    from ..emulator import serve

    def ready(base_url: str) -> None:
        print_line(f"export ASI_ONE_BASE_URL={base_url}")
        print_line(f"export ASI_ONE_API_KEY={shlex.quote(knobs.api_key or _ANY_KEY)}")
        Voice().say(
            f"serving on {visible(base_url)}; the two lines above make it the service; its pictures are"
            " drawings, for a folder of their own; Ctrl-C ends it"
        )

    service = asyncio.ensure_future(serve(host, port, knobs, ready))
    with Interrupts(service.cancel, service.cancel):
        await asyncio.wait([service])
    if not service.cancelled():
        service.result()
