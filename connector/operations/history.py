"""The last minutes in a few numbers, so that whoever is called sees at once when it began."""

from collections import deque
from typing import Final

from connector.operations.status import History as Told

EVERY: Final = 5.0  # seconds between two samples
KEPT: Final = 180  # samples: a quarter of an hour


class History:
    """One sample every few seconds of sums that only grow; what is kept is what happened between two of them."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float | None, float]] = deque(maxlen=KEPT)
        self._before = (0, 0, 0.0)

    def sample(self, delivered: int, calls: int, call_seconds: float, oldest_age_s: float) -> None:
        """Note the sums of now: events delivered, calls ended, seconds they took; and the age of the oldest record."""
        events_before, calls_before, seconds_before = self._before
        ended = calls - calls_before
        self._before = (delivered, calls, call_seconds)
        mean = round((call_seconds - seconds_before) / ended, 4) if ended else None
        self._samples.append((round((delivered - events_before) / EVERY, 1), mean, round(oldest_age_s, 1)))

    def told(self) -> Told:
        """As `/status` tells it."""
        return Told(
            every_s=EVERY,
            delivered_per_s=[events for events, _, _ in self._samples],
            request_s=[seconds for _, seconds, _ in self._samples],
            oldest_unsettled_age_s=[age for _, _, age in self._samples],
        )
