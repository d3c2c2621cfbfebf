"""The key is taken out of whatever is shown, and of nothing else."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from asi_image_async.core.key import Key

SECRET = "sk_0123456789"
KEY = Key(SecretStr(SECRET))


def test_its_header_is_sent_whole_and_shown_to_nobody() -> None:
    assert KEY.authorization == f"Bearer {SECRET}"
    KEY.hide(["whatever"])
    assert SECRET not in " ".join(map(str, vars(KEY).values()))
    assert SECRET not in f"{KEY!r} {vars(KEY)} {KEY.authorization!r} { {'Authorization': KEY.authorization} }"


@pytest.mark.parametrize(
    ("value", "hidden"),
    [
        (f"no {SECRET}!", "no ***!"),
        (f"no {SECRET}!".encode(), b"no ***!"),
        ({SECRET: [f"a {SECRET}", 7, None, (SECRET,)]}, {"***": ["a ***", 7, None, ("***",)]}),
        ("it ends in sk_01234567", "it ends in ***"),
        ("'sk_01234567', cut; sk_0123456789!", "'***', cut; ***!"),
        ("sk_0123, a stand-in", "sk_0123, a stand-in"),
        (7.5, 7.5),
    ],
)
def test_it_is_taken_out_however_deep_it_stands_and_its_beginning_too(value: object, hidden: object) -> None:
    assert KEY.hide(value) == hidden


@pytest.mark.parametrize(
    "secret", ['sk_"quoted"', "sk_\\n\\\\escaped", "sk_\n\t\x7f_control", "schlüssel-狐"]
)
@pytest.mark.parametrize("more", [None, b"\xff", float("nan"), object(), "\ud800"])
def test_a_key_of_any_characters_is_taken_out_beside_anything(secret: str, more: object) -> None:
    hidden = Key(SecretStr(secret)).hide((more, {"a": [f"-{secret}-"]}))
    assert hidden == (more, {"a": ["-***-"]})


@pytest.mark.parametrize("word", ["x", "files", "asi1"])
def test_a_short_stand_in_is_no_secret_as_it_is_an_ordinary_word_or_a_part_of_one(word: str) -> None:
    assert Key(SecretStr(word)).hide(f"an a{word}e, {word}, /{word}/") == f"an a{word}e, {word}, /{word}/"


@pytest.mark.parametrize("secret", ["sk_test", "my-k"])
def test_a_short_key_is_hidden_where_it_is_a_word(secret: str) -> None:
    key = Key(SecretStr(secret))
    assert key.hide((f"{secret}: no", f"'{secret}'", f"Bearer {secret}".encode())) == (
        "***: no", "'***'", b"Bearer ***",
    )  # fmt: skip
    assert (
        key.hide(f"the {secret}s of a con{secret}, 1{secret}") == f"the {secret}s of a con{secret}, 1{secret}"
    )


def test_a_key_of_eight_characters_is_a_secret() -> None:
    assert Key(SecretStr("sk_01234")).hide("it is sk_01234") == "it is ***"
