"""Alembic's migrations of the database (`flowshift db upgrade`, or `alembic upgrade head`)."""
