"""A prompt file is checked whole before anything is paid for, and then read a line at a time."""

from __future__ import annotations

import io
import json
import os
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from asi_image_async import prompts
from asi_image_async.errors import ConfigurationError
from asi_image_async.models import ImageRequest
from asi_image_async.prompts import PromptFile, read_prompts
from asi_image_async.prompts.lines import Problems, numbered_lines

Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def said(path: Path | str, **options: object) -> str:
    """The words of the error that reading `path` ends in; there is always something to do about it."""
    with pytest.raises(ConfigurationError) as caught:
        read_prompts(path, **options)  # type: ignore[arg-type]
    assert caught.value.hint
    return str(caught.value)


def texts(prompts: PromptFile) -> list[str]:
    requests = list(prompts)
    assert len(requests) == len(prompts)
    return [request.prompt for request in requests]


# What a file says


def test_a_text_file_has_a_prompt_a_line_and_blank_lines_do_not_count(write: Write) -> None:
    path = write("p.txt", "\n  a fox  \r\n\r\n   \nein Füchslein, 狐\nlast")
    assert texts(read_prompts(path)) == ["a fox", "ein Füchslein, 狐", "last"]


@pytest.mark.parametrize("suffix", ["jsonl", "ndjson", "JSONL"])
def test_a_json_line_is_an_object_or_a_text(write: Write, suffix: str) -> None:
    path = write(f"p.{suffix}", '{"prompt": "a fox", "size": "square", "seed": 7}\n\n"an \\"owl\\""\r\n')
    assert list(read_prompts(path)) == [
        ImageRequest(prompt="a fox", size="square", seed=7),
        ImageRequest(prompt='an "owl"'),
    ]


def test_a_table_has_its_prompts_in_the_prompt_column_whatever_its_case(write: Write) -> None:
    path = write("p.csv", 'Note, PROMPT ,Id,SIZE,Model\n"a, b",a fox,7,portrait,asi1\n,an owl,,,\n')
    assert list(read_prompts(path)) == [
        ImageRequest(prompt="a fox", id="7", size="portrait", model="asi1", metadata={"Note": "a, b"}),
        ImageRequest(prompt="an owl"),
    ]


def test_parameters_of_the_api_are_sent_and_all_other_columns_are_kept_beside(write: Write) -> None:
    header = "prompt,n,seed,guidance_scale,quality,user,negative_prompt,style,artist,year"
    path = write("p.csv", f"{header}\na fox,2, -5 ,1.5,hd,0042,7,,Dürer,1502\nan owl,,0042,1e5,1,,,,,\n")
    fox, owl = read_prompts(path)
    assert fox.model_extra == {
        "n": 2, "seed": -5, "guidance_scale": 1.5, "quality": "hd", "user": "0042", "negative_prompt": "7",
    }  # fmt: skip
    assert fox.metadata == {"artist": "Dürer", "year": "1502"}
    # What only looks like a number by half stays what was written.
    assert (owl.model_extra, owl.metadata) == (
        {"seed": "0042", "guidance_scale": "1e5", "quality": "1"},
        {},
    )


def test_a_whole_number_with_a_fraction_of_nothing_is_that_number(write: Write) -> None:
    asked = read_prompts(write("p.csv", "prompt,n,seed,guidance_scale\na fox,4.0,-12.00,7.0\nan owl,4.5,,\n"))
    fox, owl = (request.model_extra or {} for request in asked)
    assert [(type(value), value) for value in fox.values()] == [(int, 4), (int, -12), (float, 7.0)]
    assert owl == {"n": 4.5}


def test_json_as_pandas_writes_it_asks_for_the_same_as_its_table(write: Write) -> None:
    table = read_prompts(write("p.csv", "prompt,id,seed,n,guidance_scale\na fox,1,7.0,1.0,7.0\n"))
    fields = {"prompt": "a fox", "id": 1.0, "seed": 7.0, "n": 1.0, "guidance_scale": 7.0}
    lines = read_prompts(write("p.jsonl", json.dumps(fields)))
    assert [request.model_dump_json() for request in lines] == [each.model_dump_json() for each in table]


