-- How long a batch may take is bounded by the statements' own limits: a limit of the whole transaction (PostgreSQL
-- 17) that a role or database has would end the session in the middle of each batch that needs longer.
SELECT set_config('transaction_timeout', '0', false)
WHERE current_setting('server_version_num')::integer >= 170000
