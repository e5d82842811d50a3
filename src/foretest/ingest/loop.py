"""An event loop in a thread of its own: how threads use a library that is asynchronous alone."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent import futures
from contextlib import suppress
from typing import Any, TypeVar

_LOOK = 0.05
"""Seconds between two looks whether an answer can still come."""
_END = 5.0
T = TypeVar("T")


class Loop:
    """An event loop in a thread of its own, for a library that knows no other way."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(
        self, work: Coroutine[Any, Any, T], timeout: float, lost: Callable[[], bool] = lambda: False
    ) -> T:
        """What it gives. Raises what it raises, TimeoutError, ConnectionError once `lost`."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        ends = time.monotonic() + timeout
        try:
            while not futures.wait((future,), min(_LOOK, ends - time.monotonic())).done:
                if lost():
                    raise ConnectionError("the connection was lost")
                if time.monotonic() >= ends:
                    raise TimeoutError
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End what the library still does, then the loop itself."""
        with suppress(TimeoutError):
            self.run(_ended(), _END)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_END)
        if not self._thread.is_alive():
            self._loop.close()


async def _ended() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
