"""The loop of the command ends by the error that ended it, whenever Ctrl-C comes."""

from __future__ import annotations

import asyncio
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
