"""A worker that may begin nothing tries one command after each rest, and takes all it has room for once it may."""

from senders.delivery.begin_rest import REST_S, SEVERAL, BeginRest
from senders.queue.writer import Begin


def test_while_begins_come_back_as_of_another_worker_one_command_is_taken_after_each_rest() -> None:
    rest = BeginRest()
    assert rest.limit(64, 0.0) == 64
    for _ in range(SEVERAL):
        assert rest.limit(64, 10.0) == 64
        rest.note(Begin.ELSEWHERE, 10.0)
    assert [rest.limit(64, 10.0 + REST_S * step / 4) for step in range(9)] == [0, 0, 0, 0, 1, 0, 0, 0, 1]


def test_a_begin_that_was_made_or_refused_ends_the_rest() -> None:
    for begin in (Begin.MADE, Begin.REFUSED, Begin.PAUSED):
        rest = BeginRest()
        for _ in range(SEVERAL):
            rest.note(Begin.ELSEWHERE, 10.0)
        rest.note(begin, 10.1)
        assert rest.limit(64, 10.1) == 64


def test_single_commands_of_others_among_begins_that_are_made_cost_no_rest() -> None:
    rest = BeginRest()
    for _ in range(SEVERAL):
        rest.note(Begin.ELSEWHERE, 10.0)
        assert rest.limit(64, 10.0) == 64
        rest.note(Begin.MADE, 10.0)
