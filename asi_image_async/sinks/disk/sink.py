"""The sink: written together, flushed together, named together; and tidied up after a crash."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, TypeVar, get_args

from ... import locks
from ...core.naming import file_names
from ...core.recipe import embed
from ...core.wire import encode_request
from ...errors import ConfigurationError, SinkError
from ...files import Draft, flush_to_disk, sync_directory
from ...folder import METADATA, STATE, check_encoding, sidecar_of
from ...group_thread import GroupThread
from ...models import Generation, Receipt
from .metadata import Metadata, line_of, tidy

__all__ = ["DiskSink"]

logger = logging.getLogger("asi_image_async")

T = TypeVar("T")

_Place = Literal["none", "sidecar", "embed"]

_WRITTEN_AT_ONCE = 16  # generations: each of their pictures is an open file meanwhile
_ABANDONED = 24 * 3600  # seconds; no draft is on its way for so long
_HELD = "sink.lock"
_MARK = b"+"  # each sink leaves one in sink.lock when it opens; the last to leave wipes them off
_MAKE_ROOM = "Make room on the disk, then run the same again."
_HINTS = {
    errno.ENOSPC: _MAKE_ROOM,
    errno.EDQUOT: _MAKE_ROOM,
    errno.EILSEQ: "Let Python write names in UTF-8: set PYTHONUTF8=1.",
    errno.EMFILE: "Allow more open files (ulimit -n), or fewer requests at once; then run the same again.",
}


@dataclass(eq=False)
class _Pictures:
    """A generation on its way into the folder: its files by their paths, and the lines that are due for them.

    What belongs beside a picture stands before it. `size`: of the pictures, in bytes.
    """

    generation: Generation
    drafts: dict[str, Draft] = field(default_factory=dict)
    locations: tuple[str, ...] = ()
    lines: bytes = b""
    size: int = 0
    error: SinkError | None = None

    def give_up(self, error: SinkError) -> None:
        """Nothing stays of them that has no name yet."""
        self.error = error
        for draft in self.drafts.values():
            draft.discard()


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
        if not isinstance(directory, str | os.PathLike):
            raise ConfigurationError(f"a folder is a path, not {type(directory).__name__}")
        self.directory = Path(directory)
        self._recipe = recipe
        self._temporary = self.directory / STATE / "tmp"
        self._held: IO[bytes] | None = None
        self._metadata: Metadata | None = None
        self._untidy = False
        self._thread = GroupThread(self._working, "asi-image-disk")

    async def open(self) -> None:
        """Make the folder ready, and tidy up after a crash; raises SinkError where it cannot be used.

        Raises ConfigurationError for a `metadata.jsonl` that somebody has saved as UTF-16.
        """
        if self._thread.is_open:
            raise SinkError(
                f"the sink {self.directory} is open already", hint="Give each run a DiskSink of its own."
            )
        try:
            await self._thread.open()
        except OSError as error:
            raise _named(error, self.directory) from error

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
        try:
            self._open()
        except OSError as error:
            raise _named(error, self.directory) from error
        try:
            yield self._write
        finally:
            self._close()

    def _open(self) -> None:
        with contextlib.ExitStack() as opened:
            if os.path.lexists(self.directory) and not self.directory.is_dir():
                what = "a file" if self.directory.exists() else "a link to nothing"
                raise NotADirectoryError(errno.ENOTDIR, f"it is {what}, not a folder")
            _check_names()
            check_encoding(self.directory / METADATA)
            try:
                self._temporary.mkdir(parents=True, exist_ok=True)
            except ValueError as error:
                raise OSError(errno.EINVAL, str(error)) from error
            held = opened.enter_context(open(self.directory / STATE / _HELD, "a+b", buffering=0))
            if locks.lock(held, exclusive=True):  # nobody else writes here
                self._tidy(held, as_left=b"")
            locks.lock(held, exclusive=False, wait=True)
            held.write(_MARK)
            flush_to_disk(held.fileno())  # or the next would not know that this one lost its power
            sync_directory(self.directory / STATE)
            self._held, self._metadata = held, Metadata(self.directory)
            opened.pop_all()

    def _tidy(self, held: IO[bytes], as_left: bytes) -> None:
        """Remove temporary files; where others have come and not gone, or were killed, see to the lines."""
        # By their names (files.Draft): in a folder that came from others, "tmp" may lead elsewhere.
        for leftover in self._temporary.glob(".*.tmp"):
            with contextlib.suppress(PermissionError, FileNotFoundError):
                # Without locks, as on Windows, another sink may be about to name it.
                if locks.AVAILABLE or time.time() - leftover.stat().st_mtime > _ABANDONED:
                    leftover.unlink()
        held.seek(0)
        if held.read() != as_left or self._untidy:
            tidy(self.directory, self._temporary)
        self._untidy = False
        held.truncate(0)

    def _write(self, generations: Sequence[Generation]) -> list[Receipt | SinkError]:
        """Store many: what has to be waited for is waited for once for all of them."""
        found = [_Pictures(generation) for generation in generations]
        for start in range(0, len(found), _WRITTEN_AT_ONCE):
            for step in (self._draft, self._flush, self._take_names):
                for each in found[start : start + _WRITTEN_AT_ONCE]:
                    if each.error is None and (failure := self._attempt(step, each)):
                        each.give_up(failure)
        stored = [each for each in found if each.error is None]
        failure = self._attempt(self._append, stored) if stored else None
        for each in stored:
            for_some = len(stored) > 1 and _has_no_room(failure)
            each.error = self._attempt(self._append, [each]) if for_some else failure
        return [each.error or Receipt(each.locations, each.size) for each in found]

    def _attempt(self, step: Callable[[T], None], argument: T) -> SinkError | None:
        try:
            step(argument)
        except SinkError as error:
            return error
        except OSError as error:
            failure = _named(error, self.directory)
            failure.__cause__ = error
            return failure
        return None

    def _draft(self, pictures: _Pictures) -> None:
        """Write everything; nothing has its name yet."""
        generation = pictures.generation
        for name, image in zip(file_names(generation), generation.images, strict=True):
            path = os.path.join(self.directory, name)  # a Path would take ten times as long
            data = image.data
            if self._recipe != "none":
                recipe = encode_request(generation.request)
                embedded = embed(data, recipe.decode()) if self._recipe == "embed" else None
                if embedded is None:
                    beside = str(sidecar_of(Path(path)))
                    pictures.drafts[beside] = Draft(recipe + b"\n", self._temporary)
                data = embedded or data
            pictures.drafts[path] = Draft(data, self._temporary)
            pictures.locations += (path,)
            pictures.lines += line_of(generation, image, name)
            pictures.size += len(data)

    def _flush(self, pictures: _Pictures) -> None:
        for draft in pictures.drafts.values():
            draft.flush()

    def _take_names(self, pictures: _Pictures) -> None:
        """That these survive a power cut is for `_append` to see to."""
        for path, draft in pictures.drafts.items():
            if os.path.exists(path):  # from a run that ended before it was written down: it may have its line
                self._untidy = True
            draft.take_name(path)

    def _append(self, stored: Sequence[_Pictures]) -> None:
        """Add the lines, and flush them and the folder's names."""
        metadata = self._metadata_in_its_place()
        try:
            metadata.add(b"".join(each.lines for each in stored))
            sync_directory(self.directory)
            metadata.flush()
        except OSError:  # a part may be there, or come again
            self._untidy = True
            raise

    def _metadata_in_its_place(self) -> Metadata:
        """Whoever edits the file replaces it, as most editors do: then the lines go into the new one."""
        metadata, held = self._metadata, self._held
        assert metadata is not None
        assert held is not None
        if metadata.is_in_its_place():
            return metadata
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if os.path.samestat(os.stat(self.directory / STATE / _HELD), os.fstat(held.fileno())):
                self._metadata = Metadata(self.directory)
                metadata.close()
                logger.warning(
                    "the metadata.jsonl of %s was replaced: lines that came in between are lost",
                    self.directory,
                )
                return self._metadata
        raise SinkError(
            f"{self.directory} was moved or replaced while it was in use",
            hint="Bring it back, then run the same again.",
        )

    def _close(self) -> None:
        metadata, self._metadata = self._metadata, None
        held, self._held = self._held, None
        if metadata is not None:
            metadata.close()
        if held is not None:
            with held, contextlib.suppress(OSError):  # what is left is for the next to open
                if locks.lock(held, exclusive=True):  # the last to leave
                    self._tidy(held, as_left=_MARK)


def _has_no_room(failure: SinkError | None) -> bool:
    """Whether there may be room for some; where a flush failed for another reason, a second says nothing."""
    cause = failure and failure.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)


def _check_names() -> None:
    """Most names of pictures are in letters of some script; better now than when one is bought."""
    try:
        os.fsencode("é狐")
    except UnicodeEncodeError:
        encoding = sys.getfilesystemencoding()
        raise OSError(errno.EILSEQ, f"names are in {encoding} here, which lacks letters") from None


def _named(error: OSError, directory: Path) -> SinkError:
    """The system's error as ours, with what to do."""
    hint = _HINTS.get(error.errno or 0, "Choose a folder that can be written to.")
    place = os.fsdecode(error.filename2 or error.filename or directory)
    if place.endswith(".tmp"):  # it is on its way to a name
        place = str(directory)
    return SinkError(f"cannot write to {place}: {error.strerror or error}", hint=hint)
