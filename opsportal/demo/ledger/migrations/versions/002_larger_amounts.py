"""Larger amounts, one column less, and an index on the booking date"""

import sqlalchemy as sa
from alembic import op

revision = "002"
down_revision = "001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("entries", "amount", type_=sa.BigInteger())
    op.drop_column("accounts", "legacy_number")
    op.create_index("entries_booked_at", "entries", ["booked_at"])
    op.execute("UPDATE entries SET note = trim(note)")


def downgrade() -> None:
    op.drop_index("entries_booked_at", table_name="entries")
    op.add_column("accounts", sa.Column("legacy_number", sa.Text()))
    op.alter_column("entries", "amount", type_=sa.Integer())
