"""What can be set: options from the command line, the environment and a TOML file, and the named limits."""

import argparse
import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from mudserver import __version__
from mudserver.errors import ConfigError

ENVIRONMENT_PREFIX = "MUDSERVER_"


@dataclass(frozen=True, slots=True)
class Limits:
    """Every queue, wait and size has its limit here, its unit last. A TOML file sets them in a table `[limits]`."""

    handshake_seconds_max: float = 5.0
    """From TCP accept to the end of the WebSocket handshake: honest clients need a tenth of it."""
    request_head_bytes_max: int = 8192
    """What the HTTP request head may measure: what browsers with cookies send stays below."""
    sign_in_seconds_max: float = 60.0
    """From the handshake to a name: time to think of one, too short to camp on a connection."""
    message_bytes_max: int = 4096
    """One WebSocket message from a client."""
    fragments_max: int = 64
    """Pieces that one message may come in; the size limit does not count empty ones."""
    lines_per_second: float = 10.0
    """What one player may type for long; nobody does."""
    lines_burst: int = 20
    """What may come at once, for those who paste."""
    lines_refused_max: int = 20
    """Lines over the rate that are refused with a warning before the connection is closed."""
    received_bytes_per_second: float = 48.0 * 1024
    """Below the WebSocket layer: somewhat over ten lines of full length a second."""
    received_bytes_burst: int = 64 * 1024
    """The same at once: sixteen messages of full length."""
    reads_per_second: float = 100.0
    """Reads from one socket: guards against floods of tiny packets."""
    reads_burst: int = 400
    """The same at once."""
    pongs_per_second: float = 5.0
    """PINGs of a client that are answered, and PONGs; honest ones send one every few seconds."""
    pongs_burst: int = 20
    """The same at once."""
    ping_after_seconds: float = 25.0
    """Silence after which we ping: below the 30 s at which many proxies give up on a quiet connection."""
    pong_seconds_max: float = 10.0
    """How long a ping may stay without any answer."""
    connections_per_address_max: int = 5
    """Connections from one IPv4 address or IPv6 /64. Loopback is exempt."""
    arrivals_per_address_per_second: float = 1.0
    """New connections from there for long."""
    arrivals_per_address_burst: int = 5
    """The same at once."""
    addresses_remembered_max: int = 10_000
    """Addresses we keep count of before we forget those that are at rest."""
    admin_connections_max: int = 20
    """Connections to the admin port: a scraper and a few curious people."""
    connections_max: int = 20_000
    """Connections in all; the number of file descriptors we may have sets a lower limit where it must."""
    outbox_frames_max: int = 500
    """Frames that may wait for one reader: half a minute of a very busy room."""
    outbox_bytes_max: int = 256 * 1024
    """The same in bytes: 10,000 stalled readers then hold 2.5 GB at the very most."""
    history_frames_max: int = 256
    """Frames that are remembered for each player, so that they can be replayed to one who comes back."""
    history_bytes_max: int = 64 * 1024
    """The same in bytes: half a minute of a busy room; what many see is in memory once for `served_at_once_max`."""
    linkdead_seconds: float = 30.0
    """How long a player whose line was lost stays in the world: time for a phone to find another network."""
    resume_failures_max: int = 3
    """Wrong tokens or words on one connection before it is closed; one address makes one new connection a second."""
    write_seconds_max: float = 5.0
    """How long one write may take before its reader counts as gone."""
    close_seconds_max: float = 2.0
    """How long a closing connection may take over the closing handshake."""
    grace_seconds: float = 5.0
    """How long the whole shutdown may take before what is left is cancelled."""
    room_linger_seconds: float = 30.0
    """How long an empty room stays subscribed, so that a walker does not churn subscriptions."""
    room_events_max: int = 1024
    """Events that may wait in a room's memory channel; past it they are delivered on the spot."""
    crowd_listeners: int = 100
    """More than this in one place are a crowd: served in steps, and events that come too fast for it are joined."""
    served_at_once_max: int = 50
    """Listeners, of a crowd or of several rooms, written to in one step: half a millisecond; then others have turns."""
    bus_payload_bytes_max: int = 64 * 1024
    """A NATS payload, either way: ours measure a few hundred bytes."""
    outgoing_bytes_max: int = 16 * 1024 * 1024
    """What may wait for the broker's socket: some 40,000 messages; more means it takes nothing any more."""
    link_connect_seconds_max: float = 1.0
    """One attempt to reach the broker."""
    link_first_seconds_max: float = 6.0
    """How long the start may wait for the broker; the whole start must answer within 10 s."""
    link_heartbeat_seconds: float = 0.5
    """How often we send ourselves a message through the broker."""
    link_silence_seconds_max: float = 2.0
    """Without an echo for so long, the link is declared lost: four heartbeats."""
    link_retry_seconds_max: float = 1.0
    """The longest pause between two attempts: play is back on NATS within 3 s of the broker."""
    event_log_bytes_max: int = 16 * 1024 * 1024
    """One file of the event log: some 40,000 events, which any editor opens."""
    event_log_files_max: int = 20
    """Files of it, the one being written included: 320 MiB, months of a quiet server, days of a busy one."""
    event_log_events_max: int = 10_000
    """Events that may wait for the disk, some 10 MB: ten seconds of the most we ever measured."""
    event_log_gather_seconds: float = 0.2
    """How long events gather before they are written together; also about what a crash loses."""
    event_log_close_seconds_max: float = 2.0
    """How long the last events may take to reach the disk when the server stops."""
    broker_start_seconds_max: float = 5.0
    """From starting nats-server to its ports file; about 0.03 s when nothing is wrong."""
    broker_stop_seconds_max: float = 5.0
    """From TERM to KILL for nats-server."""


