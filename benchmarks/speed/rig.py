"""The rig: a service on one core, and one contender after another on the others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import trustme

from .contenders import Job

_ROOT = Path(__file__).resolve().parent.parent.parent
_LONGEST = 600  # seconds that one contender may take
# A virtual machine takes memory from its host when it is first touched: that costs more than what is measured
# of those who keep what they get, in their own memory or in the system's cache of files.
WRITERS = ("run to disk", "command")
_KEEPERS = ("run to memory", *WRITERS)
TOUCHED = 2 * 2**30


class Certificate:
    """For `localhost`, and whom to trust for it."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.file, self.trusted = folder / "localhost.pem", folder / "authority.pem"
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(self.file))
        authority.cert_pem.write_to_path(str(self.trusted))


@contextmanager
def service(size: int, certificate: Certificate | None = None) -> Iterator[str]:
    """The address of a service that answers with pictures of so many bytes."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.speed.service"],
        cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        print(
            json.dumps({"size": size, "certificate": str(certificate.file) if certificate else ""}),
            file=process.stdin, flush=True,
        )  # fmt: skip
        yield process.stdout.readline().strip()
        process.stdin.close()


def measure(job: Job, certificate: Certificate | None = None) -> dict[str, Any]:
    """The figures of one contender, in a process of its own."""
    if job.contender in _KEEPERS:
        _touch_memory()
        _touch_cache(job)
    trust = {"SSL_CERT_FILE": str(certificate.trusted)} if certificate else {}
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed.contenders"],
        cwd=_ROOT, input=json.dumps(asdict(job)), env=os.environ | trust,
        capture_output=True, text=True, timeout=_LONGEST, check=False,
    )  # fmt: skip
    if ended.returncode:
        raise RuntimeError(f"{job.contender} {job.options}: {ended.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def _touch_memory() -> None:
    subprocess.run(
        [sys.executable, "-c", f"b = bytearray({TOUCHED})\nb[::4096] = b'1' * len(b[::4096])"], check=True
    )


def _touch_cache(job: Job) -> None:
    assert job.folder is not None
    block = bytes(2**20)
    with open(Path(job.folder) / "touched", "wb") as file:
        for _ in range(min(job.count * job.size, TOUCHED) // len(block) + 1):
            file.write(block)
        file.truncate(0)
