"""The bar in a notebook: what it says is escaped, and it is not drawn anew for every event."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from conftest import KEY
from service import Service, reply

from asi_image_async import Done, Generation, ImageRequest, ImageSession, MemorySink, Receipt
from asi_image_async.events import ImageStored, OutcomeReady, RequestStarted, RequestSucceeded
from asi_image_async.notebook import display_progress

pytestmark = pytest.mark.anyio

FOX = ImageRequest(prompt="a fox")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every state of the bar."""
    shown: list[str] = []

    class Handle:
        def update(self, what: Any) -> None:
            shown.append(what.data)

    def display(what: Any, *, display_id: bool) -> Handle:
        shown.append(what.data)
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    return shown


async def test_it_is_drawn_now_and_then_and_at_the_end(shown: list[str]) -> None:
    observe = display_progress(100, price_per_image=0.01)
    for index in range(100):
        observe(RequestStarted(FOX, 1))
        observe(RequestSucceeded(FOX, 1, 1.0, 100, 1))
        observe(ImageStored(FOX, Receipt((f"out/<b>{index}.jpg",), 100)))
        observe(OutcomeReady(Done(index, FOX, Generation(request=FOX, images=()))))
    assert len(shown) < 20
    assert '<progress value="0" max="100"' in shown[0]
    assert '<progress value="100" max="100"' in shown[-1]
    assert "100 of 100" in shown[-1]
    assert "1.00 spent" in shown[-1]
    assert "&lt;b&gt;99.jpg" in shown[-1]
    assert "<b>" not in shown[-1]


async def test_a_run_that_ends_early_leaves_the_bar_as_it_ended(shown: list[str], service: Service) -> None:
    service.says(reply, reply, lambda: reply({"message": "no"}, 400), reply)
    observe = display_progress(10)
    async with ImageSession(KEY, base_url=service.base_url, max_concurrency=1, observer=observe) as session:
        await session.run(map(str, range(10)), MemorySink(), fail_fast=True)
    await asyncio.sleep(0.3)
    assert "2 of 10 · 1 failed" in shown[-1]
    assert " left" not in shown[-1]


async def test_in_a_script_there_is_nothing_to_draw_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: None)
    observe = display_progress(1)
    observe(OutcomeReady(Done(0, FOX, Generation(request=FOX, images=()))))


def test_an_observer_may_be_used_in_one_loop_after_another(shown: list[str]) -> None:
    observe = display_progress(100)

    async def asks(index: int) -> None:
        await asyncio.sleep(0.25 * index)
        observe(OutcomeReady(Done(index, FOX, Generation(request=FOX, images=()))))

    for index in range(2):
        asyncio.run(asks(index))
    assert "2 of 100" in shown[-1]
