"""Add the phase 3 enhancements: analytics modules and feature flags

Revision ID: 003
Revises: 002
Create Date: 2025-08-22 16:47:55.120688+00:00

"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "003"
down_revision: str | Sequence[str] | None = "002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

module_type = postgresql.ENUM(
    "core", "analytics", "visualisation", "reporting", "integration", name="module_type", create_type=False
)
module_status = postgresql.ENUM(
    "development", "testing", "active", "deprecated", "retired", name="module_status", create_type=False
)
flag_scope = postgresql.ENUM("global", "organisation", "user", name="flag_scope", create_type=False)
flag_status = postgresql.ENUM("active", "inactive", "deprecated", name="flag_status", create_type=False)


def upgrade() -> None:
    op.execute("CREATE TYPE module_type AS ENUM ('core', 'analytics', 'visualisation', 'reporting', 'integration')")
    op.execute("CREATE TYPE module_status AS ENUM ('development', 'testing', 'active', 'deprecated', 'retired')")
    op.execute("CREATE TYPE flag_scope AS ENUM ('global', 'organisation', 'user')")
    op.execute("CREATE TYPE flag_status AS ENUM ('active', 'inactive', 'deprecated')")

    op.create_table(
        "analytics_modules",
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("version", sa.String(length=50), server_default="1.0.0", nullable=False),
        sa.Column("module_type", module_type, nullable=False),
        sa.Column("status", module_status, server_default="development", nullable=False),
        sa.Column("is_core", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("requires_license", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("entry_point", sa.String(length=500), nullable=False),
        sa.Column("config_schema", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("default_config", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("dependencies", postgresql.JSONB(), server_default=sa.text("'[]'::jsonb"), nullable=False),
        sa.Column("required_permissions", postgresql.JSONB(), server_default=sa.text("'[]'::jsonb"), nullable=False),
        sa.Column("min_data_points", sa.Integer(), server_default="0", nullable=False),
        sa.Column("refresh_interval_minutes", sa.Integer(), nullable=True),
        sa.Column("pricing_tier", sa.String(length=50), server_default="included", nullable=False),
        sa.Column("monthly_price", sa.Numeric(precision=10, scale=2), nullable=True),
        sa.Column("currency", sa.CHAR(length=3), server_default="GBP", nullable=False),
        sa.Column("icon", sa.String(length=100), nullable=True),
        sa.Column("documentation_url", sa.Text(), nullable=True),
        sa.Column("help_text", sa.Text(), nullable=True),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("created_by", postgresql.UUID(), nullable=False),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name="analytics_modules_created_by_fkey"),
        sa.PrimaryKeyConstraint("id", name="analytics_modules_pkey"),
    )
    op.create_index("ix_analytics_modules_status", "analytics_modules", ["status", "module_type"])
    op.create_index("ix_analytics_modules_created_by", "analytics_modules", ["created_by"])

    op.create_table(
        "organisation_modules",
        sa.Column("organisation_id", postgresql.UUID(), nullable=False),
        sa.Column("module_id", sa.String(length=255), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("configuration", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("enabled_by", postgresql.UUID(), nullable=True),
        sa.Column("enabled_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name="organisation_modules_organisation_id_fkey",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["module_id"], ["analytics_modules.id"], name="organisation_modules_module_id_fkey"),
        sa.ForeignKeyConstraint(
            ["enabled_by"], ["users.id"], name="organisation_modules_enabled_by_fkey", ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("organisation_id", "module_id", name="organisation_modules_pkey"),
    )
    op.create_index("ix_organisation_modules_module_id", "organisation_modules", ["module_id"])

    op.create_table(
        "module_usage_logs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("organisation_id", postgresql.UUID(), nullable=False),
        sa.Column("module_id", sa.String(length=255), nullable=False),
        sa.Column("user_id", postgresql.UUID(), nullable=True),
        sa.Column("action", sa.String(length=100), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=True),
        sa.Column("context", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name="module_usage_logs_organisation_id_fkey", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["module_id"], ["analytics_modules.id"], name="module_usage_logs_module_id_fkey"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="module_usage_logs_user_id_fkey", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="module_usage_logs_pkey"),
    )
    op.create_index("ix_module_usage_logs_module_used", "module_usage_logs", ["module_id", sa.text("used_at DESC")])
    op.create_index("ix_module_usage_logs_organisation_id", "module_usage_logs", ["organisation_id"])

    op.create_table(
        "feature_flags",
        sa.Column("id", postgresql.UUID(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("flag_key", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("rollout_percentage", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("scope", flag_scope, server_default="global", nullable=False),
        sa.Column("status", flag_status, server_default="active", nullable=False),
        sa.Column("module_id", sa.String(length=255), nullable=True),
        sa.Column("config", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("created_by", postgresql.UUID(), nullable=False),
        sa.ForeignKeyConstraint(["module_id"], ["analytics_modules.id"], name="feature_flags_module_id_fkey"),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name="feature_flags_created_by_fkey"),
        sa.PrimaryKeyConstraint("id", name="feature_flags_pkey"),
        sa.UniqueConstraint("flag_key", name="feature_flags_flag_key_key"),
    )
    op.create_index("ix_feature_flags_module_id", "feature_flags", ["module_id"])

    op.create_table(
        "feature_flag_overrides",
        sa.Column("id", postgresql.UUID(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("feature_flag_id", postgresql.UUID(), nullable=False),
        sa.Column("organisation_id", postgresql.UUID(), nullable=False),
        sa.Column("user_id", postgresql.UUID(), nullable=True),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("created_by", postgresql.UUID(), nullable=False),
        sa.ForeignKeyConstraint(
            ["feature_flag_id"],
            ["feature_flags.id"],
            name="feature_flag_overrides_feature_flag_id_fkey",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name="feature_flag_overrides_organisation_id_fkey",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="feature_flag_overrides_user_id_fkey", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name="feature_flag_overrides_created_by_fkey"),
        sa.PrimaryKeyConstraint("id", name="feature_flag_overrides_pkey"),
    )
    op.create_index("ix_feature_flag_overrides_organisation_id", "feature_flag_overrides", ["organisation_id"])
    op.create_index("ix_feature_flag_overrides_feature_flag_id", "feature_flag_overrides", ["feature_flag_id"])


def downgrade() -> None:
    op.drop_table("feature_flag_overrides")
    op.drop_table("feature_flags")
    op.drop_table("module_usage_logs")
    op.drop_table("organisation_modules")
    op.drop_table("analytics_modules")
    op.execute("DROP TYPE flag_status")
    op.execute("DROP TYPE flag_scope")
    op.execute("DROP TYPE module_status")
    op.execute("DROP TYPE module_type")
