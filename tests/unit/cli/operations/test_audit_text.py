"""How a change of the audit reads."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cli.operations.audit_text import lines

HEAD = {"number": 7, "at": "2026-11-29T12:00:00+00:00", "who": "ada"}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text().filter(lambda key: key != "changes"), inner),
)


def told(what: str, subject: str, before: Any, after: Any) -> list[str]:
    return list(lines({**HEAD, "what": what, "subject": subject, "before": before, "after": after}))


def test_only_values_that_differ_are_shown_before_and_after() -> None:
    before = {"id": "k1", "hosts": ["a", "b"], "ends_at": None, "revoked": False}
    after = {"id": "k1", "hosts": ["a"], "ends_at": "2026-12-01", "revoked": True}
    assert told("keys revoke", "key k1", before, after) == [
        "2026-11-29 12:00:00      7  ada  keys revoke  key k1",
        "    before  hosts a, b; revoked no",
        "    after   hosts a; ends at 2026-12-01; revoked yes",
    ]


def test_a_switch_is_shown_in_its_words_and_its_reason() -> None:
    after = {"control": 4, "words": "global is paused", "paused": True, "why": "a mistake", "by": "ada"}
    assert told("switch", "global", None, after)[1:] == ["    after   global is paused; why a mistake"]


def test_what_a_manifest_changed_has_a_line_each() -> None:
    change = {"what": "removed", "kind": "trigger", "name": "t", "set": "shop", "detail": "", "ends": True}
    after = {"rules": 3, "at": "2026-11-29T12:00:00", "restores": None, "changes": [change]}
    assert told("rules", "manifest 3", {"manifest": 2}, after)[1:] == [
        "    before  manifest 2",
        "    after   rules 3",
        "    removed trigger t in the set shop",
    ]
    assert told("rules", "manifest 3", {"manifest": 2}, {"rules": 3, "changes": None})[1:] == [
        "    before  manifest 2",
        "    after   rules 3",
    ]


@given(VALUES, VALUES)
def test_whatever_was_written_is_a_line_without_control_characters(before: Any, after: Any) -> None:
    assert all(line.isprintable() for line in told("keys add", "key\x1b[2J", before, after))
