-- ARGV: token, fence, channel.
if not held then
    return { 'already applied' }
elseif held.state == COMPLETED or not is_owner(ARGV[1], ARGV[2]) then
    return standing()
end

free()
wake(ARGV[3])
return { 'applied' }
