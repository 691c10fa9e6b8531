"""The receiver answers 451 first and 250 then, or 550, and the whole pipeline hears of it."""

from collections import Counter
from datetime import UTC, datetime

import pytest
from drivers.whole_pipeline import THANKS, orders, pipeline

from schemas.vocabulary import DecisionOutcome, OutcomeKind, Reason

pytestmark = [pytest.mark.servers, pytest.mark.scenario]


def test_a_451_is_tried_again_and_a_550_is_final_and_suppresses_the_address_until_it_is_lifted(
    servers, database_url, tmp_path
):
    users = {kind: [f"{kind}-{n}" for n in range(20)] for kind in ("plain", "later", "gone")}
    with pipeline(servers.kafka, database_url, tmp_path) as run:
        run.apply(THANKS)
        run.publish_users(users["plain"])
        run.publish_users(users["later"], address="451-2+{user}@mail.example")
        run.publish_users(users["gone"], address="550+{user}@mail.example")
        everybody = [user for kind in users.values() for user in kind]
        run.publish_events(orders(everybody, datetime.now(UTC), "first"))
        run.start_streams()
        run.harbour.start_process()
        run.wait_drained()
        run.publish_events(orders(users["gone"], datetime.now(UTC), "second"))
        run.wait_drained()

        first = run.lift_suppression("550+gone-0@mail.example")
        assert first.returncode == 0, first.stderr
        run.publish_events(orders(["gone-0"], datetime.now(UTC), "third"))
        run.wait_drained()

        books = run.books()
        kinds = Counter((outcome.user_id.split("-")[0], outcome.kind) for outcome in books.outcomes)
        assert kinds == {
            ("plain", OutcomeKind.ACCEPTED): 20,
            ("later", OutcomeKind.DEFERRED): 40,
            ("later", OutcomeKind.ACCEPTED): 20,
            ("gone", OutcomeKind.REFUSED): 21,
            ("gone", OutcomeKind.REINSTATED): 1,
        }
        attempts = {o.attempt for o in books.outcomes if o.kind is OutcomeKind.ACCEPTED and o.user_id[:5] == "later"}
        assert attempts == {3}
        assert run.mails() == 40
        assert Counter(books.ledger.values()) == {"accepted": 40, "refused": 21}
        dropped = Counter(
            (d.user_id.split("-")[0], d.reason) for d in books.decisions if d.outcome is DecisionOutcome.DROP
        )
        assert dropped == {("gone", Reason.SUPPRESSED): 20}
