"""Add row level security: an organisation sees its own rows only

The service sets app.organisation_id at the start of each transaction, and app.is_admin for its own staff.

Revision ID: 005
Revises: 004
Create Date: 2025-09-09 08:58:30.774421+00:00

"""

from collections.abc import Sequence

from alembic import op

revision: str = "005"
down_revision: str | Sequence[str] | None = "004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TENANT_TABLES = (
    "users",
    "audit_logs",
    "markets",
    "competitors",
    "competitor_prices",
    "market_alerts",
    "organisation_modules",
    "module_usage_logs",
    "feature_flag_overrides",
)


def upgrade() -> None:
    op.execute(
        """
        CREATE FUNCTION current_organisation_id() RETURNS uuid
        LANGUAGE sql STABLE
        AS $$ SELECT nullif(current_setting('app.organisation_id', true), '')::uuid $$
        """
    )
    op.execute(
        """
        CREATE FUNCTION is_platform_admin() RETURNS boolean
        LANGUAGE sql STABLE
        AS $$ SELECT coalesce(nullif(current_setting('app.is_admin', true), '')::boolean, false) $$
        """
    )

    for table in TENANT_TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY {table}_own_organisation ON {table} "
            "USING (organisation_id = current_organisation_id()) "
            "WITH CHECK (organisation_id = current_organisation_id())"
        )
        op.execute(f"CREATE POLICY {table}_platform_admin ON {table} USING (is_platform_admin())")


def downgrade() -> None:
    for table in reversed(TENANT_TABLES):
        op.execute(f"DROP POLICY {table}_platform_admin ON {table}")
        op.execute(f"DROP POLICY {table}_own_organisation ON {table}")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")

    op.execute("DROP FUNCTION is_platform_admin()")
    op.execute("DROP FUNCTION current_organisation_id()")
