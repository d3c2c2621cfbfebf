"""tinyproxy, as Debian has it: a forward proxy on loopback, with all that it writes in one folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from chaos.programs import Program, free_port
from needed import find

_CONFIG = """
Port {port}
Listen 127.0.0.1
Timeout 60
MaxClients 100
PidFile "{folder}/pid"
LogFile "{folder}/log"
LogLevel Connect
{more}
"""


@dataclass
class Tinyproxy(Program):
    """A tinyproxy that runs."""

    url: str = ""

    def asked(self, method: str) -> int:
        """How many requests with this method it was sent."""
        return (self.folder / "log").read_text().count(f": {method} ")


@asynccontextmanager
async def tinyproxy(folder: Path, more: str = "") -> AsyncIterator[Tinyproxy]:
    """Start it; `more` of its configuration."""
    program, port = find("tinyproxy"), free_port()
    folder.mkdir()
    (folder / "tinyproxy.conf").write_text(_CONFIG.format(port=port, folder=folder, more=more))
    proxy = Tinyproxy(
        [program, "-d", "-c", str(folder / "tinyproxy.conf")], folder, url=f"http://127.0.0.1:{port}"
    )
    try:
        await proxy.start()
        yield proxy
    finally:
        await proxy.end()
