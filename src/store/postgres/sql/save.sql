-- Saves $5 as $4 with key $1, for the lease with token $2 and fence $3, if all that is saved
-- there then fits into $6 bytes.
WITH held AS MATERIALIZED (
    SELECT octet_length(
        (coalesce(checkpoints, '{}') || jsonb_build_object($4::text, encode($5, 'base64')))::text
    ) <= $6 AS fits
    FROM {keys}
    WHERE key = $1 AND token = $2 AND fence = $3
        AND response IS NULL
        AND kept_until > clock_timestamp()
),
saved AS (
    UPDATE {keys} SET
        checkpoints = coalesce(checkpoints, '{}')
            || jsonb_build_object($4::text, encode($5, 'base64'))
    WHERE key = $1 AND token = $2 AND fence = $3
        AND response IS NULL
        AND kept_until > clock_timestamp()
        AND EXISTS (SELECT FROM held WHERE fits)
    RETURNING key
)
SELECT fits, EXISTS (SELECT FROM saved) AS saved, {age}
FROM held
