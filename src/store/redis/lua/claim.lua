-- ARGV: token, fingerprint, lease and retention in microseconds, 'takeover' or 'hold'.
local token, fingerprint, after_crash = ARGV[1], ARGV[2], ARGV[5]

local lease = {
    state = IN_FLIGHT,
    waiting = '0',
    token = token,
    fingerprint = fingerprint,
    fence = next_fence(),
    deadline = now + tonumber(ARGV[3]),
    attempt = 1,
    retention = tonumber(ARGV[4]),
}

if held then
    if held.fingerprint ~= fingerprint then
        return { 'mismatch' }
    elseif held.state == COMPLETED then
        return standing()
    elseif held.token == token then
        -- Sent again: the same lease.
        lease.waiting, lease.fence, lease.attempt = held.waiting, held.fence, held.attempt
    elseif now < held.deadline then
        return standing()
    elseif after_crash == 'hold' then
        return { 'unknown' }
    else
        lease.attempt = held.attempt + 1
    end
end

put(lease)
return { 'acquired', lease.fence, lease.attempt }
