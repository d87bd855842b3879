"""Add security constraints: checks and uniqueness that the service relied on

Revision ID: 004
Revises: 003
Create Date: 2025-09-02 10:25:08.551930+00:00

"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "004"
down_revision: str | Sequence[str] | None = "003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

CHECKS = (
    ("organisations", "organisations_slug_check", "slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'"),
    ("users", "users_email_check", "email = lower(email) AND position('@' in email) > 1"),
    ("markets", "markets_currency_check", "currency ~ '^[A-Z]{3}$'"),
    ("competitors", "competitors_market_share_check", "market_share_percent BETWEEN 0 AND 100"),
    ("competitor_prices", "competitor_prices_price_check", "price >= 0 AND (list_price IS NULL OR list_price >= 0)"),
    ("competitor_prices", "competitor_prices_currency_check", "currency ~ '^[A-Z]{3}$'"),
    ("market_alerts", "market_alerts_acknowledged_check", "acknowledged_by IS NULL OR acknowledged_at IS NOT NULL"),
    ("analytics_modules", "analytics_modules_id_check", "id ~ '^[a-z][a-z0-9_]*$'"),
    ("analytics_modules", "analytics_modules_price_check", "monthly_price IS NULL OR monthly_price >= 0"),
    ("analytics_modules", "analytics_modules_retired_check", "retired_at IS NULL OR retired_at >= released_at"),
    ("feature_flags", "feature_flags_rollout_check", "rollout_percentage BETWEEN 0 AND 100"),
    ("module_usage_logs", "module_usage_logs_duration_check", "duration_ms IS NULL OR duration_ms >= 0"),
)


def upgrade() -> None:
    for table, name, condition in CHECKS:
        op.create_check_constraint(name, table, condition)

    op.create_unique_constraint("markets_organisation_name_key", "markets", ["organisation_id", "name"])
    op.create_unique_constraint("competitors_market_name_key", "competitors", ["market_id", "name"])
    op.create_unique_constraint("analytics_modules_name_version_key", "analytics_modules", ["name", "version"])
    # One override for the whole organisation, one for each of its users.
    op.create_index(
        "uq_feature_flag_overrides_organisation",
        "feature_flag_overrides",
        ["feature_flag_id", "organisation_id"],
        unique=True,
        postgresql_where=sa.text("user_id IS NULL"),
    )
    op.create_index(
        "uq_feature_flag_overrides_user",
        "feature_flag_overrides",
        ["feature_flag_id", "user_id"],
        unique=True,
        postgresql_where=sa.text("user_id IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("uq_feature_flag_overrides_user", table_name="feature_flag_overrides")
    op.drop_index("uq_feature_flag_overrides_organisation", table_name="feature_flag_overrides")
    op.drop_constraint("analytics_modules_name_version_key", "analytics_modules", type_="unique")
    op.drop_constraint("competitors_market_name_key", "competitors", type_="unique")
    op.drop_constraint("markets_organisation_name_key", "markets", type_="unique")

    for table, name, _condition in reversed(CHECKS):
        op.drop_constraint(name, table, type_="check")
