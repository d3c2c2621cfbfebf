"""The command `asi-image`: prompts in, pictures out, for people and for scripts.

Importing this loads neither typer nor rich; `main` does, and names the pip line that brings them.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

__all__ = ["main"]

_EXTRA = ("typer", "rich")


def main() -> None:
    """Run the command line that the process was started with; ends in SystemExit with its status."""
    _fill_closed_streams()
    # In an import KeyboardInterrupt can be lost, or come out as an error of another name. There is nothing to
    # finish until a command's work begins, so up to there Ctrl-C ends the process as the system does it.
    _ctrl_c_kills()
    try:
        _app()(prog_name="asi-image")
    except KeyboardInterrupt:  # at the very end of a command
        raise SystemExit(130) from None
    except OSError as error:
        _end_unheard(error)
    finally:
        _ctrl_c_kills()  # from here on it would only be a traceback


def _ctrl_c_kills() -> None:
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _end_unheard(error: OSError) -> NoReturn:
    """What could not be written was an error of usage, which goes to standard error, or else the help."""
    from .exits import ExitStatus
    from .outlets import discard
    from .speech import Voice

    usage = getattr(error.__context__, "exit_code", None)
    if usage is not None:
        discard(2)
        raise SystemExit(usage) from None
    discard(1)
    Voice().label("error", f"cannot write to standard output: {error.strerror}", "bold red")
    raise SystemExit(ExitStatus.STOPPED) from None


def _app() -> Callable[..., None]:
    try:
        for name in _EXTRA:
            importlib.import_module(name)
        from .app import app
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        sys.stderr.write(f"error: the command needs {missing}: pip install 'asi_image_async[cli]'\n")
        raise SystemExit(2) from None
    return app


def _fill_closed_streams() -> None:
    """Where a standard stream was closed, the next file opened would take its place, and its writes."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
