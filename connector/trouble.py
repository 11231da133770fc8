"""What stands in the way now, said once when it begins and once when it ends."""

from collections.abc import Callable


class Troubles:
    """Open troubles by code.

    Invariant: `said` and `cleared` alternate for a code, however often the client repeats itself.
    """

    def __init__(self, said: Callable[[str, str], None], cleared: Callable[[str], None]) -> None:
        """`said(code, reason)` and `cleared(code)` hear of every beginning and every end."""
        self._said = said
        self._cleared = cleared
        self._open: set[str] = set()

    def say(self, code: str, reason: str) -> None:
        """Something stands in the way."""
        if code not in self._open:
            self._open.add(code)
            self._said(code, reason)

    def clear(self, *codes: str) -> None:
        """These no longer do."""
        for code in codes:
            if code in self._open:
                self._open.discard(code)
                self._cleared(code)

    def about(self, place: str) -> tuple[str, ...]:
        """The open codes that name this topic or partition: `CODE place`."""
        return tuple(sorted(code for code in self._open if code.endswith(f" {place}")))

    def __contains__(self, code: str) -> bool:
        return code in self._open


class Connection:
    """Troubles of the connection to the brokers, which end without a word of the client's.

    Invariant: they are over when the statistics show a broker that is up, and none was told since those before.
    """

    def __init__(self, troubles: Troubles) -> None:
        self._troubles = troubles
        self._codes: set[str] = set()
        self._fresh = False
        self._last_word = ""

    def slipped(self, reason: str) -> None:
        """One connection broke. That is no trouble yet, but its reason says more than what may follow."""
        self._last_word = reason

    def broke(self, code: str, reason: str) -> None:
        """Nothing goes on any more, for this reason."""
        self._fresh = True
        self._codes.add(code)
        self._troubles.say(code, self.words(reason))

    def look(self, up: bool) -> None:
        """The statistics show a broker that is up, or none."""
        if up and not self._fresh:
            self._last_word = ""
            self._troubles.clear(*sorted(self._codes))
            self._codes.clear()
        self._fresh = False

    def words(self, reason: str) -> str:
        """The reason, and beside it that of the last broken connection."""
        return f"{reason} ({self._last_word})" if self._last_word else reason