def test_rows_with_nothing_in_them_do_not_count(write: Write) -> None:
    assert texts(read_prompts(write("p.csv", "prompt,size\na fox,square\n,\n , \nan owl,\n"))) == [
        "a fox", "an owl",
    ]  # fmt: skip


def test_a_mark_of_bytes_between_two_files_that_were_put_together_is_no_part_of_a_prompt(
    write: Write,
) -> None:
    assert texts(read_prompts(write("p.txt", "\ufeffa fox\n\ufeffan owl\n"))) == ["a fox", "an owl"]


def test_a_json_object_may_bring_metadata_of_its_own(write: Write) -> None:
    path = write("p.jsonl", '{"prompt": "a fox", "year": 1502, "gone": null, "metadata": {"by": ["Dürer"]}}')
    [fox] = read_prompts(path)
    assert (fox.metadata, fox.model_extra) == ({"by": ["Dürer"], "year": 1502}, {})


def test_size_and_model_of_the_command_stand_in_where_the_file_is_silent(write: Write) -> None:
    path = write("p.csv", "prompt,size,model\na fox,,\nan owl,512x512,asi1-ultra\n")
    fox, owl = read_prompts(path, size="landscape", model="asi1")
    assert (fox.size, fox.model) == ("1792x1024", "asi1")
    assert (owl.size, owl.model) == ("512x512", "asi1-ultra")
    assert (next(iter(read_prompts(path))).size) == "1024x1024"


def test_cells_are_verbatim_with_their_commas_quotes_and_line_breaks(write: Write) -> None:
    path = write("p.csv", 'prompt,id\n"a ""red"", round\r\nfox ",1\n say "hi" ,2\n')
    assert texts(read_prompts(path)) == ['a "red", round\r\nfox ', ' say "hi" ']


def test_quotes_in_a_plain_tab_separated_file_are_part_of_the_prompt(write: Write) -> None:
    # As PartiPrompts has them: unpaired, at the start, round a whole cell, and none escaped.
    lines = [
        '"G I G G L E" in colorful letters\tWriting\t',
        'a screen of 15" width\tArtifacts\tLongest word: "a lung',
        '"OOPS"\tWriting\t"quoted"',
        "Ünïcode – dash, comma\tX\tnote",
    ]
    path = write("p.tsv", "\r\n".join(["Prompt\tCategory\tNote", *lines, ""]))
    assert texts(read_prompts(path)) == [line.split("\t")[0] for line in lines]
    assert list(read_prompts(path))[1].metadata["Note"] == 'Longest word: "a lung'
    # A quote that is opened and never closed does not take in what follows, however much that is.
    path = write("p.tsv", 'prompt\n"a\n' + "an owl, and more of it\n" * 50_000)
    assert len(read_prompts(path)) == 50_001


def test_a_tab_separated_file_that_is_quoted_throughout_is_read_as_a_spreadsheet_wrote_it(
    write: Write,
) -> None:
    path = write("p.tsv", 'prompt\tid\n"a ""red""\tfox\nat night"\t1\nan owl\t"2"\n')
    assert texts(read_prompts(path)) == ['a "red"\tfox\nat night', "an owl"]
    assert [request.id for request in read_prompts(path)] == ["1", "2"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("p.txt", "a fox\r\n"), ("p.jsonl", '{"prompt": "a fox"}\r\n'), ("p.csv", "prompt\r\na fox\r\n"),
     ("p.tsv", "prompt\r\na fox\r\n")],
)  # fmt: skip
def test_a_byte_order_mark_and_windows_line_ends_leave_no_trace(
    write: Write, name: str, content: str
) -> None:
    assert texts(read_prompts(write(name, "\ufeff" + content))) == ["a fox"]


# How it is read


def test_a_file_can_be_read_again_and_side_by_side(write: Write) -> None:
    prompts = read_prompts(write("p.txt", "a\nb\nc"))
    assert [(one.prompt, other.prompt) for one in prompts for other in prompts][:4] == [
        ("a", "a"), ("a", "b"), ("a", "c"), ("b", "a"),
    ]  # fmt: skip


def test_what_was_checked_is_what_is_read_even_if_the_file_is_replaced(write: Write, tmp_path: Path) -> None:
    checked = read_prompts(write("p.txt", "a fox"))
    write("new.txt", "an owl").replace(tmp_path / "p.txt")
    assert texts(checked) == ["a fox"]


