"""The session that a command works with: the service, or the emulator inside this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from ..errors import ConfigurationError
from ..policies import RetryPolicy
from ..protocols import Observer
from ..session import ImageSession

__all__ = ["ServiceOptions", "open_session"]

_STAND_IN_KEY = "emulator"  # the user's own key is for the service alone


@dataclass(frozen=True, kw_only=True)
class ServiceOptions:
    """What the commands that ask for pictures have in common; `retries` are tries after the first."""

    base_url: str | None = None
    timeout: float = 120.0
    retries: int = 3
    concurrency: int = 1
    rates: Sequence[str] = ()
    emulate: bool = False

    @property
    def rate_limit(self) -> list[str] | str | None:
        """As a session takes it."""
        told = {rate.strip().lower() for rate in self.rates}
        if told <= {"auto"}:
            return "auto"
        if len(told) > 1 and told & {"none", "auto"}:
            raise ConfigurationError(
                "--rate none and --rate auto stand alone", hint="Leave out the one, or the others."
            )
        return None if told == {"none"} else list(self.rates)

    def session(self, observer: Observer | None = None, base_url: str | None = None) -> ImageSession:
        """A session to enter; raises ConfigurationError for a wrong option."""
        if self.emulate and self.base_url is not None:
            raise ConfigurationError(
                "--emulate and --base-url exclude each other", hint="Leave one of them out."
            )
        return ImageSession(
            _STAND_IN_KEY if self.emulate else None,
            base_url=self.base_url if base_url is None else base_url,
            max_concurrency=self.concurrency,
            rate_limit=self.rate_limit,
            retry=RetryPolicy(max_attempts=self.retries + 1),
            timeout=self.timeout,
            observer=observer,
        )


@asynccontextmanager
async def open_session(options: ServiceOptions, observer: Observer) -> AsyncIterator[ImageSession]:
    """The session, open; with `emulate`, the emulator runs beside it. Raises ConfigurationError."""
    async with AsyncExitStack() as stack:
        base_url = await stack.enter_async_context(_emulator()) if options.emulate else None
        yield await stack.enter_async_context(options.session(observer, base_url))


@asynccontextmanager
async def _emulator() -> AsyncIterator[str]:
    from ..emulator import emulator

    try:
        service = emulator()
    except ImportError as error:
        raise ConfigurationError(str(error), hint="Install what it names, or leave --emulate out.") from None
    async with service as base_url:
        yield base_url
