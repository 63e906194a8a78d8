-- ARGV: fence and state seen, channel.
if not held then
    return { 'absent' }
elseif held.fence ~= tonumber(ARGV[1]) or held.state ~= ARGV[2] then
    return { 'changed' }
end

free()
wake(ARGV[3])
return { 'applied' }
