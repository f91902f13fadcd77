"""Players for tests: real WebSocket clients (trio-websocket) on memory streams, and a node for them to play on."""

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

import trio
import trio_websocket
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from mudserver.broker.memory import MemoryBroker, MemoryHub
from mudserver.config import Config, Limits
from mudserver.game.world import Map
from mudserver.server import Node
from mudserver.transport.listener import guard_connection
from mudserver.transport.stream import WrappedPlayerStream
from mudserver.wire.dialects import JSON_SUBPROTOCOL
from tests.worlds import small_map

START_SECOND = 1_795_421_460
"""The wall clock when the mocked clock shows 0: 2026-11-23T08:11:00Z."""

PATIENCE_SECONDS = 1.0
"""How long `hears` waits. On the mocked clock nothing but the game's own waits takes any time."""

StreamPair = Callable[[], tuple[trio.abc.Stream, trio.abc.Stream]]


class Client:
    """One WebSocket client. A task reads all the time; `messages` holds everything that ever came in, in order."""

    def __init__(self, websocket: trio_websocket.WebSocketConnection, stream: trio.abc.Stream) -> None:
        self.websocket = websocket
        self.stream = stream
        self.messages: list[str] = []
        self.close_code: int | None = None
        self.close_reason: str | None = None
        self._looked_at = 0
        self._news = trio.Event()
        self._reads = trio.Event()
        self._reads.set()

    async def run_reader(self) -> None:
        try:
            while True:
                await self._reads.wait()
                message = await self.websocket.get_message()
                assert isinstance(message, str), "the server sends TEXT frames only"
                self.messages.append(message)
                self._tell_news()
        except trio_websocket.ConnectionClosed as closed:
            self.close_code = closed.reason.code if closed.reason else 1006
            self.close_reason = closed.reason.reason if closed.reason else None
            self._tell_news()

    def _tell_news(self) -> None:
        self._news.set()
        self._news = trio.Event()

    def stall(self) -> None:
        """Reads no more, until `go_on`."""
        self._reads = trio.Event()

    def go_on(self) -> None:
        self._reads.set()

    async def send(self, message: str | bytes) -> None:
        await self.websocket.send_message(message)

    def new(self) -> list[str]:
        """What came in since the last look, whole messages in order."""
        new = self.messages[self._looked_at :]
        self._looked_at = len(self.messages)
        return new

    async def hears_message(self, wanted: Callable[[str], bool], what: str) -> str:
        """Waits for a message not looked at yet; it and all before it count as looked at. Returns it."""
        passed: list[str] = []
        with trio.move_on_after(PATIENCE_SECONDS):
            while True:
                while self._looked_at < len(self.messages):
                    message = self.messages[self._looked_at]
                    self._looked_at += 1
                    if wanted(message):
                        return message
                    passed.append(message)
                if self.close_code is not None:
                    break
                await self._news.wait()
        raise AssertionError(f"never heard {what}, but {passed}; closed: {self.close_code}")

    async def is_closed(self, code: int) -> None:
        """Waits for the end of the connection, and checks the code."""
        with trio.fail_after(PATIENCE_SECONDS):
            while self.close_code is None:
                await self._news.wait()
        assert self.close_code == code

    async def die(self) -> None:
        """The line goes dead: no close frame, no goodbye."""
        await trio.aclose_forcefully(self.stream)


QUIET_SECONDS = 1e-4
"""Longer than anything takes that needs no time to pass. A pile of lines does need some: see `Turnstile`."""

C = TypeVar("C", bound=Client)


class TextPlayer(Client):
    """Somebody with a plain client. A message is one frame: often several lines."""

    async def hears(self, words: str) -> str:
        """Waits for a message that holds these words, whatever else comes first, and returns it."""
        return await self.hears_message(lambda message: words in message, repr(words))


