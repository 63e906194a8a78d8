-- Frees key $1 of the lease with token $2 and fence $3. Tells channel $4 if somebody waits.
-- If it cannot, what stands there instead.
--
-- What was saved waits for a retry, in a row without a token, which is gone to all but a claim.
WITH emptied AS (
    UPDATE {keys} SET
        token = '',
        lease_until = least(lease_until, clock_timestamp()),
        kept_until = clock_timestamp()
    WHERE key = $1 AND token = $2 AND fence = $3
        AND response IS NULL
        AND checkpoints IS NOT NULL
        AND kept_until > clock_timestamp()
    RETURNING waiting
),
deleted AS (
    DELETE FROM {keys}
    WHERE key = $1 AND token = $2 AND fence = $3
        AND response IS NULL
        AND (checkpoints IS NULL OR kept_until <= clock_timestamp())
    RETURNING waiting, kept_until
),
done AS (
    SELECT waiting, 'applied' AS found FROM emptied
    UNION ALL
    -- What is gone was free already.
    SELECT waiting, CASE WHEN kept_until > clock_timestamp() THEN 'applied' ELSE 'absent' END
    FROM deleted
)
SELECT
    found, NULL::float8 AS remaining, NULL::bytea AS response,
    CASE WHEN waiting THEN pg_notify($4, encode($1, 'hex'))::text END AS told, {age}
FROM done
UNION ALL
SELECT * FROM ({standing}) AS standing
WHERE NOT EXISTS (SELECT FROM done)
