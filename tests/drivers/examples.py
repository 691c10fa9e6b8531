"""How many examples a property gets: by default what the profile says, and fewer in the quick one if each is dear."""

from hypothesis import settings

QUICK = 100
THOROUGH = 2_000


def examples(quick: int, thorough: int = THOROUGH) -> int:
    """So many by the profile `quick`, which is that of `make test`, and so many by `thorough`."""
    return quick if settings().max_examples <= QUICK else thorough
