"""`asi-image export`: a folder in the forms that training tools read."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from ..errors import ConfigurationError, JournalError
from ..export import export_folder
from .destination import look_for_missing
from .outlets import write_out
from .speech import Voice, print_line

__all__ = ["export"]

_STANDARD_OUTPUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
_PIECE = 2**20


def export(folder: str, path: str, *, to: str) -> int:
    """Run the command; returns the exit status. Raises ConfigurationError and SinkError."""
    if path in _STANDARD_OUTPUT:
        pictures = _to_standard_output(folder, to)
    else:
        exported = export_folder(folder, to, path)
        pictures = exported.pictures
        for file in exported.files:
            if file.is_file():  # into a pipe it would come after the pictures
                print_line(str(file))
    voice = Voice()
    voice.say(f"{pictures} {'picture' if pictures == 1 else 'pictures'} as {to}")
    with suppress(JournalError):  # what is there was written all the same
        if (missing := look_for_missing(folder)).count:
            voice.say(str(missing), "yellow")
    return 0


def _to_standard_output(folder: str, to: str) -> int:
    """How many pictures. By way of a file: what standard output leads to is neither replaced nor cut."""
    if to == "webdataset":
        raise ConfigurationError(
            "shards are files, and standard output is one", hint="Name a folder for them."
        )
    with TemporaryDirectory() as temporary:
        exported = export_folder(folder, to, Path(temporary, "exported"))
        with exported.files[0].open("rb") as file:
            while piece := file.read(_PIECE):
                write_out(piece)
    return exported.pictures
