"""Add the MarketEdge tables: markets, competitors, prices and alerts

Revision ID: 002
Revises: 001
Create Date: 2025-07-29 14:03:27.904113+00:00

"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "002"
down_revision: str | Sequence[str] | None = "001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

alert_severity = postgresql.ENUM("low", "medium", "high", "critical", name="alert_severity", create_type=False)


def upgrade() -> None:
    op.execute("CREATE TYPE alert_severity AS ENUM ('low', 'medium', 'high', 'critical')")

    op.create_table(
        "markets",
        sa.Column("id", postgresql.UUID(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("organisation_id", postgresql.UUID(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("region", sa.String(length=100), nullable=True),
        sa.Column("currency", sa.CHAR(length=3), server_default="GBP", nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("created_by", postgresql.UUID(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name="markets_organisation_id_fkey", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name="markets_created_by_fkey", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="markets_pkey"),
    )
    op.create_index("ix_markets_organisation_id", "markets", ["organisation_id"])

    op.create_table(
        "competitors",
        sa.Column("id", postgresql.UUID(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("organisation_id", postgresql.UUID(), nullable=False),
        sa.Column("market_id", postgresql.UUID(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("website", sa.Text(), nullable=True),
        sa.Column("market_share_percent", sa.Numeric(precision=5, scale=2), nullable=True),
        sa.Column("tracking_enabled", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name="competitors_organisation_id_fkey", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["market_id"], ["markets.id"], name="competitors_market_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="competitors_pkey"),
    )
    op.create_index("ix_competitors_organisation_id", "competitors", ["organisation_id"])
    op.create_index("ix_competitors_market_id", "competitors", ["market_id"])

    op.create_table(
        "competitor_prices",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("organisation_id", postgresql.UUID(), nullable=False),
        sa.Column("competitor_id", postgresql.UUID(), nullable=False),
        sa.Column("product_name", sa.String(length=255), nullable=False),
        sa.Column("price", sa.Numeric(precision=12, scale=2), nullable=False),
        sa.Column("list_price", sa.Numeric(precision=12, scale=2), nullable=True),
        sa.Column("currency", sa.CHAR(length=3), server_default="GBP", nullable=False),
        sa.Column("source", sa.String(length=50), server_default="manual", nullable=False),
        sa.Column("attributes", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name="competitor_prices_organisation_id_fkey", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["competitor_id"], ["competitors.id"], name="competitor_prices_competitor_id_fkey", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="competitor_prices_pkey"),
    )
    op.create_index("ix_competitor_prices_organisation_id", "competitor_prices", ["organisation_id"])
    op.create_index(
        "ix_competitor_prices_product",
        "competitor_prices",
        ["competitor_id", "product_name", sa.text("observed_at DESC")],
    )

    op.create_table(
        "market_alerts",
        sa.Column("id", postgresql.UUID(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("organisation_id", postgresql.UUID(), nullable=False),
        sa.Column("market_id", postgresql.UUID(), nullable=False),
        sa.Column("competitor_id", postgresql.UUID(), nullable=True),
        sa.Column("severity", alert_severity, server_default="medium", nullable=False),
        sa.Column("title", sa.String(length=255), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("trigger", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("acknowledged_by", postgresql.UUID(), nullable=True),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name="market_alerts_organisation_id_fkey", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["market_id"], ["markets.id"], name="market_alerts_market_id_fkey", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["competitor_id"], ["competitors.id"], name="market_alerts_competitor_id_fkey", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["acknowledged_by"], ["users.id"], name="market_alerts_acknowledged_by_fkey", ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name="market_alerts_pkey"),
    )
    op.create_index("ix_market_alerts_organisation_id", "market_alerts", ["organisation_id"])
    op.create_index(
        "ix_market_alerts_open",
        "market_alerts",
        ["market_id", "severity"],
        postgresql_where=sa.text("acknowledged_at IS NULL"),
    )

    op.create_table(
        "user_market_preferences",
        sa.Column("user_id", postgresql.UUID(), nullable=False),
        sa.Column("market_id", postgresql.UUID(), nullable=False),
        sa.Column("is_favourite", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("dashboard_layout", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="user_market_preferences_user_id_fkey", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["market_id"], ["markets.id"], name="user_market_preferences_market_id_fkey", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "market_id", name="user_market_preferences_pkey"),
    )


def downgrade() -> None:
    op.drop_table("user_market_preferences")
    op.drop_table("market_alerts")
    op.drop_table("competitor_prices")
    op.drop_table("competitors")
    op.drop_table("markets")
    op.execute("DROP TYPE alert_severity")
