-- Exclude all other writers until the end of this transaction: a pattern that has a row in neither table has nothing that
-- two writers could lock, and one of them may retire it while the other writes its measurement.
LOCK TABLE pattern_quality_retired IN EXCLUSIVE MODE
