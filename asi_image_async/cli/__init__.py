"""The command `asi-image`: prompts in, pictures out, for people and for scripts.

Importing this loads neither typer nor rich; `main` does, and names the pip line that brings them.
"""

from __future__ import annotations

import importlib
import sys

__all__ = ["main"]

_EXTRA = ("typer", "rich")


def main() -> None:
    """Run the command line that the process was started with; ends in SystemExit with its status."""
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
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    app(prog_name="asi-image")
