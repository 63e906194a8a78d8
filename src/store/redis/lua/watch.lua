-- Raises the flag of the waiter if the lease seen still holds the key. ARGV: fence.
local is_held = held and held.state == IN_FLIGHT and now < held.deadline
if not is_held or held.fence ~= tonumber(ARGV[1]) then
    return { 'over' }
end

if held.waiting ~= '1' then
    touch(held)
    redis.call('SETRANGE', KEYS[1], 2, '1')
end
return standing()
