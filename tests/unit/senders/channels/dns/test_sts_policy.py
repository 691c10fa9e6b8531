"""MTA-STS policies: which texts are one, which hosts they allow, and which TXT records announce them."""

import pytest

from senders.channels.dns.sts_policy import LONGEST_MAX_AGE_S, InvalidPolicy, StsMode, StsPolicy, published_id

POLICY = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n"


def test_a_policy_is_read_with_any_line_end_and_unknown_keys() -> None:
    expected = StsPolicy(StsMode.ENFORCE, 604_800, ("mail.example.com", "*.example.net"))
    for text in (POLICY, POLICY.replace("\r\n", "\n"), POLICY + "later: key\n\n", POLICY.replace(": ", ":")):
        assert StsPolicy.parse(text) == expected
    assert StsPolicy.parse("version: STSv1\nmode: none\nmax_age: 99999999999"[:-1]).max_age_s == LONGEST_MAX_AGE_S


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>not found</html>",
        POLICY.replace("STSv1", "STSv2"),
        POLICY.replace("enforce", "strict"),
        POLICY.replace("604800", "-1"),
        POLICY.replace("604800", "soon"),
        POLICY.replace("604800", "9" * 5000),
        POLICY.replace("mx: mail.example.com\r\nmx: *.example.net\r\n", ""),
        POLICY.replace("mail.example.com", "mail.*.com"),
        POLICY.replace("mail.example.com", "*"),
        POLICY.replace("mail.example.com", "a" * 64),
        POLICY + "mx: a.example\r\n" * 100,
    ],
)
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(InvalidPolicy):
        StsPolicy.parse(text)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("mail.example.com", True),
        ("other.example.com", False),
        ("mx1.example.net", True),
        ("a.b.example.net", False),
        ("example.net", False),
        ("evilexample.net", False),
    ],
)
def test_a_star_stands_for_one_label(host: str, allowed: bool) -> None:
    assert StsPolicy.parse(POLICY).allows(host) is allowed


@pytest.mark.parametrize(
    ("records", "found"),
    [
        (["v=STSv1; id=20260101T000000;"], "20260101T000000"),
        (["v=STSv1;id=a1"], "a1"),
        (["v=STSv1; id=a1; later=key;"], "a1"),
        (["v=spf1 -all", "v=STSv1; id=a1;"], "a1"),
        (["v=STSv1; id=a1;", "v=STSv1; id=a2;"], None),
        (["v=STSv1;"], None),
        (["v=STSv1; id=;"], None),
        (["v=STSv1; id=" + "a" * 33], None),
        ([], None),
    ],
)
def test_exactly_one_record_announces_a_policy(records: list[str], found: str | None) -> None:
    assert published_id(records) == found
