"""Asking a scheduler what it has, at its own pace, beside the loop: a controller that hangs holds up nothing."""

from __future__ import annotations

import logging
import random
import threading
from dataclasses import replace

from .adapters.scheduler import Listing, Scheduler

_log = logging.getLogger(__name__)


class Poller:
    """Keeps the newest listing of one scheduler.

    It asks no more often than every ``at_least`` seconds, whatever the scheduler's own interval is.
    """

    def __init__(self, kind: str, scheduler: Scheduler, at_least: float = 0.0) -> None:
        self.scheduler = scheduler
        self._kind = kind
        self._at_least = at_least
        self._stop = threading.Event()
        self._listing: Listing | None = None
        self._thread: threading.Thread | None = None
        self._misses_someone = False

    def latest(self, *, misses_someone: bool = False) -> Listing | None:
        """Return the newest listing, None before the first; sees to it that somebody asks.

        From now on an empty answer is looked at twice if the submitter ``misses_someone``.
        """
        self._misses_someone = misses_someone
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._ask, name=f"poller {self._kind}", daemon=True)
            self._thread.start()
        return self._listing

    def stop(self) -> None:
        """Ask no more."""
        self._stop.set()

    def _ask(self) -> None:
        number = self._listing.number if self._listing else 0
        good = True
        while not self._stop.is_set():
            number += 1
            listing = replace(self.scheduler.list(), number=number)
            if self._misses_someone and listing.good and not listing.informs:
                listing = replace(listing, sure_of_none=self.scheduler.has_none())
            if listing.good is not good:
                good = listing.good
                _log.log(
                    logging.INFO if good else logging.WARNING,
                    "scheduler %s %s",
                    self._kind,
                    "answers again" if good else "gives no answer; nothing is concluded from that",
                )
            self._listing = listing
            # Jitter, so that many submitters of one site do not ask in step.
            jitter = random.uniform(0.9, 1.1)  # noqa: S311
            self._stop.wait(max(self._at_least, self.scheduler.poll_interval * jitter))
