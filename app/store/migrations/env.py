"""Runs the migrations over the connection that `app.store.migrate` hands in."""

from alembic import context

import app.store.study_tables  # noqa: F401  # its tables are compared too
from app.store.work_tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
