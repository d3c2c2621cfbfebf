"""What became of a prompt is made for `match`; a report is good where every prompt is a picture."""

from __future__ import annotations

from typing import Any

import pytest

from asi_image_async.errors import ServerError
from asi_image_async.models import Generation, ImageRequest, Receipt
from asi_image_async.outcomes import Done, Failed, Outcome, RunReport

FOX = ImageRequest(prompt="a fox")


@pytest.fixture
def generation() -> Generation:
    return Generation(request=FOX, images=())


def test_an_outcome_is_made_for_match(generation: Generation) -> None:
    def told(outcome: Outcome) -> str:
        match outcome:
            case Done(index, request, made, receipt):
                assert made is generation
                assert receipt == Receipt(("a.jpg",), 3)
                return f"done {index} {request.prompt}"
            case Failed(index, request, error):
                return f"failed {index} {request.prompt} {error}"

    assert told(Done(3, FOX, generation, Receipt(("a.jpg",), 3))) == "done 3 a fox"
    assert told(Failed(4, FOX, ServerError("no", status=500))) == "failed 4 a fox 500: no"


def test_an_outcome_is_ok_or_raises_its_own_error(generation: Generation) -> None:
    done, error = Done(0, FOX, generation), ServerError("no", status=500)
    assert done.ok
    assert done.unwrap() is generation
    assert (done.skipped, done.receipt) == (False, None)
    failed = Failed(1, FOX, error)
    assert not failed.ok
    with pytest.raises(ServerError) as caught:
        failed.unwrap()
    assert caught.value is error


@pytest.mark.parametrize(
    ("counts", "ok"),
    [
        ({}, True),
        ({"total": 3, "succeeded": 3}, True),
        ({"total": 3, "succeeded": 1, "skipped": 2}, True),
        ({"total": 3, "succeeded": 2}, False),
        ({"total": 3, "succeeded": 2, "failed": 1}, False),
        ({"total": 3, "succeeded": 2, "unknown": 1}, False),
        ({"total": 3, "succeeded": 3, "stopped_by": ServerError("no", status=500)}, False),
    ],
)
def test_a_report_is_ok_where_every_prompt_is_a_picture(counts: dict[str, Any], ok: bool) -> None:
    assert RunReport(**counts).ok is ok
