"""Addresses: one form for every spelling of a mailbox, and what is refused where it comes in."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cli.operations.publish import InvalidFact, now, profile_of
from schemas import addresses
from schemas.addresses import LONGEST, address_key, plain_address
from schemas.codec import DecodeError, decode
from schemas.commands import SendCommand
from schemas.profiles import Profile
from senders.policy.recipients import AddressHasher

BOOKS = "ann@xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("ann@mail.example", "ann@mail.example"),
        ("Ann.O'Hara+tag@MAIL.example", "Ann.O'Hara+tag@MAIL.example"),
        ("ann@bücher.example", BOOKS),
        ("ann@BÜCHER.Example", BOOKS),
        ("ann@bu\u0308cher.example", BOOKS),
        ("ann@bücher。example", BOOKS),
        (BOOKS, BOOKS),
        ("ann@faß.example", "ann@xn--fa-hia.example"),
        ("ann@mail.example.", "ann@mail.example"),
        ("ann@under_score.example", "ann@under_score.example"),
        ("ann@xn--i-7iq.example", "ann@xn--i-7iq.example"),
        ("ann@\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.example", "ann@xn--mgba3gch31f060k.example"),
        ("ann@xn--mgba3gch31f060k.example", "ann@xn--mgba3gch31f060k.example"),
        ("ann@\u0dc1\u0dca\u200d\u0dbb\u0dd3.example", "ann@xn--10cl1a0b660p.example"),
        ("ann@" + "x" * 63 + ".example", "ann@" + "x" * 63 + ".example"),
    ],
)
def test_the_domain_is_kept_in_ascii(written: str, kept: str) -> None:
    assert plain_address(written) == kept


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("zoë@mail.example", "the part before the @ must be ASCII; anything else needs SMTPUTF8, which delivery lacks"),
        ("ann\u200b@mail.example", "the character U+200B (ZERO WIDTH SPACE) is not allowed in an address"),
        ("\ufeffann@mail.example", "the character U+FEFF (ZERO WIDTH NO-BREAK SPACE) is not allowed in an address"),
        ("ann@mail\u00ad.example", "the character U+00AD (SOFT HYPHEN) is not allowed in an address"),
        ("\u202eann@mail.example", "the character U+202E (RIGHT-TO-LEFT OVERRIDE) is not allowed in an address"),
        ("ann@mail\u200d.example", "the character U+200D (ZERO WIDTH JOINER) is not allowed in an address"),
        ("ann@\u0007\u200c.example", "the character U+0007 is not allowed in an address"),
        ("ann@\u0378\u200c.example", "the character U+0378 is not allowed in an address"),
        ("ann@mail.example\n", "the character U+000A is not allowed in an address"),
        ("ann@mail.example\u00a0", "not a plain mail address"),
        ("Ann <ann@mail.example>", "not a plain mail address"),
        ("ann@[192.0.2.1]", "not a plain mail address"),
        ("a@b@mail.example", "not a plain mail address"),
        ("", "not a plain mail address"),
        ("ann@mail..example", "the domain has an empty part"),
        ("ann@.", "the domain has an empty part"),
        ("ann@xn--.example", "a part of the domain begins with xn-- and is no A-label"),
        ("ann@xn--a.example", "a part of the domain begins with xn-- and is no A-label"),
        ("ann@xn--999999999.example", "a part of the domain begins with xn-- and is no A-label"),
        ("ann@i❤.example", "the domain is not one that IDNA 2008 allows"),
        ("ann@\uff20mail.example", "the domain is not one that IDNA 2008 allows"),
        ("ann@" + "ü" * 60 + ".example", "the domain is not one that IDNA 2008 allows"),
        ("ann@" + "x" * 64 + ".example", "the domain or a part of it is too long (253 and 63 characters)"),
        ("x" * 65 + "@mail.example", "more than 64 characters before the @, or than 254 in all"),
        ("ann@" + "x.y." * 63 + "example", "the domain or a part of it is too long (253 and 63 characters)"),
    ],
)
def test_an_address_that_smtp_cannot_carry_is_refused_with_the_reason_and_without_the_address(
    written: str, message: str
) -> None:
    with pytest.raises(ValueError, match=r"\w") as refused:
        plain_address(written)
    assert str(refused.value) == message


def test_profiles_and_commands_keep_one_form_and_a_dead_letter_says_which_character() -> None:
    profile = decode(Profile, '{"user_id": "u1", "address": "ann@bücher.example"}'.encode())
    assert profile.address == BOOKS
    command = {"id": "0" * 32, "trigger": "t", "rule_hash": "", "occurrence": "o", "step": "s", "user_id": "u1"}
    command |= {"template": "t", "template_hash": "", "purpose": "p", "to": "ann@BÜCHER.example"}
    moments = {"decided_at": now(), "expires_at": now()}
    assert SendCommand.model_validate(command | moments).to == BOOKS
    with pytest.raises(DecodeError, match=r"address: .*U\+200B \(ZERO WIDTH SPACE\)") as refused:
        decode(Profile, '{"user_id": "u1", "address": "ann\u200b@mail.example"}'.encode())
    assert "mail.example" not in str(refused.value)


def test_a_profile_published_by_hand_keeps_the_same_form_and_is_refused_alike() -> None:
    assert profile_of('{"user_id": "u1", "address": "ann@bücher.example"}', now()).address == BOOKS
    with pytest.raises(InvalidFact, match=r"address: .*SMTPUTF8"):
        profile_of('{"user_id": "u1", "address": "zoë@mail.example"}', now())


SPELLINGS = ["ann@bücher.example", "Ann@BÜCHER.example", BOOKS, BOOKS.upper(), "ANN@bu\u0308cher.EXAMPLE."]


def test_a_suppression_holds_for_every_spelling_of_the_address() -> None:
    hasher = AddressHasher(b"key")
    assert len({hasher(each) for each in SPELLINGS}) == 1
    assert hasher("ann@bucher.example") != hasher(BOOKS)


def test_the_key_of_a_plain_address_is_its_lower_case_so_that_suppressions_kept_so_far_still_hold() -> None:
    assert address_key("Ann.Lee@Mail.Example") == "ann.lee@mail.example"
    assert address_key("Zoë@mail.example") == "zoë@mail.example"


LOCAL = st.text("abcXYZ019.+_-", min_size=1, max_size=20)
LABEL = st.text(st.characters(categories=("L", "N", "M", "P", "S", "C", "Z")), min_size=1, max_size=20)


@given(LOCAL, st.lists(LABEL, min_size=1, max_size=4).map(".".join))
@example("ann", "bücher.example")
@example("ann", "ß.ẞ")
def test_an_accepted_address_is_ascii_and_stable_and_has_one_key(local: str, domain: str) -> None:
    try:
        kept = plain_address(f"{local}@{domain}")
    except ValueError:
        return
    assert kept.isascii()
    assert kept.isprintable()
    assert len(kept) <= LONGEST
    assert plain_address(kept) == kept
    assert address_key(f"{local}@{domain}") == address_key(kept) == address_key(kept.upper())


def test_the_error_of_a_published_address_does_not_use_the_librarys_wording() -> None:
    with pytest.raises(InvalidFact, match=r"^address: the part before the @ must be ASCII"):
        profile_of('{"user_id": "u1", "address": "änn@mail.example"}', now())


@given(st.from_regex(addresses._USUAL, fullmatch=True))
@example("a@" + "b" * 64)
@example("a" * 65 + "@b.example")
@example("a@XN--b.example")
@example("a@b..example")
@example("a@b.example.")
@example(f"a@{'b.' * 125}cd")
@example(f"a@{'b.' * 126}cd")
def test_a_usual_address_is_what_it_would_be_if_every_question_was_asked(address: str) -> None:
    def outcome() -> str:
        try:
            return plain_address(address)
        except ValueError as error:
            return f"refused: {error}"

    quickly = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(addresses, "_USUAL", re.compile("(?!)"))
        assert outcome() == quickly
