"""One kind of exchange with the platform: is it failing, and when to try again."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ._protocol import ExchangeError

logger = logging.getLogger(__name__)

_BACKOFF_CAP_S = 300.0
_BACKOFF_CAP_INTERVALS = 10
_RETRY_AFTER_CAP_S = 300.0


class Channel:
    """Counts failures in a row, and logs when they begin and when they end.

    While all is well the next try is one interval away, give or take a tenth. Failures in a row
    double the delay up to ten intervals or 300 seconds, whichever is less, but never below one
    interval; a rejection goes there at once. Retry-After is obeyed up to 300 seconds.
    """

    def __init__(self, name: str, *, interval_s: float, chance: Callable[[], float]) -> None:
        self._name = name
        self._interval_s = interval_s
        self._chance = chance
        self._failures = 0

    @property
    def is_failing(self) -> bool:
        """Whether the last exchange failed."""
        return self._failures > 0

    def succeeded(self) -> float:
        """Note a success; returns the seconds until the next exchange."""
        if self._failures:
            logger.info(
                "platform: the %s works again after %d failures", self._name, self._failures
            )
        self._failures = 0
        return self._interval_s * (0.9 + 0.2 * self._chance())

    def failed(self, fault: ExchangeError) -> float:
        """Note a failure; returns the seconds until the next try."""
        self._failures += 1
        if self._failures == 1:
            logger.warning(
                "platform: the %s fails: %s; the app is served all the same, and it is tried again",
                self._name,
                fault,
            )
        else:
            logger.debug(
                "platform: the %s fails, %d in a row: %s", self._name, self._failures, fault
            )
        delay = self._backoff_cap_s if fault.is_rejection else self._doubled()
        delay *= 0.75 + 0.25 * self._chance()
        if fault.retry_after_s is not None:
            longest = max(_RETRY_AFTER_CAP_S, self._backoff_cap_s)
            delay = max(delay, min(fault.retry_after_s, longest))
        return delay

    @property
    def _backoff_cap_s(self) -> float:
        cap = min(_BACKOFF_CAP_S, self._interval_s * _BACKOFF_CAP_INTERVALS)
        return max(cap, self._interval_s)

    def _doubled(self) -> float:
        doublings = min(self._failures - 1, _BACKOFF_CAP_INTERVALS)
        return min(self._backoff_cap_s, self._interval_s * 2.0**doublings)
