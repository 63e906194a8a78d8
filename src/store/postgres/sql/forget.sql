-- Drops key $1, whatever stands there, and says what that was. Tells channel $2 if somebody
-- waits.
WITH gone AS (
    DELETE FROM {keys}
    WHERE key = $1
    RETURNING kept_until, lease_until, response, waiting
)
SELECT
    CASE
        WHEN kept_until <= clock_timestamp() THEN 'absent'
        WHEN response IS NULL THEN 'in flight'
        ELSE 'completed'
    END AS found,
    extract(epoch FROM lease_until - clock_timestamp())::float8 AS remaining,
    response,
    CASE
        WHEN waiting AND response IS NULL THEN pg_notify($2, encode($1, 'hex'))::text
    END AS told,
    {age}
FROM gone