@dataclass(frozen=True, slots=True)
class Config:
    """How this server was asked to run. Immutable; handed to whoever needs it."""

    host: str = "127.0.0.1"
    port: int = 4000
    nats_url: str | None = None
    nats_prefix: str = "mud"
    data_dir: Path = field(default_factory=lambda: _default_data_dir(os.environ))
    world: Path | None = None
    tick_seconds: float = 10.0
    log_level: str = "info"
    log_format: str = "text"
    ready_file: Path | None = None
    event_log: Path | None = None
    admin_host: str = "127.0.0.1"
    admin_port: int | Literal["none"] | None = None
    """None: 4001 if that is free; it is no reason not to start."""
    origins: tuple[str, ...] = ()
    proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    limits: Limits = Limits()


def _default_data_dir(environment: Mapping[str, str]) -> Path:
    state = environment.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "mudserver"


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise ValueError("a port number from 0 to 65535 (0: any free port)")
    return int(text)


def _port_or_none(text: str) -> int | Literal["none"]:
    return "none" if text.lower() == "none" else _port(text)


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(each.strip().rstrip("/").lower() for each in text.split(",") if each.strip())
    if any("://" not in each for each in origins):
        raise ValueError("origins such as https://play.example.org, separated by commas")
    return origins


def _networks(text: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    try:
        return tuple(ipaddress.ip_network(each.strip()) for each in text.split(",") if each.strip())
    except ValueError:
        raise ValueError("networks such as 10.0.0.0/8, separated by commas") from None


def _nats_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("nats", "tls") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("an address such as nats://user:password@host:4222")
    return text


def _positive_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.01 <= seconds <= 86400:
        raise ValueError("a number of seconds from 0.01 to 86400")
    return seconds


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return text.lower()

    return parse


def _token(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text):
        raise ValueError("one NATS token: letters, digits, '_' and '-'")
    return text


def _not_empty(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError("some text")
    return text


def _path(text: str) -> Path:
    return Path(_not_empty(text)).expanduser()


@dataclass(frozen=True, slots=True)
class Option:
    """One row of the table of options. `parse` raises ValueError whose text completes the sentence 'must be …'."""

    name: str
    parse: Callable[[str], Any]
    metavar: str
    help: str

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.upper()


OPTIONS = (
    Option("host", _not_empty, "HOST", "address to listen on (default 127.0.0.1)"),
    Option("port", _port, "PORT", "port to listen on, 0 for any free one (default 4000)"),
    Option("nats_url", _nats_url, "URL", "an existing NATS server (default: an embedded one)"),
    Option("nats_prefix", _token, "TOKEN", "first token of every NATS subject (default mud)"),
    Option("data_dir", _path, "DIR", "where the embedded broker keeps its files (default ~/.local/state/mudserver)"),
    Option("world", _path, "DIR", "a directory of area files (default: the world that comes along)"),
    Option("tick_seconds", _positive_seconds, "SECONDS", "length of a game tick (default 10)"),
    Option("log_level", _one_of("debug", "info", "warning", "error"), "LEVEL", "debug, info, warning or error"),
    Option("log_format", _one_of("text", "json"), "FORMAT", "text or json"),
    Option("admin_host", _not_empty, "HOST", "address of /healthz, /readyz and /metrics (default 127.0.0.1)"),
    Option("admin_port", _port_or_none, "PORT", "their port, 0 for any free one, none for no such port (default 4001)"),
    Option("origins", _origins, "LIST", "web pages that may connect, beside our own host (default: none)"),
    Option("proxies", _networks, "LIST", "networks whose X-Forwarded-For is believed (default: none)"),
    Option("event_log", _path, "FILE", "every event is written there, for `mudserver replay` (default: nowhere)"),
    Option("ready_file", _path, "PATH", "written as JSON once players can connect"),
)


def load_config(arguments: Sequence[str], environment: Mapping[str, str]) -> Config:
    """Command line over environment over TOML file over default.

    Raises ConfigError, its text naming the option. `--help` and a flag argparse does not know end the process
    (codes 0 and 2), as argparse does.
    """
    given = vars(_argument_parser().parse_args(list(arguments)))
    config_path = given["config"] or environment.get(ENVIRONMENT_PREFIX + "CONFIG")
    from_file = _read_toml(Path(config_path)) if config_path else {}
    _refuse_unknown_variables(environment)
    settings: dict[str, Any] = {}
    for option in OPTIONS:
        if given[option.name] is not None:
            settings[option.name] = _parsed(option, given[option.name], option.flag)
        elif option.variable in environment:
            settings[option.name] = _parsed(option, environment[option.variable], option.variable)
        elif option.name in from_file:
            settings[option.name] = _parsed(option, from_file[option.name], f"{option.name} in {config_path}")
    settings.setdefault("data_dir", _default_data_dir(environment))
    return Config(**settings, limits=_limits(from_file.get("limits", {}), f"[limits] in {config_path}"))


def _argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mudserver",
        description="A MUD server on Trio: players over WebSockets, events over NATS.",
        epilog=f"Each option is also an environment variable ({ENVIRONMENT_PREFIX}PORT, …) and a key of the TOML file.",
        allow_abbrev=False,
    )
    for option in OPTIONS:
        parser.add_argument(option.flag, dest=option.name, metavar=option.metavar, help=option.help)
    parser.add_argument("--config", metavar="FILE", help="a TOML file with any of these settings")
    parser.add_argument("--version", action="version", version=f"mudserver {__version__}")
    return parser


def _parsed(option: Option, value: Any, where: str) -> Any:
    text = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    try:
        return option.parse(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {value!a} will not do; it must be {error}.") from None


def _refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    known = {option.variable for option in OPTIONS} | {ENVIRONMENT_PREFIX + "CONFIG"}
    unknown = sorted(name for name in environment if name.startswith(ENVIRONMENT_PREFIX) and name not in known)
    if unknown:
        raise ConfigError(f"{unknown[0]}: there is no such option; the options are {', '.join(sorted(known))}.")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--config {path}: cannot be read: {error.strerror}.") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"--config {path}: cannot be read: {error}.") from None
    known = {option.name for option in OPTIONS} | {"limits"}
    # TOML keys may be written as the flags are, with hyphens.
    settings = {name.replace("-", "_"): value for name, value in settings.items()}
    unknown = sorted(set(settings) - known)
    if unknown:
        raise ConfigError(f"--config {path}: {unknown[0]!a} is no option; the options are {', '.join(sorted(known))}.")
    return settings


def _limits(values: Any, where: str) -> Limits:
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: it must be a table.")
    defaults = {each.name: getattr(Limits(), each.name) for each in fields(Limits)}
    chosen: dict[str, Any] = {}
    for name, value in values.items():
        if name not in defaults:
            raise ConfigError(f"{where}: {name!a} is no limit; the limits are {', '.join(defaults)}.")
        wanted = type(defaults[name])
        number = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
        if not number or (wanted is int and not isinstance(value, int)):
            kind = "whole number" if wanted is int else "number"
            raise ConfigError(f"{where}: {name} is {value!a}; it must be a {kind} above 0.")
        chosen[name] = wanted(value)
    return replace(Limits(), **chosen)
