"""Who stands where."""

from mudserver.game.world import Player, World
from tests.worlds import QUAY, ROW


def test_ids_begin_with_the_node_and_never_come_twice(world: World) -> None:
    first = world.add("Alice", QUAY)
    world.remove(first)
    second = world.add("Alice", QUAY)
    assert (first.id, second.id) == ("n1-p1", "n1-p2")
    assert (world.new_message_id(), world.new_message_id()) == ("n1-m1", "n1-m2")


def test_people_are_listed_in_the_order_of_their_arrival(world: World, alice: Player, bob: Player) -> None:
    world.move(alice, ROW)
    world.move(alice, QUAY)
    assert list(world.inside(QUAY)) == [bob, alice]


def test_a_room_is_inhabited_until_its_last_player_goes(world: World, alice: Player, bob: Player) -> None:
    world.move(alice, ROW)
    assert world.is_inhabited(QUAY)
    world.remove(bob)
    assert not world.is_inhabited(QUAY)
    assert world.is_inhabited(ROW)


def test_somebody_is_found_by_name_in_any_case_and_by_the_beginning_of_it(world: World, alice: Player) -> None:
    assert world.named("aLICE") is alice
    assert world.named("Al") is None
    assert world.named_like("al") is alice
    assert world.named_like("") is None


def test_a_whole_name_comes_before_a_longer_one_that_begins_so(world: World) -> None:
    world.add("Annabel", QUAY)
    ann = world.add("Ann", QUAY)
    assert world.named_like("ann") is ann


def test_guests_get_the_first_number_that_is_free(world: World) -> None:
    assert world.free_guest_name() == "Guest1"
    guest = world.add("Guest1", QUAY)
    assert world.free_guest_name() == "Guest2"
    world.remove(guest)
    assert world.free_guest_name() == "Guest1"
