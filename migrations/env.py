"""Alembic's entry: migrates over the connection it is given, or prints the script for `psql`."""

from alembic import context

from pattern_metrics.migrations.revisions import (
    FIRST_STATEMENTS,
    REVISIONS,
    VERSION_TABLE,
    place_of_stamp,
    rights,
)

# The database may be stamped already. Each file is safe to repeat, so the script starts from the beginning.
# The stamp of another installation, in a later schema of search_path, stays.
_START_OVER = """\
DO $$
BEGIN
    IF to_regclass(format('%I.{table}', current_schema())) IS NOT NULL THEN
        IF EXISTS (SELECT FROM {table} WHERE version_num NOT IN ({revisions})) THEN
            RAISE EXCEPTION '{table} holds a revision that this script does not know'
                USING HINT = 'Use the release that made it.';
        END IF;
        DELETE FROM {table};
    END IF;
END
$$;
"""


def _migrate() -> None:
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, **place_of_stamp(connection))
    with context.begin_transaction():
        context.run_migrations()


def _print_script() -> None:
    # No transaction around it: the revisions build indexes concurrently.
    context.configure(dialect_name="postgresql", version_table=VERSION_TABLE, transactional_ddl=False)
    revisions = ", ".join(f"'{revision}'" for revision in REVISIONS)
    write = context.get_context().impl.static_output
    write("-- Run with: psql -f FILE, outside a transaction. After an interruption, run it again.")
    write("\\set ON_ERROR_STOP on")
    with context.begin_transaction():
        for statement in FIRST_STATEMENTS:
            write(f"{statement};")
        write(_START_OVER.format(table=VERSION_TABLE, revisions=revisions))
        context.run_migrations()
        write(rights())


if context.is_offline_mode():
    _print_script()
else:
    _migrate()
