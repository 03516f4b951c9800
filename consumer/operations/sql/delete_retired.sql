-- Forget the patterns that were retired before this time.
DELETE FROM pattern_quality_retired WHERE retired_at < $1
