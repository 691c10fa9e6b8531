"""Reading privacy files: what they say, and where they are wrong."""

import pytest

from triggers.language.catalogue_document import Catalogue, read_catalogue
from triggers.language.diagnostics import SourceFile
from triggers.language.privacy_document import PrivacyRules, read_privacy

DAY_MS = 86_400_000


def read(text: str, catalogue: Catalogue | None = None) -> tuple[PrivacyRules, list[tuple[int, int, str]]]:
    rules, reports = read_privacy([SourceFile("privacy.yaml", text)], catalogue)
    return rules, [(each.line, each.column, each.code) for report in reports for each in report.diagnostics]


def test_a_privacy_file_says_what_is_kept_and_what_is_taken_out() -> None:
    rules, problems = read('keep: {"*": 400d, paid: 90d}\nfields:\n  paid: {card.number: drop, email: hash}\n')

    assert problems == []
    assert rules.keep == {"*": 400 * DAY_MS, "paid": 90 * DAY_MS}
    assert rules.fields == {"paid": {"card.number": "drop", "email": "hash"}}


def test_the_shortest_time_counts() -> None:
    rules, _ = read('keep: {"*": 400d, paid: 90d, seen: 500d}\n')
    assert rules.kept_ms(["paid", "seen"]) == 90 * DAY_MS
    assert rules.kept_ms(["seen"]) == 400 * DAY_MS
    assert PrivacyRules().kept_ms(["paid"]) is None


def test_what_either_file_drops_is_dropped() -> None:
    rules, _ = read("fields: {paid: {a: hash, b: drop, c: hash}}\n")
    catalogue = Catalogue({"paid": {}}, fields={"paid": {"a": "drop", "b": "hash"}, "*": {"ip": "drop"}})
    assert rules.added_to(catalogue).fields == {"paid": {"a": "drop", "b": "drop", "c": "hash"}, "*": {"ip": "drop"}}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("keeps: {paid: 90d}\n", (1, 1, "unknown-key")),
        ("keep: {paid: soon}\n", (1, 14, "invalid-duration")),
        ("keep: [paid]\n", (1, 7, "wrong-type")),
        ("keep: {paied: 90d}\n", (1, 8, "unknown-event")),
        ("fields: {paid: {email: hide}}\n", (1, 24, "invalid-value")),
        ("fields: {payed: {email: hash}}\n", (1, 10, "unknown-event")),
        ("- keep\n", (1, 1, "wrong-type")),
    ],
)
def test_mistakes_are_reported_where_they_are(text: str, problem: tuple[int, int, str]) -> None:
    catalogue, _ = read_catalogue([SourceFile("events.yaml", "events: {paid: {}}\n")])
    assert read(text, catalogue)[1] == [problem]
