"""What knows Alembic and target databases, and knows no Django."""
