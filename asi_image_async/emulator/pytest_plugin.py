"""A pytest fixture: your app meets the emulator instead of the service.

pytest imports this in every run, so aiohttp and Pillow are loaded by the fixture only.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .server import Emulator

_KEY = "test-key"


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker that sets the knobs."""
    config.addinivalue_line(
        "markers", "asi_emulator(knobs=None, **fields): how the asi_emulator fixture's service behaves"
    )


@pytest.fixture
def asi_emulator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> "Iterator[Emulator]":
    """The emulated image service in a thread of its own, with ASI_ONE_* pointing at it.

    Set its knobs with `@pytest.mark.asi_emulator(latency=0.1, ...)`, or give `Knobs`; count with its
    attributes. Of several marks the nearest counts, alone.
    """
    from . import emulator
    from .server import in_thread

    marker = request.node.get_closest_marker("asi_emulator")
    knobs, fields = (marker.args, marker.kwargs) if marker else ((), {})
    if not knobs and "knobs" not in fields:
        fields = {"api_key": _KEY, **fields}
    with in_thread(emulator(*knobs, **fields)) as service:
        monkeypatch.setenv("ASI_ONE_BASE_URL", service.base_url)
        monkeypatch.setenv("ASI_ONE_API_KEY", service.knobs.api_key or _KEY)
        yield service
