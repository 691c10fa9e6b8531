"""Brands: a consent and a cap of their own, policies for their rules, and the brand in the command."""

import msgspec
import orjson
import pytest
from drivers.trigger_world import World, at

from schemas import codec
from schemas.commands import SendCommand
from schemas.vocabulary import OutcomeKind
from triggers.language.diagnostics import SourceFile
from triggers.loader import load_rules, pinned_triggers
from triggers.rules.encoding import decode, encode
from triggers.rules.state import Reservation

BRANDS = "brand: shop\nfrom: Shop <mail@shop.example>\n---\nbrand: outlet\nfrom: mail@outlet.example\n"
RULE = "---\ntrigger: %s\npurpose: marketing\nbrand: %s\non: %s\nsend: a\n%s"
SHOP = BRANDS + RULE % ("s", "shop", "x", "") + RULE % ("o", "outlet", "y", "")
PLAIN = "---\ntrigger: p\npurpose: marketing\non: z\nsend: a\n"


def outcomes(world: World) -> list[str]:
    return [f"{each.trigger} {each.outcome} {each.reason or ''}".strip() for each in world.decisions]


@pytest.mark.parametrize(
    ("consent", "sent"),
    [
        (("marketing",), ["s drop no_consent", "o drop no_consent", "p send"]),
        (("shop/marketing",), ["s send", "o drop no_consent", "p drop no_consent"]),
        (("outlet/marketing", "marketing"), ["s drop no_consent", "o send", "p send"]),
    ],
)
def test_a_brand_needs_its_own_consent_and_gives_none(consent: tuple[str, ...], sent: list[str]) -> None:
    world = World(SHOP + PLAIN, consent=consent)
    for minute, name in enumerate("xyz"):
        world.event(f"2026-01-05 10:0{minute}", name)
    assert outcomes(world) == sent


def test_a_transactional_rule_of_a_brand_needs_no_consent() -> None:
    world = World(SHOP.replace("marketing", "transactional"), consent=())
    world.event("2026-01-05 10:00", "x")
    assert outcomes(world) == ["s send"]
    assert (world.commands[0].purpose, world.commands[0].brand) == ("transactional", "shop")


def test_an_unsubscription_from_a_brand_ends_that_brand_alone() -> None:
    world = World(SHOP + PLAIN, consent=("shop/marketing", "outlet/marketing", "marketing"))
    world.event("2026-01-05 10:00", "x")
    world.outcome("2026-01-05 10:01", OutcomeKind.UNSUBSCRIBED, world.commands[0].id)
    for minute, name in enumerate("xyz"):
        world.event(f"2026-01-05 11:0{minute}", name)
    assert outcomes(world)[1:] == ["s drop no_consent", "o send", "p send"]


@pytest.mark.parametrize(
    ("scope", "counted"),
    [
        ("brand", ["s send", "s2 drop cap", "o send"]),
        ("purpose", ["s send", "s2 send", "o drop cap"]),
        ("all", ["s send", "s2 drop cap", "o drop cap"]),
    ],
)
def test_a_cap_counts_the_brand_or_the_purpose_of_every_brand(scope: str, counted: list[str]) -> None:
    """`s2` has the brand of `s` and another purpose; `o` its purpose and another brand."""
    capped = f"cap: {{max: 1, per: 1d, scope: {scope}}}\n"
    text = BRANDS + RULE % ("s", "shop", "x", capped) + RULE % ("o", "outlet", "z", capped)
    text += (RULE % ("s2", "shop", "y", capped)).replace("marketing", "news")
    world = World(text, consent=("shop/marketing", "shop/news", "outlet/marketing"))
    for minute, name in enumerate("xyz"):
        world.event(f"2026-01-05 10:0{minute}", name)
    assert outcomes(world) == counted


def test_a_policy_counts_rules_without_a_brand_together() -> None:
    policy = "---\npolicy: calm\nfor: {}\ncap: {max: 1, per: 1d, scope: brand}\n"
    other = PLAIN.replace("trigger: p", "trigger: q")
    world = World(SHOP + PLAIN + other + policy, consent=("shop/marketing", "marketing"))
    for minute, name in enumerate("xzz"):
        world.event(f"2026-01-05 10:0{minute}", name)
    assert outcomes(world) == ["s send", "p send", "q drop cap", "p drop cap", "q drop cap"]


@pytest.mark.parametrize(
    ("whom", "obeying"),
    [
        ("{brand: shop}", "s"),
        ("{brand: shop, purpose: news}", ""),
        ("{purpose: marketing}", "sop"),
        ("{brand: outlet}", "o"),
    ],
)
def test_a_policy_is_for_the_rules_of_a_brand(whom: str, obeying: str) -> None:
    never = f"---\npolicy: none\nfor: {whom}\ncap: {{max: 0, per: 1d, scope: all}}\n"
    world = World(SHOP + PLAIN + never, consent=("shop/marketing", "outlet/marketing", "marketing"))
    for minute, name in enumerate("xyz"):
        world.event(f"2026-01-05 10:0{minute}", name)
    assert "".join(each.trigger for each in world.decisions if each.outcome == "drop") == obeying


