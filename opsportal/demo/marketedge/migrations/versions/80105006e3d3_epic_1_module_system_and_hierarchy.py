"""Epic 1: module system and organisation hierarchy

Revision ID: 80105006e3d3
Revises: 005
Create Date: 2025-09-16 17:31:12.046375+00:00

"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "80105006e3d3"
down_revision: str | Sequence[str] | None = "005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

hierarchy_level = postgresql.ENUM(
    "organisation", "location", "department", "team", name="hierarchy_level", create_type=False
)


def upgrade() -> None:
    op.execute("CREATE TYPE hierarchy_level AS ENUM ('organisation', 'location', 'department', 'team')")

    op.create_table(
        "hierarchy_nodes",
        sa.Column("id", postgresql.UUID(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("organisation_id", postgresql.UUID(), nullable=False),
        sa.Column("parent_id", postgresql.UUID(), nullable=True),
        sa.Column("level", hierarchy_level, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("settings", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint("(level = 'organisation') = (parent_id IS NULL)", name="hierarchy_nodes_root_check"),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name="hierarchy_nodes_organisation_id_fkey", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["hierarchy_nodes.id"], name="hierarchy_nodes_parent_id_fkey", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="hierarchy_nodes_pkey"),
        sa.UniqueConstraint("parent_id", "name", name="hierarchy_nodes_parent_name_key"),
    )
    op.create_index("ix_hierarchy_nodes_organisation_id", "hierarchy_nodes", ["organisation_id", "level"])
    op.create_index(
        "uq_hierarchy_nodes_root",
        "hierarchy_nodes",
        ["organisation_id"],
        unique=True,
        postgresql_where=sa.text("parent_id IS NULL"),
    )
    # Every organisation is the root of its own tree.
    op.execute(
        """
        INSERT INTO hierarchy_nodes (organisation_id, level, name, is_active)
        SELECT id, 'organisation', name, is_active FROM organisations
        """
    )

    op.create_table(
        "user_hierarchy_assignments",
        sa.Column("user_id", postgresql.UUID(), nullable=False),
        sa.Column("node_id", postgresql.UUID(), nullable=False),
        sa.Column("role_id", sa.Integer(), nullable=False),
        sa.Column("is_primary", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("assigned_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="user_hierarchy_assignments_user_id_fkey", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["node_id"], ["hierarchy_nodes.id"], name="user_hierarchy_assignments_node_id_fkey", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["role_id"], ["roles.id"], name="user_hierarchy_assignments_role_id_fkey"),
        sa.PrimaryKeyConstraint("user_id", "node_id", name="user_hierarchy_assignments_pkey"),
    )
    op.create_index("ix_user_hierarchy_assignments_node_id", "user_hierarchy_assignments", ["node_id"])
    op.create_index(
        "uq_user_hierarchy_assignments_primary",
        "user_hierarchy_assignments",
        ["user_id"],
        unique=True,
        postgresql_where=sa.text("is_primary"),
    )

    op.create_table(
        "module_node_access",
        sa.Column("module_id", sa.String(length=255), nullable=False),
        sa.Column("node_id", postgresql.UUID(), nullable=False),
        sa.Column("is_allowed", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("inherited", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("granted_by", postgresql.UUID(), nullable=True),
        sa.Column("granted_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(
            ["module_id"], ["analytics_modules.id"], name="module_node_access_module_id_fkey", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["node_id"], ["hierarchy_nodes.id"], name="module_node_access_node_id_fkey", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["granted_by"], ["users.id"], name="module_node_access_granted_by_fkey", ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("module_id", "node_id", name="module_node_access_pkey"),
    )
    op.create_index("ix_module_node_access_node_id", "module_node_access", ["node_id"])

    op.add_column("analytics_modules", sa.Column("parent_module_id", sa.String(length=255), nullable=True))
    op.create_foreign_key(
        "analytics_modules_parent_module_id_fkey",
        "analytics_modules",
        "analytics_modules",
        ["parent_module_id"],
        ["id"],
        ondelete="SET NULL",
    )
    op.create_index("ix_analytics_modules_parent_module_id", "analytics_modules", ["parent_module_id"])

    op.execute("ALTER TABLE hierarchy_nodes ENABLE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY hierarchy_nodes_own_organisation ON hierarchy_nodes "
        "USING (organisation_id = current_organisation_id()) "
        "WITH CHECK (organisation_id = current_organisation_id())"
    )
    op.execute("CREATE POLICY hierarchy_nodes_platform_admin ON hierarchy_nodes USING (is_platform_admin())")


def downgrade() -> None:
    op.drop_index("ix_analytics_modules_parent_module_id", table_name="analytics_modules")
    op.drop_constraint("analytics_modules_parent_module_id_fkey", "analytics_modules", type_="foreignkey")
    op.drop_column("analytics_modules", "parent_module_id")
    op.drop_table("module_node_access")
    op.drop_table("user_hierarchy_assignments")
    op.drop_table("hierarchy_nodes")
    op.execute("DROP TYPE hierarchy_level")
