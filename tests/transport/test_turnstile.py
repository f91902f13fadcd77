"""Strangers take turns, and not before the server has nothing else to do."""

import trio
from trio.testing import MockClock

from mudserver.transport.turnstile import HURRIED_SECONDS, TURN_SECONDS_MAX, Turnstile


async def work(passes: int, done: list[str]) -> None:
    for _ in range(passes):
        await trio.lowlevel.checkpoint()
    done.append("work")


async def stranger(turnstile: Turnstile, name: str, done: list[str]) -> None:
    await turnstile.wait_turn()
    done.append(name)


async def test_turns_come_after_the_work_that_is_there_one_at_a_time_and_in_order() -> None:
    """Seen to fail without the wait for a moment of rest."""
    turnstile, done = Turnstile(), list[str]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work, 20, done)
        for name in ("one", "two", "three"):
            nursery.start_soon(stranger, turnstile, name, done)
            await trio.lowlevel.checkpoint()  # they come one after the other
    assert done == ["work", "one", "two", "three"]


async def test_work_without_end_puts_a_turn_off_for_a_little_while_only() -> None:
    """Seen to fail without the deadline: it never returns."""
    turnstile, done = Turnstile(), list[str]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work, 1_000_000_000, done)
        with trio.fail_after(100 * TURN_SECONDS_MAX):
            await turnstile.wait_turn()
        nursery.cancel_scope.cancel()


async def test_whoever_gives_up_waiting_holds_up_nobody() -> None:
    turnstile, done = Turnstile(), list[str]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work, 1_000_000_000, done)
        with trio.move_on_after(TURN_SECONDS_MAX / 4):
            await turnstile.wait_turn()
        await turnstile.wait_turn()
        nursery.cancel_scope.cancel()


async def test_those_in_a_hurry_pass_slowly_one_by_one_and_hold_up_nobody_else(autojump_clock: MockClock) -> None:
    """Seen to fail without the pause, and with one queue for all."""
    turnstile, passed = Turnstile(), list[tuple[str, float]]()
    began = trio.current_time()

    async def hurry(name: str) -> None:
        await turnstile.wait_turn_of_hurried()
        passed.append((name, trio.current_time() - began))

    async with trio.open_nursery() as nursery:
        for name in ("one", "two", "three"):
            nursery.start_soon(hurry, name)
            await trio.lowlevel.checkpoint()
        await trio.sleep(HURRIED_SECONDS / 2)
        await turnstile.wait_turn()
        passed.append(("a stranger", trio.current_time() - began))
    assert [name for name, _ in passed] == ["one", "a stranger", "two", "three"]
    times = dict(passed)
    assert times["one"] == 0
    assert times["a stranger"] < HURRIED_SECONDS
    assert times["two"] >= HURRIED_SECONDS
    assert times["three"] >= 2 * HURRIED_SECONDS
