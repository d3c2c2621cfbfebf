"""What all commands have in common: help, errors of usage, and an exit status instead of a traceback."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from typing import Annotated, Any, ParamSpec, TypeAlias

import typer
from typer.core import TyperGroup

__all__ = ["Work", "app", "command"]

P = ParamSpec("P")
Work: TypeAlias = Callable[[], int]


@contextmanager
def _visible_errors() -> Iterator[None]:
    """An error of usage repeats what was typed, or what a shell's `*` made of the names in a folder."""
    try:
        yield
    except Exception as error:
        said = getattr(error, "message", None)
        if isinstance(said, str):
            from .speech import visible

            error.message = visible(said)  # type: ignore[attr-defined]  # just seen; its class has no public name
        raise


class _Group(TyperGroup):
    """The commands, with errors of usage that are safe for a terminal."""

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **kwargs: Any) -> Any:
        # Where nothing was typed the error is the help.
        with _visible_errors() if args else nullcontext():
            return super().make_context(info_name, args, *more, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        with _visible_errors():
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Group,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="ASI:One's image generation: a list of prompts becomes a folder of pictures, each paid for once.",
    epilog="The key is taken from ASI_ONE_API_KEY. --emulate needs none.",
)


def command(function: Callable[P, Work]) -> Callable[P, None]:
    """Register a function that imports what a command needs, and gives its work, which returns a status.

    Whatever either raises is told in a line or two. Ctrl-C is the command's own from its work on.
    """

    @wraps(function)
    def ending(*args: P.args, **kwargs: P.kwargs) -> None:
        from .exits import guarded

        def begin() -> int:
            work = function(*args, **kwargs)
            for number, end in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, _end)):
                if signal.getsignal(number) == signal.SIG_DFL:
                    signal.signal(number, end)
            return work()

        raise typer.Exit(guarded(begin))

    return app.command()(ending)


def _end(number: int, _: object) -> None:
    """So that what is half written is removed on the way out."""
    raise SystemExit(128 + number)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"asi-image {version('asi_image_async')}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass
