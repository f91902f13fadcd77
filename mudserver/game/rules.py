"""The rules of the game: what each command does to the world, decided in one step and without waiting.

A verb is one function and one row of VERBS. `apply` changes the world and returns what came of it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from mudserver.game import events as e
from mudserver.game.commands import VERB_NAMES, Command, verb_called
from mudserver.game.ids import SHORT_DIRECTIONS, Direction, PlayerId
from mudserver.game.text import name_problem
from mudserver.game.views import detail_named, detail_named_like, list_of_exits, room_view
from mudserver.game.world import Player, World

SPOKEN_CHARS_MAX = 1000
"""What one say, tell or shout may carry, in characters: about a screenful."""

Action = Callable[[World, Player, str], e.Outcome]


@dataclass(frozen=True, slots=True)
class Verb:
    """A row of the table of verbs: how it is written, what help says, and the function that does it."""

    name: str
    usage: str
    help: str
    action: Action


def enter_game(world: World, name: str) -> tuple[Player, tuple[e.Event, ...]] | e.Problem:
    """A player of that name steps into the starting room; `guest` gets a free guest name.

    Returns the new player and what the others are to hear, or a Problem `login_refused` whose text is for the player.
    """
    if name.casefold() == "guest":
        name = world.free_guest_name()
    elif problem := name_problem(name):
        return e.Problem("login_refused", problem)
    elif name.casefold() in VERB_NAMES:
        return e.Problem("login_refused", "That name is reserved: it is a command, for when you are in.")
    elif other := world.named(name):
        state = "has lost the line, and the name is kept for a while" if other.is_linkdead else "is here already"
        way_back = "If that is you: resume, and the word you were told."
        return e.Problem("login_refused", f"{other.name} {state}. Please choose another name. {way_back}")
    player = world.add(name, world.map.starting_room)
    return player, (
        e.Event(e.PlayerEnteredGame(player.id, player.name), e.Everywhere(), actor=player.id),
        _entered(world, player),
    )


def sign_in_answers(world: World, player: Player, resume_key: str, *, is_back: bool = False) -> tuple[e.Answer, ...]:
    """What a player sees first, on coming in and on coming back."""
    view = room_view(world, player)
    signed_in = e.SignedIn(player.id, player.name, view, resume_key, is_back)
    return (signed_in, e.Occupants(player.room_id, view.occupants))


def lose_line(world: World, player: Player) -> e.Event:
    """The player's line died; they stand there still."""
    player.is_linkdead = True
    room = world.room_of(player)
    fact = e.PlayerLinkdead(player.id, player.name, room.id, room.name)
    return e.Event(fact, e.InRoom(room.id), actor=player.id)


def find_line(world: World, player: Player) -> e.Event:
    """The player is back after `lose_line`."""
    player.is_linkdead = False
    room = world.room_of(player)
    fact = e.PlayerReturned(player.id, player.name, room.id, room.name)
    return e.Event(fact, e.InRoom(room.id), actor=player.id)


def leave_game(world: World, player: Player) -> tuple[e.Event, ...]:
    """The player is gone, whether by `quit` or because the line died."""
    left = _left(world, player)
    world.remove(player)
    return (left, e.Event(e.PlayerLeftGame(player.id, player.name), e.Everywhere(), actor=player.id))


def apply(world: World, player_id: PlayerId, command: Command) -> e.Outcome:
    """Does what a player wished, at once and completely. Never raises for anything a player can type."""
    player = world.players[player_id]
    if command.verb is None:
        if not command.typed:
            return e.reply("Pardon? Type help to see what you can do.")
        return e.reply(f'"{_shortened(command.typed)}" is nothing you know how to do. Type help to see what is.')
    return _BY_NAME[command.verb].action(world, player, command.rest)


def _shortened(text: str, chars_max: int = 40) -> str:
    return text if len(text) <= chars_max else text[: chars_max - 3] + "..."


def _entered(world: World, player: Player, via: Direction | None = None) -> e.Event:
    room = world.room_of(player)
    fact = e.PlayerEntered(player.id, player.name, room.id, room.name)
    return e.Event(fact, e.InRoom(room.id), actor=player.id, via=via)


def _left(world: World, player: Player, via: Direction | None = None) -> e.Event:
    room = world.room_of(player)
    fact = e.PlayerLeft(player.id, player.name, room.id, room.name)
    return e.Event(fact, e.InRoom(room.id), actor=player.id, via=via)


def _direction_called(word: str) -> Direction | None:
    word = word.lower()
    if word in SHORT_DIRECTIONS:
        return SHORT_DIRECTIONS[word]
    return next((each for each in Direction if word and each.value.startswith(word)), None)


