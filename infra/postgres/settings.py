"""Which databases a process uses, read from the environment with the prefix `EBBTIDE_`."""

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.postgres.address import require_url

DatabaseUrl = Annotated[str, AfterValidator(require_url)]


class DatabaseSettings(BaseSettings):
    """The database of the hypertables, and that of the ledger: the same one unless `ledger_url` names another."""

    model_config = SettingsConfigDict(env_prefix="EBBTIDE_", extra="ignore", hide_input_in_errors=True)

    database_url: DatabaseUrl = Field(default="postgresql://postgres@127.0.0.1:21002/ebbtide", repr=False)
    ledger_url: DatabaseUrl = Field(default="", repr=False)
    """Where delivery keeps what its transactions read and write: ledger, recipients, suppressions, limits."""

    @property
    def ledger_is_apart(self) -> bool:
        """Whether the ledger has a database of its own."""
        return self.ledger_url not in ("", self.database_url)
