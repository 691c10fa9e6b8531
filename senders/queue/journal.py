"""How outcomes get from the queue into `ledger_outcomes` and the outbox: the end of each statement that makes them."""

from collections.abc import Mapping

from psycopg.sql import SQL, Composable

from infra.postgres.columns import names

_OF_COMMAND = ("user_id", "trigger", "purpose", "step", "variant", "brand", "decided_at", "channel")
_OF_ROW = ("command_id", "partition", *_OF_COMMAND, "attempt", "admitted_at", "started_at")
_OF_CHANGE = ("state", "reason", "detail", "state_at", "reply", "hard", "classifier_hash", "path")
_COLUMNS = (*_OF_ROW, "address_hash", *_OF_CHANGE)

JOURNAL: Mapping[str, Composable] = {
    "of_row": names((*_OF_ROW, "address_hash"), "q"),
    "journal": SQL(
        """, recorded AS (
               INSERT INTO ledger_outcomes ({columns}) SELECT {columns} FROM moved
               RETURNING command_id, partition, recorded_at
           )
           INSERT INTO ledger_outbox (command_id, partition, recorded_at)
           SELECT command_id, partition, recorded_at FROM recorded RETURNING command_id"""
    ).format(columns=names(_COLUMNS)),
}
"""Parts of a statement `WITH moved AS (… RETURNING {of_row}, <the values of the change>) {journal}`, in which `q` is
the row of the queue."""
