"""Options that several commands have, each with one name, one help and one form."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["BaseUrl", "Dest", "Emulate", "Json", "Model", "Retries", "Size", "Timeout", "named"]


def named(path: str) -> str:
    """A path that is not empty: that would be this very folder."""
    if not path:
        raise typer.BadParameter("it is empty. Is it of an unset variable?")
    return path


Dest = Annotated[str, typer.Argument(metavar="DEST", help="The folder of a batch.", callback=named)]

Size = Annotated[
    str,
    typer.Option(
        metavar="SIZE",
        help="square (1024x1024), landscape (1792x1024), portrait (1024x1792), auto, or WIDTHxHEIGHT.",
    ),
]
Model = Annotated[str, typer.Option(metavar="MODEL", help="The model's name.")]
BaseUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="Another address of the service.", show_default="ASI_ONE_BASE_URL, or ASI:One's"
    ),
]
Timeout = Annotated[float, typer.Option(metavar="SECONDS", help="How long one try may take.")]
Retries = Annotated[
    int, typer.Option(min=0, metavar="N", help="Tries after the first one, where that may help.")
]
Emulate = Annotated[
    bool, typer.Option("--emulate", help="Let the emulator on this machine draw; no key, no cost.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
