"""The TCP ports of one checkout, counted from `EBBTIDE_PORT_BASE`, all on 127.0.0.1."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from infra.local.problems import SetupProblem

VARIABLE = "EBBTIDE_PORT_BASE"
DEFAULT_BASE = 21_000
TEST_OFFSET = 500
# Linux gives outgoing connections the ports from 32768 up, so the port of a server there may be taken by chance.
# Tests count from base + 500.
LOWEST_BASE, HIGHEST_BASE = 1_024, 32_000


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of one set of local servers, counted from `base`."""

    base: int = DEFAULT_BASE

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> "Ports":
        """The ports that the environment sets, by default from 21000.

        Raises `SetupProblem` if the variable is not a number or is outside of the range.
        """
        text = (os.environ if environment is None else environment).get(VARIABLE, "").strip()
        if not text:
            return cls()
        if not (text.isascii() and text.isdecimal() and LOWEST_BASE <= int(text) <= HIGHEST_BASE):
            raise SetupProblem(
                f"{VARIABLE} is {text!r}: set it to a number from {LOWEST_BASE} to {HIGHEST_BASE}, "
                f"such as {DEFAULT_BASE}"
            )
        return cls(int(text))

    def for_tests(self) -> "Ports":
        """The ports of the servers that tests start, so that tests and demo can run side by side."""
        return Ports(self.base + TEST_OFFSET)

    @property
    def kafka(self) -> int:
        """Kafka's listener for clients."""
        return self.base

    @property
    def controller(self) -> int:
        """Kafka's listener for its own KRaft controller."""
        return self.base + 1

    @property
    def postgres(self) -> int:
        """TimescaleDB."""
        return self.base + 2

    @property
    def smtp(self) -> int:
        """The SMTP sink of the demo."""
        return self.base + 3

    @property
    def web(self) -> int:
        """The pages of stream worker 0; those of the others follow."""
        return self.base + 4

    @property
    def http(self) -> int:
        """The HTTP edges: ingest, and the pages of recipients."""
        return self.base + 80

    @property
    def profiles_web(self) -> int:
        """The pages of profile worker 0; those of the others follow."""
        return self.base + 90

    @property
    def senders_web(self) -> int:
        """The pages of delivery worker 0; those of the others follow."""
        return self.base + 200

    @property
    def bounces(self) -> int:
        """The bounce listener."""
        return self.base + 299

    @property
    def bounces_web(self) -> int:
        """The pages of bounce listener 0; those of the others follow."""
        return self.base + 300

    @property
    def http_web(self) -> int:
        """The pages of HTTP process 0; those of the others follow."""
        return self.base + 395