@pytest.mark.parametrize("now", ["a cat\na fox\nan owl\n", "a fox\nan own\na cat\n", "a fox\n"])
def test_a_file_that_is_written_to_after_the_check_stops_by_name(write: Write, now: str) -> None:
    checked = read_prompts(write("p.txt", "a fox\nan owl\na cat\n"))
    requests = iter(checked)
    assert next(requests).prompt == "a fox"
    path = write("p.txt", now)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))  # a clock may be coarse
    with pytest.raises(ConfigurationError, match=r"p\.txt was changed while its prompts were asked for"):
        list(requests)


def test_of_a_cell_that_is_too_large_the_remedy_is_told(write: Write) -> None:
    with pytest.raises(ConfigurationError) as raised:
        read_prompts(write("p.csv", f'prompt,notes\na fox,"{"x" * 140_000}"\n'))
    assert "JSON lines" in raised.value.hint


def test_a_disk_that_fails_while_it_is_read_is_our_error() -> None:
    class Failing(io.BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(ConfigurationError, match="Input/output error"):
        list(numbered_lines(Failing(b"a fox"), Problems("p.txt")))


def test_memory_stays_flat_however_long_the_file(write: Write) -> None:
    path = write("p.txt", "\n".join(f"a fox, number {number}, {'x' * 250}" for number in range(10_000)))
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_prompts(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 10_000
    assert peak < path.stat().st_size / 4


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'\n {"prompt": "a fox"}\n"an owl"\n', ["a fox", "an owl"]),
        (b'\xef\xbb\xbf{"prompt": "a fox"}', ["a fox"]),
        (b'"a fox"\n{"prompt": "an owl"}\n', ["a fox", "an owl"]),
        (b'"a fox" and "an owl"\nprompt\n', ['"a fox" and "an owl"', "prompt"]),
        (b"[Photo] a fox\n", ["[Photo] a fox"]),
        (b"a fox, red\n", ["a fox, red"]),
        (b"prompt\na fox\n", ["a fox"]),
        (b'"Prompt"\n"a fox, red"\n', ["a fox, red"]),
        (b"id\tprompt\n7\ta fox\n", ["a fox"]),
        (b"prompt; a fox\n", ["prompt; a fox"]),
        (b"%b\n" % (b"x" * 1000) * 3000, ["x" * 1000] * 3000),  # more than is kept in memory
    ],
)
def test_standard_input_is_what_its_first_line_says(content: bytes, expected: list[str]) -> None:
    prompts = read_prompts("-", stdin=io.BytesIO(content))
    assert len(prompts) == len(expected)
    assert texts(prompts) == expected


def test_a_table_of_semicolons_on_standard_input_is_not_drawn() -> None:
    assert "prompt;size" in said("-", stdin=io.BytesIO(b"\xef\xbb\xbfprompt;size\r\na fox;square\r\n"))


@pytest.mark.parametrize(
    "content", [b'[{"prompt": "a fox"}]\n', b'["a fox"]', b'[\n{"prompt": "a"}\n]', b'"a"\nb\n']
)
def test_json_on_standard_input_that_is_not_a_prompt_a_line_is_not_drawn(content: bytes) -> None:
    assert "line" in said("-", stdin=io.BytesIO(content))


def test_standard_input_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return b"yes\n" * 1000

    monkeypatch.setattr(prompts, "MAX_STDIN_BYTES", 100_000)
    assert "100000 bytes" in said("-", stdin=Endless())


def test_standard_input_is_the_process_s_own_unless_another_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with io.TextIOWrapper(io.BytesIO(b"a fox")) as own:
        monkeypatch.setattr("sys.stdin", own)
        assert texts(read_prompts("-")) == ["a fox"]
        assert texts(read_prompts("-", stdin=io.BytesIO(b"an owl"))) == ["an owl"]


