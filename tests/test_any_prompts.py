"""Whatever stands in a prompt file, it is requests or a clear error, however the bytes come."""

from __future__ import annotations

import io
import itertools
import json
import re
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic_core import from_json

from asi_image_async.core.naming import file_stem
from asi_image_async.core.wire import encode_request
from asi_image_async.errors import ConfigurationError
from asi_image_async.models import ImageRequest
from asi_image_async.prompts import BadLines, read_prompts


def an_object(items: list[tuple[str, str]]) -> str:
    """A JSON object; what is there twice stays there twice."""
    return "{" + ",".join(f'"{name}":{value}' for name, value in items) + "}"


# Near enough to what is meant to get in, and then wrong: JSON with anything in it, rows of cells, bytes.
_odd = st.sampled_from(
    ["null", "true", "-0", "0042", "1e400", "1e-400", "NaN", "-Infinity", "9" * 5000, "-" + "9" * 400, "é",
     "[" * 300 + "]" * 300, '""', '" "', '"big"', '"square"', '"a fox"', '"\\ud800"', '"\\udfff\\ud800"',
     '"\\u0000"', '"\x01"', '"\\u202e\\u001b[31m"', "[]", "{}"]
)  # fmt: skip
_names = st.sampled_from(
    ["prompt", "Prompt", " PROMPT ", "id", "size", "model", "metadata", "n", "seed", "user", "file_name",
     "__proto__", "self", "model_extra", "\\ud800", "", "ſize"]
)  # fmt: skip
_values = st.recursive(
    _odd | st.text(max_size=4).map(json.dumps),
    lambda inner: (
        st.lists(inner, max_size=2).map(lambda items: f"[{','.join(items)}]")
        | st.lists(st.tuples(_names, inner), max_size=3).map(an_object)
    ),
    max_leaves=5,
)
_objects = st.lists(st.tuples(_names, _values), max_size=5).map(
    lambda items: an_object([("prompt", '"a fox"'), *items])
)
_cells = (
    st.text(max_size=5) | st.text(max_size=5).map(lambda text: '"' + text.replace('"', '""') + '"') | _odd
)
_rows = st.lists(_cells, max_size=5)
_lines = (_objects | _values | _rows.map(",".join) | _rows.map("\t".join)).map(
    lambda text: text.encode(errors="replace") + b"\n"
)
_bytes = st.sampled_from(
    [b"prompt", b"\t", b",", b'"', b'""', b"\n", b"\r", b"\r\n", b"{", b"}", b":", b"a fox", b"\xef\xbb\xbf",
     b"\xff", b"\0", b"\\ud800", b"size", b"n", b"1", b"[", b"null", b"\xff\xfe", b"x" * 140_000,
     b"\xe2\x80\xa8", b"\x1b[31m"]
) | st.binary(max_size=8)  # fmt: skip
_contents = st.lists(_bytes, max_size=25).map(b"".join) | st.lists(_lines | _bytes, max_size=6).map(b"".join)
_headers = st.sampled_from([b"", b"prompt\n", b"id\tprompt\n", b"prompt,n,x\n", b"prompt,size,id,Prompt\n"])


class Dribbling(io.BytesIO):
    """Gives what it has in other pieces than it is asked for."""

    def __init__(self, content: bytes, sizes: list[int]) -> None:
        super().__init__(content)
        self._sizes = itertools.cycle(sizes)

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(next(self._sizes))


def read(path: Path | str, **options: Any) -> list[ImageRequest] | str:
    """The requests, or what is wrong."""
    try:
        prompts = read_prompts(path, **options)
    except BadLines as error:
        check_list(str(error))
        return str(error)
    except ConfigurationError as error:
        return str(error)
    requests = list(prompts)
    assert list(prompts) == requests
    assert len(requests) == len(prompts) > 0
    return requests


def check_list(message: str) -> None:
    """Each line is one of ours, and none of them is endless."""
    *lines, last = message.split("\n")
    assert all(re.match(r"(p\.\w+|standard input), line \d+: ", line) for line in lines)
    assert re.match(r"(p\.\w+|standard input), line \d+: |and \d+ more$", last)
    assert max(map(len, [*lines, last])) < 1000


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=_contents, header=_headers, sizes=st.lists(st.sampled_from([1, 2, 3, 7, 100, 2**16]), min_size=1)
)
@example(content=b'{"prompt": "a", "\\ud800": 1}', header=b"", sizes=[1])
@example(content=b'{"prompt": "a", "metadata": {"x": "\\udfff"}}', header=b"", sizes=[1])
@example(content=b'{"prompt": "a", "n": 1' + b"0" * 5000 + b"}", header=b"", sizes=[1])
def test_any_bytes_are_requests_or_a_clear_error_and_in_any_pieces_the_same(
    tmp_path: Path, content: bytes, header: bytes, sizes: list[int]
) -> None:
    for name in ("p.txt", "p.jsonl", "p.csv", "p.tsv"):
        (tmp_path / name).write_bytes(header + content)
        found = read(tmp_path / name)
        for request in found if isinstance(found, list) else ():
            assert request.prompt.strip()
            assert from_json(encode_request(request), allow_inf_nan=False)["prompt"] == request.prompt
            assert file_stem(request, 0)
    whole = read("-", stdin=io.BytesIO(header + content))
    assert read("-", stdin=Dribbling(header + content, sizes)) == whole


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)
        .filter(str.strip),
        min_size=1,
        max_size=8,
    )
)  # fmt: skip
def test_any_prompts_come_back_verbatim_from_json_lines_and_quoted_tables(
    tmp_path: Path, wanted: list[str]
) -> None:
    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    files = {
        "p.jsonl": "".join(json.dumps({"prompt": text}) + "\n" for text in wanted),
        "p.csv": "id,prompt\n" + "".join(f"1,{cell(text)}\n" for text in wanted),
        "p.tsv": "id\tprompt\n" + "".join(f"1\t{cell(text)}\n" for text in wanted),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content.encode())
        assert [request.prompt for request in read_prompts(tmp_path / name)] == wanted
