-- What was saved as $4 with key $1, for the lease with token $2 and fence $3.
SELECT decode(checkpoints ->> $4, 'base64') AS bytes, {age}
FROM {keys}
WHERE key = $1 AND token = $2 AND fence = $3
    AND response IS NULL
    AND kept_until > clock_timestamp()
