"""Alembic's entry: one transaction for all pending migrations, on the connection that `migrate` made."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=None, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
