"""Programs of the system that tests start: a port for them, and how they are ended."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


def free_port() -> int:
    """A port on loopback below those that outgoing connections take: it stays free over a restart."""
    for _ in range(100):
        with socket.socket() as probe:
            port = random.randrange(20_000, 32_000)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


@dataclass
class Program:
    """A program in the foreground; in `folder` it keeps `log` and, as soon as its port is taken, `pid`."""

    command: Sequence[str]
    folder: Path
    process: Process | None = None

    async def start(self) -> None:
        (self.folder / "pid").unlink(missing_ok=True)  # one that was killed has left it
        # In a group of its own: a terminal's Ctrl-C is for the tests, and children can be ended with it.
        self.process = await asyncio.create_subprocess_exec(
            *self.command, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True
        )
        async with asyncio.timeout(10):
            while not (self.folder / "pid").exists():
                assert self.process.returncode is None, (self.folder / "log").read_text()
                await asyncio.sleep(0.01)

    def tell(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Tell it to end, and wait; what is there after ten seconds is killed."""
        if self.process is None or self.process.returncode is not None:
            return
        self.process.send_signal(number)
        try:
            async with asyncio.timeout(10):
                await self.process.wait()
        finally:
            if self.process.returncode is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                await self.process.wait()
