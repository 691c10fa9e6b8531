"""The pages in Chromium: nothing keeps anybody from using them, by sight, by ear, by keyboard, without scripts."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psycopg
import pytest
from drivers.axe import findings, load_axe
from drivers.chromium import chromium
from drivers.real_servers import RealServers
from drivers.recipient_pages import PAGES, RecipientEdge, path_of
from drivers.recipient_site import RecipientSite, lasting_site
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.expected_conditions import staleness_of
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from schemas.commands import SendCommand
from senders.content.links import LinkKind
from web.recipients.pages.texts import languages

pytestmark = pytest.mark.servers

NARROW, WIDE = 320, 1000
PICTURED = ("de",)
SMALLEST_PX = 44
_SIZES = """return [...document.querySelectorAll('button, select, input[type=email], label.choice, a')]
    .map(each => [each.outerHTML.slice(0, 80), each.getBoundingClientRect().height])"""
LONG = "wilhelmina.featherstonehaugh-cholmondeley@customers.of-a-company-with-a-rather-long-name.example"


@pytest.fixture(scope="module")
def site(servers: RealServers) -> Iterator[RecipientSite]:
    yield from lasting_site(servers)


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    """One browser for all tests: starting it takes a second."""
    with chromium().started() as started:
        load_axe(started)
        yield started


@pytest.fixture
def without_scripts(browser: Chrome) -> Iterator[Chrome]:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    yield browser
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def show(browser: Chrome, width: int, *, dark: bool = False) -> None:
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


@pytest.fixture(scope="module")
def pages(site: RecipientSite) -> Mapping[str, Mapping[str, str]]:
    """A path for each page, by language and name."""
    readers = {code: site.do(_reader(site.edge, code)) for code in languages()}
    gone = {code: site.do(_unsubscribed_reader(site.edge, code)) for code in languages()}
    sent = site.edge.sent(*readers.values(), *gone.values())
    return {code: _pages(readers[code], gone[code], sent) for code in languages()}


async def _reader(edge: RecipientEdge, code: str) -> str:
    """A reader who asks for another address, and is too late to confirm a second one."""
    consent = {"marketing": True, "news": False, "cd_harbour/back_in_stock": True}
    reader = await edge.a_reader(consent, locale=code, zone="Europe/Vienna", address=LONG)
    for address in ("new@example.org", "newer@example.org"):
        await edge.post(f"{path_of(LinkKind.PREFERENCES, reader)}/address", address=address)
    with psycopg.connect(edge.database_url) as connection:
        connection.execute("UPDATE confirmations SET expires_at = now() WHERE address = 'newer@example.org'")
    return reader


async def _unsubscribed_reader(edge: RecipientEdge, code: str) -> str:
    """A reader who unsubscribed, wants the mails again, and makes a pause."""
    reader = await edge.a_reader({"marketing": False}, locale=code)
    await edge.post(f"{path_of(LinkKind.UNSUBSCRIBE, reader)}/resubscribe")
    await edge.post(f"{path_of(LinkKind.PREFERENCES, reader)}/pause")
    return reader


def _pages(reader: str, gone: str, sent: Sequence[SendCommand]) -> dict[str, str]:
    first, second, again = (
        path_in(command) for mail in (reader, gone) for command in sent if command.user_id == f"user-{mail[:8]}"
    )
    return {
        "ask": path_of(LinkKind.UNSUBSCRIBE, reader),
        "unsubscribed": path_of(LinkKind.UNSUBSCRIBE, gone),
        "settings": path_of(LinkKind.PREFERENCES, reader),
        "paused": f"{path_of(LinkKind.PREFERENCES, gone)}?said=paused",
        "resubscribe": again,
        "address": first,
        "expired": second,
        "missing": "/nothing",
    }


def path_in(command: SendCommand) -> str:
    """The path of the link in a mail to confirm."""
    return str(command.data["link"]).removeprefix(PAGES.origin)


@pytest.mark.parametrize("code", languages())
def test_axe_finds_nothing_and_nothing_overflows_on_any_page(
    site: RecipientSite, pages: Mapping[str, Mapping[str, str]], browser: Chrome, code: str, tmp_path: Path
) -> None:
    for name, path in pages[code].items():
        show(browser, NARROW)
        browser.get(site.url(path))
        if name != "missing":
            assert browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == code
        assert browser.execute_script("return document.documentElement.scrollWidth") == NARROW, name
        assert [each for each in browser.execute_script(_SIZES) if each[1] < SMALLEST_PX] == [], name
        assert findings(browser) == [], name
        for dark in (True, False):
            show(browser, NARROW if dark else WIDE, dark=dark)
            if code in PICTURED:
                browser.save_screenshot(str(tmp_path / f"{name}-{code}-{'dark' if dark else 'light'}.png"))
            if dark:
                assert findings(browser, only=["color-contrast"]) == [], name
    assert browser.get_cookies() == []


def test_axe_finds_nothing_on_the_page_of_an_outage_and_on_a_wrong_address(
    site: RecipientSite, browser: Chrome, tmp_path: Path
) -> None:
    show(browser, NARROW)
    reader = site.do(site.edge.a_reader(locale="de"))
    browser.get(site.url(path_of(LinkKind.PREFERENCES, reader)))
    browser.find_element(By.NAME, "address").send_keys("ann@@example.net", Keys.ENTER)
    alert = WebDriverWait(browser, 10).until(lambda found: found.find_element(By.CSS_SELECTOR, "[role=alert]"))
    field = browser.find_element(By.NAME, "address")
    assert alert.get_attribute("id") in (field.get_attribute("aria-describedby") or "")
    assert field.get_attribute("value") == "ann@@example.net"
    assert browser.switch_to.active_element == field
    assert findings(browser) == []
    browser.save_screenshot(str(tmp_path / "wrong.png"))
    site.is_away = True
    try:
        browser.get(site.url(path_of(LinkKind.PREFERENCES, reader)))
        assert findings(browser) == []
        browser.save_screenshot(str(tmp_path / "away.png"))
    finally:
        site.is_away = False
    leave(browser, "//a")
    assert browser.find_element(By.NAME, "address")


def test_a_reader_without_scripts_changes_what_they_get(site: RecipientSite, without_scripts: Chrome) -> None:
    browser = without_scripts
    reader = site.do(site.edge.a_reader({"marketing": True, "news": True}, locale="en"))
    browser.get(site.url(path_of(LinkKind.PREFERENCES, reader)))
    browser.find_element(By.XPATH, "//label[contains(., 'News')]").click()
    leave(browser, "//button[.='Save']")
    assert browser.find_element(By.CSS_SELECTOR, "[role=status]").text == "Saved."
    Select(browser.find_element(By.NAME, "locale")).select_by_visible_text("Deutsch")
    Select(browser.find_element(By.NAME, "zone")).select_by_visible_text("Austria – Vienna")
    leave(browser, "//section[@aria-labelledby='place']//button")
    assert browser.find_element(By.CSS_SELECTOR, "[role=status]").text == "Gespeichert."
    leave(browser, "//button[.='30 Tage Pause']")
    profile = site.do(site.edge.profile(reader))
    assert {purpose: each.granted for purpose, each in profile.consent.items()} == {"marketing": True, "news": False}
    assert (profile.locale, profile.zone) == ("de", "Europe/Vienna")
    assert profile.paused_until is not None


def test_a_reader_with_a_keyboard_unsubscribes_and_subscribes_again(
    site: RecipientSite, without_scripts: Chrome
) -> None:
    browser = without_scripts
    reader = site.do(site.edge.a_reader(locale="en"))
    browser.get(site.url(path_of(LinkKind.UNSUBSCRIBE, reader)))
    press(browser, "Unsubscribe")
    assert "You will not get Offers and news" in browser.find_element(By.CSS_SELECTOR, "[role=status]").text
    press(browser, "Subscribe again")
    [command] = site.edge.sent(reader)
    browser.get(site.url(path_in(command)))
    press(browser, "Yes, send it to me")
    assert browser.find_element(By.CSS_SELECTOR, "[role=status]").text == "You are subscribed again."
    assert site.do(site.edge.profile(reader)).consent["marketing"].granted


def press(browser: Chrome, button: str) -> None:
    """Tab to a button, which is the first thing that can have the focus, and press Enter."""
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    focused = browser.switch_to.active_element
    assert focused.text == button
    focused.send_keys(Keys.ENTER)
    WebDriverWait(browser, 10).until(staleness_of(focused))


def leave(browser: Chrome, button: str) -> None:
    """Click a button, and wait for the page that follows."""
    found = browser.find_element(By.XPATH, button)
    found.click()
    WebDriverWait(browser, 10).until(staleness_of(found))


def test_the_focus_goes_through_the_settings_in_the_order_in_which_they_are_read(
    site: RecipientSite, browser: Chrome
) -> None:
    reader = site.do(site.edge.a_reader({"marketing": True, "news": True}, locale="en"))
    browser.get(site.url(path_of(LinkKind.PREFERENCES, reader)))
    controls = browser.find_elements(By.CSS_SELECTOR, "button, select, input:not([type=hidden])")
    body = browser.find_element(By.TAG_NAME, "body")
    assert len(controls) > 8
    tops = []
    for control in controls:
        body.send_keys(Keys.TAB)
        body = browser.switch_to.active_element
        assert body == control
        tops.append(control.location["y"])
    assert tops == sorted(tops)
