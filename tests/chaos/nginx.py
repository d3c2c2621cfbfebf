"""nginx, as Debian has it, in front of a service: on loopback, with all that it writes in one folder."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme
from chaos.programs import Program, free_port
from needed import find
from yarl import URL

_CONFIG = """
daemon off;
{user}
worker_processes 1;
pid {folder}/pid;
error_log {folder}/log;
events {{ worker_connections 512; }}
http {{
  log_format all escape=json '{{"status": $status, "connection": $connection, '
    '"encoding": "$sent_http_content_encoding", "transfer": "$sent_http_transfer_encoding", '
    '"upstream": "$upstream_addr"}}';
  access_log {folder}/access.log all;
  client_body_temp_path {folder}/client;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream service {{ {upstreams} keepalive 16; }}
  {http}
  server {{
    listen 127.0.0.1:{port} {tls};
    location / {{
      proxy_pass http://service;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      {location}
    }}
  }}
}}
"""


@dataclass
class Nginx(Program):
    """An nginx that runs. `authority`: the file of the CA that its certificate is from, with TLS."""

    base_url: str = ""
    authority: Path | None = None

    def answered(self) -> list[dict[str, Any]]:
        """A line a request: what was answered, and over which connection."""
        return [json.loads(line) for line in (self.folder / "access.log").read_text().splitlines()]

    @property
    def statuses(self) -> Counter[int]:
        return Counter(line["status"] for line in self.answered())


@asynccontextmanager
async def nginx(
    folder: Path, *upstreams: str, tls: bool = False, http: str = "", location: str = ""
) -> AsyncIterator[Nginx]:
    """Start it before these base URLs, each of which may always be tried. `http`, `location`: more for it."""
    program, port = find("nginx"), free_port()
    folder.mkdir()
    (folder / "nginx.conf").write_text(
        _CONFIG.format(
            # As root it would hand over to a user who may not look into the folder.
            user="user root;" if os.geteuid() == 0 else "",
            folder=folder,
            upstreams=" ".join(f"server {URL(each).authority} max_fails=0;" for each in upstreams),
            port=port,
            tls=_certificate(folder) if tls else "",
            http=http,
            location=location,
        )
    )
    front = Nginx(
        [program, "-p", str(folder), "-c", "nginx.conf", "-e", "log"],
        folder,
        base_url=f"http{'s' if tls else ''}://127.0.0.1:{port}/v1",
        authority=folder / "ca.pem" if tls else None,
    )
    try:
        await front.start()
        yield front
    finally:
        await front.end()


def _certificate(folder: Path) -> str:
    """What `listen` is told for TLS: a certificate of a CA that is known nowhere but in this folder."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "own.pem"))
    return f"ssl; ssl_certificate {folder}/own.pem; ssl_certificate_key {folder}/own.pem"
