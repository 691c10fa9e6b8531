"""The ids of decisions, commands and outcomes."""

import hashlib

from schemas.digests import digest


def test_a_digest_is_blake2b_128_of_the_parts_as_json_however_many_were_made_before() -> None:
    for parts in (["t", "u", '["é"]', "s"], [], ["t", 1, None]):
        text = {0: b"[]", 3: b'["t",1,null]', 4: '["t","u","[\\"é\\"]","s"]'.encode()}[len(parts)]
        assert digest(parts) == hashlib.blake2b(text, digest_size=16).hexdigest()
