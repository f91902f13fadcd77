"""uvicorn + Starlette, `await websocket.send_text(…)` for each connection: the stack of the original, MythosMUD.

It is given uvloop and the `websockets` protocol, as `uvicorn[standard]` brings them.
"""

import asyncio
import socket

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from benchmarks.contenders import control


async def broadcast_on_command(connections: list[WebSocket]) -> None:
    async for burst in control.bursts_asyncio():
        for _ in range(burst):
            for websocket in connections:
                await websocket.send_text(control.MESSAGE)


async def run(wanted: int, listener: socket.socket) -> None:
    attendance = control.Attendance(wanted)
    connections: list[WebSocket] = []

    async def player(websocket: WebSocket) -> None:
        await websocket.accept()
        connections.append(websocket)
        attendance.one_more()
        try:
            while True:
                await websocket.receive_text()
        except WebSocketDisconnect:
            connections.remove(websocket)

    config = uvicorn.Config(
        Starlette(routes=[WebSocketRoute("/", player)]),
        log_level="warning",
        ws_ping_interval=None,
        ws_per_message_deflate=False,
    )
    serving = asyncio.create_task(uvicorn.Server(config).serve(sockets=[listener]))
    control.announce_port(listener.getsockname()[1])
    await broadcast_on_command(connections)
    serving.cancel()


def main() -> None:
    wanted = control.connections_wanted()
    listener = socket.create_server(("127.0.0.1", 0), backlog=control.HANDSHAKES_WAITING_MAX)
    loop_factory = uvicorn.Config(app="", loop="uvloop").get_loop_factory()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(run(wanted, listener))


if __name__ == "__main__":
    main()