def _walk(world: World, player: Player, way: Direction) -> e.Outcome:
    there = world.room_of(player).exits.get(way)
    if there is None:
        return e.reply("You cannot go that way.")
    left = _left(world, player, via=way)
    world.move(player, there)
    return e.Outcome(
        answers=(e.Reply(f"You go {way.value}."), e.RoomShown(room_view(world, player))),
        events=(left, _entered(world, player, via=way.opposite)),
    )


def _walking(way: Direction) -> Action:
    return lambda world, player, _rest: _walk(world, player, way)


def _go(world: World, player: Player, rest: str) -> e.Outcome:
    if not rest:
        return e.reply(f"Go where? {list_of_exits(world.room_of(player))}")
    way = _direction_called(rest)
    return _walk(world, player, way) if way else e.reply("You cannot go that way.")


def _look(world: World, player: Player, rest: str) -> e.Outcome:
    target = rest.removeprefix("at ").removeprefix("the ").strip()
    if not target or target == "around":
        return e.Outcome(answers=(e.LookedAround(room_view(world, player)),))
    room = world.room_of(player)
    if seen := detail_named(room, target):
        return e.reply(seen)
    folded = target.casefold()
    if folded in ("me", "self", player.folded_name):
        return e.reply("You look at your hands, and count the fingers. The number is right.")
    other = next((each for each in world.inside(room.id) if each.folded_name.startswith(folded)), None)
    if other is not None and other is not player:
        if other.is_linkdead:
            return e.reply(f"{other.name} is here, but stares at nothing: the line is lost.")
        return e.reply(f"{other.name} is here, and looks back at you.")
    if way := _direction_called(target):
        there = room.exits.get(way)
        if there is None:
            return e.reply("There is nothing to see that way.")
        return e.reply(f"That way: {world.map.rooms[there].name}.")
    if seen := detail_named_like(room, target):
        return e.reply(seen)
    return e.reply(f'You see no "{_shortened(target)}" here.')


def _exits(world: World, player: Player, _rest: str) -> e.Outcome:
    room = world.room_of(player)
    if not room.exits:
        return e.reply("There is no way out of here.")
    lines = [f"  {way.value} - {world.map.rooms[room.exits[way]].name}" for way in Direction if way in room.exits]
    return e.reply("\n".join(["You can go:", *lines]))


def _chat(world: World, player: Player, channel: str, message: str, to: e.Address) -> e.Event:
    fact = e.ChatMessage(player.id, player.name, channel, message, world.new_message_id())
    return e.Event(fact, to, actor=player.id)


def _unspeakable(words: str, question: str) -> e.Outcome | None:
    """The answer to words that cannot be said: none at all, or too many."""
    if not words:
        return e.reply(question)
    if len(words) > SPOKEN_CHARS_MAX:
        return e.reply(f"That is too much at once: {len(words)} characters, and {SPOKEN_CHARS_MAX} is the most.")
    return None


def _say(world: World, player: Player, rest: str) -> e.Outcome:
    if refusal := _unspeakable(rest, "Say what?"):
        return refusal
    heard = _chat(world, player, "say", f"{player.name} says: {rest}", e.InRoom(player.room_id))
    return e.Outcome(answers=(e.Reply(f"You say: {rest}"),), events=(heard,))


def _emote(world: World, player: Player, rest: str) -> e.Outcome:
    if refusal := _unspeakable(rest, "Do what?"):
        return refusal
    line = f"{player.name}{'' if rest.startswith(chr(39)) else ' '}{rest}"
    heard = _chat(world, player, "emote", line, e.InRoom(player.room_id))
    return e.Outcome(answers=(e.Reply(line),), events=(heard,))


def _shout(world: World, player: Player, rest: str) -> e.Outcome:
    if refusal := _unspeakable(rest, "Shout what?"):
        return refusal
    heard = _chat(world, player, "shout", f"{player.name} shouts: {rest}", e.Everywhere())
    return e.Outcome(answers=(e.Reply(f"You shout: {rest}"),), events=(heard,))


def _tell_player(world: World, player: Player, other: Player, rest: str) -> e.Outcome:
    if refusal := _unspeakable(rest, f"Tell {other.name} what?"):
        return refusal
    if other is player:
        return e.reply("You mutter to yourself, and nobody minds.")
    other.told_by = player.id
    heard = _chat(world, player, "tell", f"{player.name} tells you: {rest}", e.ToPlayer(other.id))
    return e.Outcome(answers=(e.Reply(f"You tell {other.name}: {rest}"),), events=(heard,))


