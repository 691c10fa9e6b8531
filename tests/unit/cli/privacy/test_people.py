"""Where erased people are looked for after a restore."""

import re

import pytest

from cli.privacy.people import KNOWN, RECORDED
from infra.postgres.personal_tables import PersonalTable
from senders.personal_tables import HYPERTABLES, LEDGER
from web.personal_tables import TABLES

NAMED = re.compile(r"(\w+) = ANY\(%\(ids\)s\)")


@pytest.mark.parametrize("table", [*TABLES, *LEDGER, *HYPERTABLES], ids=lambda table: table.name)
def test_each_column_that_names_people_is_asked_for_those_who_were_erased(table: PersonalTable) -> None:
    queries = RECORDED if table in HYPERTABLES else KNOWN
    for column in NAMED.findall(table.owned):
        asked = re.compile(rf"SELECT (DISTINCT )?{column} FROM {table.name}\b")
        assert any(map(asked.match, queries)), column
