"""Columns of a file of profiles, and the patches that its rows are."""

from typing import Any

import pytest

from cli.operations.import_rows import Columns, ImportProblem, patch_row
from web.profiles.patches import ProfilePatch

AT_US = 1_764_400_000_000_000


def patch(row: dict[str, Any], *maps: str) -> ProfilePatch:
    made = patch_row(7, row, Columns(maps), "crm", AT_US)
    assert made.patch is not None, made.reason
    return made.patch


def reason(row: dict[str, Any], *maps: str) -> str:
    made = patch_row(7, row, Columns(maps), "crm", AT_US)
    assert (made.line, made.patch) == (7, None)
    return made.reason


def test_columns_are_fields_or_attributes_by_their_names_or_as_mapped() -> None:
    row = {
        "id": 12,
        "email": "a@b.example",
        "zone": "Europe/Rome",
        "age": "42",
        "vip": "Yes",
        "tags": '["a"]',
        "x": "1",
    }
    maps = ("id=user_id", "email=address", "age=age:number", "vip=is_vip:boolean", "tags=tags:json", "x=")
    found = patch(row, *maps)
    assert (found.user_id, found.time_us, found.source) == ("12", AT_US, "crm")
    assert found.values == {"address": "a@b.example", "zone": "Europe/Rome"}
    assert found.attributes == {"age": 42, "is_vip": True, "tags": ["a"]}


def test_a_row_may_have_its_own_time_and_objects() -> None:
    row = {"user_id": "u1", "time": "2020-01-02T03:04:05Z", "attributes": {"a": None}, "b": 1, "address": None}
    found = patch(row)
    assert found.time_us == 1_577_934_245_000_000
    assert (dict(found.attributes), dict(found.values)) == ({"a": None, "b": 1}, {"address": None})


def test_consent_comes_as_an_object_or_in_columns() -> None:
    answer = {"granted": "true", "time": "2020-01-02T03:04:05Z", "method": "form", "text_version": "1"}
    columns = {f"consent.news.{part}": value for part, value in answer.items()}
    one, other = patch({"user_id": "u1", "consent": {"news": answer}}), patch({"user_id": "u1", **columns})
    assert one.consent == other.consent
    assert one.consent["news"].granted


@pytest.mark.parametrize(
    ("row", "maps", "says"),
    [
        ({"name": "Ann"}, (), "user_id: missing"),
        ({"user_id": True}, (), "user_id: missing"),
        ({"user_id": "u", "age": "4x"}, ("age=age:number",), "age: not a number"),
        ({"user_id": "u", "age": "true"}, ("age=age:number",), "age: not a number"),
        ({"user_id": "u", "vip": "secret"}, ("vip=vip:boolean",), "vip: not a boolean"),
        ({"user_id": "u", "time": "2020-01-02 03:04"}, (), "time: not a time with an offset"),
        ({"user_id": "u", "attributes": "secret"}, (), "attributes: not a JSON object"),
        ({"user_id": "u", "consent": {"news": "secret"}}, (), "consent.news: "),
        ({"user_id": "u", "consent.news.granted": "true"}, (), "consent.news.time: missing"),
    ],
)
def test_a_row_that_is_no_patch_says_why_without_its_values(
    row: dict[str, Any], maps: tuple[str, ...], says: str
) -> None:
    found = reason(row, *maps)
    assert found.startswith(says)
    assert "secret" not in found


@pytest.mark.parametrize(
    ("maps", "columns", "says"),
    [
        (["email"], [], "COLUMN=TARGET"),
        (["mail=address"], ["user_id", "email"], "no column `mail`; did you mean `email`?"),
        ([], ["usr_id", "email"], "no column is user_id: name it with --map COLUMN=user_id; did you mean `usr_id`?"),
        (["email=address"], ["user_id", "email", "address"], "`address`"),
        (["x=consent.news"], ["user_id", "x"], "after the purpose comes one of granted"),
    ],
)
def test_columns_that_cannot_be_meant_are_refused(maps: list[str], columns: list[str], says: str) -> None:
    with pytest.raises(ImportProblem) as refused:
        Columns(maps).check(columns)
    assert says in str(refused.value)


def test_what_becomes_of_each_column_is_shown() -> None:
    columns = Columns(["email=address", "age=age:number", "note="])
    assert columns.shown(["user_id", "email", "age", "note", "city"]) == [
        "user_id → user_id",
        "email → address",
        "age → attribute age, read as number",
        "note → left out",
        "city → attribute city",
    ]
