"""The summary's last line: one JSON object with the counts."""

from collections import Counter
from datetime import UTC, datetime

import orjson

from cli.demo.block import Block, read_blocking
from cli.demo.books import Books, Check
from cli.demo.report import DemoReport, Kill
from cli.demo.restock import Restock
from cli.demo.restock_books import StockAlerts
from schemas.events import Event
from schemas.vocabulary import DeadLetterCause


def test_the_counts_are_json_and_say_whether_the_books_balance():
    books = Books(dead_letters=Counter([DeadLetterCause.NOT_JSON]), rows={"decisions": 0})
    restocked = Event(id="r", type="restocked", user_id=None, time=datetime(2026, 11, 29, tzinfo=UTC))
    report = DemoReport(
        books,
        [Check("a", True, ""), Check("b", False, "")],
        10,
        2.0,
        5,
        3.0,
        seed=1,
        kill=Kill(2, 4.04),
        block=Block(*read_blocking()),
        restock=Restock(StockAlerts(("u1",), (), (), ()), restocked, "http://127.0.0.1:1/"),
    )
    counts = orjson.loads(orjson.dumps(report.counts()))
    assert counts["balanced"] is False
    assert counts["backfill"] == {"records": 10, "per_s": 5}
    assert (counts["worker_killed"], counts["after_events"], counts["recovered_s"]) == (True, 2, 4.0)
    assert (counts["restock"]["waited"], counts["restock"]["mails"]) == (1, 0)
    assert counts["dead_letters"] == {"not_json": 1}