@pytest.mark.parametrize("paused", ["purpose/marketing", "purpose/shop/marketing"])
def test_a_paused_purpose_is_that_of_one_brand_or_of_all(paused: str) -> None:
    world = World(SHOP, consent=("shop/marketing", "outlet/marketing"), paused=frozenset({paused}))
    world.event("2026-01-05 10:00", "x")
    world.event("2026-01-05 10:01", "y")
    assert outcomes(world)[0] == "s drop mode"
    assert (outcomes(world)[1] == "o drop mode") is (paused == "purpose/marketing")


def test_a_paused_brand_drops_the_sends_of_its_rules_alone() -> None:
    world = World(SHOP + PLAIN, consent=("outlet/marketing", "marketing"), paused=frozenset({"brand/shop"}))
    for minute, name in enumerate("xyz"):
        world.event(f"2026-01-05 10:0{minute}", name)
    assert outcomes(world) == ["s drop mode", "o send", "p send"]
    assert world.decisions[0].gates[0].observed == {"paused": "brand/shop"}


def test_the_command_carries_brand_and_consent_and_its_bytes_are_those_of_the_model() -> None:
    budget = "budget: {max: 5, per: calendar day}\n"
    policy = "---\npolicy: brake\nfor: {brand: shop}\nbudget: {max: 100, per: 90m}\n"
    world = World(
        BRANDS + policy + RULE % ("s", "shop", "x", budget), consent=("shop/marketing",), default_zone="Europe/Berlin"
    )
    effects = world.event("2026-01-05 10:00", "x")
    [command] = world.commands
    assert (command.brand, command.purpose) == ("shop", "shop/marketing")
    assert [(each.name, each.max, each.per_ms, each.unit, each.zone) for each in command.budgets] == [
        ("trigger/s", 5, None, "day", "Europe/Berlin"),
        ("policy/brake", 100, 5_400_000, None, None),
    ]
    assert effects.records[0].command_json() == codec.encode(command)


def test_a_command_of_before_brands_is_read_as_one_without() -> None:
    world = World(PLAIN)
    effects = world.event("2026-01-05 10:00", "z")
    raw = effects.records[0].command_json()
    assert raw is not None
    assert not {"brand", "budgets"} & orjson.loads(raw).keys()
    command = codec.decode(SendCommand, raw)
    assert (command.brand, command.budgets) == (None, None)


def test_a_reservation_of_before_brands_is_one_without() -> None:
    world = World(PLAIN)
    world.event("2026-01-05 10:00", "z")
    old = msgspec.msgpack.encode(list(world.state.reservations[0])[:-1])
    assert msgspec.msgpack.decode(old, type=Reservation) == world.state.reservations[0]


def test_a_state_with_a_brand_survives_encoding() -> None:
    world = World(SHOP, consent=("shop/marketing",))
    world.event("2026-01-05 10:00", "x")
    raw, _ = encode(world.state)
    assert decode("u1", raw).reservations[0].brand == "shop"


TEMPLATES = {"a": "a" * 32, "shop/a": "b" * 32, "b": "c" * 32}
FOLDER = "brand: shop\nfrom: mail@shop.example\ntemplates: shop\n"
TWO = "---\ntrigger: t\npurpose: marketing\nbrand: shop\non: x\nsteps: [send: a, send: {template: b, id: second}]\n"


def test_a_template_of_the_brands_folder_goes_before_others_and_the_step_keeps_its_name() -> None:
    rules = load_rules([SourceFile("rules.yaml", FOLDER + TWO)], TEMPLATES)
    sends = [(each.id, each.template, each.template_hash) for each in rules.declared["t"].steps]  # type: ignore[union-attr]
    assert sends == [("a", "shop/a", "b" * 32), ("second", "b", "c" * 32)]


def test_a_pinned_rule_has_the_templates_of_the_current_brand() -> None:
    old, now = SourceFile("old.yaml", FOLDER + TWO.replace("x", "y")), SourceFile("r.yaml", FOLDER + TWO)
    [pinned] = pinned_triggers([old], TEMPLATES, [now]).values()
    assert [each.template for each in pinned.steps] == ["shop/a", "b"]  # type: ignore[union-attr]


def test_a_running_occurrence_follows_the_brand_of_an_edited_rule() -> None:
    waiting = BRANDS + RULE % ("s", "shop", "x", "after: 1h\n")
    world = World(waiting, consent=("outlet/marketing",))
    world.event("2026-01-05 10:00", "x")
    edited = waiting.replace("brand: shop\non", "brand: outlet\non")
    world.edit("2026-01-05 10:30", edited, waiting)
    world.until(at("2026-01-05 11:00"))
    assert [each.brand for each in world.commands] == ["outlet"]
