"""picows (a WebSocket library in Cython) on uvloop (an event loop in C): the fastest that Python users can install."""

import uvloop
from picows import WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from benchmarks.contenders import control


class Player(WSListener):
    """One connection: on the list from its handshake to its end."""

    def __init__(self, connections: dict["Player", WSTransport], attendance: control.Attendance) -> None:
        self._connections = connections
        self._attendance = attendance

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._connections[self] = transport
        self._attendance.one_more()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        del self._connections[self]


async def run(wanted: int) -> None:
    attendance = control.Attendance(wanted)
    connections: dict[Player, WSTransport] = {}

    def welcome(request: WSUpgradeRequest) -> WSListener:
        return Player(connections, attendance)

    server = await ws_create_server(welcome, "127.0.0.1", 0, backlog=control.HANDSHAKES_WAITING_MAX)
    control.announce_port(server.sockets[0].getsockname()[1])
    message = control.MESSAGE.encode()
    async for burst in control.bursts_asyncio():
        for _ in range(burst):
            for transport in connections.values():
                transport.send(WSMsgType.TEXT, message)


if __name__ == "__main__":
    uvloop.run(run(control.connections_wanted()))
