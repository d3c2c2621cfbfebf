from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from service import Service, serving

from asi_image_async import ImageSession

pytest_plugins = ["pytester"]
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
