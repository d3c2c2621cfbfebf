"""What a test does in a page, beside what Playwright offers."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe


def wait_until(page: Any, expression: str) -> None:
    """Wait until it is true in the page; the page's own policy forbids Playwright's way."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(expression)


def barriers(page: Any) -> list[tuple[str, str]]:
    """What axe finds that keeps people out who see, hear or move differently: its rule, and where."""
    found = Axe().run(page).response["violations"]
    return [(each["id"], node["html"]) for each in found for node in each["nodes"]]
