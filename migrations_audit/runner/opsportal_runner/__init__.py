"""Execute one approved Alembic run inside the project's interpreter and tell what happens, one JSON object a line.

Needs Python 3.8, Alembic 1.8 and SQLAlchemy 1.4 or later. Imports nothing of the portal, because the project's interpreter does
not have it, and names its own modules relatively, because a module of the project may have any name but this package's.

Exit codes: 0 Alembic returned and every planned step ended, 1 it did not, 3 refused, 4 nobody listens any more.
Exit code 0 proves nothing about the database; another process reads that.
"""
