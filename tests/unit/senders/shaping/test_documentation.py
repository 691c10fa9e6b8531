"""docs/shaping.md has a row for each key, with its built-in value and its meaning."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from senders.shaping.bindings import BindingKind
from senders.shaping.document import ActionKind, ActionScope, SmtpState
from senders.shaping.keys import DEFAULTS, KEYS, ProviderKeys
from senders.shaping.quantities import duration_text

PAGE = (Path(__file__).parents[4] / "docs" / "shaping.md").read_text()


def shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "-" if value is None else duration_text(value) if isinstance(value, timedelta) else str(value)


def test_the_page_has_each_key_with_its_built_in_value_and_meaning() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `") and line.count("|") == 4]

    assert rows == [
        f"| `{key}` | {shown(getattr(DEFAULTS, key, None))} | {ProviderKeys.model_fields[key].description} |"
        for key in KEYS
    ]


def test_the_page_names_each_action_scope_state_and_binding() -> None:
    for words in (ActionKind, ActionScope, SmtpState, BindingKind):
        assert [word for word in words if f"`{word}`" not in PAGE] == []
