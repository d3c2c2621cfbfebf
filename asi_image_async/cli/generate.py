"""`asi-image generate`: one prompt becomes one picture in a file."""

from __future__ import annotations

import asyncio
import os
import tempfile
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from ..core.naming import file_stem
from ..errors import ConfigurationError, SinkError
from ..models import Generation, Image, ImageRequest
from ..progress import Progress
from .display import Display, OneView
from .loop import run_loop
from .service import ServiceOptions, open_session
from .spare import save_elsewhere
from .speech import Voice, print_line, visible

__all__ = ["GenerateOptions", "generate"]

_SAME_KIND = {".jpeg": ".jpg", ".jpe": ".jpg", ".jfif": ".jpg"}


@dataclass(frozen=True, kw_only=True)
class GenerateOptions:
    """The command's options, as given."""

    prompt: str
    output: str | None
    size: str | None
    model: str | None
    service: ServiceOptions


def generate(options: GenerateOptions) -> int:
    """Run the command; returns the exit status. Raises AsiImageError."""
    given = {"size": options.size, "model": options.model}
    fields = {name: value for name, value in given.items() if value is not None}
    request = ImageRequest.of(options.prompt, **fields)
    _check(options.output)
    for path in run_loop(_paths(options, request)):
        print_line(str(path))
    return 0


async def _paths(options: GenerateOptions, request: ImageRequest) -> list[Path]:
    voice = Voice()
    generation = await _ask(options.service, request, voice)
    stem = Path(options.output) if options.output else Path(_readable(request))
    paths = []
    for number, image in enumerate(generation.images, 1):
        wanted = stem if number == 1 else stem.with_stem(f"{stem.stem}-{number}")
        paths.append(await _save(voice, image, wanted, chosen=options.output is not None))
    return paths


async def _ask(service: ServiceOptions, request: ImageRequest, voice: Voice) -> Generation:
    progress = Progress(1)
    async with open_session(service, progress) as session:
        if service.emulate:
            voice.say(
                "this is a drawing by the emulator on this machine, not a picture of the service", "magenta"
            )
        with Display(voice, OneView(progress)):
            try:
                return await session.generate(request)
            except asyncio.CancelledError:
                if progress.in_flight:
                    voice.say("the request was in flight: it may have been billed", "yellow")
                raise


def _check(output: str | None) -> None:
    """Raises ConfigurationError where the picture could not be written, before it is paid for."""
    path = Path(output or "picture")
    if output is not None and (output.endswith(("/", os.sep)) or path.is_dir()):
        raise ConfigurationError(f"{output} is a folder", hint="-o takes the name of a file.")
    if output in ("", "-"):
        raise ConfigurationError(
            "-o takes the name of a file", hint="The picture is not written to standard output."
        )
    if path.exists() and not path.is_file():
        raise ConfigurationError(f"{output} is not a plain file", hint="-o takes the name of a file.")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ConfigurationError(
            f"cannot write into {path.parent.absolute()}: {error.strerror or error}",
            hint="Make the folder, or name another file with -o.",
        ) from None


def _readable(request: ImageRequest) -> str:
    """The words of the prompt; what makes the name unique in a batch is of no use to a reader here."""
    stem = file_stem(request, 0)
    return stem.rpartition("-")[0] or stem


async def _save(voice: Voice, image: Image, wanted: Path, *, chosen: bool) -> Path:
    """Write a picture that is paid for: to the path wanted, a free one like it, or wherever there is room."""
    if chosen:
        suffix = wanted.suffix.lower()
        if suffix and _SAME_KIND.get(suffix, suffix) != image.suffix:
            kind = image.mime_type.partition("/")[2].upper()
            voice.label(
                "note", f"{visible(str(wanted))} is a {kind} picture, whatever its name says", "yellow"
            )
    try:
        return await image.save(wanted if chosen else _free(wanted, image.suffix))
    except OSError as error:
        reason = error.strerror or str(error)
        try:
            saved = await save_elsewhere(image, wanted.name)
        except OSError:
            raise SinkError(f"the picture is lost: cannot write {wanted}: {reason}") from error
        raise SinkError(f"cannot write {wanted}: {reason}", hint=f"The picture is in {saved}.") from error


def _free(wanted: Path, suffix: str) -> Path:
    """A name that nobody has, taken by an empty file, so that nobody else takes it meanwhile."""
    for number in count(1):
        path = wanted.with_name(f"{wanted.name}{'' if number == 1 else f'-{number}'}{suffix}")
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            continue
        return path
    raise AssertionError("count has no end")
