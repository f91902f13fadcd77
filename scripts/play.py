"""A telnet-style client: what the server sends goes to the screen, what you type goes to the server."""

import sys

import trio
import trio_websocket

_ABNORMAL_CLOSURE = 1006
"""The end of a line that nobody closed."""

DEFAULT_URL = "ws://127.0.0.1:4000/"


async def show_frames(connection: trio_websocket.WebSocketConnection, nursery: trio.Nursery) -> None:
    """Prints what comes until the connection is over, then says why."""
    try:
        while True:
            message = await connection.get_message()
            text = message if isinstance(message, str) else message.decode(errors="replace")
            print(text.replace("\r\n", "\n"), end="", flush=True)
    except trio_websocket.ConnectionClosed as closed:
        reason = closed.reason
        is_dead = reason is None or reason.code == _ABNORMAL_CLOSURE
        print("[the line is dead]" if is_dead else f"[{reason.reason or 'goodbye'}]")
    nursery.cancel_scope.cancel()


async def send_lines(connection: trio_websocket.WebSocketConnection) -> None:
    """Sends each line that is typed; at the end of input, says goodbye."""
    while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
        await connection.send_message(line)
    await connection.aclose()


async def play(url: str) -> None:
    """Connects and stays until either side has had enough."""
    async with trio_websocket.open_websocket_url(url) as connection, trio.open_nursery() as nursery:
        nursery.start_soon(show_frames, connection, nursery)
        await send_lines(connection)


def main() -> int:
    url = sys.argv[1] if len(sys.argv) > 1 else DEFAULT_URL
    if not url.startswith(("ws://", "wss://")):
        print("Usage: scripts/play [ws://host:port/]", file=sys.stderr)
        return 2
    exit_code = 0
    try:
        trio.run(play, url)
    except* (OSError, ValueError, trio_websocket.HandshakeError) as errors:
        error = errors.exceptions[0]
        why: object = error.__cause__ or error
        if isinstance(error, trio_websocket.ConnectionRejected):
            why = (error.body or b"").decode(errors="replace").strip() or f"HTTP status {error.status_code}"
        print(f"There is no way to {url}: {why or 'nobody answers'}", file=sys.stderr)
        exit_code = 1
    except* (KeyboardInterrupt, trio_websocket.ConnectionClosed):
        pass
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
