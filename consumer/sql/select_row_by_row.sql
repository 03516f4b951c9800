-- Write the stage row by row (see `create_row_writer`): how many rows were written, and what was refused.
SELECT place, written, state, message FROM pg_temp.write_row_by_row($1)
