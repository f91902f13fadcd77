"""Players as tests drive them, over real WebSockets: what they send, and what they wait to see."""

import json
import socket
import struct
from collections import deque
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

JSON_SUBPROTOCOL = "v1.json.mudserver"

SECONDS_MAX = 8.0
"""How long a player waits to see something that should be there in milliseconds."""

Envelope = dict[str, Any]


class Player:
    """A connection with a server. The subclasses know what the frames mean."""

    def __init__(self, stream: trio.SocketStream, websocket: WebSocketConnection, name: str) -> None:
        self.name = name
        self.websocket = websocket
        self.is_gone = False
        self.is_in_game = False
        self._stream = stream

    async def send_frame(self, message: str | bytes) -> None:
        with trio.fail_after(SECONDS_MAX):
            await self.websocket.send_message(message)

    async def next_frame(self) -> str:
        """The next frame. Raises ConnectionClosed, and trio.TooSlowError after SECONDS_MAX."""
        with trio.fail_after(SECONDS_MAX):
            try:
                message = await self.websocket.get_message()
            except ConnectionClosed:
                self.is_gone = True
                raise
        assert isinstance(message, str), f"{self.name} got a BINARY frame"
        return message

    async def read_to_close(self) -> tuple[int, str]:
        """Reads until the server closes; returns the code and the reason it gave."""
        while True:
            try:
                await self.next_frame()
            except ConnectionClosed as closed:
                return _code_and_reason(closed)

    async def quit(self) -> None:
        raise NotImplementedError

    async def reset(self) -> None:
        """The line dies: RST, as when a machine is switched off."""
        self.is_gone = True
        self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await trio.aclose_forcefully(self._stream)

    async def drop(self) -> None:
        """The line ends: FIN and no WebSocket goodbye, as when a program crashes."""
        self.is_gone = True
        await trio.aclose_forcefully(self._stream)


class TextPlayer(Player):
    """Reads lines."""

    def __init__(self, stream: trio.SocketStream, websocket: WebSocketConnection, name: str) -> None:
        super().__init__(stream, websocket, name)
        self._waiting: deque[str] = deque()

    async def type(self, *lines: str) -> None:
        """Sends lines, in one frame."""
        await self.send_frame("\n".join(lines))

    async def next_line(self) -> str:
        while not self._waiting:
            frame = await self.next_frame()
            assert frame.endswith("\r\n"), f"{self.name} got a broken line: {frame!r}"
            self._waiting.extend(frame.removesuffix("\r\n").split("\r\n"))
            self.is_in_game = self.is_in_game or frame.startswith("You are ")
        return self._waiting.popleft()

    def forget_rest_of_frame(self) -> None:
        self._waiting.clear()

    async def see(self, text: str) -> list[str]:
        """Reads on until a line holds `text`. Returns the lines read, that one last."""
        seen: list[str] = []
        try:
            while not seen or text not in seen[-1]:
                seen.append(await self.next_line())
        except (trio.TooSlowError, ConnectionClosed) as error:
            pytest.fail(f"{self.name} never saw {text!r} but {type(error).__name__} after {seen[-20:]}")
        return seen

    async def quit(self) -> None:
        await self.type("quit")
        assert (await self.read_to_close())[0] == 1000


class JsonPlayer(Player):
    """Reads envelopes; `received` holds all so far."""

    def __init__(self, stream: trio.SocketStream, websocket: WebSocketConnection, name: str) -> None:
        super().__init__(stream, websocket, name)
        self.received: list[Envelope] = []

    async def send(self, frame_type: str, data: Any) -> None:
        await self.send_frame(json.dumps({"type": frame_type, "data": data}))

    async def command(self, command: str, *args: str) -> None:
        await self.send("command", {"command": command, "args": list(args)})

    async def next_envelope(self) -> Envelope:
        await self.next_frame()
        return self.received[-1]

    async def hear(self, event_type: str, **data: Any) -> list[Envelope]:
        """Reads on until an event of that type comes whose data agree. Returns the envelopes read, that one last."""
        heard: list[Envelope] = []
        try:
            while not heard or not _agrees(heard[-1], event_type, data):
                heard.append(await self.next_envelope())
        except (trio.TooSlowError, ConnectionClosed) as error:
            pytest.fail(f"{self.name} never heard {event_type} {data} but {type(error).__name__} after {heard[-20:]}")
        return heard

    async def quit(self) -> None:
        await self.command("quit")
        assert (await self.read_to_close())[0] == 1000

    async def next_frame(self) -> str:
        frame = await super().next_frame()
        envelope: Envelope = json.loads(frame)
        self.received.append(envelope)
        self.is_in_game = self.is_in_game or envelope["event_type"] == "game_state"
        return frame


