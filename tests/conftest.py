from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from needed import find
from service import Service, serving

from asi_image_async import ImageSession

pytest_plugins = ["pytester"]
# Programs inherit that one is ignored, where the tests are run by nohup or in the background.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
KEY = "sk_test_0123456789abcdef"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ASI_ONE_API_KEY", "ASI1_API_KEY", "ASI_ONE_BASE_URL", "ASI1_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with serving() as service:
        yield service


@pytest.fixture
async def session(service: Service) -> AsyncIterator[ImageSession]:
    async with ImageSession(KEY, base_url=service.base_url) as session:
        yield session


@pytest.fixture
def browser() -> Iterator[Any]:
    """A headless Chromium; where CI has asked for all tests, one that is missing fails.

    For one test: while it is there a loop runs in this thread, and no other test could have its own.
    """
    program = find("chromium", "chromium-browser", "google-chrome")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page of its own, on which no error and no breach of the policy may come up."""
    page = browser.new_page(viewport={"width": 1200, "height": 800})
    page.set_default_timeout(10_000)
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    yield page
    page.close()
    assert said == []
