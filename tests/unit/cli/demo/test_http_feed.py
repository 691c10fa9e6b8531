"""The demo's backend sends a call again while a server is away, and says so if it gives up."""

import pytest

from cli.demo.http_feed import HttpFeed, NotTaken
from infra.local.webhook_receiver import HttpAnswer, HttpCall, HttpReceiver

AWAY = HttpAnswer(503, {"Retry-After": "0"}, b'{"message": "a server is away"}')


class Edge(HttpReceiver):
    """Gives these answers in turn."""

    def __init__(self, *answers: HttpAnswer) -> None:
        super().__init__()
        self.calls: list[HttpCall] = []
        self._answers = iter(answers)

    def take(self, call: HttpCall) -> HttpAnswer:
        self.calls.append(call)
        return next(self._answers)


def test_the_same_call_is_sent_again_while_a_server_is_away() -> None:
    with Edge(AWAY, AWAY, HttpAnswer()) as edge, HttpFeed(edge.port, "key") as feed:
        assert feed.refused([{"messageId": "m1"}]) == []
    assert [call.json for call in edge.calls] == [{"batch": [{"messageId": "m1"}]}] * 3


@pytest.mark.parametrize(
    "answer", [HttpAnswer(401, body=b'{"message": "no key"}'), HttpAnswer(503, {"Retry-After": "3600"})]
)
def test_another_answer_is_told_and_so_is_one_that_asks_to_wait_too_long(answer: HttpAnswer) -> None:
    with Edge(answer) as edge, HttpFeed(edge.port, "key") as feed, pytest.raises(NotTaken, match=str(answer.status)):
        feed.refused([{"messageId": "m1"}])
    assert len(edge.calls) == 1
