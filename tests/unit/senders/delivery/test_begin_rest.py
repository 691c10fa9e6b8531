"""A worker that may begin nothing tries one command after each rest, and takes all it has room for once it may."""

from senders.delivery.begin_rest import REST_S, BeginRest
from senders.queue.writer import Begin


def test_while_begins_come_back_as_of_another_worker_one_command_is_taken_after_each_rest() -> None:
    rest = BeginRest()
    assert rest.limit(64, 0.0) == 64
    rest.note(Begin.ELSEWHERE, 10.0)
    assert [rest.limit(64, 10.0 + REST_S * step / 4) for step in range(9)] == [0, 0, 0, 0, 1, 0, 0, 0, 1]


def test_a_begin_that_was_made_or_refused_ends_the_rest() -> None:
    for begin in (Begin.MADE, Begin.REFUSED, Begin.PAUSED):
        rest = BeginRest()
        rest.note(Begin.ELSEWHERE, 10.0)
        rest.note(begin, 10.1)
        assert rest.limit(64, 10.1) == 64
