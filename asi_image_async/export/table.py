"""Tables: Parquet with the pictures in it, CSV without."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError
from ..files import replacing
from . import Exported, Line, Lines, read_picture

__all__ = ["write_csv", "write_parquet"]

_ROWS = 100  # pictures of a row group, which is what is in memory
_IMAGE = "image"
_FIRST = {"file_name": "text", "prompt": "text"}
# What a column's values are, as `datasets` and as Arrow call it.
_DTYPES = {"int": "int64", "float": "float64", "bool": "bool", "text": "string"}


def write_csv(folder: Path, lines: Lines, path: Path) -> Exported:
    """Write a row for each picture; what is no text is JSON."""
    columns = list(_survey(lines))
    with replacing(path) as place, open(place, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(columns)
        written = 0
        for line in lines:
            table.writerow([_text(line.get(name)) for name in columns])
            written += 1
    return Exported(written, (path,))


def write_parquet(folder: Path, lines: Lines, path: Path) -> Exported:
    """Write one file: an `image` column that `datasets` opens as pictures, and a column for each name."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise ConfigurationError(
            "Parquet needs pyarrow", hint="Install it: pip install 'asi_image_async[parquet]'."
        ) from None
    found = _survey(lines)
    given = f"given_{_IMAGE}"  # for a column of the user's that has this name too
    while given in found:
        given = f"given_{given}"
    kinds = {given if name == _IMAGE else name: kind for name, kind in found.items()}
    # How `datasets` knows a column of pictures: its features, in the file's own metadata.
    features = {name: {"_type": "Value", "dtype": _DTYPES[kind]} for name, kind in kinds.items()}
    known = json.dumps({"info": {"features": {_IMAGE: {"_type": "Image"}, **features}}})
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = [pa.field(name, pa.type_for_alias(_DTYPES[kind])) for name, kind in kinds.items()]
    schema = pa.schema([pa.field(_IMAGE, picture), *columns], metadata={"huggingface": known})
    with replacing(path) as place, parquet.ParquetWriter(place, schema) as writer:
        written = 0
        for group in _groups(iter(lines)):
            written += len(group)
            rows = [{given if name == _IMAGE else name: line[name] for name in line} for line in group]
            writer.write_table(pa.table(_table(folder, rows, kinds), schema=schema))
    return Exported(written, (path,))


def _groups(lines: Iterator[Line]) -> Iterator[list[Line]]:
    while group := list(islice(lines, _ROWS)):
        yield group


def _table(folder: Path, lines: list[Line], kinds: dict[str, str]) -> dict[str, list[Any]]:
    names = [line["file_name"] for line in lines]
    pictures = [{"bytes": read_picture(folder / name), "path": name} for name in names]
    return {
        _IMAGE: pictures,
        **{name: [_plain(line.get(name), kind) for line in lines] for name, kind in kinds.items()},
    }


def _survey(lines: Lines) -> dict[str, str]:
    """Every name that any line has, ours first, and the narrowest kind that has all of its values."""
    kinds: dict[str, str | None] = dict(_FIRST)
    for line in lines:
        for name, value in line.items():
            kinds[name] = _widened(kinds.get(name), value)
    return {name: kind or "text" for name, kind in kinds.items()}


def _widened(kind: str | None, value: object) -> str | None:
    if value is None:
        return kind
    mine = "text"
    if isinstance(value, bool):
        mine = "bool"
    elif isinstance(value, int):
        mine = "int" if abs(value) < 2**63 else "text"
    elif isinstance(value, float):
        mine = "float"
    if kind in (None, mine):
        return mine
    return "float" if {kind, mine} == {"int", "float"} else "text"


def _plain(value: Any, kind: str) -> Any:
    if value is None or kind in ("int", "bool"):
        return value
    return float(value) if kind == "float" else _text(value)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
