"""Every request has one stable key, and one file name that every system takes."""

from __future__ import annotations

import re
import subprocess
import sys
import unicodedata
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asi_image_async.core import naming
from asi_image_async.core.naming import digest, file_stem, idempotency_key, item_key
from asi_image_async.models import ImageRequest

# What names are broken with: paths, devices, marks of every kind, letters that grow or change when folded.
_pieces = st.sampled_from(
    [*"/\\:.-_~ %\0\n\x1b\x7f\x85\u200b\u200d\u202e\u2028\ufe0f\ufeff\U000e0041", "..", "con", "COM¹", "LPT9",
     "\u0301", "\u0345", "\u0316\u0301" * 20, "ß", "ﬃ", "\u0130", "\u01f0", "\u0390", "\ufdfa", "\u1fb7",
     "\u3164", "Ꭰ", "ꭰ", "\u1e9e", "각", "\u1100\u1161", "नमस्ते", "👩\u200d🚀", "x" * 80, "長" * 40]
)  # fmt: skip
_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=200) | st.lists(
    _pieces | st.text(st.characters(exclude_categories=["Cs"]), max_size=3), max_size=12
).map("".join)


@settings(max_examples=100, deadline=None)
@given(
    prompt=_text.filter(str.strip),
    id=st.none() | _text,
    occurrence=st.integers(0, 99),
)
def test_any_text_makes_a_name_that_is_safe_everywhere(prompt: str, id: str | None, occurrence: int) -> None:
    stem = file_stem(ImageRequest(prompt=prompt, id=id), occurrence)
    # The longest thing that is ever added to it.
    assert len(f"{stem}-12.jpeg.tmp".encode()) <= 120
    assert stem == unicodedata.normalize("NFC", stem)
    assert re.fullmatch("(.*-)?[a-z2-7]{12}", stem)  # of two names whose words differ by case, these differ
    assert not stem.startswith(("-", "."))
    # Letters, digits and their marks in any script, and hyphens: so no dots, slashes, blanks, controls,
    # quotes, or characters that turn the direction of writing.
    assert all(c == "-" or unicodedata.category(c)[0] in "LMN" for c in stem)
    assert unicodedata.category(stem[0])[0] != "M"


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("A red fox, at dawn!", "a-red-fox-at-dawn"),
        ("../../etc/passwd", "etc-passwd"),
        ("C:\\Windows\\x?*|<>\"'", "c-windows-x"),
        ("fox.exe\u202egnp.", "fox-exe-gnp"),  # a right-to-left override
        ("a\nb\0c\x7fd\u200be", "a-b-c-d-e"),
        ("Füchse & 狐 und лиса", "füchse-狐-und-лиса"),
        ("fu\u0308chse", "füchse"),
        ("ﬁne Straße", "fine-strasse"),
        ("\u0390 \u01f0", "\u0390-\u01f0"),  # lower case is two characters, and then one again
        ("नमस्ते", "नमस्ते"),
        ("❤️ love", "love"),
        ("ꭰ Ꭰ", "Ꭰ-Ꭰ"),  # Cherokee, of whose letters the capitals are the older ones
        ("--a--", "a"),
        ("CON", "con-picture"),
        ("lpt1", "lpt1-picture"),
        ("conserve", "conserve"),
    ],
)
def test_a_name_is_the_prompt_s_words_and_a_mark_of_its_own(prompt: str, words: str) -> None:
    head, _, mark = file_stem(ImageRequest(prompt=prompt), 0).rpartition("-")
    assert head == words
    assert len(mark) == 12
    assert mark.isalnum()


@pytest.mark.parametrize("prompt", ["❤️", "!!!", "🦊🦊"])
def test_a_prompt_without_letters_still_has_a_name(prompt: str) -> None:
    stem = file_stem(ImageRequest(prompt=prompt), 0)
    assert stem.isalnum()
    assert len(stem) == 12


def test_an_id_goes_before_the_prompt_unless_nothing_of_it_can_be_written() -> None:
    assert file_stem(ImageRequest(prompt="a fox", id="No. 7"), 0).startswith("no-7-")
    assert file_stem(ImageRequest(prompt="a fox", id="///"), 0).startswith("a-fox-")


def test_a_long_prompt_is_cut_at_a_word_and_never_within_a_character() -> None:
    assert file_stem(ImageRequest(prompt="word " * 50), 0).rpartition("-")[0] == "-".join(["word"] * 16)
    assert file_stem(ImageRequest(prompt="狐" * 50), 0).rpartition("-")[0] == "狐" * 26
    assert file_stem(ImageRequest(prompt="x" * 500), 0).rpartition("-")[0] == "x" * 80


