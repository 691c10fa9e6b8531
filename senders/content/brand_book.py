"""The brands of the current manifest, as delivery knows them."""

from collections.abc import Iterable, Mapping

from schemas.brands import Brand


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
