"""One line when a server goes away and one when it is back, however many users share it."""

from structlog.testing import capture_logs

from infra.service.outages import Outage


def test_a_server_is_back_when_each_user_that_it_was_away_for_has_its_answer_or_has_given_up() -> None:
    outage, error = Outage("ledger"), ConnectionRefusedError("no")
    with capture_logs() as logs:
        for user in ("one", "other", "third"):
            outage.away(error, user)
        outage.back("one")
        assert outage.is_away, "it comes and goes for nobody"
        outage.away(error, "one")
        outage.back("other")
        outage.give_up("third")
        assert outage.is_away
        outage.back("one")
        assert not outage.is_away
        outage.back("one")

    assert [each["event"] for each in logs] == ["ledger_away", "ledger_back"]


def test_a_server_that_everybody_gave_up_is_back_with_the_next_answer() -> None:
    outage = Outage("ledger")
    outage.away(ConnectionRefusedError("no"), "one")
    outage.give_up("one")
    assert outage.is_away

    outage.back("one")

    assert not outage.is_away
