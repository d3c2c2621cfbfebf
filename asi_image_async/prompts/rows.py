"""From lines to the fields of requests: texts, JSON lines, and tables with a header."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, TypeAlias

from pydantic_core import from_json

from .lines import MAX_LINE_BYTES, Problems, numbered_lines

__all__ = ["is_quoted", "rows"]

Row: TypeAlias = str | Mapping[str, Any]

_OWN = frozenset({"prompt", "id", "size", "model"})
_WHOLE = {"n", "seed"}
_NUMBERS = _WHOLE | {"guidance_scale"}
# Parameters that image APIs of this kind take: extra fields of the body. Any other column is metadata.
_SENT = _NUMBERS | {
    "negative_prompt", "user", "quality", "style", "background", "response_format", "output_format",
}  # fmt: skip
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,17})(\.\d{1,17})?", re.ASCII)
# A record of a TSV file whose every cell with a quote in it is quoted as CSV has it.
_CELL = r'(?:"(?:[^"]|"")*+"|[^"\t\r\n]*+)'
_QUOTED_RECORD = re.compile(rf"{_CELL}(?:\t{_CELL})*+\r?\n?")
_JSON_HINT = 'Each line is an object, {"prompt": "a fox"}, or a JSON text, "a fox".'
_HEADER_HINT = "The first row has the names: write prompt above the prompts. A prompt a line is a .txt file."
_SEMICOLON_HINT = "Save it with commas between the cells, not semicolons, or with tabs as a .tsv file."
_NAME_IT_TSV = "Cells that tabs part are a .tsv file: give it that ending."
_LINE_ENDS = ("a carriage return within the line", "Save it with Unix line ends.")  # of old Macs
_TAB_HINT = "A tab parts two cells, and each row is a line."
_LARGE_CELL_HINT = "Is it one cell? As JSON lines, a line may have 1 MiB."
_COMMA_HINT = 'Write "..." round a cell with a comma or a quote in it, and "" for the quote.'


def rows(file: BinaryIO, kind: str, quoted: bool, problems: Problems) -> Iterator[tuple[int, Row]]:
    """Each row with the number of its line: a prompt, or the fields of a request.

    `kind`: the suffix. `quoted`: whether quotes in a table are CSV's, or part of the text.
    """
    lines = numbered_lines(file, problems)
    if kind == ".txt":
        return _texts(lines, problems)
    if kind in (".csv", ".tsv"):
        return _table(lines, "," if kind == ".csv" else "\t", quoted, problems)
    return _json_lines(lines, problems)


def _texts(lines: Iterable[str], problems: Problems) -> Iterator[tuple[int, Row]]:
    first = True
    for number, line in enumerate(lines, 1):
        text = line.strip().removeprefix("\ufeff")  # of a file that another was put before
        if "\r" in text:  # a whole file would be one prompt
            problems.add(number, *_LINE_ENDS)
        if first and "\t" in text and "prompt" in map(_known, re.split('[\t"]+', text)):
            problems.add(number, "it is the header of a table", _NAME_IT_TSV)
        if text:
            first = False
            yield number, text


def _json_lines(lines: Iterable[str], problems: Problems) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = from_json(line.strip(), allow_inf_nan=False)
        except ValueError as error:
            reason = str(error).replace(" at line 1 column", " at column")
            problems.add(number, f"not JSON: {reason}", _JSON_HINT)
            continue
        if isinstance(value, dict):
            names = [_known(name) for name in value]
            if twice := _twice(names):
                problems.add(number, f"{twice!r} is there twice", _JSON_HINT)
            else:
                yield number, _fields(dict(zip(names, value.values(), strict=True)))
        elif isinstance(value, str):
            yield number, value
        else:
            problems.add(number, "neither an object nor a text", _JSON_HINT)


def _table(
    lines: Iterable[str], delimiter: str, quoted: bool, problems: Problems
) -> Iterator[tuple[int, Row]]:
    # Strict, as text after a closing quote would otherwise be taken in without its quotes.
    reader = csv.reader(
        lines,
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=True,
    )
    hint = _COMMA_HINT if delimiter == "," else _TAB_HINT
    columns: list[str] | None = None
    for number, cells in _records(reader, problems, hint):
        if columns is None:
            columns = _header(cells, number, problems)
            if columns is None:
                return
        elif len(cells) > len(columns):
            problems.add(number, f"{len(cells)} cells, and the header has {len(columns)}", hint)
        else:
            row = dict(zip(columns, cells, strict=False))
            yield number, _fields({"prompt": ""} | {name: _cell(name, row[name]) for name in row})


def _records(reader: Any, problems: Problems, hint: str) -> Iterator[tuple[int, list[str]]]:
    """Each record with the number of its first line; those with nothing in them are passed over."""
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "new-line" in str(error):
                problems.add(number, *_LINE_ENDS)
            else:
                large = "field limit" in str(error)
                problems.add(number, f"not a row of cells: {error}", _LARGE_CELL_HINT if large else hint)
            continue
        if any(map(str.strip, cells)):
            yield number, cells


def _header(cells: list[str], number: int, problems: Problems) -> list[str] | None:
    columns = [_known(cell.strip()) or f"column {at}" for at, cell in enumerate(cells, 1)]
    if twice := _twice(columns):
        problems.add(number, f"two columns are called {twice[:80]!r}", "Give each a name of its own.")
        return None
    if "prompt" not in columns:
        found = ", ".join(map(repr, columns))
        parted = (("\t", _NAME_IT_TSV), (";", _SEMICOLON_HINT)) if len(cells) == 1 else ()
        hint = next((hint for separator, hint in parted if separator in cells[0]), _HEADER_HINT)
        problems.add(number, f"no column is called prompt; there are: {found[:400]}", hint)
        return None
    return columns


def _known(name: str) -> str:
    """The name by which we know it, whatever its case; any other as it is."""
    folded = name.strip().casefold()
    return folded if folded in _OWN or folded in _SENT else name


def _twice(names: list[str]) -> str | None:
    name, times = Counter(names).most_common(1)[0] if names else ("", 0)
    return name if times > 1 else None


def _cell(name: str, cell: str) -> str | float:
    """A cell as it stands where it is text for people; a number where the API would want one."""
    if name == "prompt" or (name not in _OWN and name not in _SENT):
        return cell
    text = cell.strip()
    if name not in _NUMBERS or not (match := _NUMBER.fullmatch(text)):
        return text
    fraction = match[2] or ""
    # "4.0" is how pandas writes a 4 in a column with gaps.
    if not fraction or (name in _WHOLE and not fraction.strip(".0")):
        return int(text.removesuffix(fraction))
    return float(text)


def _fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """The request's fields of a row; what is empty is left out, so that the defaults stand."""
    fields: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    for name, value in row.items():
        if name != "prompt" and (value is None or (isinstance(value, str) and not value.strip())):
            continue
        if name in _OWN or name in _SENT:
            # As JSON too pandas writes a 4 as 4.0, where others are missing.
            whole = name in {"id", *_WHOLE} and isinstance(value, float) and value.is_integer()
            fields[name] = int(value) if whole else value
        elif name == "metadata" and isinstance(value, dict):
            metadata |= value
        else:
            metadata[name] = value
    return fields | {"metadata": metadata}


def is_quoted(file: BinaryIO) -> bool:
    """Whether a TSV file is quoted as CSV is: then every cell with a quote in it is.

    Most are not (some prompts of PartiPrompts begin with a quoted word); what spreadsheets save is.
    """
    record: list[str] = []
    quotes = size = 0
    for line in numbered_lines(file, Problems("")):
        record.append(line)
        quotes += line.count('"')
        size += len(line)
        if quotes % 2:  # a cell goes on in the next line, or a quote is part of the text
            if size > MAX_LINE_BYTES:
                return False
            continue
        if quotes and not _QUOTED_RECORD.fullmatch("".join(record)):
            return False
        record, quotes, size = [], 0, 0
    return not record
