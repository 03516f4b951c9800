-- Delete letters that were resolved before this time. An open letter is never deleted.
DELETE FROM dead_letters WHERE status <> 'open' AND resolved_at < $1
