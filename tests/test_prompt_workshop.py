"""Prompts are judged by the documentation's advice, repeats are found, templates make every combination."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asi_image_async.errors import ConfigurationError
from asi_image_async.models import ImageRequest
from asi_image_async.prompts import expand
from asi_image_async.prompts.advice import judge_prompt
from asi_image_async.prompts.lint import LONGEST, lint_prompts
from asi_image_async.prompts.twins import Twins

GOOD = "A misty mountain valley at dawn with golden sunlight filtering through pine trees"


@pytest.mark.parametrize(
    ("prompt", "verdict"),
    [("bond", "poor"), ("mountains", "poor"), ("person", "poor"), ("abstract art", "poor"), ("", "poor"),
     ("a cat", "poor"), (GOOD, "good"),
     ("a watercolor painting of a red fox in a snowy forest, close-up, soft morning light", "good")],
)  # fmt: skip
def test_the_documentation_s_poor_examples_are_poor_and_its_good_one_is_good(
    prompt: str, verdict: str
) -> None:
    assert judge_prompt(prompt).verdict == verdict


@pytest.mark.parametrize(
    ("prompt", "missing"),
    [
        ("a red fox seen from above in a forest", ("specific",)),
        ("a moody fox seen from below, in a forest", ("descriptive",)),
        ("a moody red fox in a forest", ("perspective",)),
        ("a moody red fox, a close-up of its head", ("context",)),
        ("a moody red fox, a close-up of its head behind the sofa", ()),
    ],
)
def test_each_piece_of_advice_is_told_where_it_is_not_followed(prompt: str, missing: tuple[str, ...]) -> None:
    judgement = judge_prompt(prompt)
    assert judgement.missing == missing
    assert judgement.score == 100 - 25 * len(missing)


@given(st.text())
def test_any_text_has_a_score(prompt: str) -> None:
    assert judge_prompt(prompt).score in (0, 25, 50, 75, 100)


def findings(*prompts: str | ImageRequest) -> list[tuple[int | None, int | None]]:
    requests = [ImageRequest.of(prompt) for prompt in prompts]
    return [(found.same_as, found.near) for found in lint_prompts(enumerate(requests, 1))]


def test_a_repeat_is_told_with_the_line_of_the_first() -> None:
    assert findings("a red fox", "A  red FOX", "a blue fox", "a red fox") == [
        (None, None), (1, None), (None, None), (1, None),
    ]  # fmt: skip


def test_words_in_another_order_or_with_one_more_or_less_are_nearly_the_same() -> None:
    first = "three small yellow boxes on a large blue box"
    assert findings(first, "a large blue box with three small yellow boxes on it") == [
        (None, None),
        (None, 1),
    ]
    assert findings(first, f"{first} outdoors") == [(None, None), (None, 1)]
    assert findings(f"{first} outdoors", first) == [(None, None), (None, 1)]


def test_one_word_exchanged_is_another_picture_unless_there_are_many() -> None:
    short, long = "{} in a leather jacket singing", f"{GOOD} and a small stone hut beside a {{}}"
    assert findings(short.format("frog"), short.format("owl")) == [(None, None), (None, None)]
    assert findings(long.format("river"), long.format("lake")) == [(None, None), (None, 1)]


def test_the_same_in_another_size_or_with_another_seed_is_meant() -> None:
    prompts = [
        ImageRequest(prompt="a red fox in a small forest"),
        ImageRequest(prompt="a red fox in a small forest", size="portrait"),
        ImageRequest(prompt="a red fox in a small forest", seed=7),
    ]
    assert findings(*prompts) == [(None, None)] * 3


@given(st.lists(st.sampled_from("bcdefghjklmn"), min_size=5, max_size=9, unique=True), st.randoms())
def test_what_is_near_is_found_in_either_order(words: list[str], chance: random.Random) -> None:
    fewer = words[:-1]
    for first, second in ((words, fewer), (fewer, words)):
        twins = Twins()
        shuffled = chance.sample(second, len(second))
        assert twins.near(" ".join(first), 1) is None
        assert (twins.near(" ".join(shuffled), 2) == 1) == (len(fewer) >= 5)


def test_a_prompt_that_others_would_cut_is_told() -> None:
    requests = [ImageRequest(prompt="a" * length) for length in (LONGEST, LONGEST + 1)]
    assert [found.too_long for found in lint_prompts(enumerate(requests, 1))] == [False, True]


# Templates


def test_a_template_makes_every_combination_and_keeps_what_made_it() -> None:
    made = expand("a {style} {subject}", style=["oil", "ink"], subject=iter(["fox", "ship"]), size="portrait")
    assert len(made) == 4
    for _ in range(2):
        assert [request.prompt for request in made] == ["a oil fox", "a oil ship", "a ink fox", "a ink ship"]
    first = next(iter(made))
    assert first.metadata == {"style": "oil", "subject": "fox"}
    assert first.size == "1024x1792"


def test_braces_and_values_are_taken_as_they_are() -> None:
    [request] = expand("{{{x}}} {x}", x=["{y} {0.__class__}"])
    assert request.prompt == "{{y} {0.__class__}} {y} {0.__class__}"
    [request] = expand("a {template}", template=["stencil"])
    assert request.prompt == "a stencil"


@pytest.mark.parametrize(
    ("template", "values", "words"),
    [
        ("a {style} fox", {}, "{style} has no values"),
        ("a {style} fox", {"style": []}, "{style} has no values"),
        ("a fox", {"style": ["oil"]}, "no {style}"),
        ("a {} fox", {}, "not a plain name"),
        ("a {x.__class__} fox", {"x": ["oil"]}, "not a plain name"),
        ("a {x!r} fox", {"x": ["oil"]}, "{x!r} is not a plain name"),
        ("a {x:>9} fox", {"x": ["oil"]}, "{x:>9} is not a plain name"),
        ("a {x fox", {"x": ["oil"]}, "not a template"),
        ("a {x} fox", {"x": "oil"}, "the values of {x} are a list, not str"),
        ("a {x} fox", {"x": 5}, "the values of {x} are a list, not int"),
        (5, {}, "a template is text, not int"),
        ("{x}", {"x": ["  "]}, "the prompt is empty"),
        ("{x}", {"x": ["fox"], "size": "enormous"}, "not a size"),
        ("{a}{b}{c}", dict.fromkeys("abc", range(3_000_000)), "more combinations"),
    ],
)
def test_a_template_that_is_none_is_told_before_anything_is_made(
    template: str, values: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigurationError) as told:
        expand(template, **values)  # type: ignore[arg-type]
    assert words in str(told.value)
    assert told.value.hint


@pytest.mark.parametrize("name", ["size", "model"])
def test_a_name_of_a_template_that_is_a_setting_is_told(name: str) -> None:
    with pytest.raises(ConfigurationError, match="has the name of a setting"):
        expand(f"a {{{name}}} fox", **{name: ["big"]})  # type: ignore[arg-type]
