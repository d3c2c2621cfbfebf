"""Running the service: in a loop, or in a thread of its own."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from aiohttp import web

from .knobs import Knobs
from .ledger import Ledger
from .service import Service

_GRACE = 0.01  # seconds that requests under way get when the emulator closes


class Emulator(Ledger):
    """The service on a loopback port: `async with emulator() as base_url`; can be entered again.

    Its counters are attributes, and stay readable when it has closed.
    """

    def __init__(self, knobs: Knobs, *, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__()
        self.knobs = knobs
        self._host, self._port = host, port
        self._base_url: str | None = None
        self._runner: web.AppRunner | None = None
        self._service: Service | None = None

    @property
    def base_url(self) -> str:
        """Where the service answers, such as http://127.0.0.1:49152/v1."""
        if self._base_url is None:
            raise RuntimeError("the emulator is not running: enter it with `async with` first")
        return self._base_url

    async def __aenter__(self) -> str:
        if self._runner is not None:
            raise RuntimeError("the emulator is running already")
        self._service = Service(self.knobs, self)
        # A client that goes away ends its handler: a stalled one would wait for ever.
        self._runner = web.AppRunner(
            self._service.application(),
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=_GRACE,
        )
        try:
            await self._service.open()
            await self._runner.setup()
            await web.TCPSite(self._runner, self._host, self._port, backlog=1024).start()
        except BaseException:
            await self._close()
            raise
        host, port = self._runner.addresses[0][:2]
        self._base_url = f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"
        return self._base_url

    async def __aexit__(self, *exc_info: object) -> None:
        await self._close()

    async def _close(self) -> None:
        runner, service = self._runner, self._service
        self._runner = self._service = self._base_url = None
        if runner is not None:
            await runner.cleanup()
        if service is not None:
            await service.close()


@contextmanager
def in_thread(service: Emulator) -> Iterator[Emulator]:
    """Run the emulator in a thread with a loop of its own, for code that has none or another."""
    ready: Future[Callable[[], object]] = Future()
    thread = threading.Thread(
        target=asyncio.run, args=(_live(service, ready),), name="asi-emulator", daemon=True
    )
    thread.start()
    stop = ready.result()
    try:
        yield service
    finally:
        stop()
        thread.join()


async def _live(service: Emulator, ready: "Future[Callable[[], object]]") -> None:
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    try:
        async with service:
            ready.set_result(lambda: loop.call_soon_threadsafe(over.set))
            await over.wait()
    except BaseException as error:
        if ready.done():
            raise
        ready.set_exception(error)