def test_standard_input_that_cannot_be_read_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    assert said("-", stdin=Broken()) == "cannot read standard input: Input/output error"

    class NotThereYet(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return None  # type: ignore[return-value]  # as a BufferedReader does that was set not to wait

    assert said("-", stdin=NotThereYet()) == "cannot read standard input: Resource temporarily unavailable"
    monkeypatch.setattr("sys.stdin", None)  # as Python has it where the shell closed it
    assert said("-") == "there is no standard input"


# What is wrong with it


def test_every_bad_line_is_named_ten_in_full_and_the_others_counted(write: Write) -> None:
    lines = ['"a fox"' if number % 2 else "{" for number in range(1, 31)]
    message = said(write("p.jsonl", "\n".join(lines)))
    assert [line.split(":")[0] for line in message.splitlines()[:-1]] == [
        f"p.jsonl, line {number}" for number in range(2, 21, 2)
    ]
    assert message.splitlines()[-1] == "and 5 more"


def test_of_several_problems_the_first_one_s_remedy_is_told(write: Write) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_prompts(write("p.csv", b"prompt\nf\xfcchs\na,b\n"))
    assert "UTF-8" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "content", "line", "words"),
    [
        ("p.jsonl", '"a"\n{"prompt": "b"\n', 2, "not JSON"),
        ("p.jsonl", '{"prompt": "a", "n": NaN}', 1, "not JSON"),
        ("p.jsonl", "[" * 100_000, 1, "not JSON"),
        ("p.jsonl", "42", 1, "neither an object nor a text"),
        ("p.jsonl", '{"text": "a"}', 1, "there is no prompt"),
        ("p.jsonl", '{"prompt": "a", "Prompt": "b"}', 1, "'prompt' is there twice"),
        ("p.jsonl", '{"prompt": ["a"]}', 1, "prompt"),
        ("p.jsonl", '{"prompt": "\\ud800"}', 1, "not JSON"),
        ("p.jsonl", '"a"\n\n"  "', 3, "the prompt is empty"),
        ("p.jsonl", '{"prompt": "a", "size": "big"}', 1, "'big' is not a size"),
        ("p.jsonl", '{"prompt": "a", "model": 5}', 1, "model"),
        ("p.jsonl", '{"prompt": "a", "id": true}', 1, "id: Input should be a valid string"),
        ("p.jsonl", '{"prompt": "a", "metadata": {"x": 1e400}}', 1, "cannot be written as JSON"),
        ("p.csv", "prompt,id\na,1\n  ,2\n", 3, "the prompt is empty"),
        ("p.csv", "id,prompt\n1\n", 2, "the prompt is empty"),
        ("p.csv", 'prompt,size\n"two\nlines",square\nb,big\n', 4, "'big' is not a size"),
        ("p.csv", "prompt,id\na, b, c\n", 2, "3 cells, and the header has 2"),
        ("p.csv", 'prompt\n"a" b\n', 2, "not a row of cells"),
        ("p.csv", 'prompt\na\n"b\n', 3, "not a row of cells"),
        ("p.csv", f"prompt\n{'x' * 140_000}\n", 2, "field larger than field limit"),
        ("p.csv", "Text,id\na,1\n", 1, "no column is called prompt; there are: 'Text', 'id'"),
        ("p.csv", "\n\nprompt;id\n", 3, "no column is called prompt; there are: 'prompt;id'"),
        ("p.csv", "prompt,Prompt\na,b\n", 1, "two columns are called 'prompt'"),
        ("p.tsv", "prompt\tid\na\tb\tc\n", 2, "3 cells, and the header has 2"),
        ("p.tsv", 'prompt\n"a\nb\nc\t\t\n', 4, "3 cells"),
        ("p.txt", "Prompt\tsize\na fox\tsquare\n", 1, "the header of a table"),
        ("p.txt", '\n"size"\t"Prompt"\n"square"\t"a fox"\n', 2, "the header of a table"),
        ("p.csv", "prompt\tsize\na fox\tsquare\n", 1, "no column is called prompt"),
        ("p.txt", b"a\nb\xff\n", 2, "not UTF-8: byte 0xff"),
        ("p.csv", b"prompt\nf\xfcchs\n", 2, "not UTF-8: byte 0xfc"),
        ("p.txt", "a fox".encode("utf-16"), 1, "UTF-16"),
        ("p.txt", "a fox".encode("utf-16-be"), 1, "NUL byte"),
        ("p.csv", "prompt\na\0b\n", 2, "NUL byte"),
        ("p.txt", "a fox\ran owl\r", 1, "carriage return"),
        ("p.csv", "prompt,id\ra fox,1\ran owl,2\r", 1, "carriage return"),
        ("p.txt", "a\n" + "x" * (2**20 + 1), 2, "longer than 1 MiB"),
        ("p.jsonl", b"\0" * 3_000_000, 1, "longer than 1 MiB"),
    ],
    ids=lambda value: None if isinstance(value, str | bytes) and len(value) > 40 else repr(value),
)
def test_a_bad_line_is_named(write: Write, name: str, content: str | bytes, line: int, words: str) -> None:
    message = said(write(name, content))
    assert message.startswith(f"{name}, line {line}: ")
    assert words in message.splitlines()[0]


