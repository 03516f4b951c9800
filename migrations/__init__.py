"""The database's schema, revision by revision."""

import logging

# Alembic logs its steps at INFO from its first import on. The SQL files already print what a user needs.
logging.getLogger("alembic").setLevel(logging.WARNING)
