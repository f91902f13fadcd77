"""What players type reaches others as printable text, whatever they type; and JSON that is none is answered so."""

import json
import unicodedata

import pytest
import trio

from tests.faults.attacks import BOMBS
from tests.faults.raw import BINARY, RawClient, connect, frame, json_frame
from tests.faults.watch import Watch
from tests.faults.witnesses import OFFENDER, Witnesses

NASTY = {
    "colour": "\x1b[31mred\x1b[0m",
    "clipboard by OSC 52": "\x1b]52;c;cm0gLXJm\x07",
    "title by OSC 0": "\x1b]0;owned\x1b\\",
    "eight-bit escapes": "\x9b31m\x9d0;owned\x9c",
    "every C0 control": "".join(map(chr, [*range(0x0A), *range(0x0B, 0x20)])),
    "DEL and every C1 control": "".join(map(chr, range(0x7F, 0xA0))),
    "NUL": "a\x00b",
    "carriage return": "good\revil",
    "backspaces": "Alice\x08\x08\x08\x08\x08Mallory",
    "vertical tab, form feed, NEL": "one\x0btwo\x0cthree\x85four",
    "line and paragraph separators": "one\u2028two\u2029three",
    "right-to-left override": "abc\u202egnp.exe\u202c",
    "bidi isolates": "\u2066a\u2067b\u2068c\u2069",
    "zero-width": "A\u200bl\u200ci\u200dc\ufeffe\u2060",
    "soft hyphen and tags": "a\u00adb\U000e0041\U000e0042",
    "interlinear annotation": "\ufff9a\ufffab\ufffb",
    "non-characters and private use": "a\ufdd0b\uffffc\ue000d\U0010ffff",
    "odd spaces": "a\u00a0b\u3000c\u2003d\te",
    "a line that looks like the server's": "x Bob leaves the room.",
}


def cleaned(words: str) -> str:
    """The contract, in the words of traps.md: drop Cc, Cf, Cs, Co, Cn, Zl, Zp; other spaces are spaces."""
    drop = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    spaced = words.replace("\t", " ")
    kept = "".join(" " if unicodedata.category(c) == "Zs" else c for c in spaced if unicodedata.category(c) not in drop)
    return kept.strip()


def assert_no_control(client: RawClient) -> None:
    """Every frame this client was sent is printable lines, or JSON in which no control character is even escaped."""
    for message in client.messages:
        text = message.decode("utf-8")
        if text.startswith("{"):
            assert text.isprintable(), text
            text = json.loads(text)["data"].get("message", "")
        assert all(line.isprintable() for line in text.replace("\r\n", "\n").split("\n")), ascii(text)


@pytest.mark.parametrize("as_json", [False, True], ids=["typed", "in JSON"])
async def test_nothing_a_player_says_steers_anybodys_terminal(
    as_json: bool, watch: Watch, witnesses: Witnesses
) -> None:
    """Fails without `clean` in `game.text.split_lines`, for each of these but the last."""
    client = await connect(watch.port)
    with client.sock:
        async with witnesses.talking():
            await client.sign_in(OFFENDER, as_json=as_json)
            for number, words in enumerate(NASTY.values()):
                line = f"say {number} {words} end"
                if as_json:
                    await client.send(json_frame("command", {"command": "say", "args": [str(number), words, "end"]}))
                else:
                    await client.send(frame(line.encode()))
            await client.read_until(b"x Bob leaves the room. end")
            await trio.sleep(0.2)  # the burst is used up
            await client.send(frame(b"quit") if not as_json else json_frame("command", {"command": "quit"}))
            assert await client.read_to_end() == "1000 goodbye"
    await watch.settles_players(2)
    await witnesses.talk()
    lines = [f"Mallory says: {cleaned(f'{n} {words} end')}\r\n" for n, words in enumerate(NASTY.values())]
    wanted = ["Mallory enters the room.\r\n", *lines, "Mallory leaves the room.\r\n"]
    assert [each.decode() for each in witnesses.alice_heard()] == wanted
    heard = [json.loads(each)["data"] for each in witnesses.carol_heard() if b'"chat_message"' in each]
    assert [f"{each['message']}\r\n" for each in heard] == lines
    for each in (witnesses.alice, witnesses.carol, client):
        assert_no_control(each)
    await witnesses.one_log_line()


