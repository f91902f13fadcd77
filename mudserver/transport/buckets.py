"""Rates with a burst, counted in tokens: so many a second, and so many saved up."""


class TokenBucket:
    """Starts full with `burst` tokens and gains `per_second` until full again. Times are seconds of any one clock."""

    __slots__ = ("_burst", "_per_second", "_tokens", "_when")

    def __init__(self, per_second: float, burst: float, now: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._tokens = burst
        self._when = now

    def take(self, now: float, tokens: float = 1) -> bool:
        """Takes the tokens if they are there; else takes none and says no."""
        if now > self._when:  # what is counted late may have happened before the last time
            self._tokens = min(self._burst, self._tokens + (now - self._when) * self._per_second)
            self._when = now
        if self._tokens < tokens:
            return False
        self._tokens -= tokens
        return True

    def is_full(self, now: float) -> bool:
        """Whether nothing was taken lately."""
        return self._tokens + (now - self._when) * self._per_second >= self._burst
