"""WebDataset: tar files of samples, each a picture and its line under one key."""

from __future__ import annotations

import io
import tarfile
from contextlib import ExitStack
from itertools import count, takewhile
from pathlib import Path

from pydantic_core import to_json

from ..files import replacing
from . import Exported, Line, Lines, read_picture

__all__ = ["write_shards"]

# What a reader loads at a time; the usual size of a shard.
_LARGEST = 1_000_000_000
_MOST_SAMPLES = 10_000


def write_shards(folder: Path, lines: Lines, path: Path) -> Exported:
    """Write `path` as `name-000000.tar` and so on: those beside it, or in it where it has no ending.

    They take their names once all are written, and those of an earlier export that follow them are removed.
    """
    pattern = path if path.suffix == ".tar" else path / "pictures.tar"
    pattern.parent.mkdir(parents=True, exist_ok=True)
    names = (pattern.with_name(f"{pattern.stem}-{number:06}.tar") for number in count())
    files: list[Path] = []
    keys: set[str] = set()
    written = 0
    shard: tarfile.TarFile | None = None
    with ExitStack() as unnamed, ExitStack() as opened:
        for line in lines:
            if shard is None or shard.offset >= _LARGEST or written % _MOST_SAMPLES == 0:
                opened.close()
                files.append(next(names))
                place = unnamed.enter_context(replacing(files[-1]))
                shard = opened.enter_context(tarfile.open(place, "w", format=tarfile.PAX_FORMAT))
            picture = folder / line["file_name"]
            key = _key(picture.stem)
            if key in keys:  # "fox.png" is there too
                key = _key(picture.name)
            keys.add(key)
            _add(shard, key, picture, line)
            written += 1
    # Only as far as their numbers go on: a "foxes-202501.tar" is somebody else's.
    for earlier in reversed(list(takewhile(Path.is_file, names))):
        earlier.unlink()
    return Exported(written, tuple(files))


def _key(name: str) -> str:
    return name.replace(".", "_")  # it ends at the first dot: what follows is the part's kind


def _add(shard: tarfile.TarFile, key: str, picture: Path, line: Line) -> None:
    for kind, data in (
        (picture.suffix.lower(), read_picture(picture)),
        (".json", to_json(line, inf_nan_mode="null")),
    ):
        member = tarfile.TarInfo(f"{key}{kind}")
        member.size = len(data)
        shard.addfile(member, io.BytesIO(data))
