"""Finds the connections that are dead without having said so: half-open sockets, machines that went to sleep."""

import trio

from mudserver.config import Limits
from mudserver.realtime.connection import UNANSWERED
from mudserver.realtime.session import Sessions

CONNECTIONS_AT_ONCE = 200
"""Looked at in one step, half a millisecond: ten thousand would be a pause that players feel."""


async def run_keepalive(sessions: Sessions, limits: Limits) -> None:
    """Pings whoever has been silent for `ping_after_seconds`, and ends whoever then stays silent for
    `pong_seconds_max`. Any byte counts as an answer, and nobody is asked while we read nothing of theirs. One task for
    all, looking round each second; until cancelled.
    """
    while True:
        await trio.sleep(1)
        now = trio.current_time()
        for number, connection in enumerate([visit.connection for visit in sessions.open]):
            if number % CONNECTIONS_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
            if connection.pinged_at is not None and connection.last_heard >= connection.pinged_at:
                connection.pinged_at = None
            if connection.pinged_at is None:
                if connection.is_listening and now - connection.last_heard >= limits.ping_after_seconds:
                    connection.pinged_at = now
                    connection.ping()
            elif now - connection.pinged_at >= limits.pong_seconds_max:
                connection.end(UNANSWERED)
