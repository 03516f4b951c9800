-- Forget what was resolved before this time; an open letter is never deleted.
DELETE FROM dead_letters WHERE status <> 'open' AND resolved_at < $1
