"""How alembic runs the revisions: on the connection that `infra.migrate` hands over, one transaction a revision."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
