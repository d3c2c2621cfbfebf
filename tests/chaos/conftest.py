from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.chaos)
    # In the long form it takes minutes: begun last it would be waited for alone.
    items.sort(key=lambda item: item.path.name != "test_hundred_thousand.py")
