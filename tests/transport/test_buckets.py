"""Token buckets: so many at once, so many a second for long, and never more than the burst."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mudserver.transport.buckets import TokenBucket


def test_a_full_bucket_gives_its_burst_and_not_one_more() -> None:
    bucket = TokenBucket(10.0, 20, now=0.0)
    assert [bucket.take(0.0) for _ in range(21)] == [True] * 20 + [False]


def test_a_token_comes_back_after_its_time_and_not_before() -> None:
    bucket = TokenBucket(4.0, 1, now=0.0)
    assert bucket.take(0.0)
    assert not bucket.take(0.125)
    assert bucket.take(0.25)


def test_nobody_saves_up_more_than_the_burst() -> None:
    bucket = TokenBucket(10.0, 3, now=0.0)
    assert [bucket.take(1000.0) for _ in range(4)] == [True, True, True, False]


def test_what_is_refused_costs_no_token() -> None:
    bucket = TokenBucket(1.0, 5, now=0.0)
    assert not bucket.take(0.0, tokens=6)
    assert bucket.take(0.0, tokens=5)


def test_tokens_are_taken_many_at_once() -> None:
    bucket = TokenBucket(100.0, 1000, now=0.0)
    assert bucket.take(0.0, tokens=1000)
    assert not bucket.take(1.0, tokens=101)
    assert bucket.take(1.0, tokens=100)


@pytest.mark.parametrize(("now", "is_full"), [(0.0, False), (0.75, False), (1.0, True), (99.0, True)])
def test_a_bucket_is_full_when_nothing_was_taken_lately(now: float, is_full: bool) -> None:
    bucket = TokenBucket(2.0, 4, now=0.0)
    bucket.take(0.0, tokens=2)
    assert bucket.is_full(now) is is_full


@given(pauses=st.lists(st.integers(0, 16).map(lambda n: n / 8), max_size=60), burst=st.integers(1, 5))
def test_over_any_stretch_no_more_is_given_than_burst_and_rate_allow(pauses: list[float], burst: int) -> None:
    bucket = TokenBucket(2.0, burst, now=0.0)
    now, given_at = 0.0, []
    for pause in pauses:
        now += pause
        if bucket.take(now):
            given_at.append(now)
    for first, since in enumerate(given_at):
        for count, until in enumerate(given_at[first:], start=1):
            assert count <= burst + 2.0 * (until - since)


def test_what_is_counted_late_takes_nothing_but_its_tokens() -> None:
    """Seen to fail with time that runs backwards in `take`: each second of it took ten tokens."""
    bucket = TokenBucket(10.0, 20, now=100.0)
    assert [bucket.take(98.0) for _ in range(21)] == [True] * 20 + [False]
