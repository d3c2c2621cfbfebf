"""`asi-image export`: a folder in the forms that training tools read."""

from __future__ import annotations

from contextlib import suppress

from ..errors import ConfigurationError, JournalError
from ..export import export_folder
from .destination import look_for_missing
from .speech import Voice, print_line

__all__ = ["export"]


def export(folder: str, path: str, *, to: str) -> int:
    """Run the command; returns the exit status. Raises ConfigurationError and SinkError."""
    if path == "-":
        raise ConfigurationError("PATH is a file to write, not -", hint="Standard output is /dev/stdout.")
    exported = export_folder(folder, to, path)
    for file in exported.files:
        if file.is_file():  # into /dev/stdout it would come after the pictures
            print_line(str(file))
    noun = "picture" if exported.pictures == 1 else "pictures"
    voice = Voice()
    voice.say(f"{exported.pictures} {noun} as {to}")
    with suppress(JournalError):  # what is there was written all the same
        if (missing := look_for_missing(folder)).count:
            voice.say(str(missing), "yellow")
    return 0
