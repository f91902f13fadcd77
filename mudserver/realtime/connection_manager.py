"""ConnectionManager: who is connected, and the way from what a player wishes to what the world hears of it.

It never writes to anybody's screen but the actor's: what others are to see is published.
"""

from collections.abc import Callable

from mudserver.config import Limits
from mudserver.game import rules
from mudserver.game.commands import parse_command
from mudserver.game.events import Event, InRoom, Notice, PlayerEntered, Problem, Quit, Reply, SetColour, SetTicks, Wish
from mudserver.game.ids import PlayerId
from mudserver.game.world import Player, World
from mudserver.realtime.absences import Absences, random_key
from mudserver.realtime.audience import Audience
from mudserver.realtime.connection import QUIT, TAKEN_OVER, Connection
from mudserver.realtime.event_publisher import EventPublisher
from mudserver.realtime.nats_message_handler import NATSMessageHandler
from mudserver.realtime.screen import Screen, make_frame
from mudserver.realtime.stamps import Stamps
from mudserver.wire.dialects import Dialect, TextDialect, text_dialect

TAKEN_OVER_TEXT = "Somebody came back as you on another connection; this one ends."
GAP_TEXT = "Not everything that happened while you were away can be shown again."


class ConnectionManager:
    """Signs players in and out and carries out their commands. Everything here is synchronous: done, or not begun.

    `absences` knows who has lost the line; run it as a task.
    """

    def __init__(
        self,
        world: World,
        audience: Audience,
        publisher: EventPublisher,
        handler: NATSMessageHandler,
        stamps: Stamps,
        limits: Limits,
        new_key: Callable[[Dialect], str] = random_key,
    ) -> None:
        self._world = world
        self._audience = audience
        self._publisher = publisher
        self._handler = handler
        self._stamps = stamps
        self._limits = limits
        self.absences = Absences(limits, self.sign_out, new_key)

    def sign_in(self, connection: Connection, dialect: Dialect, name: str) -> PlayerId | Problem:
        """Lets somebody into the game under a name ('guest': any free one), or says why not."""
        entered = rules.enter_game(self._world, name)
        if isinstance(entered, Problem):
            return entered
        player, events = entered
        screen = Screen(connection, dialect, self._stamps, self._limits)
        self._audience.screens[player.id] = screen
        self._handler.host(player.id)
        self._greet(screen, player, is_back=False)
        self._publish(events)
        return player.id

    def resume(self, connection: Connection, dialect: Dialect, key: str, seen: int | None) -> PlayerId | Problem:
        """Gives somebody the player they had, with all they missed since frame `seen`, or says why not.

        A connection that still has the player, and perhaps only looks alive, is told and closed.
        """
        player_id = self.absences.redeem(key)
        if player_id is None:
            return Problem("resume_refused", "Nobody is to be found by that. Sign in with a name.")
        player = self._world.players[player_id]
        screen = self._audience.screens[player_id]
        if screen.connection is not None:
            before = screen.connection
            screen.detach()
            # To the old connection alone: what is remembered of the screen is for the new one.
            if (notice := make_frame(screen.dialect, Notice(TAKEN_OVER_TEXT), self._stamps)) is not None:
                before.send_nowait(notice.data)
            before.end(TAKEN_OVER)
        if isinstance(dialect, TextDialect) and isinstance(screen.dialect, TextDialect):
            dialect = screen.dialect  # with the colours and ticks the player had chosen
        if not screen.attach(connection, dialect, seen):
            screen.show(Problem("resume_gap", GAP_TEXT))
        self._greet(screen, player, is_back=True)
        if self.absences.end(player_id):
            self._publish((rules.find_line(self._world, player),))
        return player_id

    def perform(self, player_id: PlayerId, line: str) -> None:
        """Does what a player typed."""
        outcome = rules.apply(self._world, player_id, parse_command(line))
        screen = self._audience.screens[player_id]
        if isinstance(outcome.wish, SetColour | SetTicks) and not isinstance(screen.dialect, TextDialect):
            screen.show(Reply("That is for people; a program gets everything, and no colours."))
            return
        screen.show(*outcome.answers)
        self._publish(outcome.events)
        if outcome.wish is not None:
            _grant(screen, outcome.wish)

    def name_of(self, player_id: PlayerId) -> str:
        """What this player is called. The player must be in the game."""
        return self._world.players[player_id].name

    def screen_of(self, player_id: PlayerId) -> Screen:
        """What this player sees. The player must be in the game."""
        return self._audience.screens[player_id]

    def has(self, player_id: PlayerId, connection: Connection) -> bool:
        """Whether it is still this connection that the player is seen through."""
        screen = self._audience.screens.get(player_id)
        return screen is not None and screen.connection is connection

    def lose_line(self, player_id: PlayerId) -> None:
        """The player's line died. They stay in the world for a while, and may come back."""
        self._audience.screens[player_id].detach()
        self.absences.begin(player_id)
        self._publish((rules.lose_line(self._world, self._world.players[player_id]),))

    def sign_out(self, player_id: PlayerId) -> None:
        """Takes the player out of the game: after `quit`, or when nobody waits for them any more."""
        self.absences.forget(player_id)
        events = rules.leave_game(self._world, self._world.players[player_id])
        del self._audience.screens[player_id]
        self._handler.unhost(player_id)
        self._publish(events)

    def sign_out_absent(self) -> None:
        """Takes everybody who has lost the line out of the game: the server stops."""
        for player_id in self.absences.away():
            self.sign_out(player_id)

    def _greet(self, screen: Screen, player: Player, *, is_back: bool) -> None:
        key = self.absences.issue_key(player.id, screen.dialect)
        screen.show(*rules.sign_in_answers(self._world, player, key, is_back=is_back))

    def _publish(self, events: tuple[Event, ...]) -> None:
        for event in events:
            if isinstance(event.fact, PlayerEntered) and isinstance(event.to, InRoom):
                # Subscribed before the arrival is published: it is by their own arrival that players begin to listen.
                self._handler.wake(event.to.room_id)
            self._publisher.publish(event)


def _grant(screen: Screen, wish: Wish) -> None:
    """Does what a command asks of the player's own screen. Settings are for people; `perform` tells programs so."""
    match wish, screen.dialect:
        case Quit(), _:
            if screen.connection is not None:
                screen.connection.end(QUIT)
        case SetColour(on), TextDialect() as dialect:
            screen.dialect = text_dialect(colour=on, ticks=dialect.ticks)
        case SetTicks(on), TextDialect() as dialect:
            screen.dialect = text_dialect(colour=dialect.colour, ticks=on)
