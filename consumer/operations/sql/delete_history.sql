-- Delete the measurements before this time in a range of blocks. Only that range is read.
DELETE FROM pattern_quality_history WHERE ctid >= $2 AND ctid < $3 AND measurement_timestamp < $1
