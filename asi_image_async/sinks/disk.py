"""Pictures in a folder that people and tools can open as it is."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, TypeVar, get_args

from pydantic_core import from_json, to_json

from ..core.naming import file_stem
from ..core.recipe import embed
from ..core.wire import encode_request
from ..errors import ConfigurationError, SinkError
from ..files import sync_directory, write_whole
from ..folder import METADATA, STATE, sidecar_of
from ..group_thread import GroupThread
from ..models import Generation, Image, ImageRequest, Receipt

try:
    import fcntl
except ImportError:  # Windows, where a file in use cannot be removed anyway
    fcntl = None  # type: ignore[assignment]  # elsewhere it is a module

__all__ = ["DiskSink"]

T = TypeVar("T")
R = TypeVar("R")

_Place = Literal["none", "sidecar", "embed"]

_MARK = b"+"  # each sink leaves one in sink.lock when it opens; the last to leave wipes them off
_MAKE_ROOM = "Make room on the disk, then run the same again."
_HINTS = {
    errno.ENOSPC: _MAKE_ROOM,
    errno.EDQUOT: _MAKE_ROOM,
    errno.EILSEQ: "Let Python write names in UTF-8: set PYTHONUTF8=1.",
    errno.EMFILE: "Allow more open files (ulimit -n), or fewer requests at once; then run the same again.",
}


class _Stored(NamedTuple):
    """Pictures that have their names, and the lines that are due for them."""

    lines: bytes
    receipt: Receipt


class DiskSink:
    """A folder: images under readable, unique names, and `metadata.jsonl`, a line for each.

    The lines have `file_name` and `prompt`, as the Hugging Face `imagefolder` loader reads them, and
    what else is known of the picture. A name is a function of the request, so the same request twice in
    a run has two names, and again in a later run has the same. A file under a final name is whole.

    `recipe`: whether the request, as JSON, is kept with each picture too: in a file beside it ("sidecar"),
    or in the picture itself ("embed": XMP; beside where it has no place for that, as in GIF and AVIF).
    Raises ConfigurationError for another one.
    """

    def __init__(self, directory: str | Path, *, recipe: _Place = "none") -> None:
        if recipe not in get_args(_Place):
            raise ConfigurationError(
                f"a recipe's place is {', '.join(get_args(_Place))}, not {recipe!r}",
                hint="Beside the picture is a sidecar, in it is embed.",
            )
        self.directory = Path(directory)
        self._recipe = recipe
        self._temporary = self.directory / STATE / "tmp"
        self._held: IO[bytes] | None = None
        self._metadata: IO[bytes] | None = None
        self._untidy = False
        self._thread = GroupThread(self._working, "asi-image-disk")

    async def open(self) -> None:
        """Make the folder ready, and tidy up after a crash; raises SinkError where it cannot be used."""
        if self._thread.is_open:
            raise SinkError(
                f"the sink {self.directory} is open already", hint="Give each run a DiskSink of its own."
            )
        await self._thread.open()

    async def write(self, generation: Generation) -> Receipt:
        """Store every image; returns when they would survive a crash. Raises SinkError."""
        if not self._thread.is_open:
            raise SinkError(f"the sink {self.directory} is not open", hint="Await its open() first.")
        return await self._thread.do(generation)

    async def close(self) -> None:
        """Close the files."""
        await self._thread.close()

    @contextlib.contextmanager
    def _working(self) -> Iterator[Callable[[Sequence[Generation]], Sequence[Receipt | SinkError]]]:
        """In the thread: the files, open for as long as there are pictures."""
        self._open()
        try:
            yield self._write
        finally:
            self._close()

    def _open(self) -> None:
        with _named(self.directory), contextlib.ExitStack() as opened:
            if self.directory.exists() and not self.directory.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "it is a file, not a folder")
            _check_names()
            try:
                self._temporary.mkdir(parents=True, exist_ok=True)
            except ValueError as error:
                raise OSError(errno.EINVAL, str(error)) from error
            held = opened.enter_context(open(self.directory / STATE / "sink.lock", "a+b", buffering=0))
            if _lock(held, exclusive=True):  # nobody else writes here
                self._tidy(held, as_left=b"")
            _lock(held, exclusive=False, wait=True)
            held.write(_MARK)
            os.fsync(held.fileno())  # or the next would not know that this one lost its power
            sync_directory(self.directory / STATE)
            metadata = opened.enter_context(open(self.directory / METADATA, "a+b", buffering=0))
            _end_last_line(metadata)
            self._held, self._metadata = held, metadata
            opened.pop_all()

    def _tidy(self, held: IO[bytes], as_left: bytes) -> None:
        """Remove temporary files; where others have come and not gone, or were killed, see to the lines."""
        # By their names (files.write_whole): in a folder that came from others, "tmp" may lead elsewhere.
        for leftover in self._temporary.glob(".*.tmp"):
            with contextlib.suppress(PermissionError):
                leftover.unlink(missing_ok=True)
        held.seek(0)
        if held.read() != as_left or self._untidy:
            self._tidy_lines()
        self._untidy = False
        held.truncate(0)

    def _tidy_lines(self) -> None:
        """No torn line, one line a picture (the last), no line without one."""
        path = self.directory / METADATA
        if not path.exists():
            return
        last = {name: number for number, (name, _) in enumerate(_read_lines(path))}
        kept = (
            line
            for number, (name, line) in enumerate(_read_lines(path))
            if last[name] == number and (self.directory / name).is_file()
        )
        write_whole(path, kept, temporary_directory=self._temporary)
        sync_directory(self.directory)

    def _write(self, generations: Sequence[Generation]) -> list[Receipt | SinkError]:
        """Store many, with one flush for the names and the lines of all of them."""
        found = [self._attempt(self._store, generation) for generation in generations]
        stored = [each for each in found if isinstance(each, _Stored)]
        failure = self._attempt(self._append, stored) if stored else None
        for_some = failure is not None and len(stored) > 1  # there may be room

        def answer(each: _Stored | SinkError) -> Receipt | SinkError:
            if isinstance(each, SinkError):
                return each
            return (self._attempt(self._append, [each]) if for_some else failure) or each.receipt

        return [answer(each) for each in found]

    def _attempt(self, function: Callable[[T], R], argument: T) -> R | SinkError:
        try:
            with _named(self.directory):
                return function(argument)
        except SinkError as error:
            return error

    def _store(self, generation: Generation) -> _Stored:
        """Give the pictures their names; that these survive a power cut is for `_append` to see to."""
        stem = file_stem(generation.request, generation.occurrence)
        lines, locations, size = [], [], 0
        for number, image in enumerate(generation.images, 1):
            name = f"{stem}{'' if number == 1 else f'-{number}'}{image.suffix}"
            path = self.directory / name
            if path.exists():  # from a run that ended before it was written down: it may have its line
                self._untidy = True
            data = self._with_recipe(generation.request, image.data, path)
            write_whole(path, data, temporary_directory=self._temporary)
            lines.append(to_json(_describe(generation, image, name)) + b"\n")
            locations.append(str(path))
            size += len(data)
        return _Stored(b"".join(lines), Receipt(tuple(locations), size))

    def _with_recipe(self, request: ImageRequest, data: bytes, path: Path) -> bytes:
        """The picture as it is to be stored; what belongs beside it is there before it."""
        if self._recipe == "none":
            return data
        recipe = encode_request(request)
        embedded = embed(data, recipe.decode()) if self._recipe == "embed" else None
        if embedded is None:
            write_whole(sidecar_of(path), recipe + b"\n", temporary_directory=self._temporary)
        return embedded or data

    def _append(self, stored: Sequence[_Stored]) -> None:
        """Add the lines, and flush them and the folder's names."""
        metadata = self._metadata
        assert metadata is not None
        lines = b"".join(each.lines for each in stored)
        if not os.path.samestat(os.stat(self.directory / METADATA), os.fstat(metadata.fileno())):
            raise SinkError(
                f"{self.directory} or its {METADATA} was moved or replaced while it was in use",
                hint="Bring it back, then run the same again.",
            )
        with _alone(metadata):
            end = os.fstat(metadata.fileno()).st_size
            if metadata.write(lines) != len(lines):
                self._untidy = True
                metadata.truncate(end)  # no half line stays where the disk is full
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync_directory(self.directory)
        os.fsync(metadata.fileno())

    def _close(self) -> None:
        metadata, self._metadata = self._metadata, None
        held, self._held = self._held, None
        if metadata is not None:
            metadata.close()
        if held is not None:
            with held, contextlib.suppress(OSError):  # what is left is for the next to open
                if _lock(held, exclusive=True):  # the last to leave
                    self._tidy(held, as_left=_MARK)