async def test_a_newline_in_an_argument_is_no_second_command(watch: Watch, witnesses: Witnesses) -> None:
    """Fails without the replacement of newlines in `wire.dialects._json_request`."""
    client = await connect(watch.port)
    with client.sock:
        await client.sign_in(OFFENDER, as_json=True)
        await client.send(json_frame("command", {"command": "say", "args": ["one\nsay two", "\nquit"]}))
        await client.read_until(b"You say: one say two  quit")
        await client.send(json_frame("command", {"command": "quit"}))
        await client.read_to_end()
    await watch.settles_players(2)
    await witnesses.talk()
    assert b"Mallory says: one say two  quit\r\n" in witnesses.alice_heard()


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(frame(b"say \xff\xfe\x80\xc0\xaf end", BINARY), id="bytes that are no UTF-8"),
        pytest.param(frame(b"say \xed\xa0\xbd end", BINARY), id="half a surrogate pair"),
    ],
)
async def test_a_binary_line_that_is_no_utf_8_is_shown_with_replacement_characters(
    sent: bytes, watch: Watch, witnesses: Witnesses
) -> None:
    """Fails with `errors="surrogateescape"` in `wire.dialects.decode`: every recipient's frame breaks."""
    client = await connect(watch.port)
    with client.sock:
        await client.sign_in(OFFENDER)
        await client.send(sent + frame(b"quit"))
        assert await client.read_to_end() == "1000 goodbye"
    await watch.settles_players(2)
    await witnesses.talk()
    said = witnesses.alice_heard()[1].decode()
    assert said.startswith("Mallory says: \ufffd")
    assert said.endswith("\ufffd end\r\n")


NASTY_NAMES = (
    "\x1b[31mEve",
    "Ev\u202ee",
    "Alice\u200b",
    "\u0410lice",
    "Eve\x00",
    "x" * 4000,
    "Eve\u2028",
    "Alice ",
    "",
)


async def test_nobody_gets_a_name_that_steers_a_terminal_or_passes_for_another(
    watch: Watch, witnesses: Witnesses
) -> None:
    """Would fail with `isalpha` for the pattern of names: Cyrillic letters pass for Latin ones."""
    client = await connect(watch.port)
    with client.sock:
        await client.shake_hands(as_json=True)
        for name in NASTY_NAMES:
            await client.send(json_frame("login", {"name": name}))
        await client.send(json_frame("ping"))
        await client.read_until(b'"pong"')
        kinds = [json.loads(each)["data"].get("error_type") for each in client.messages[1:-1]]
        assert kinds == ["login_refused"] * len(NASTY_NAMES)
        assert_no_control(client)
        await client.send(frame(b"", 0x8))
        await client.read_to_end()
    await witnesses.saw(())
    await witnesses.one_log_line()


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
async def test_json_that_is_no_request_is_answered_so_and_the_player_goes_on(bomb: bytes, watch: Watch) -> None:
    """Fails without RecursionError among what `wire.dialects._json_request` catches, for brackets in data,
    and without `forbid_unknown_fields`, for the unknown field.
    """
    client = await connect(watch.port)
    with client.sock:
        await client.sign_in("Eve", as_json=True)
        before = len(client.messages)
        await client.send(frame(bomb) + json_frame("ping"))
        await client.read_until(b'"pong"')
        answers = [json.loads(each) for each in client.messages[before:]]
        assert [each["event_type"] for each in answers] == ["error", "pong"]
        assert answers[0]["data"]["error_type"] == "invalid_format"
        assert_no_control(client)
        await client.send(json_frame("command", {"command": "quit"}))
        assert await client.read_to_end() == "1000 goodbye"
    await watch.settles_players(0)
