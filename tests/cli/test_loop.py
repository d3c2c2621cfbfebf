"""The loop of the command ends by the error that ended it, whenever Ctrl-C comes."""

from __future__ import annotations

import asyncio
import signal
import threading

import pytest

from asi_image_async.cli import loop


async def done() -> None:
    pass


def test_ctrl_c_in_the_last_lines_of_the_loop_is_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    class BrokenOff(asyncio.SelectorEventLoop):
        def run_forever(self) -> None:
            super().run_forever()
            self._thread_id = threading.get_ident()  # the next line would forget it
            raise KeyboardInterrupt

    broken_off = BrokenOff()
    monkeypatch.setattr(loop, "_loop_factory", lambda: lambda: broken_off)
    with pytest.raises(KeyboardInterrupt):
        loop.run_loop(done())
    broken_off._thread_id = None
    broken_off.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_is_closed_comes_after_that(number: signal.Signals) -> None:
    closed = []

    class Closing(asyncio.SelectorEventLoop):
        def close(self) -> None:
            if not self.is_closed():
                signal.raise_signal(number)
            super().close()
            closed.append(self)

    def end(number: int, _: object) -> None:
        assert closed
        raise SystemExit(128 + number)

    before = signal.signal(number, end)
    try:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr(loop, "_loop_factory", lambda: Closing)
            loop.run_loop(done())
        assert ended.value.code == 128 + number
        assert signal.getsignal(number) is end
    finally:
        signal.signal(number, before)
