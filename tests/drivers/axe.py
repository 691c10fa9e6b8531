"""axe-core, which finds what keeps people from using a page."""

from collections.abc import Sequence
from typing import Any

from drivers.npm_packages import npm_package
from selenium.webdriver import Chrome

VERSION = "4.14.1"
_RUN = """const [only, done] = arguments;
const options = only.length ? { runOnly: { type: 'rule', values: only } } : {};
axe.run(options).then(done, error => done({ error: String(error) }));"""


def axe_source() -> str:
    """axe's own script; skips the test if npm or its registry is missing."""
    place = npm_package("axe-core", VERSION)
    return (place / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def load_axe(browser: Chrome) -> None:
    """Have axe in every page that is opened from now on."""
    browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": axe_source()})


def findings(browser: Chrome, only: Sequence[str] = ()) -> list[str]:
    """Everything that axe finds wrong on the page that is open, of every impact, or cannot decide; by all its rules, or
    by `only` some."""
    result: dict[str, Any] = browser.execute_async_script(_RUN, list(only))
    assert result.get("passes"), f"axe checked nothing: {result.get('error')}"
    return [
        f"{kind}: {rule['id']} ({rule['impact']}): {node['html'][:200]}"
        for kind in ("violations", "incomplete")
        for rule in result[kind]
        for node in rule["nodes"]
    ]
