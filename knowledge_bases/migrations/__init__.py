"""Alembic migrations; `knowledge_bases.database` runs them on opening."""
