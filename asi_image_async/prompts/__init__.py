"""Prompt files in: checked whole before anything is paid for, then read again a line at a time."""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import sys
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, cast

from ..errors import ConfigurationError
from ..models import ImageRequest
from .lines import MAX_LINE_BYTES, BadLines, Problems, numbered_lines
from .rows import is_quoted, rows
from .template import Expansion, expand, names_in

__all__ = ["BadLines", "Expansion", "PromptFile", "expand", "names_in", "read_prompts"]

MAX_STDIN_BYTES = 8 * 2**30  # on disk: ten million long prompts fit, and `yes |` comes to an end
# An object or a text of JSON as a line has it; or a list, which is told that it is none.
_JSON = re.compile(r'\{|"(?:[^"\\]|\\.)*"$|\[\s*(?:[{"]|$)')
_SEMICOLONS = re.compile(r"\S+;\S+")  # a header that parts its names so; as a prompt a line is has blanks
_SUFFIXES = (".txt", ".jsonl", ".ndjson", ".csv", ".tsv")
_ENDING_HINT = (
    "Give the file the ending of its format, .txt for a prompt a line, or send it to standard input: -"
)
_LINES_HINT = "Write an object a line, as JSON Lines: jq -c '.[]' list.json > list.jsonl"


def read_prompts(
    path_or_dash: str | Path,
    *,
    stdin: BinaryIO | None = None,
    size: str | None = None,
    model: str | None = None,
) -> PromptFile:
    """Check a prompt file whole, and give its requests.

    By the suffix: `.txt` (a prompt a line), `.jsonl` or `.ndjson` (an object or a text a line), `.csv`
    and `.tsv` (with a header row; tab-separated cells are taken as they are, unless all that have a
    quote in them are quoted as in CSV). `-` is standard input, or `stdin` in its stead: any of these,
    told by its first line. It is copied to a temporary file first, and so is a pipe (a shell's `<(...)`).

    `prompt`, `id`, `size`, `model` and the image API's parameters are taken from the columns or keys
    of these names, whatever their case; all others become the request's `metadata`. `size` and `model`
    stand in where the file names none. UTF-8; a line has at most 1 MiB, a cell 128 KiB.

    Blocks while it reads. Raises ConfigurationError, with the name of the file and the numbers of the
    lines that are wrong.
    """
    defaults = {key: value for key, value in (("size", size), ("model", model)) if value is not None}
    ImageRequest.of("a fox", **defaults)  # what is wrong with the options is not the fault of line 1
    if not str(path_or_dash):
        raise ConfigurationError("the name of the prompt file is empty", hint="Is it of an unset variable?")
    if str(path_or_dash) == "-":
        name, file, kind = "standard input", _spool(stdin or _standard_input(), "standard input"), ""
    else:
        path = Path(path_or_dash)
        # A list of what is wrong has the name on every line.
        name = path.name.replace("\n", "\\n")
        file, kind = _open(path), path.suffix.lower()
    return PromptFile(file, name, kind if kind in _SUFFIXES else _kind_of(file), defaults)


class PromptFile:
    """The requests of a prompt file that has been checked: `len()` tells how many, iterating reads them.

    `kind`: the suffix of what it was read as, ".txt" for a prompt a line.
    Made by `read_prompts`. Nothing but the line at hand is kept in memory. Each iteration reads the
    file from its start again and blocks for a line at a time, which is short enough for a coroutine.
    Raises ConfigurationError where the file has been spoilt since the check.
    """

    def __init__(self, file: BinaryIO, name: str, kind: str, defaults: Mapping[str, str]) -> None:
        # Kept open, so that a file that is replaced in the meantime is still the one that was checked.
        # It has no end but this object's own.
        weakref.finalize(self, file.close)
        self._file = file
        self._stamp = _stamp(file)
        self._name = name
        self.kind = kind
        self._defaults = defaults
        self._quoted = kind == ".csv" or (kind == ".tsv" and is_quoted(file))
        problems = Problems(name)
        self._length = sum(1 for _ in self._read(problems))
        problems.raise_any()
        if not self._length:
            raise ConfigurationError(f"{name} has no prompts", hint="Write a prompt into it.")

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[ImageRequest]:
        return (request for _, request in self.numbered())

    def numbered(self) -> Iterator[tuple[int, ImageRequest]]:
        """The requests, each with the number of its line."""
        problems = Problems(self._name)
        for found in self._read(problems):
            problems.raise_any()
            if _stamp(self._file) != self._stamp:  # a line may have moved, and be bought again, or in halves
                raise ConfigurationError(
                    f"{self._name} was changed while its prompts were asked for",
                    hint="Run the same line again: what is done is not asked for again.",
                )
            yield found
        problems.raise_any()

    def _read(self, problems: Problems) -> Iterator[tuple[int, ImageRequest]]:
        """Every good row as a request, with its number; the others go to `problems`."""
        for number, row in rows(self._file, self.kind, self._quoted, problems):
            try:
                request = ImageRequest.of(row, **self._defaults)
            except ConfigurationError as error:
                problems.add(number, str(error))
            else:
                yield number, request