def _code_and_reason(closed: ConnectionClosed) -> tuple[int, str]:
    assert closed.reason is not None
    return closed.reason.code, closed.reason.reason or ""


def _agrees(envelope: Envelope, event_type: str, data: dict[str, Any]) -> bool:
    return envelope["event_type"] == event_type and all(envelope["data"].get(key) == data[key] for key in data)


def without_ticks(envelopes: list[Envelope]) -> list[Envelope]:
    """The envelopes but for the game's pulse, which comes when it comes."""
    return [envelope for envelope in envelopes if envelope["event_type"] != "game_tick"]


def types_of(envelopes: list[Envelope]) -> list[str]:
    """The event types but for the game's pulse."""
    return [envelope["event_type"] for envelope in without_ticks(envelopes)]


class Door:
    """Lets players into a server, and sees them off at the end of a test so that the next one finds empty rooms."""

    def __init__(self, port: int, nursery: trio.Nursery) -> None:
        self._port = port
        self._nursery = nursery
        self._players: list[Player] = []
        self._streams: list[trio.SocketStream] = []

    async def connect_text(self, name: str = "somebody", resource: str = "/") -> TextPlayer:
        """A text client that has been greeted and has not signed in."""
        player = TextPlayer(*await self._connect(resource, ()), name)
        self._players.append(player)
        await player.see("By what name")
        return player

    async def connect_json(self, name: str = "somebody", *, by_query: bool = False) -> JsonPlayer:
        """A JSON client that has been greeted and has not signed in."""
        resource, subprotocols = ("/?dialect=json", ()) if by_query else ("/", (JSON_SUBPROTOCOL,))
        player = JsonPlayer(*await self._connect(resource, subprotocols), name)
        self._players.append(player)
        await player.hear("welcome")
        return player

    async def text(self, name: str) -> TextPlayer:
        """A text player standing in the starting room."""
        player = await self.connect_text(name)
        await player.type(name)
        await player.see("Exits: ")
        player.forget_rest_of_frame()  # who else is here
        return player

    async def json(self, name: str) -> JsonPlayer:
        """A JSON player standing in the starting room."""
        player = await self.connect_json(name)
        await player.send("login", {"name": name})
        await player.hear("room_occupants")
        return player

    async def _connect(
        self, resource: str, subprotocols: tuple[str, ...]
    ) -> tuple[trio.SocketStream, WebSocketConnection]:
        with trio.fail_after(SECONDS_MAX):
            stream = await trio.open_tcp_stream("127.0.0.1", self._port)
            self._streams.append(stream)
            websocket = await wrap_client_stream(
                self._nursery, stream, "127.0.0.1", resource, subprotocols=subprotocols
            )
        return stream, websocket

    async def see_everybody_off(self) -> None:
        """All who are still here quit; their numbers must have been in order to the last."""
        for player in self._players:
            if isinstance(player, JsonPlayer):
                numbers = [envelope["sequence_number"] for envelope in player.received]
                assert numbers == sorted(set(numbers)), f"{player.name} got numbers that do not strictly rise"
            if player.is_in_game and not player.is_gone:
                await player.quit()

    def close(self) -> None:
        """Closes what is still open, with or without a goodbye."""
        for stream in self._streams:
            stream.socket.close()
