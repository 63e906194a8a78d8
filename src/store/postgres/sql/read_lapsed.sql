-- What an operator who wants to answer for key $1 finds there.
SELECT
    CASE
        WHEN response IS NOT NULL THEN 'completed'
        WHEN lease_until > clock_timestamp() THEN 'in flight'
        ELSE 'lapsed'
    END AS found,
    fingerprint, fence, token, {age}
FROM {keys}
WHERE key = $1 AND kept_until > clock_timestamp()
