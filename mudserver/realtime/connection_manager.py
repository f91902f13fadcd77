"""ConnectionManager: who is connected, and the way from what a player wishes to what the world hears of it.

It never writes to anybody's screen but the actor's: what others are to see is published.
"""

from mudserver.game import rules
from mudserver.game.commands import parse_command
from mudserver.game.events import Event, InRoom, Outcome, PlayerEntered, Problem, Quit, SetColour, SetTicks, Wish
from mudserver.game.ids import PlayerId
from mudserver.game.world import World
from mudserver.realtime.audience import Audience
from mudserver.realtime.connection import QUIT, Connection
from mudserver.realtime.event_publisher import EventPublisher
from mudserver.realtime.nats_message_handler import NATSMessageHandler
from mudserver.wire.dialects import TextDialect, text_dialect


class ConnectionManager:
    """Signs players in and out and carries out their commands. Everything here is synchronous: done, or not begun."""

    def __init__(
        self, world: World, audience: Audience, publisher: EventPublisher, handler: NATSMessageHandler
    ) -> None:
        self._world = world
        self._audience = audience
        self._publisher = publisher
        self._handler = handler

    def sign_in(self, connection: Connection, name: str) -> PlayerId | Problem:
        """Lets somebody into the game under a name ('guest': any free one), or says why not."""
        entered = rules.enter_game(self._world, name)
        if isinstance(entered, Problem):
            return entered
        player, outcome = entered
        self._audience.connections[player.id] = connection
        self._handler.host(player.id)
        self._carry_out(connection, outcome)
        return player.id

    def perform(self, connection: Connection, player_id: PlayerId, line: str) -> None:
        """Does what a player typed."""
        self._carry_out(connection, rules.apply(self._world, player_id, parse_command(line)))

    def sign_out(self, player_id: PlayerId) -> None:
        """Takes the player out of the game: after `quit`, and just the same when the line died."""
        events = rules.leave_game(self._world, self._world.players[player_id])
        del self._audience.connections[player_id]
        self._handler.unhost(player_id)
        self._publish(events)

    def _carry_out(self, connection: Connection, outcome: Outcome) -> None:
        connection.show(*outcome.answers)
        self._publish(outcome.events)
        if outcome.wish is not None:
            _grant(connection, outcome.wish)

    def _publish(self, events: tuple[Event, ...]) -> None:
        for event in events:
            if isinstance(event.fact, PlayerEntered) and isinstance(event.to, InRoom):
                # Subscribed before the arrival is published: it is by their own arrival that players begin to listen.
                self._handler.wake(event.to.room_id)
            self._publisher.publish(event)


def _grant(connection: Connection, wish: Wish) -> None:
    """Does what a command asks of the connection. Settings mean nothing to a client that wants JSON."""
    dialect = connection.dialect
    match wish:
        case Quit():
            connection.end(QUIT)
        case SetColour(on):
            if isinstance(dialect, TextDialect):
                connection.dialect = text_dialect(colour=on, ticks=dialect.ticks)
        case SetTicks(on):
            if isinstance(dialect, TextDialect):
                connection.dialect = text_dialect(colour=dialect.colour, ticks=on)
