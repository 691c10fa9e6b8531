"""`ebbtide check`: which keys and secrets of delivery the settings on this machine lack."""

from pathlib import Path

import pytest

from cli.rules.checking import check_paths
from triggers.language.diagnostics import Diagnostic

RULES = """trigger: tell-crm
purpose: sales
brand: shop
on: order_completed
send: {webhook: crm}
---
endpoint: crm
url: https://crm.example/hooks
secrets: [crm-signing, crm-next]
headers: {Authorization: {secret: crm-token}}
---
brand: shop
from: mail@shop.example
dkim: {domain: shop.example, selector: autumn}
"""
SETTING = "EBBTIDE_WEBHOOK_SECRETS"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "crm.yaml").write_text(RULES)
    monkeypatch.delenv(SETTING, raising=False)
    return tmp_path


def missing(folder: Path, code: str = "missing-secret") -> list[Diagnostic]:
    return [each for each in check_paths([folder]).found if each.code == code]


def test_each_secret_of_an_endpoint_that_is_missing_is_a_warning_at_its_place(folder, monkeypatch) -> None:
    assert [(each.line, each.column, each.message) for each in missing(folder)] == [
        (9, 11, "the settings here have no secret `crm-signing`, which `crm` needs"),
        (9, 24, "the settings here have no secret `crm-next`, which `crm` needs"),
        (10, 10, "the settings here have no secret `crm-token`, which `crm` needs"),
    ]
    assert not check_paths([folder]).wrong
    monkeypatch.setenv(SETTING, '{"crm-signing": "whsec_secret", "crm-next": "whsec_secret", "crm-token": "x"}')
    assert missing(folder) == []


def test_a_setting_that_is_no_map_is_told_and_not_repeated(folder, monkeypatch) -> None:
    monkeypatch.setenv(SETTING, "whsec_secret")
    [found] = missing(folder)
    assert found.message.startswith(f"setting {SETTING}: not a JSON object")
    assert "whsec_secret" not in found.render()


@pytest.mark.parametrize(
    ("document", "code"), [("endpoint: crm", "missing-secret"), ("brand: shop", "missing-signing-key")]
)
def test_a_comment_allows_what_only_delivery_has(folder: Path, document: str, code: str) -> None:
    assert missing(folder, code)
    (folder / "crm.yaml").write_text(RULES.replace(document, f"{document}  # ebbtide: allow {code}"))
    assert missing(folder, code) == []
    assert missing(folder, "allow") == []