class JsonPlayer(Client):
    """Somebody whose client speaks `v1.json.mudserver`."""

    async def command(self, command: str, *args: str) -> None:
        await self.send_json("command", {"command": command, "args": list(args)})

    async def send_json(self, frame_type: str, data: dict[str, Any] | None = None) -> None:
        await self.send(json.dumps({"type": frame_type} | ({} if data is None else {"data": data})))

    async def hears(self, event_type: str, **data: Any) -> dict[str, Any]:
        """Waits for an envelope of this type whose data has these values, and returns it."""

        def wanted(message: str) -> bool:
            envelope = json.loads(message)
            return bool(envelope["event_type"] == event_type and data.items() <= envelope["data"].items())

        return cast(dict[str, Any], json.loads(await self.hears_message(wanted, f"{event_type} {data}")))

    def envelopes(self) -> list[dict[str, Any]]:
        """Everything that ever came in."""
        return [json.loads(message) for message in self.messages]

    def new_envelopes(self) -> list[dict[str, Any]]:
        """What came in since the last look."""
        return [json.loads(message) for message in self.new()]

    def new_types(self) -> list[str]:
        """The event types of what came in since the last look."""
        return [envelope["event_type"] for envelope in self.new_envelopes()]


class Play:
    """A running node, and the way onto it."""

    def __init__(self, node: Node, hub: MemoryHub, broker: MemoryBroker, nursery: trio.Nursery) -> None:
        self.node = node
        self.hub = hub
        self.broker = broker
        self.nursery = nursery
        self._turns: defaultdict[str, trio.Event] = defaultdict(trio.Event)

    async def take_turn(self, name: str, earlier: Iterable[str], come: Callable[[], Awaitable[C]]) -> C:
        """Lets people come in one order, always: pytest-trio sets up fixtures side by side."""
        for each in earlier:
            await self._turns[each].wait()
        player = await come()
        self._turns[name].set()
        return player

    async def settle(self) -> None:
        """Until everybody waits: all that follows from what was done has happened. Takes no time on a mocked clock."""
        await wait_all_tasks_blocked(QUIET_SECONDS)

    async def connect_text(self, resource: str = "/", pair: StreamPair = memory_stream_pair) -> TextPlayer:
        """A text client that has not signed in; has heard nothing yet."""
        return await self._connect(TextPlayer, resource, None, pair)

    async def connect_json(self, resource: str = "/", pair: StreamPair = memory_stream_pair) -> JsonPlayer:
        """A JSON client that has not signed in; has heard nothing yet."""
        subprotocols = [JSON_SUBPROTOCOL] if "dialect" not in resource else None
        return await self._connect(JsonPlayer, resource, subprotocols, pair)

    async def text_player(self, name: str, pair: StreamPair = memory_stream_pair) -> TextPlayer:
        """A text client in the starting room."""
        player = await self.connect_text(pair=pair)
        await player.send(name)
        await player.hears(f"You are {name}.")
        await self.settle()
        player.new()
        return player

    async def json_player(self, name: str, pair: StreamPair = memory_stream_pair) -> JsonPlayer:
        """A JSON client in the starting room."""
        player = await self.connect_json(pair=pair)
        await player.send_json("login", {"name": name})
        await player.hears("game_state")
        await self.settle()
        player.new()
        return player

    def attach(self, server_side: trio.abc.Stream) -> None:
        """Gives the node a stranger's stream, as the listener does."""
        stream = WrappedPlayerStream(server_side)
        self.nursery.start_soon(guard_connection, self.node.sessions.run_session, stream, "memory")

    async def _connect(self, kind: type[C], resource: str, protocols: list[str] | None, pair: StreamPair) -> C:
        client_side, server_side = pair()
        self.attach(server_side)
        websocket = await trio_websocket.wrap_client_stream(
            self.nursery, cast(Any, client_side), "mud.test", resource, subprotocols=protocols
        )
        client = kind(websocket, client_side)
        self.nursery.start_soon(client.run_reader)
        return client


@asynccontextmanager
async def open_play(
    *, hub: MemoryHub | None = None, map_: Map | None = None, node_name: str = "n1", limits: Limits | None = None
) -> AsyncIterator[Play]:
    """A running node on a hub of its own or a given one, in the small world or a given one."""
    hub = hub or MemoryHub()
    broker = hub.connect()
    config = Config(limits=limits or Limits())
    node = Node(config, map_ or small_map(), broker, node_name, now=lambda: START_SECOND + trio.current_time())
    async with trio.open_nursery() as server:
        await server.start(node.run)
        # Connections end before the node they are on, as in mudserver.server.serve.
        async with trio.open_nursery() as connections:
            try:
                yield Play(node, hub, broker, connections)
            finally:
                connections.cancel_scope.cancel()
        server.cancel_scope.cancel()
