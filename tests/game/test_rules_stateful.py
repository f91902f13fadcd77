"""The rules under any order of comings, goings and commands: whatever players do, the world stays one."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from mudserver.game import events as e
from mudserver.game import rules
from mudserver.game.commands import VERB_NAMES, parse_command
from mudserver.game.ids import PlayerId, RoomId
from mudserver.game.text import clean
from mudserver.game.world import Player, World
from tests.worlds import small_map

NAMES = ("Ada", "Bea", "Cy", "ada", "guest", "Guest1", "me", "x", "Ada!")
LINES = st.one_of(
    st.sampled_from([*VERB_NAMES, "n", "s", "u", "d", "go north", "go", "'hi", ":waves", "tell ada hi", "reply yes"]),
    st.builds("{} {}".format, st.sampled_from(VERB_NAMES), st.text(max_size=30).map(clean)),
    st.text(max_size=30).map(clean),
)


class TheRules(RuleBasedStateMachine):
    """Keeps its own account of who is where, from nothing but the events, and compares it with the world."""

    players = Bundle("players")

    @initialize()
    def begin(self) -> None:
        self.world = World(small_map(), "n1")
        self.whereabouts: dict[PlayerId, RoomId] = {}
        self.in_the_game: dict[PlayerId, str] = {}
        self.linkdead: set[PlayerId] = set()
        self.message_ids: set[str] = set()

    @rule(target=players, name=st.sampled_from(NAMES))
    def enter(self, name: str) -> object:
        before = sorted(self.in_the_game.values())
        entered = rules.enter_game(self.world, name)
        if isinstance(entered, e.Problem):
            assert entered.kind == "login_refused"
            assert sorted(player.name for player in self.world.players.values()) == before
            return multiple()
        player, events = entered
        assert player.name.casefold() not in {each.casefold() for each in before}
        self.take(events)
        view = rules.sign_in_answers(self.world, player, "key")[0]
        assert isinstance(view, e.SignedIn)
        assert player.name in view.view.occupants
        return player

    @rule(player=players, line=LINES)
    def type_a_line(self, player: Player, line: str) -> None:
        room_before = player.room_id
        outcome = rules.apply(self.world, player.id, parse_command(line))
        self.take(outcome.events)
        assert outcome.answers, "every line is answered"
        assert all(event.actor == player.id for event in outcome.events)
        assert (player.room_id == room_before) == (not any(isinstance(each, e.RoomShown) for each in outcome.answers))

    @rule(player=consumes(players))
    def leave(self, player: Player) -> None:
        self.take(rules.leave_game(self.world, player))
        self.linkdead.discard(player.id)
        assert player.id not in self.in_the_game

    @rule(player=players)
    def lose_or_find_the_line(self, player: Player) -> None:
        if player.id in self.linkdead:
            self.linkdead.remove(player.id)
            self.take((rules.find_line(self.world, player),))
        else:
            self.linkdead.add(player.id)
            self.take((rules.lose_line(self.world, player),))

    def take(self, events: tuple[e.Event, ...]) -> None:
        """Believes the events, as somebody would who knows nothing else."""
        for event in events:
            match event.fact:
                case e.PlayerEnteredGame(player_id, name):
                    assert player_id not in self.in_the_game
                    self.in_the_game[player_id] = name
                case e.PlayerLeftGame(player_id, name):
                    assert self.in_the_game.pop(player_id) == name
                    assert player_id not in self.whereabouts, "who leaves the game has left the room"
                case e.PlayerEntered(player_id, _, room_id, _):
                    assert player_id not in self.whereabouts, "nobody is in two rooms"
                    assert event.to == e.InRoom(room_id)
                    self.whereabouts[player_id] = room_id
                case e.PlayerLeft(player_id, _, room_id, _):
                    assert self.whereabouts.pop(player_id) == room_id
                    assert event.to == e.InRoom(room_id)
                case e.PlayerLinkdead(player_id) | e.PlayerReturned(player_id):
                    assert event.to == e.InRoom(self.whereabouts[player_id])
                case e.ChatMessage(message_id=message_id):
                    assert message_id not in self.message_ids
                    self.message_ids.add(message_id)

    @invariant()
    def everybody_is_where_the_events_say(self) -> None:
        inside = {player.id: room_id for room_id in self.world.map.rooms for player in self.world.inside(room_id)}
        assert inside == self.whereabouts
        assert {player.id: player.room_id for player in self.world.players.values()} == self.whereabouts
        assert sum(len(list(self.world.inside(room_id))) for room_id in self.world.map.rooms) == len(inside)

    @invariant()
    def everybody_is_found_by_their_name(self) -> None:
        assert {player.id: player.name for player in self.world.players.values()} == self.in_the_game
        for player in self.world.players.values():
            assert self.world.named(player.name.swapcase()) is player
            assert player.is_linkdead == (player.id in self.linkdead)
        assert len({name.casefold() for name in self.in_the_game.values()}) == len(self.in_the_game)

    @invariant()
    def who_lists_everybody(self) -> None:
        for player in self.world.players.values():
            [answer] = rules.apply(self.world, player.id, parse_command("who")).answers
            assert isinstance(answer, e.Reply)
            listed = [line.split(" (")[0].strip() for line in answer.text.split("\n")[1:-1]]
            assert sorted(listed) == sorted(self.in_the_game.values())
            break


TestTheRules = TheRules.TestCase
TestTheRules.settings = settings(max_examples=60, stateful_step_count=40)