def _describe(generation: Generation, image: Image, file_name: str) -> dict[str, Any]:
    """One line of metadata.jsonl; a column of the user's that is named as one of ours is `given_NAME`."""
    request = generation.request
    created = generation.created
    ours = {
        "file_name": file_name,
        "prompt": request.prompt,
        "revised_prompt": generation.revised_prompt,
        "size": request.size,
        "model": request.model,
        "width": image.width,
        "height": image.height,
        "mime_type": image.mime_type,
        "created": created and created.isoformat(),
        "attempts": generation.attempts,
        "elapsed": round(generation.elapsed, 3),
    }
    given = {**request.metadata, **(request.model_extra or {})}
    return {
        **{f"given_{name}" if name in ours else name: value for name, value in given.items()},
        **({"id": request.id} if request.id is not None else {}),
        **ours,
    }


def _end_last_line(metadata: IO[bytes]) -> None:
    """Whoever edited the file by hand may have left it without its last newline."""
    with _alone(metadata):
        if metadata.seek(0, os.SEEK_END) > 0:
            metadata.seek(-1, os.SEEK_END)
            if metadata.read(1) != b"\n":
                metadata.write(b"\n")


def _read_lines(path: Path) -> Iterator[tuple[str, bytes]]:
    with open(path, "rb") as file:
        for line in file:
            try:
                name = from_json(line)["file_name"]
            except (ValueError, KeyError, TypeError):
                continue  # torn by a crash
            if isinstance(name, str):
                yield name, line.rstrip(b"\n") + b"\n"


def _lock(file: IO[bytes], *, exclusive: bool, wait: bool = False) -> bool:
    """Take a lock that the system ends with the process; False where another has it."""
    if fcntl is None:
        return True
    flags = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB)
    try:
        fcntl.flock(file, flags)
    except BlockingIOError:
        return False
    return True


def _check_names() -> None:
    """Most names of pictures are in letters of some script; better now than when one is bought."""
    try:
        os.fsencode("é狐")
    except UnicodeEncodeError:
        encoding = sys.getfilesystemencoding()
        raise OSError(errno.EILSEQ, f"names are in {encoding} here, which lacks letters") from None


@contextlib.contextmanager
def _alone(file: IO[bytes]) -> Iterator[None]:
    """Keep other sinks, of other processes too, from writing to the file."""
    _lock(file, exclusive=True, wait=True)
    try:
        yield
    finally:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_UN)


@contextlib.contextmanager
def _named(directory: Path) -> Iterator[None]:
    """The system's errors as ours, with what to do."""
    try:
        yield
    except OSError as error:
        hint = _HINTS.get(error.errno or 0, "Choose a folder that can be written to.")
        raise SinkError(f"cannot write to {directory}: {error.strerror or error}", hint=hint) from error
