"""Runs revisions on the connection that `rediver_server.schema` hands over, in one transaction."""

from alembic import context

from rediver_server.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,  # SQLite's is, and a revision is applied whole or not at all
)
with context.begin_transaction():
    context.run_migrations()
