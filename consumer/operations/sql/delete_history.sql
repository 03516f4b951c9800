-- Forget the measurements before this time that lie in a range of blocks, which alone is read.
DELETE FROM pattern_quality_history WHERE ctid >= $2 AND ctid < $3 AND measurement_timestamp < $1
