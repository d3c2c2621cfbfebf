"""The folder of a batch: where its journal is, and that drawings and paid pictures never mix in it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from ..errors import ConfigurationError, SinkError
from ..folder import METADATA, STATE, check_encoding, is_file, journal_path
from ..runtime.journal.summary import find_missing, read_summary
from ..sinks import open_sink
from ..sinks.disk import DiskSink
from .speech import visible

__all__ = ["Destination", "Missing", "look_for_missing"]


@dataclass(frozen=True)
class Missing:
    """Pictures that were finished and are no longer in their folder; nobody but the user took them."""

    count: int = 0
    example: str = ""

    def __str__(self) -> str:
        one = self.count == 1
        return (
            f"{self.count} finished {'picture is' if one else 'pictures are'} no longer in the folder"
            f" (such as {visible(self.example)}), and not bought again unasked: to have"
            f" {'it' if one else 'them'} anew, put the {'prompt' if one else 'prompts'} into a list for"
            " another folder"
        )


def look_for_missing(folder: str | Path) -> Missing:
    """Compare the journal with the folder. Blocking. Raises JournalError, and SinkError."""
    return Missing(*find_missing(journal_path(folder), _names(folder)))


def _names(folder: str | Path) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry.name for entry in entries)
    except OSError as error:
        raise SinkError(f"cannot look into {folder}: {error.strerror or error}") from error


def _has_lines(folder: Path) -> bool:
    metadata = folder / METADATA
    return is_file(metadata) and metadata.stat().st_size > 0


class Destination:
    """A folder that pictures go to; `name` is as the user wrote it. Raises ConfigurationError for none.

    What the emulator draws has the names that the service's pictures would have: in one folder it would
    overwrite them, or stand for them as done. So a folder is for the one or the other.
    """

    def __init__(self, name: str, *, emulate: bool, recipe: str = "none") -> None:
        sink = open_sink(name)
        assert isinstance(sink, DiskSink)  # there is no other kind of place yet
        self.folder = sink.directory
        self.sink = DiskSink(self.folder, recipe=recipe)  # type: ignore[arg-type]  # it is checked there
        self.journal = journal_path(self.folder)
        self.name = f"{str(name).rstrip('/')}/"
        self._emulate = emulate
        self._marker = self.folder / STATE / "emulated"

    def check(self) -> None:
        """Raises ConfigurationError for what can be told without writing."""
        if self.name.startswith("~/") and not os.path.lexists("~"):  # whoever removed that would type rm -r ~
            raise ConfigurationError(
                f"the shell has left the ~ of {self.name} as it is",
                hint="Put a blank before it: --out ~/out.",
            )
        if os.path.exists(self.folder) and not os.path.isdir(self.folder):
            raise ConfigurationError(
                f"cannot write to {self.folder}: it is a file, not a folder",
                hint="Choose a folder that can be written to.",
            )
        try:
            check_encoding(self.folder / METADATA)
            drawings = is_file(self._marker)
            # A run in Python may have its journal elsewhere.
            pictures = not drawings and (is_file(self.journal) or _has_lines(self.folder))
        except OSError as error:
            raise ConfigurationError(
                f"cannot look into {self.folder}: {error.strerror or error}",
                hint="Choose a folder that can be written to.",
            ) from None
        if drawings == self._emulate or not (drawings or pictures):
            return
        if drawings:
            raise ConfigurationError(
                f"{self.name} holds drawings of the emulator, which would pass for pictures that are done",
                hint="Choose another folder, or remove this one.",
            )
        raise ConfigurationError(
            f"{self.name} holds pictures of the service, and --emulate would mix drawings with them",
            hint="Choose another folder for the drawings.",
        )

    def has_forgotten(self) -> bool:
        """Whether there are pictures that no journal knows: those are paid for again. Raises JournalError."""
        if self._emulate or not _has_lines(self.folder):
            return False
        known = read_summary(self.journal, failures=0) if is_file(self.journal) else None
        return known is None or known.done + known.earlier == 0

    async def make_ready(self) -> None:
        """Make the folder, before anything is paid for.

        Raises ConfigurationError where it cannot be used, SinkError where the disk is full.
        """
        try:
            await self.sink.open()
            await self.sink.close()
            if self._emulate:
                await anyio.to_thread.run_sync(self._marker.touch)
        except (SinkError, OSError) as error:
            if getattr(error.__cause__, "errno", None) in (errno.ENOSPC, errno.EDQUOT):  # as in mid-run
                raise
            hint = error.hint if isinstance(error, SinkError) else None
            raise ConfigurationError(str(error), hint=hint) from error
