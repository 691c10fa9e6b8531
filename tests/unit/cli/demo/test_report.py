"""The summary's last line: one JSON object with the counts."""

from collections import Counter

import orjson

from cli.demo.block import Block, read_blocking
from cli.demo.books import Books, Check
from cli.demo.report import DemoReport, Kill
from schemas.vocabulary import DeadLetterCause


def test_the_counts_are_json_and_say_whether_the_books_balance():
    books = Books(dead_letters=Counter([DeadLetterCause.NOT_JSON]), rows={"decisions": 0})
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
    )
    counts = orjson.loads(orjson.dumps(report.counts()))
    assert counts["balanced"] is False
    assert counts["backfill"] == {"records": 10, "per_s": 5}
    assert (counts["worker_killed"], counts["after_events"], counts["recovered_s"]) == (True, 2, 4.0)
    assert counts["dead_letters"] == {"not_json": 1}
