"""`asi-image generate`: one prompt becomes one picture in a file."""

from __future__ import annotations

import asyncio
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from ..core.naming import file_stem
from ..errors import ConfigurationError, SinkError
from ..folder import STATE, check_output
from ..models import Generation, Image, ImageRequest, has_suffix
from ..progress import Progress
from ..session import ImageSession
from .display import Display, OneView
from .interrupts import Interrupts
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
    size: str
    model: str
    service: ServiceOptions


def generate(options: GenerateOptions) -> int:
    """Run the command; returns the exit status. Raises AsiImageError."""
    request = ImageRequest.of(options.prompt, size=options.size, model=options.model)
    _check(options.output)
    paths, interrupted = run_loop(_finish(options, request))
    for path in paths:
        print_line(str(path))
    return interrupted or 0


async def _finish(options: GenerateOptions, request: ImageRequest) -> tuple[list[Path], int | None]:
    """The pictures' paths, and the exit status where it was interrupted."""
    voice, progress = Voice(), Progress(1)
    display = Display(voice, OneView(progress))
    async with open_session(options.service, progress) as session:
        if options.service.emulate:
            voice.say(
                "this is a drawing by the emulator on this machine, not a picture of the service", "magenta"
            )
        asked = asyncio.ensure_future(_ask(session, request))

        def drain() -> None:
            session.drain()
            if progress.in_flight:
                display.say("stopping: the picture in flight is being finished; Ctrl-C again to stop now")

        def cancel() -> None:
            display.stop()
            asked.cancel()

        with Interrupts(drain, cancel) as interrupts:
            try:
                with display:
                    generation = await asked
            except asyncio.CancelledError:
                if not interrupts.twice:
                    raise
                generation = None
                if progress.unknown:
                    voice.say("the request was in flight: it may have been billed", "yellow")
            if generation is None:
                voice.say("interrupted")
                return [], interrupts.status
            return await _save_all(voice, generation, request, options.output), interrupts.status


async def _ask(session: ImageSession, request: ImageRequest) -> Generation | None:
    """None where it was interrupted before it was sent."""
    async with session.stream([request]) as outcomes:
        async for outcome in outcomes:
            return outcome.unwrap()
    return None


async def _save_all(
    voice: Voice, generation: Generation, request: ImageRequest, output: str | None
) -> list[Path]:
    stem = Path(output) if output else Path(_readable(request))
    paths: list[Path] = []
    failed: list[SinkError] = []
    for number, image in enumerate(generation.images, 1):
        suffix = stem.suffix if has_suffix(stem) else ""
        name = f"{stem.name.removesuffix(suffix)}-{number}{suffix}"
        wanted = stem if number == 1 else stem.with_name(name)
        try:
            paths.append(await _save(voice, image, wanted, chosen=output is not None))
        except SinkError as error:  # the others are bought too
            failed.append(error)
    if failed:
        failed[0].hint = " ".join(error.hint for error in failed)
        raise failed[0]
    return paths


def _check(output: str | None) -> None:
    """Raises ConfigurationError where the picture could not be written, before it is paid for."""
    path = Path(output or "picture")
    if output in ("", "-"):
        raise ConfigurationError(
            "-o takes the name of a file", hint="The picture is not written to standard output."
        )
    if output is not None and (output.endswith(("/", os.sep)) or os.path.isdir(path)):
        raise ConfigurationError(f"{output} is a folder", hint="-o takes the name of a file.")
    if output is not None and os.path.exists(path) and not os.path.isfile(path):
        raise ConfigurationError(f"{output} is not a plain file", hint="-o takes the name of a file.")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        make_it = "" if os.path.isdir(path.parent) else "Make the folder, or "
        raise ConfigurationError(
            f"cannot write into {path.parent.absolute()}: {error.strerror or error}",
            hint=f"{make_it}name another file with -o.".capitalize(),
        ) from None
    if output is not None:
        _check_length(path)
        _check_batch(path)


def _check_batch(path: Path) -> None:
    """That nothing is overwritten that a batch has paid for; the suffix is not known yet."""
    folder = path.parent.resolve()
    folder = folder.parent if folder.name == STATE else folder
    if os.path.isdir(folder / STATE):
        for suffix in ("",) if has_suffix(path) else (".jpg", ".png", ".webp"):
            check_output(folder, Path(f"{path}{suffix}"))


def _check_length(path: Path) -> None:
    """Of the name with the longest suffix that may be added."""
    try:
        os.lstat(path if has_suffix(path) else f"{path}.webp")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ConfigurationError(
            f"cannot write {path}: {error.strerror or error}", hint="Name another file with -o."
        ) from None


def _readable(request: ImageRequest) -> str:
    """The words of the prompt; what makes the name unique in a batch is of no use to a reader here."""
    stem = file_stem(request, 0)
    return stem.rpartition("-")[0] or stem


async def _save(voice: Voice, image: Image, wanted: Path, *, chosen: bool) -> Path:
    """Write a picture that is paid for: to the path wanted, a free one like it, or wherever there is room."""
    if chosen:
        suffix = wanted.suffix.lower()
        if has_suffix(wanted) and _SAME_KIND.get(suffix, suffix) != image.suffix:
            kind = image.mime_type.partition("/")[2].upper()
            voice.label(
                "note", f"{visible(str(wanted))} is a {kind} picture, whatever its name says", "yellow"
            )
    path = wanted
    try:
        if not chosen:
            path = _free(wanted, image.suffix)
        return await image.save(path)
    except OSError as error:
        if path is not wanted:
            with suppress(OSError):
                if not path.stat().st_size:  # else the picture is there, though it may not survive a crash
                    path.unlink()
        reason = error.strerror or str(error)
        try:
            saved = await save_elsewhere(image, "picture")  # the name wanted may be what was wrong
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
