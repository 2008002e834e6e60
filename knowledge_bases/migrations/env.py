"""Alembic's entry: runs migrations on the connection that `knowledge_bases.database` gives."""

from alembic import context

from knowledge_bases.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
