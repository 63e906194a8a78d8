-- Prolongs the lease of key $1 with token $2 and fence $3 to $4 seconds from now. If it
-- cannot, what stands there instead.
WITH done AS (
    UPDATE {keys} SET
        lease_until = clock_timestamp() + make_interval(secs => $4),
        kept_until = clock_timestamp() + make_interval(secs => $4) + {retention},
        expires_at = greatest(
            expires_at,
            clock_timestamp() + make_interval(secs => $4) + {retention}
        )
    WHERE key = $1 AND token = $2 AND fence = $3
        AND response IS NULL
        AND kept_until > clock_timestamp()
    RETURNING key
)
SELECT
    'applied' AS found, NULL::float8 AS remaining, NULL::bytea AS response,
    NULL::text AS told, {age}
FROM done
UNION ALL
SELECT * FROM ({standing}) AS standing
WHERE NOT EXISTS (SELECT FROM done)
