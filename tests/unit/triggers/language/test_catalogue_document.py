"""Reading event catalogues: what they say, and where they are wrong."""

import pytest

from triggers.language.catalogue_document import Catalogue, read_catalogue
from triggers.language.diagnostics import SourceFile


def read(*texts: str) -> tuple[Catalogue, list[tuple[int, int, str]]]:
    catalogue, reports = read_catalogue([SourceFile(f"{number}.yaml", text) for number, text in enumerate(texts)])
    assert catalogue is not None
    return catalogue, [(each.line, each.column, each.code) for report in reports for each in report.diagnostics]


def test_a_property_is_its_type_or_says_also_that_each_event_has_it() -> None:
    found, problems = read("events:\n  paid: {total: number, id: {type: text, required: true}, note: {type: any}}\n")

    assert problems == []
    assert found.events["paid"] == {"total": "number", "id": "text", "note": "any"}
    assert found.required["paid"] == {"id"}
    assert (found.enforce, found.fields) == ("off", {})


def test_enforcement_and_field_rules_stand_beside_the_events() -> None:
    found, problems = read(
        "enforce: reject\nevents: {paid: {}}\n"
        'fields:\n  "*": {email: hash}\n  email.clicked: {url: drop}\n  paid: {a.b: drop}\n'
    )

    assert problems == []
    assert found.enforce == "reject"
    assert found.fields == {"*": {"email": "hash"}, "email.clicked": {"url": "drop"}, "paid": {"a.b": "drop"}}


def test_events_without_a_user_are_named() -> None:
    found, problems = read("events: {restocked: {}, paid: {}}\nwithout_user: [restocked]\n")

    assert problems == []
    assert found.without_user == {"restocked"}


def test_field_rules_of_an_event_may_stand_in_another_file() -> None:
    found, problems = read("events: {}\nfields: {paid: {a: drop}}\n", "events: {paid: {}}\nfields: {paid: {b: hash}}\n")

    assert problems == []
    assert found.fields == {"paid": {"a": "drop", "b": "hash"}}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("enforce: yes please\nevents: {}\n", (1, 10, "invalid-value")),
        ("enforce: [tag]\nevents: {}\n", (1, 10, "wrong-type")),
        ("enforce: off\nevents: {}\n", (1, 10, "yaml-ambiguous")),
        ("enforc: tag\nevents: {}\n", (1, 1, "unknown-key")),
        ("events:\n  paid: {id: {type: txt}}\n", (2, 21, "invalid-value")),
        ("events:\n  paid: {id: {required: true}}\n", (2, 14, "missing-key")),
        ("events:\n  paid: {id: {type: text, required: 1}}\n", (2, 37, "wrong-type")),
        ("events:\n  paid: {id: {type: text, optional: true}}\n", (2, 27, "unknown-key")),
        ("events:\n  paid: {id: [text]}\n", (2, 14, "wrong-type")),
        ("events: {paid: {}}\nfields:\n  payed: {a: drop}\n", (3, 3, "unknown-event")),
        ("events: {}\nfields:\n  *: {a: drop}\n", (3, 4, "yaml-syntax")),
        ('events: {}\nfields: {"*": {a: hide}}\n', (2, 19, "invalid-value")),
        ('events: {}\nfields: {"*": {a..b: drop}}\n', (2, 16, "invalid-name")),
        ('events: {}\nfields: {"*": [a]}\n', (2, 15, "wrong-type")),
        ("events: {}\nfields: [a]\n", (2, 9, "wrong-type")),
        ("events: {}\nwithout_user: [restocked]\n", (2, 16, "unknown-event")),
        ("events: {}\nwithout_user: {restocked: {}}\n", (2, 15, "wrong-type")),
        (
            "events: {paid: {a: text}}\n---\nevents: {paid: {a: {type: text, required: true}}}\n",
            (3, 10, "duplicate-event"),
        ),
    ],
)
def test_each_mistake_is_reported_once_with_its_place(text: str, problem: tuple[int, int, str]) -> None:
    assert read(text)[1] == [problem]
