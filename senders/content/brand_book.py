"""The brands of the current manifest, as delivery knows them."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from schemas.brands import Brand
from senders.content.dkim import NoSigningKey, Signer


class BrandBook:
    """Brands by name. One thread replaces them, others read."""

    def __init__(self, brands: Iterable[Brand] = ()) -> None:
        self._brands: Mapping[str, Brand] = {brand.name: brand for brand in brands}

    def put(self, brands: Iterable[Brand]) -> None:
        """The brands of another manifest, which replace all others."""
        self._brands = {brand.name: brand for brand in brands}

    def get(self, name: str) -> Brand | None:
        """The brand; None if no manifest that was read defines it."""
        return self._brands.get(name)

    def problems(self, signer: Signer, at: datetime) -> list[str]:
        """What a person should look at: brands whose mails wait because their key is not here, or not in force yet."""
        return [
            f"mails of brand {name} wait: {problem} (EBBTIDE_DKIM_KEYS)"
            for name, brand in sorted(self._brands.items())
            if (problem := _lacking(brand, signer, at))
        ]


def _lacking(brand: Brand, signer: Signer, at: datetime) -> str:
    """What the signer lacks for the mails of a brand; empty if it has its key."""
    if brand.dkim is not None:
        try:
            signer.key_named(brand.dkim, at)
        except NoSigningKey as problem:
            return str(problem)
    return ""