def _tell(world: World, player: Player, rest: str) -> e.Outcome:
    name, _, words = rest.partition(" ")
    if not name:
        return e.reply("Tell whom what?")
    other = world.named_like(name)
    if other is None:
        return e.reply(f'Nobody called "{_shortened(name)}" is in the world.')
    return _tell_player(world, player, other, words.strip())


def _reply(world: World, player: Player, rest: str) -> e.Outcome:
    if player.told_by is None:
        return e.reply("Nobody has told you anything yet.")
    other = world.players.get(player.told_by)
    if other is None:
        return e.reply("Whoever that was is no longer in the world.")
    return _tell_player(world, player, other, rest)


def _who(world: World, _player: Player, _rest: str) -> e.Outcome:
    players = sorted(world.players.values(), key=lambda each: each.folded_name)
    lines = [f"  {each.name}{' (has lost the line)' if each.is_linkdead else ''}" for each in players]
    count = "You are alone in the world." if len(lines) == 1 else f"{len(lines)} people are in the world."
    return e.reply("\n".join(["In the world:", *lines, count]))


def _time(world: World, _player: Player, _rest: str) -> e.Outcome:
    return e.reply(world.time.told())


def _switch(rest: str, name: str, wish: Callable[[bool], e.Wish]) -> e.Outcome:
    word = rest.lower()
    if word not in ("on", "off"):
        return e.reply(f"Type {name} on, or {name} off.")
    return e.Outcome(answers=(e.Reply(f"{name.capitalize()}: {word}."),), wish=wish(word == "on"))


def _ticks(_world: World, _player: Player, rest: str) -> e.Outcome:
    return _switch(rest, "ticks", e.SetTicks)


def _color(_world: World, _player: Player, rest: str) -> e.Outcome:
    return _switch(rest, "color", e.SetColour)


def _commands(_world: World, _player: Player, _rest: str) -> e.Outcome:
    return e.reply("You can: " + ", ".join(verb.name for verb in VERBS) + ".")


def _help(_world: World, _player: Player, rest: str) -> e.Outcome:
    if rest:
        verb = _BY_NAME.get(verb_called(rest) or "")
        if verb is None:
            return e.reply(f'There is no help on "{_shortened(rest)}". Type commands for a list.')
        return e.reply(f"{verb.usage}\n  {verb.help}")
    rows = [verb for verb in VERBS if verb.name not in _WAYS]
    width = max(len(verb.usage) for verb in rows)
    lines = [f"  {verb.usage.ljust(width)}  {verb.help}" for verb in rows]
    return e.reply(
        "\n".join(
            [
                "You walk by naming a way: north (n), northeast (ne), up (u), in and so on.",
                "Any beginning of a word will do. 'hello says hello, :waves shows you waving.",
                *lines,
            ]
        )
    )


def _quit(_world: World, _player: Player, _rest: str) -> e.Outcome:
    return e.Outcome(answers=(e.Reply("You let go of the world. Goodbye."),), wish=e.Quit())


_WAYS = {way.value: way for way in Direction}

VERBS: tuple[Verb, ...] = (
    Verb("look", "look [at <thing>]", "See where you are, or a thing, a person, a way.", _look),
    *(Verb(way.value, way.value, f"Walk {way.value}.", _walking(way)) for way in Direction),
    Verb("go", "go <way>", "Walk: go north, go up.", _go),
    Verb("exits", "exits", "List the ways out.", _exits),
    Verb("say", "say <words>", "Speak to everybody in the room.", _say),
    Verb("emote", "emote <deed>", "Show the room what you do: emote shivers.", _emote),
    Verb("tell", "tell <name> <words>", "Speak to one person, wherever they are.", _tell),
    Verb("reply", "reply <words>", "Answer whoever told you something last.", _reply),
    Verb("shout", "shout <words>", "Speak to everybody in the world.", _shout),
    Verb("who", "who", "List the people in the world.", _who),
    Verb("time", "time", "Ask what time it is in the world.", _time),
    Verb("ticks", "ticks on|off", "Show each tick of the game's clock, or not.", _ticks),
    Verb("color", "color on|off", "Use colours, or plain text.", _color),
    Verb("help", "help [command]", "Read this, or about one command.", _help),
    Verb("commands", "commands", "List every command by name.", _commands),
    Verb("quit", "quit", "Leave the world.", _quit),
)
_BY_NAME = {verb.name: verb for verb in VERBS}
assert set(_BY_NAME) == set(VERB_NAMES), "every verb has a name to be called by, and every name a verb"
