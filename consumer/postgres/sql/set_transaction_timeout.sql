-- The limits of the statements already limit the time of a batch. A limit of the whole transaction (PostgreSQL 17), set
-- for a role or database, would end the session in the middle of each batch that needs longer.
SELECT set_config('transaction_timeout', '0', false)
WHERE current_setting('server_version_num')::integer >= 170000
