-- Whether key $1 is held by the lease with token $2 and fence $3.
SELECT {age}
FROM {keys}
WHERE key = $1 AND token = $2 AND fence = $3
    AND response IS NULL
    AND lease_until > clock_timestamp()
