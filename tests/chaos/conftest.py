from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
# They take minutes in the long form: begun last, each would be waited for alone.
LONGEST = {
    "test_hundred_thousand.py",
    "test_kill.py",
    "test_power_loss.py",
    "test_sixteen_hours.py",
    "test_ctrl_c.py",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.chaos)
    # Stable, so all others stay in their order.
    items.sort(key=lambda item: item.path.name not in LONGEST)
