"""Locked logins, accounts of an identity provider, and who stood where in the audit trail."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the tables to this revision."""
    op.add_column("users", sa.Column("subject", sa.String(length=512), nullable=True))
    op.create_index("ix_users_subject", "users", ["subject"], unique=True)
    op.add_column(
        "logins", sa.Column("locked", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    for name, length in (("role", 16), ("client", 64)):
        op.add_column(
            "audit", sa.Column(name, sa.String(length=length), server_default="", nullable=False)
        )


def downgrade() -> None:
    """Back to the revision before."""
    for name in ("client", "role"):
        op.drop_column("audit", name)
    op.drop_column("logins", "locked")
    op.drop_index("ix_users_subject", table_name="users")
    op.drop_column("users", "subject")
