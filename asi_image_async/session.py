"""The hall: `ImageSession`, which people hold in their hands."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, overload

import aiohttp
from pydantic import SecretStr

from .batch import (
    Batch,
    UntilStopped,
    Watched,
    check_beside,
    check_prompts,
    in_places,
    read_all,
    session_left,
    to_requests,
)
from .brake import Brake, Stopped
from .core.usage import Usage
from .errors import AsiImageError, ConfigurationError
from .events import Event
from .exchange import Books, Exchange, Item
from .ledger import Ledger, budget
from .listener import Listener
from .models import Generation, ImageRequest, Prompt
from .outcomes import Outcome, RunReport
from .policies import RateLimit, RetryPolicy, parse_rate_limits, parse_retry
from .protocols import Observer, Prompts, Sink
from .run import Run
from .runtime.gate import Gate
from .runtime.journal import Journal
from .runtime.pump import pump
from .runtime.transport import Transport
from .settings import (
    check_http,
    check_observer,
    check_run,
    find_api_key,
    find_base_url,
    hide_key,
    positive_seconds,
    running_loop,
    whole_number,
)
from .sinks.callback import CallbackSink

if TYPE_CHECKING:
    from .runtime.shared import SharedLimit

__all__ = ["ImageSession"]


class ImageSession:
    """Asks ASI:One for pictures: one, a list, a stream, or a run into a sink.

    Enter it with `async with`. `api_key`: else ASI_ONE_API_KEY, else ASI1_API_KEY. `base_url`: else
    ASI_ONE_BASE_URL, else ASI1_BASE_URL, else https://api.asi1.ai/v1. `max_concurrency`: requests in flight
    at once. `rate_limit`: "3/min", RateLimit(3, per=60), several of these, None for none until the service
    refuses, or "auto" to find the limit from what it refuses. `retry`: a RetryPolicy, or a number of
    attempts in all. `timeout`: seconds for one attempt, the reply read whole; for each picture that it
    links to, as long again. `max_response_bytes`: the largest reply that is read, unpacked, and the largest
    picture that one links to. `http`: an aiohttp session of yours, used and never closed; the time of an
    attempt begins when the request leaves it. `observer`: called with every event.

    Raises ConfigurationError for a wrong setting; a missing key is told when the session is entered.
    """

    def __init__(
        self,
        api_key: str | SecretStr | None = None,
        *,
        base_url: str | None = None,
        max_concurrency: int = 8,
        rate_limit: str | RateLimit | Iterable[str | RateLimit] | None = "auto",
        retry: RetryPolicy | int = RetryPolicy(),  # noqa: B008 - frozen
        timeout: float = 120.0,
        max_response_bytes: int = 64 * 2**20,
        http: aiohttp.ClientSession | None = None,
        observer: Observer | None = None,
    ) -> None:
        try:
            self._key = hide_key(api_key)
        finally:
            api_key = None  # whoever looks at this frame, where something is wrong, is not to see it
        self._base_url = find_base_url(base_url)
        self._width = whole_number(max_concurrency, "max_concurrency")
        self._limits = parse_rate_limits(rate_limit)
        self._shared = [_shared(limit) for limit in self._limits or () if limit.shared is not None]
        self._policy = parse_retry(retry)
        self._timeout = positive_seconds(timeout, "timeout")
        self._max_response_bytes = whole_number(max_response_bytes, "max_response_bytes")
        self._http = check_http(http)
        self._listener = Listener(check_observer(observer))
        self._usage = Usage()
        self._id = b""
        self._batches: set[Batch] = set()
        self._open: tuple[Gate, Transport] | None = None
        self._loop: asyncio.AbstractEventLoop
        self._leaving: Brake

    def __reduce__(self) -> NoReturn:
        raise TypeError("an ImageSession holds a key and connections: make another, do not copy it")

    @property
    def usage(self) -> Usage:
        """What this session has used so far, live."""
        return self._usage

    async def __aenter__(self) -> Self:
        if self._open is not None:
            raise ConfigurationError("the session is open already", hint="Make another for another block.")
        self._loop = running_loop()
        transport = Transport(
            base_url=self._base_url,
            api_key=find_api_key(self._key),
            timeout=self._timeout,
            max_response_bytes=self._max_response_bytes,
            http=self._http,
        )
        gate = Gate(self._limits, self._width, self._tell, self._shared, self._policy.max_wait)
        self._id = secrets.token_bytes(8)  # of what this gate knows: another one has to be told
        await transport.open()
        self._leaving = Brake()
        self._open = gate, transport
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._open is not None:
            transport, self._open = self._open[1], None
            for batch in self._batches:
                batch.stop(session_left())
            self._leaving.pull()
            await transport.close()

    async def generate(
        self,
        prompt: Prompt,
        *,
        size: str | None = "1024x1024",
        model: str = "asi1-mini",
        **extra: Any,
    ) -> Generation:
        """Ask for one picture and wait for it; `extra` goes into the JSON body, but for `id` and `metadata`.

        Raises ConfigurationError for a request that is none, before anything is sent, and APIError where
        there is no picture.
        """
        check_beside(prompt, size=size, model=model, **extra)
        request = ImageRequest.of(prompt, size=size, model=model, **extra)
        item = Item(request, idempotency_key=secrets.token_hex(16))
        try:
            return await self._exchange().ask(item, self._leaving)
        except Stopped:
            raise session_left() from None

    @overload
    async def gather(
        self, prompts: Prompts, *, return_exceptions: Literal[False] = False
    ) -> list[Generation]: ...

    @overload
    async def gather(
        self, prompts: Prompts, *, return_exceptions: bool
    ) -> list[Generation | AsiImageError]: ...

    async def gather(
        self, prompts: Prompts, *, return_exceptions: bool = False
    ) -> list[Generation] | list[Generation | AsiImageError]:
        """The pictures of all prompts, in their order, as `asyncio.gather` would give them.

        The first error, an APIError or ConfigurationError, is raised and the rest cancelled; with
        `return_exceptions=True` errors stand in their places. A list is checked whole before anything is
        sent.
        """
        check_prompts(prompts)
        batch = Batch(self._exchange(), self._policy, self._usage, ends_at_first=not return_exceptions)
        with self._draining(batch):
            if not isinstance(prompts, Sequence):
                # With errors in their places it has to be known how many places there are.
                prompts = await read_all(prompts, batch.intake) if return_exceptions else Watched(prompts)
            elif not return_exceptions:
                prompts = await to_requests(prompts)
        async with self._outcomes(batch, prompts) as outcomes:
            return await in_places(outcomes, batch, prompts, return_exceptions=return_exceptions)

    @asynccontextmanager
    async def stream(
        self, prompts: Prompts, *, ordered: bool = False
    ) -> AsyncIterator[AsyncIterator[Outcome]]:
        """Outcomes one by one, as completed or in input order; leaving the block ends what is under way.

        Prompts are pulled only as slots come free, and a slot is freed only when its outcome has been
        taken. What would fail for every prompt, such as a refused key (APIError), is raised, after the
        outcomes of what was in flight. Raises ConfigurationError for prompts that are none.
        """
        batch = Batch(self._exchange(), self._policy, self._usage)
        async with self._outcomes(batch, prompts, ordered) as outcomes:
            yield UntilStopped(outcomes, batch)

    async def run(
        self,
        prompts: Prompts,
        sink: Sink | Callable[[Generation], object],
        *,
        journal: str | Path | Journal | None = None,
        fail_fast: bool = False,
        max_images: int | None = None,
        max_cost: float | None = None,
        price_per_image: float | None = None,
    ) -> RunReport:
        """Bring every picture to the sink, and report.

        `sink`: a Sink, or a function (sync or async) that gets each Generation. `journal`: a path; what
        an earlier run with the same journal finished is not asked for again. `fail_fast`: the first
        failure stops the run. `max_images`, or `max_cost` with `price_per_image`: a wall, across all runs
        with the same journal; images are counted before they are asked for, and what may have been billed
        counts. Reaching it stops the run with BudgetExceededError.

        What ends a run early stands in the report's `stopped_by`. Raises ConfigurationError for what is wrong
        here, JournalError and SinkError where they cannot be opened; nothing has been sent then.
        """
        images = budget(max_images, max_cost, price_per_image)
        check_run(sink, fail_fast)
        book = journal if isinstance(journal, Journal) else Journal(journal)
        usage = Usage()

        def tell(event: Event) -> None:
            usage.note(event)
            self._tell(event)

        ledger = Ledger(book, self._opened()[0], self._limits or (), self._id, images)
        batch = Batch(self._exchange(tell, ledger), self._policy, self._usage)
        run = Run(
            batch,
            sink if isinstance(sink, Sink) else CallbackSink(sink),
            book,
            ledger,
            usage=usage,
            fail_fast=fail_fast,
            tell=self._tell,
        )
        with self._draining(batch):
            return await run.finish(check_prompts(prompts), self._width)

    def drain(self) -> None:
        """Ask for nothing more in the streams and runs under way; what is in flight is finished.

        What waits for a turn or a retry is left, for a later run with the same journal, and prompts that are
        waited for are cancelled. A `gather` has AsiImageError for what it did not ask for. A signal's handler
        and another thread may ask for it too.
        """
        if self._open is None:
            return
        if asyncio._get_running_loop() is not self._loop:
            self._loop.call_soon_threadsafe(self.drain)
            return
        for batch in self._batches:
            batch.drain()
        self._loop.call_soon_threadsafe(lambda: None)  # in a signal's handler nothing else may wake it

    def _opened(self) -> tuple[Gate, Transport]:
        if self._open is None:
            raise ConfigurationError(
                "the session is not open", hint="Use it inside `async with ImageSession() as session:`."
            )
        if asyncio.get_running_loop() is not self._loop:
            raise ConfigurationError(
                "the session was opened in another event loop", hint="Make one in each loop, and each thread."
            )
        return self._open

    def _exchange(self, tell: Callable[[Event], None] | None = None, books: Books | None = None) -> Exchange:
        return Exchange(*self._opened(), self._policy, tell or self._tell, books)

    @asynccontextmanager
    async def _outcomes(
        self, batch: Batch, prompts: Prompts, ordered: bool = False
    ) -> AsyncIterator[AsyncIterator[Outcome]]:
        with self._draining(batch):
            async with pump(
                batch.outcome, check_prompts(prompts), width=self._width, ordered=ordered, brake=batch.intake
            ) as outcomes:
                yield outcomes

    @contextmanager
    def _draining(self, batch: Batch) -> Iterator[None]:
        self._batches.add(batch)
        try:
            yield
        finally:
            self._batches.discard(batch)

    def _tell(self, event: Event) -> None:
        self._usage.note(event)
        self._listener(event)


def _shared(limit: RateLimit) -> SharedLimit:
    from .runtime.shared import SharedLimit  # most share none, and need not wait for it

    assert limit.shared is not None
    return SharedLimit(limit.n, limit.per, limit.shared)
