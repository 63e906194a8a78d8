-- Puts an answer in the place of a lapsed lease. ARGV: the fence seen, fingerprint,
-- retention in microseconds, record.
if not held or held.state == COMPLETED or now < held.deadline then
    return standing()
elseif held.fence ~= tonumber(ARGV[1]) then
    return { 'changed' }
end

put({
    state = COMPLETED,
    waiting = '0',
    token = held.token,
    fingerprint = ARGV[2],
    -- Not that of the lease: whoever held it does not own this answer.
    fence = math.max(now, floor + 1),
    deadline = now + tonumber(ARGV[3]),
    attempt = held.attempt,
    retention = 0,
}, ARGV[4])
return { 'applied' }
