"""Somebody else on the bus: nats-py in a thread of its own, which knows nothing of mudserver."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import nats
from nats.aio.msg import Msg

SECONDS_MAX = 8.0


class Heard(NamedTuple):
    """A message as it came by the subscription."""

    subject: str
    payload: bytes
    at: float

    @property
    def content(self) -> Any:
        return json.loads(self.payload)


class Outsider:
    """Hears everything on `mud.>` and can publish there. Comes back by itself when the broker does."""

    def __init__(self, url: str, subject: str) -> None:
        self._url = url
        self._subject = subject
        self._changed = threading.Condition()
        self._heard: list[Heard] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._client: Any = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="outsider")

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._client = await nats.connect(
            self._url,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.05,
            connect_timeout=1,
            error_cb=self._ignore,
            pending_size=0,
        )
        await self._client.subscribe(self._subject, cb=self._on_message)
        await self._client.flush()
        self._ready.set()
        await self._stop.wait()
        await self._client.close()

    async def _ignore(self, _error: Exception) -> None:
        """The broker is killed in some tests; that is not this client's story."""

    async def _on_message(self, message: Msg) -> None:
        with self._changed:
            self._heard.append(Heard(message.subject, message.data, time.monotonic()))
            self._changed.notify_all()

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(SECONDS_MAX), "the outsider could not connect to the broker"

    def stop(self) -> None:
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(SECONDS_MAX)
        assert not self._thread.is_alive()

    def mark(self) -> int:
        """How many messages have come so far; `hear` looks at later ones only, if told so."""
        return len(self._heard)

    def heard(self, since: int = 0) -> list[Heard]:
        with self._changed:
            return self._heard[since:]

    def hear(self, wanted: Callable[[Heard], bool], since: int = 0) -> Heard:
        """Waits for a message that fits. Blocks: from Trio, call it in a thread."""
        with self._changed:
            came = self._changed.wait_for(lambda: any(map(wanted, self._heard[since:])), SECONDS_MAX)
            assert came, f"the outsider never heard that, but {self._heard[since:][-10:]}"
            return next(filter(wanted, self._heard[since:]))

    def hear_event(self, event_type: str, since: int = 0, **data: Any) -> Heard:
        """Waits for an event of that type whose data agree. Blocks."""

        def fits(heard: Heard) -> bool:
            if not heard.subject.endswith(f".{event_type}"):
                return False
            found = heard.content["data"]
            return all(found.get(key) == data[key] for key in data)

        return self.hear(fits, since)

    def publish(self, subject: str, payload: bytes) -> None:
        """Publishes and waits until the broker has it. Blocks."""

        async def publish_and_flush() -> None:
            await self._client.publish(subject, payload)
            await self._client.flush()

        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(publish_and_flush(), self._loop).result(SECONDS_MAX)


@contextmanager
def listening_outsider(url: str, subject: str = "mud.>") -> Iterator[Outsider]:
    outsider = Outsider(url, subject)
    try:
        outsider.start()
        yield outsider
    finally:
        outsider.stop()
