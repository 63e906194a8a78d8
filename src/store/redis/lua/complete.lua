-- ARGV: token, fence, fingerprint, retention in microseconds, channel, record.
if not is_owner(ARGV[1], ARGV[2]) then
    return standing()
elseif held.state == COMPLETED then
    -- WAIT asks only for what its connection wrote, and this may be another one.
    local touched = touch(held)
    if type(touched) == 'table' then
        return touched
    end
    return { 'already applied' }
end

put({
    state = COMPLETED,
    waiting = '0',
    token = held.token,
    fingerprint = ARGV[3],
    fence = held.fence,
    deadline = now + tonumber(ARGV[4]),
    attempt = held.attempt,
    retention = 0,
}, ARGV[6])
wake(ARGV[5])
return { 'applied' }
