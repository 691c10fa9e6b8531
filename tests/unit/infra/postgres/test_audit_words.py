"""What stands in the audit: no address."""

from infra.postgres.audit import AuditWords

WORDS = AuditWords("a secret of sixteen")


def test_addresses_become_keyed_hashes_wherever_people_wrote_them():
    change = WORDS.change(
        "ada",
        "suppressions add",
        "asked by Ann <ann@shop.example>, twice",
        {"why": "ann@shop.example", "ann@shop.example": 1},
        ["see mailto:ann@shop.example.", {"n": 3, "ok": True, "none": None}],
    )
    assert "@" not in str(change)
    hashed = WORDS.address("ann@shop.example")
    assert change.subject == f"asked by Ann <{hashed}>, twice"
    assert change.before == {"why": hashed, hashed: 1}
    assert change.after[1] == {"n": 3, "ok": True, "none": None}


def test_the_same_address_has_the_same_hash_under_one_key_alone():
    assert WORDS.address("Ann@Shop.example") == WORDS.address("ann@shop.example")
    assert WORDS.address("ann@shop.example") != AuditWords("another secret here").address("ann@shop.example")


def test_who_made_a_change_stays_readable_without_being_an_address():
    assert WORDS.change("ada@shop.example", "keys add", "key 1").who == "ada@…"
