-- Completes key $1 for the lease with token $2 and fence $3: with the record $4, kept for $5
-- seconds. Tells channel $6 if somebody waits. If it cannot, what stands there instead.
WITH done AS (
    UPDATE {keys} SET
        response = $4,
        checkpoints = NULL,
        kept_until = clock_timestamp() + make_interval(secs => $5),
        expires_at = greatest(expires_at, clock_timestamp() + make_interval(secs => $5))
    WHERE key = $1 AND token = $2 AND fence = $3
        AND response IS NULL
        AND kept_until > clock_timestamp()
    RETURNING waiting
)
SELECT
    'applied' AS found, NULL::float8 AS remaining, NULL::bytea AS response,
    CASE WHEN waiting THEN pg_notify($6, encode($1, 'hex'))::text END AS told, {age}
FROM done
UNION ALL
SELECT * FROM ({standing}) AS standing
WHERE NOT EXISTS (SELECT FROM done)
