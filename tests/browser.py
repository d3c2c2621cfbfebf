"""What a test does in a page, beside what Playwright offers."""

from __future__ import annotations

from typing import Any


def wait_until(page: Any, expression: str) -> None:
    """Wait until it is true in the page; the page's own policy forbids Playwright's way."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(expression)
