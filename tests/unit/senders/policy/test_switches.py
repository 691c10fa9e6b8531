"""Which switch binds a command in delivery."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.commands import SendCommand
from schemas.rules import Control
from schemas.switches import OlderNumber
from schemas.vocabulary import DeliveryReason, LedgerState, PauseMode, SuppressionReason
from senders.policy.pipeline import Delay, DeliveryRequest, Stop, apply
from senders.policy.switches import DeliverySwitches, label

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
EXPIRES = NOW + timedelta(hours=1)
COMMAND = SendCommand(
    id="ab" * 16,
    trigger="cart",
    rule_hash="r",
    occurrence="o",
    step="s",
    user_id="u1",
    to="ann@Shop.example",
    template="t",
    template_hash="h",
    purpose="transactional",
    decided_at=NOW,
    expires_at=EXPIRES,
)


def switches(*scopes: str, **more: Any) -> DeliverySwitches:
    found = DeliverySwitches()
    for number, scope in enumerate(scopes, 1):
        found.put(Control(number=number, scope=scope, paused=True, at=NOW, **more))
    return found


def binding(found: DeliverySwitches, now: datetime = NOW, admitted_at: datetime = NOW) -> str | None:
    switch = found.binding(COMMAND, COMMAND.to, admitted_at, now)
    return None if switch is None else label(switch)


@pytest.mark.parametrize(
    "scope",
    [
        "global",
        "trigger/cart",
        "purpose/transactional",
        "delivery",
        "delivery/trigger/cart",
        "delivery/purpose/transactional",
        "delivery/domain/shop.example",
    ],
)
def test_each_scope_that_the_command_belongs_to_binds_it(scope: str) -> None:
    found = switches(scope)
    assert binding(found) == f"{scope} (switch 1)"
    found.put(Control(number=2, scope=scope, paused=False, at=NOW))
    assert binding(found) is None


@pytest.mark.parametrize("scope", ["trigger/carts", "purpose/marketing", "delivery/domain/example", "delivery/site/x"])
def test_no_other_scope_binds_it(scope: str) -> None:
    assert binding(switches(scope)) is None


@pytest.mark.parametrize("purpose", ["purpose/news", "purpose/shop/news"])
@pytest.mark.parametrize("of", ["", "delivery/"])
def test_a_paused_purpose_binds_that_of_one_brand_or_of_all(purpose: str, of: str) -> None:
    shop = COMMAND.model_copy(update={"brand": "shop", "purpose": "shop/news"})
    outlet = COMMAND.model_copy(update={"brand": "outlet", "purpose": "outlet/news"})
    found = switches(of + purpose)
    assert found.binding(shop, None, NOW, NOW) is not None
    assert (found.binding(outlet, None, NOW, NOW) is not None) is (purpose == "purpose/news")


@pytest.mark.parametrize("of", ["", "delivery/"])
def test_a_paused_brand_binds_all_its_mails_and_a_paused_endpoint_its_webhooks(of: str) -> None:
    shop = COMMAND.model_copy(update={"brand": "shop"})
    webhook = COMMAND.model_copy(update={"channel": "webhook", "template": "crm", "to": None})
    mail = COMMAND.model_copy(update={"template": "crm"})
    for scope, bound in ((f"{of}brand/shop", shop), (f"{of}endpoint/crm", webhook)):
        found = switches(scope)
        binds = [each for each in (shop, webhook, mail) if found.binding(each, each.to, NOW, NOW) is not None]
        assert binds == [bound], scope


def test_a_pause_binds_until_its_end_and_the_one_that_ends_last_is_named() -> None:
    end = NOW + timedelta(minutes=1)
    assert binding(switches("global", until=end), now=end) is None
    found = switches("global", "delivery", until=end)
    found.put(Control(number=3, scope="trigger/cart", paused=True, at=NOW, until=end + timedelta(seconds=1)))
    assert binding(found) == "trigger/cart (switch 3)"
    found.put(Control(number=4, scope="purpose/transactional", paused=True, at=NOW))
    assert binding(found) == "purpose/transactional (switch 4)"
    found.put(Control(number=5, scope="delivery", paused=True, at=NOW, until=end, mode=PauseMode.DISCARD))
    assert binding(found) == "delivery (switch 5)"


def test_a_drain_binds_only_what_was_admitted_after_it() -> None:
    found = switches("global", mode=PauseMode.DRAIN)
    assert binding(found, admitted_at=NOW) is None
    assert binding(found, admitted_at=NOW + timedelta(microseconds=1)) == "global (switch 1)"


def test_only_what_holds_keeps_commands_waiting() -> None:
    end = NOW + timedelta(minutes=1)
    found = switches("global", until=end)
    found.put(Control(number=2, scope="delivery", paused=True, at=NOW, mode=PauseMode.DISCARD))
    assert found.holding(NOW) == ["global (switch 1)"]
    assert found.holding(end) == []


def test_an_older_switch_changes_nothing() -> None:
    found = switches("global", "delivery")
    with pytest.raises(OlderNumber, match="control 1 is not above 2; global does not change"):
        found.put(Control(number=1, scope="global", paused=False, at=NOW))
    assert (found.number, binding(found)) == (2, "global (switch 1)")


def request(found: DeliverySwitches) -> DeliveryRequest:
    return DeliveryRequest(COMMAND, NOW, NOW, None, frozenset(), NOW, timedelta(seconds=5), found)


def test_policy_holds_or_ends_a_paused_command() -> None:
    held = "global (switch 1)"
    assert apply(request(switches("global"))) == Delay(DeliveryReason.PAUSED, EXPIRES, held)
    soon = NOW + timedelta(seconds=1)
    assert apply(request(switches("global", until=soon))) == Delay(DeliveryReason.PAUSED, soon, held)
    discarded = Stop(LedgerState.SUPPRESSED, SuppressionReason.DISCARDED, held)
    assert apply(request(switches("global", mode=PauseMode.DISCARD))) == discarded