@pytest.mark.parametrize("endless", ["\u0316\u0301", "\ufdfa", "/", "長", "\U0001d160", "각\u0345"])
def test_of_a_mebibyte_of_anything_no_more_is_put_in_order_than_a_name_has_room_for(
    endless: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = []

    def normalize(form: str, text: str) -> str:
        lengths.append(len(text))
        return unicodedata.normalize(form, text)

    watched = SimpleNamespace(normalize=normalize, category=unicodedata.category)
    monkeypatch.setattr(naming, "unicodedata", watched)
    prompt = "a" + endless * (2**20 // len(endless.encode()))
    for request in (ImageRequest(prompt=prompt), ImageRequest(prompt="a fox", id=prompt)):
        assert len(file_stem(request, 0).encode()) <= 107
    assert 0 < max(lengths) <= 18 * 1000  # the most that NFKC makes of a letter; to order all takes minutes


def test_what_asks_for_another_picture_has_another_name() -> None:
    requests = [
        ImageRequest(prompt="a fox"),
        ImageRequest(prompt="A fox"),  # the same file on macOS and Windows, were it not for the mark
        ImageRequest(prompt="a fox "),
        ImageRequest(prompt="a-fox"),
        ImageRequest(prompt="a fox", size="512x512"),
        ImageRequest(prompt="a fox", size=None),
        ImageRequest(prompt="a fox", model="asi1"),
        ImageRequest(prompt="a fox", seed=1),
        ImageRequest(prompt="a fox", seed=2),
    ]
    stems = [file_stem(request, occurrence) for request in requests for occurrence in range(3)]
    assert len({stem.casefold() for stem in stems}) == len(requests) * 3
    assert len({digest(request) for request in requests}) == len(requests)


def test_what_is_not_sent_makes_no_other_picture() -> None:
    request = ImageRequest(prompt="a fox", seed=1, style="x")
    same = ImageRequest(prompt="a fox", style="x", seed=1, size="square", id="7", metadata={"a": 1})
    assert digest(request) == digest(same)


def test_the_same_prompt_twice_is_two_items_each_with_its_own_key() -> None:
    requests = [ImageRequest(prompt=prompt) for prompt in ("a fox", "an owl")]
    keys = {item_key(digest(request), occurrence) for request in requests for occurrence in range(300)}
    assert len(keys) == 600
    assert {len(key) for key in keys} == {16}


def test_an_idempotency_key_is_one_item_s_in_one_batch_and_shows_nothing_of_the_prompt() -> None:
    key = item_key(digest(ImageRequest(prompt="a fox")), 0)
    other = item_key(digest(ImageRequest(prompt="a fox")), 1)
    found = {idempotency_key(item, salt) for item in (key, other) for salt in (b"one folder", b"another")}
    assert len(found) == 4
    assert all(len(text) == 32 and int(text, 16) for text in found)
    assert idempotency_key(key, b"one folder") in found


def test_keys_and_names_are_the_same_in_every_process_and_in_every_release() -> None:
    # A journal of last year must find its pictures: these were made once and must never change.
    request = ImageRequest(prompt="A fox, 狐", size="512x512", seed=7, style={"a": 1.5}, id=None)
    key = item_key(digest(request), 2)
    expected = (
        "f12ab3f6c24097bc81af95b55780a15a 4f5c5b178f44d2277d2bd7eb53bf4d12"
        " a-fox-狐-j5ofwf4pitjc 8494da108ee2183b95c4c7320d1d6a0c"
    )
    here = " ".join([digest(request).hex(), key.hex(), file_stem(request, 2), idempotency_key(key, b"s")])
    assert here == expected
    code = (
        "from asi_image_async.core.naming import *; from asi_image_async.models import ImageRequest;"
        "r = ImageRequest(prompt='A fox, \\u72d0', size='512x512', style={'a': 1.5}, seed=7);"
        "k = item_key(digest(r), 2);"
        "print(ascii(' '.join([digest(r).hex(), k.hex(), file_stem(r, 2), idempotency_key(k, b's')])))"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == ascii(expected)


def test_the_order_of_names_in_an_object_makes_no_other_request() -> None:
    one = ImageRequest(prompt="a fox", style={"a": [{"x": 1, "y": 2.0}], "b": 2}, seed=1)  # type: ignore[call-arg]
    same = ImageRequest(prompt="a fox", seed=1, style={"b": 2, "a": [{"y": 2.0, "x": 1}]})  # type: ignore[call-arg]
    other = ImageRequest(prompt="a fox", style={"a": [{"x": 1, "y": 3.0}], "b": 2}, seed=1)  # type: ignore[call-arg]
    assert digest(one) == digest(same) != digest(other)