def test_a_file_s_name_and_its_columns_make_no_line_of_their_own_and_no_endless_one(write: Write) -> None:
    message = said(write("p\nhint: x.csv", f"prompt,{'x' * 99_999},{'x' * 99_999}\n"))
    assert message == f"p\\nhint: x.csv, line 1: two columns are called {'x' * 80!r}"


def test_a_line_of_one_mebibyte_is_not_too_long(write: Write) -> None:
    for rest in (b"", b"\n", b"\r\n", b"\r\nb"):
        path = write("p.txt", b"\xef\xbb\xbf" + b"x" * 2**20 + rest)
        assert len(read_prompts(path)) == 1 + rest.endswith(b"b")


@pytest.mark.parametrize("content", ["", "\n \n\r\n", "\ufeff"])
@pytest.mark.parametrize("name", ["p.txt", "p.jsonl", "p.csv", "p.tsv"])
def test_a_file_without_prompts_is_refused(write: Write, name: str, content: str) -> None:
    assert name in said(write(name, content))


def test_a_header_alone_is_no_prompt(write: Write) -> None:
    assert said(write("p.csv", "prompt\n")) == "p.csv has no prompts"
    assert said("-", stdin=io.BytesIO(b"")) == "standard input has no prompts"


def test_what_is_not_a_prompt_file_is_refused_by_name(write: Write, tmp_path: Path) -> None:
    assert "there is no file" in said(tmp_path / "gone.txt")
    assert "is a folder" in said(tmp_path)
    assert "cannot read" in said("a\0b.txt")
    assert "cannot read" in said(tmp_path / f"{'long' * 100}.txt")
    assert ".txt, .jsonl, .ndjson, .csv, .tsv" in said(write("p.xlsx", "PK"))
    assert "no ending" in said(write("prompts", "a fox"))
    with pytest.raises(ConfigurationError) as semicolons:
        read_prompts(write("p.csv", "prompt;id\na fox;1\n"))
    assert "not semicolons" in semicolons.value.hint
    with pytest.raises(ConfigurationError) as raised:
        read_prompts(write("p.json", '[{"prompt": "a fox"}]'))
    assert raised.value.hint.startswith("Write an object a line")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_read_once_whatever_its_name_and_none_is_waited_for_in_vain(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "63")
    both_ends = os.open(tmp_path / "63", os.O_RDWR)
    os.write(both_ends, b"id,prompt\n7,a cat\n")
    closing = threading.Timer(0.05, os.close, [both_ends])
    closing.start()
    prompts = read_prompts(tmp_path / "63")
    closing.join()
    assert [[request.prompt for request in prompts] for _again in range(2)] == [["a cat"]] * 2
    assert prompts.kind == ".csv"
    assert said(tmp_path / "63") == "63 has no prompts"


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="the system has no such permissions")
def test_a_file_that_may_not_be_read_is_refused(write: Write) -> None:
    path = write("p.txt", "a fox")
    path.chmod(0)
    myself = os.geteuid()
    os.seteuid(65534 if myself == 0 else myself)  # root may read everything, nobody may not
    try:
        assert "cannot read" in said(path)
    finally:
        os.seteuid(myself)


def test_a_malformed_size_of_the_command_is_not_blamed_on_a_line(write: Write) -> None:
    message = said(write("p.txt", "a fox"), size="big")
    assert "'big' is not a size" in message
    assert "line" not in message