def _open(path: Path) -> BinaryIO:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ConfigurationError(f"{path} is a folder", hint="Name a prompt file in it.")
        if stat.S_ISFIFO(mode):  # it can be read only once, and this is read twice
            with open(path, "rb", opener=_open_pipe) as pipe:
                return _spool(pipe, str(path))
        if path.suffix.lower() not in _SUFFIXES:
            raise ConfigurationError(
                f"{path.name} has no ending that is known here: {', '.join(_SUFFIXES)}",
                hint=_LINES_HINT if path.suffix.lower() == ".json" else _ENDING_HINT,
            )
        if not stat.S_ISREG(mode):
            raise ConfigurationError(f"{path} is not a plain file", hint="Send it to standard input: -")
        return path.open("rb")
    except FileNotFoundError:
        hint = "For one picture: asi-image generate." if " " in path.name else "Check the path."
        raise ConfigurationError(f"there is no file {path}", hint=hint) from None
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigurationError):
            raise
        reason = getattr(error, "strerror", None) or error  # ValueError: a NUL in the path
        raise ConfigurationError(
            f"cannot read {path}: {reason}", hint="Check the path, and that you may read the file."
        ) from None


def _stamp(file: BinaryIO) -> tuple[int, int] | None:
    """What changes when somebody writes to a file; None for a copy of ours."""
    if not isinstance(file, io.BufferedReader):
        return None
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns


def _open_pipe(path: str, flags: int) -> int:
    # Opened at once, though nobody may ever write to it: then it is empty. A writer's bytes are waited for.
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return descriptor


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise ConfigurationError("there is no standard input", hint="Name a prompt file instead of -.")
    return sys.stdin.buffer


def _spool(stream: BinaryIO, name: str) -> BinaryIO:
    """Copy what can be read only once to a temporary file, in memory while it is small."""
    file = tempfile.SpooledTemporaryFile(max_size=MAX_LINE_BYTES)
    size = 0
    try:
        while (chunk := stream.read(2**16)) != b"":
            if chunk is None:  # somebody has set it not to wait, and this is no end
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            size += len(chunk)
            if size > MAX_STDIN_BYTES:
                raise ConfigurationError(
                    f"{name} has more than {MAX_STDIN_BYTES} bytes",
                    hint="Split it, or save it as a file and name that.",
                )
            file.write(chunk)
    except BaseException as error:
        file.close()
        if isinstance(error, OSError):
            raise ConfigurationError(f"cannot read {name}: {error.strerror or error}") from None
        raise
    return cast("BinaryIO", file)


def _kind_of(file: BinaryIO) -> str:
    """What a stream without a suffix holds, told by its first line: a table's header, JSON, or a prompt."""
    lines = numbered_lines(file, Problems(""))
    first = next((line.strip() for line in lines if line.strip()), "")
    for kind, separator in ((".tsv", "\t"), (".csv", ",")):
        cells = [cell.strip().strip('"').casefold() for cell in first.split(separator)]
        if "prompt" in cells and (len(cells) > 1 or kind == ".csv"):
            return kind
    if _SEMICOLONS.fullmatch(first) and "prompt" in re.split('[;"]', first.casefold()):
        return ".csv"  # where it is refused, and what to do is told
    return ".jsonl" if _JSON.match(first) else ".txt"
