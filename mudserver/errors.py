"""Errors, named for what the caller can do about them."""


class MudserverError(Exception):
    """Base of every error this program raises on purpose; its text is a sentence for a person."""


class ConfigError(MudserverError):
    """An option has a value we cannot use: correct it and start again."""


class StartupError(MudserverError):
    """Something the server needs at start is not to be had (a port, a broker, a data directory)."""


class WorldError(MudserverError):
    """The area files cannot be played; `problems` lists every fault found, one sentence each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class MalformedFrame(MudserverError):
    """A client sent a frame that cannot be read; the text says what is wrong with it."""


class MalformedMessage(MudserverError):
    """A NATS message does not fit the contract: drop it and count it. `reason` is one of a few fixed words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ConnectionEnded(MudserverError):
    """The peer is gone or going; nothing more will come from it. `code`: the WebSocket close code, if there is one."""

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.code = code


class TooManyFromHere(MudserverError):
    """An address has as many connections as it may have, or makes new ones too fast; the text is for the client."""


class HandshakeRefused(MudserverError):
    """A stranger's first bytes were no handshake we accept; they have been answered where that was possible.

    `status`: with which HTTP status, 0 if there was no answer.
    """

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


def first_cause(error: BaseException) -> BaseException:
    """The first error inside nested groups, which is what one log line has room for."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
