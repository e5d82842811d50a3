"""What a person sees while waiting: one progress bar on a terminal, one line a stage in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from tqdm import tqdm


class Screen:
    """Progress of long work: `screen(stage, done, total)` may be called as often as one likes.

    On a terminal it draws a bar; in a pipe or a CI log it writes a line when a stage begins, at
    most one every ten seconds, and one when the stage ends.
    """

    def __init__(self, live: bool | None = None) -> None:
        self.live = sys.stderr.isatty() if live is None else live
        self._bar: tqdm[Any] | None = None
        self._stage = ""
        self._said = 0.0
        self._last: tuple[int, int] = (0, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        if stage != self._stage:
            self.close()
            self._stage = stage
            self._said = 0.0
        self._last = (done, total)
        if self.live:
            self._draw(stage, done, total, note)
        elif done >= total > 0:
            self.close()
        elif time.monotonic() - self._said > 10:
            self._said = time.monotonic()
            self._line(note)

    def close(self) -> None:
        """End the stage under way, if any."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        elif self._stage:
            self._line("done" if self._last[0] >= self._last[1] else "ended")
        self._stage = ""

    def _line(self, note: str) -> None:
        done, total = self._last
        count = f" {done}/{total}" if total else ""
        print(f"{self._stage}{count}{' ' + note if note else ''}", file=sys.stderr, flush=True)  # noqa: T201

    def _draw(self, stage: str, done: int, total: int, note: str) -> None:
        from tqdm import tqdm

        if self._bar is None:
            form = "{desc:<28} {percentage:3.0f}%|{bar:30}| {n_fmt}/{total_fmt} {elapsed}{postfix}"
            bar: tqdm[Any] = tqdm(total=total or 1, desc=stage, bar_format=form, file=sys.stderr)
            self._bar = bar
        self._bar.total = total or 1
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(done - self._bar.n)
