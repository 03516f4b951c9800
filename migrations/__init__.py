"""The database's schema, revision by revision."""

import logging

# Alembic tells at INFO what it does, from its first import on. What there is to say comes from the SQL files.
logging.getLogger("alembic").setLevel(logging.WARNING)
