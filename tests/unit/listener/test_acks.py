"""What an acknowledged source is told: each refused line, and the newest of everything else."""

from listener.acks import LINES_HELD, Acks


def acks() -> Acks:
    return Acks(None, 1, lambda: None)


def test_an_ack_is_cumulative_and_said_once() -> None:
    one = acks()
    one.take(5)
    assert one.say() == b""
    one.done(2)
    one.done(1)
    assert one.say() == b"ACK 3\n"
    assert one.say() == b""
    assert not one.is_done
    one.done(2)
    assert (one.say(), one.is_done) == (b"ACK 5\n", True)


def test_a_refused_line_counts_and_is_said_before_the_ack_that_counts_it() -> None:
    one = acks()
    one.take(2)
    one.refuse(b"malformed")
    one.take(1)
    one.refuse(b"too-long")
    one.done(5)
    assert one.say() == b"NAK 3 malformed\nNAK 5 too-long\nACK 5\n"


def test_of_ack_next_and_gap_only_the_newest_is_kept() -> None:
    one = acks()
    one.take(1000)
    for number in range(1, 1001):
        one.done(1)
        one.progressed(number, number)
    assert one.say() == b"ACK 1000\nNEXT 1000\nGAP 1000\n"


def test_next_and_gap_are_said_when_they_change() -> None:
    one = acks()
    one.progressed(1, 0)
    assert one.say() == b"", "OK has said it"
    one.progressed(7, 7)
    assert one.say() == b"NEXT 7\nGAP 7\n"
    one.progressed(7, 7)
    assert one.say() == b""
    one.progressed(9, 0)
    assert one.say() == b"NEXT 9\n"
    one.progressed(9, 9)
    assert one.say() == b"GAP 9\n"


def test_what_is_skipped_is_said_in_order_and_before_the_next_number() -> None:
    one = acks()
    one.progressed(9, 0, [b"1-2", b"5-8"])
    assert one.say() == b"SKIPPED 1-2\nSKIPPED 5-8\nNEXT 9\n"


def test_lines_that_must_not_be_lost_fill_it_and_saying_them_makes_room() -> None:
    one = acks()
    assert LINES_HELD == 1000, "as docs/protocol.md says"
    for _ in range(LINES_HELD):
        assert not one.is_full
        one.refuse(b"malformed")
    assert one.is_full
    one.progressed(2, 0, [b"1-1"])
    assert one.say().count(b"\n") == LINES_HELD + 1, "what is skipped found no room, the newest number has its own"
    assert not one.is_full
    one.progressed(3, 0, [b"2-2"] * (LINES_HELD + 5))
    assert one.say().count(b"SKIPPED") == LINES_HELD


def test_after_a_reset_the_next_number_counts_from_there() -> None:
    one = acks()
    one.progressed(50, 50)
    assert one.say() == b"NEXT 50\nGAP 50\n"
    one.take(1)
    one.done(1)
    one.reset(b"RESET 9f31c2@40\n", 40)
    assert one.say() == b"RESET 9f31c2@40\nACK 1\n"
    one.progressed(41, 0)
    assert one.say() == b"NEXT 41\n"


def test_a_new_one_owes_nothing() -> None:
    one = acks()
    assert (one.taken, one.appended, one.is_fenced, one.went_back) == (0, 0, False, False)
    assert (one.is_done, one.is_full, one.say()) == (True, False, b"")


def test_after_a_reset_numbers_that_were_said_before_are_said_again() -> None:
    for number in (1, 50):
        one = acks()
        one.progressed(number, number)
        one.say()
        one.reset(b"RESET\n", number)
        one.progressed(number, number)
        assert one.say() == b"RESET\nGAP %d\n" % number
    one.reset(b"RESET\n", 40)
    one.progressed(50, 40)
    assert one.say() == b"RESET\nNEXT 50\nGAP 40\n", "a lower one than before is missing now"


def test_a_reset_finds_room_where_nothing_else_does() -> None:
    one = acks()
    for _ in range(LINES_HELD):
        one.refuse(b"malformed")
    one.reset(b"RESET\n", 1)
    assert one.is_full
    one.progressed(2, 0, [b"1-1"])
    assert one.say().endswith(b"malformed\nRESET\nNEXT 2\n")


def test_a_number_that_is_missing_again_is_named_again() -> None:
    one = acks()
    for gap, said in ((9, b"GAP 9\n"), (0, b""), (9, b"GAP 9\n")):
        one.progressed(1, gap)
        assert one.say() == said


def test_so_much_of_what_is_skipped_is_kept_as_there_is_room() -> None:
    one = acks()
    one.refuse(b"malformed")
    one.progressed(1, 0, [b"1-1"] * LINES_HELD)
    assert one.say().count(b"SKIPPED") == LINES_HELD - 1
