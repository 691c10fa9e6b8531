"""The rules files of bounces, and the classifier that they make."""

from pathlib import Path

import pytest

from schemas.vocabulary import HARD, ReplyClass
from senders.bounces.classifier import Classifier, load_classifier
from senders.bounces.refusal import MAX_CHARS, Refusal, Stage, fold
from senders.bounces.rule_files import InvalidBounceRules, read_rules

OWN = """
[classes.partner_down]
about = "The partner's gateway is down."
waits = true

[[rules]]
name = "partner_down"
class = "partner_down"
text = ['user unknown .* gateway 7']
"""
DOCS = Path(__file__).parents[4] / "docs" / "delivery.md"


def test_the_classes_of_our_rules_are_those_of_the_vocabulary() -> None:
    classes = load_classifier().classes
    assert set(classes) == {each.value for each in ReplyClass}
    assert {name for name, each in classes.items() if each.hard} == {each.value for each in HARD}


def test_the_documentation_explains_each_class() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for name, each in load_classifier().classes.items():
        hard, waits = ("yes |" if value else "|" for value in (each.hard, each.waits))
        assert f"| `{name}` | {each.about} | {hard} {waits}" in text


def test_a_file_of_the_operator_is_asked_first_and_changes_the_hash(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OWN)
    ours, own = load_classifier(), load_classifier(tmp_path / "own.toml")
    diagnostic = Refusal("User unknown at gateway 7", 550, "5.1.1", Stage.RCPT)
    verdict = own.classify(diagnostic)
    assert (verdict.bounce_class, verdict.hard, verdict.waits, verdict.rule) == (
        "partner_down",
        False,
        True,
        "partner_down",
    )
    assert ours.classify(diagnostic).hard
    assert own.hash != ours.hash


def test_all_that_is_wrong_with_a_file_is_said_at_once() -> None:
    wrong = (
        OWN
        + "[[rules]]\nname = 'partner_down'\nclass = 'x'\n[[rules]]\nname = 'a'\nclass = 'x'\ntext = ['(', '(?=b)']\n"
    )
    with pytest.raises(InvalidBounceRules) as problems:
        read_rules(wrong.encode(), "own.toml")
    lines = str(problems.value).splitlines()
    assert [line.split(":")[1].strip() for line in lines] == [
        "rule partner_down",
        "rule partner_down",
        "rule a",
        "rule a",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "[[rules]",
        "\udcff",
        "[[rules]]\nname='a'\nclass='a'\ntexts=['a']",
        "[[rules]]\nname='a'\nclass='a'\ncode=['250']",
    ],
)
def test_a_file_of_another_form_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidBounceRules, match=r"^own\.toml: "):
        read_rules(text.encode("utf-8", "surrogateescape"), "own.toml")


def test_a_rule_of_a_class_that_no_file_has_is_refused() -> None:
    with pytest.raises(InvalidBounceRules, match="there is no class 'nowhere'"):
        Classifier([read_rules(b"[[rules]]\nname='a'\nclass='nowhere'\ncode=['550']\n", "own.toml")])


def test_folding_makes_one_line_without_accents_addresses_and_paths() -> None:
    assert fold("Boîte  aux\nlettres <Ann.B@Example.net> PLEINE") == "boite aux lettres <address> pleine"
    assert fold("see https://lists.example/query?ip=1 now") == "see  lists.example  now"
    assert fold("宛先ann@example.net不明") == "<address>不明"
    assert fold("ドメイン") == "ドメイン"


def test_a_text_of_any_length_is_judged_by_its_beginning() -> None:
    assert len(fold("ü@" * 100_000)) <= MAX_CHARS
    verdict = load_classifier().classify(Refusal("mailbox full " + "\x00é\udc80" * 1_000_000, 550))
    assert verdict.bounce_class == ReplyClass.QUOTA_ISSUES
