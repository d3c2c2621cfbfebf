"""The command in a process of its own, at a terminal or in a pipe, and what of its words would be obeyed."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
import unicodedata
from dataclasses import dataclass
from pathlib import Path

SECONDS = 30.0  # no command here takes as long, unless it hangs
# What rich writes for colours and for the bar: the cursor hidden and shown, a line up, a line wiped.
_OF_THE_BAR = re.compile(r"\r?\x1b\[(?:\?25[lh]|1A|2K|(?:0|1|(?:1;)?3[1-6]|90)m)")
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True)
class Said:
    """A command that has ended: its status, and all that it wrote."""

    status: int
    bytes: bytes

    @property
    def text(self) -> str:
        """Its words, without the colours and the bar; what is no UTF-8 stands as half a surrogate pair."""
        words = self.bytes.decode(errors="surrogateescape").replace("\r\n", "\n")
        return _OF_THE_BAR.sub("", words)

    @property
    def obeyed(self) -> str:
        """What a terminal would take for a command, or for another order of the line."""
        return "".join(
            character
            for character in self.text
            if character in _DIRECTIONS
            or (character != "\n" and unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"})
        )


async def command(
    *arguments: str | bytes | Path, base_url: str, folder: Path, terminal: bool = False
) -> Said:
    """Run the command in a folder, on a terminal, so wide that no line is broken, or on a pipe."""
    environment = {
        **os.environ,
        "ASI_ONE_API_KEY": "sk_chaos_0123456789abcdef",
        "ASI_ONE_BASE_URL": base_url,
        "TERM": "xterm",
        "TMPDIR": str(folder),
    }
    return await asyncio.to_thread(_run, arguments, folder, environment, terminal)


def _run(
    arguments: tuple[str | bytes | Path, ...], folder: Path, environment: dict[str, str], terminal: bool
) -> Said:
    reader, writer = pty.openpty() if terminal else os.pipe()
    if terminal:
        termios.tcsetwinsize(writer, (24, 4000))
    process = subprocess.Popen(
        [sys.executable, "-m", "asi_image_async", *arguments],
        stdin=writer if terminal else subprocess.DEVNULL,
        stdout=writer,
        stderr=writer,
        cwd=folder,
        env=environment,
    )
    os.close(writer)
    try:
        said = _read_to_its_end(reader)
        return Said(process.wait(SECONDS), said)
    finally:
        process.kill()
        process.wait()
        os.close(reader)


def _read_to_its_end(reader: int) -> bytes:
    deadline, said = time.monotonic() + SECONDS, b""
    while select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
        try:
            data = os.read(reader, 2**16)
        except OSError:  # how a pseudo terminal tells its end
            data = b""
        if not data:
            return said
        said += data
    raise AssertionError(f"it hangs: {said!r}")
