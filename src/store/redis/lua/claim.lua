-- ARGV: token, fingerprint, lease and retention in microseconds, 'takeover' or 'hold'.
local waiting, fence, attempt = '0', math.max(now, floor + 1), 1
local is_resend = false

if held then
    if held.fingerprint ~= ARGV[2] then
        return { 'mismatch' }
    elseif held.state == COMPLETED then
        return standing()
    elseif held.token == ARGV[1] then
        -- Sent again: the same lease.
        waiting, fence, attempt = held.waiting, held.fence, held.attempt
        is_resend = true
    elseif now < held.deadline then
        return standing()
    elseif ARGV[5] == 'hold' then
        return { 'unknown' }
    else
        attempt = held.attempt + 1
    end
end

local lease = {
    state = IN_FLIGHT,
    waiting = waiting,
    token = ARGV[1],
    fingerprint = ARGV[2],
    fence = fence,
    deadline = now + tonumber(ARGV[3]),
    attempt = attempt,
    retention = tonumber(ARGV[4]),
}
if is_resend then
    touch(lease)
end
put(lease)
return { 'acquired', fence, attempt }
