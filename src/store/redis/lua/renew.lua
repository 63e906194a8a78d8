-- ARGV: token, fence, lease in microseconds.
if not is_owner(ARGV[1], ARGV[2]) or held.state == COMPLETED then
    return standing()
end

held.deadline = now + tonumber(ARGV[3])
touch(held)
put(held)
return { 'applied' }
