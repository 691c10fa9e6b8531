"""The document `endpoint`: what it says, and where it is wrong."""

import pytest

from schemas.endpoints import Endpoint
from triggers.language.diagnostics import SourceFile
from triggers.loader import check, load_rules

RULE = "trigger: t\npurpose: marketing\non: paid\nsend: {webhook: crm}\n---\n"
ENDPOINT = "endpoint: crm\nurl: https://crm.example/hooks\nsecrets: [new, old]\n"


def read(text: str) -> Endpoint:
    return load_rules([SourceFile("r.yaml", RULE + text)], {}).endpoints["crm"]


def problems(text: str) -> list[tuple[int, int, str]]:
    return [(each.line - 5, each.column, each.code) for each in check([SourceFile("r.yaml", RULE + text)], {})]


def test_what_an_endpoint_does_not_say_has_a_default() -> None:
    assert read(ENDPOINT) == Endpoint(
        name="crm", url="https://crm.example/hooks", secrets=("new", "old"), timeout_ms=15_000, retries=12
    )


def test_an_endpoint_says_where_and_how_requests_go() -> None:
    found = read(
        "endpoint: crm\nurl: https://CRM.example:8443/hooks?a=1\nmethod: put\nsecrets: signing\n"
        "headers: {X-Shop: ours, Authorization: {secret: crm-token}}\ntimeout: 5s\nretries: 3\nrate: 600/min\n"
    )
    assert (found.method, found.host, found.timeout_ms, found.retries, found.rate) == (
        *("put", "crm.example", 5000, 3, "600/min"),
    )
    assert found.headers == {"X-Shop": "ours"}
    assert found.secret_headers == {"Authorization": "crm-token"}
    assert found.secret_names == ["signing", "crm-token"]


@pytest.mark.parametrize(
    "url",
    [
        "crm.example",
        "ftp://crm.example",
        "https://",
        "https://user@crm.example",
        "https://crm.example/#x",
        "https://crm.example:99999/",
        "https://crm.exämple/",
        "'https://crm.example/a b'",
        "https://crm.example/" + "a" * 2000,
        "https://[::1/",
    ],
)
def test_a_url_that_cannot_be_called_is_a_problem(url: str) -> None:
    assert problems(f"endpoint: crm\nurl: {url}\nsecrets: s\n") == [
        (2, 6, "invalid-value"),
    ]


@pytest.mark.parametrize(
    ("key", "column", "code"),
    [
        ("timeout: 61s", 10, "invalid-duration"),
        ("retries: 51", 10, "invalid-value"),
        ("rate: 5/day", 7, "wrong-type"),
        ("rate: 0/s", 7, "wrong-type"),
        ("method: get", 9, "invalid-value"),
        ("headers: {Content-Type: text/plain}", 11, "invalid-value"),
        ("headers: {X: a, x: b}", 17, "invalid-value"),
        ('headers: {"a b": c}', 11, "invalid-name"),
        ('headers: {X: "a\\r\\nY: b"}', 14, "invalid-value"),
        ("headers: {X: {sekret: a}}", 15, "unknown-key"),
        ("body: x", 1, "unknown-key"),
    ],
)
def test_a_wrong_value_is_reported_where_it_is(key: str, column: int, code: str) -> None:
    assert problems(f"{ENDPOINT}{key}\n") == [(4, column, code)]


def test_at_most_four_secrets_sign() -> None:
    text = "endpoint: crm\nurl: https://crm.example/\nsecrets: [a, b, c, d, e]\n"
    assert (3, 10, "invalid-value") in problems(text)


def test_an_endpoint_that_nothing_calls_is_warned_of() -> None:
    found = check([SourceFile("r.yaml", RULE.replace("{webhook: crm}", "a") + ENDPOINT)], {"a": "h"})
    assert [(each.code, each.hint) for each in found] == [
        ("unused-definition", "a rule calls it with send: {webhook: crm}; remove it if no rule needs it")
    ]
