"""Alembic's entry: migrates over the connection it is given, or prints the script for `psql`."""

from alembic import context

from pattern_metrics.migrations.revisions import FIRST_STATEMENTS, REVISIONS

# The script may meet a database that is stamped already: each file is safe to repeat, so it starts over.
_START_OVER = """\
DO $$
BEGIN
    IF to_regclass('alembic_version') IS NOT NULL THEN
        IF EXISTS (SELECT FROM alembic_version WHERE version_num NOT IN ({revisions})) THEN
            RAISE EXCEPTION 'alembic_version holds a revision that this script does not know'
                USING HINT = 'Use the release that made it; if other software did, another schema.';
        END IF;
        DELETE FROM alembic_version;
    END IF;
END
$$;
"""


def _migrate() -> None:
    context.configure(connection=context.config.attributes["connection"])
    with context.begin_transaction():
        context.run_migrations()


def _print_script() -> None:
    context.configure(dialect_name="postgresql")
    revisions = ", ".join(f"'{revision}'" for revision in REVISIONS)
    write = context.get_context().impl.static_output
    write("-- Run with: psql -f FILE\n\\set ON_ERROR_STOP on")
    with context.begin_transaction():
        for statement in FIRST_STATEMENTS:
            write(f"{statement};")
        write(_START_OVER.format(revisions=revisions))
        context.run_migrations()


if context.is_offline_mode():
    _print_script()
else:
    _migrate()
