"""How far a long load is: rows, rate and time left, told now and then."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

EVERY_S = 10.0
Clock = Callable[[], float]


class Progress:
    """Counts the rows of one phase of a load (`read`, `store`) and tells of them; a phase that is short is silent.

    `total` is how many rows are expected, None where nobody knows.
    """

    def __init__(self, dataset: str, phase: str, total: int | None = None, clock: Clock = time.monotonic) -> None:
        self.dataset, self.phase, self.total = dataset, phase, total
        self.rows = 0
        self._clock = clock
        self._began = self._told = clock()

    def add(self, rows: int) -> None:
        """Count rows; every :data:`EVERY_S` seconds a line goes to the log."""
        self.rows += rows
        now = self._clock()
        if now - self._told < EVERY_S:
            return
        self._told = now
        rate = self.rows / (now - self._began)
        told = {"dataset": self.dataset, "phase": self.phase, "rows": self.rows, "rows_per_s": round(rate)}
        if self.total is not None:
            # An estimate may be too low: then nobody knows what is left.
            left = self.total - self.rows
            told |= {"rows_expected": self.total} | ({"left_s": round(left / rate)} if left >= 0 and rate else {})
        log.info("loading", extra=told)
