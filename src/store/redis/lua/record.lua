-- What stands under KEYS[1]: a header of 80 bytes and, once completed, the record behind it.
--
--      1   version: '1'
--      2   state: 'F' in flight, 'C' completed, 'R' released
--      3   '1' if somebody waits for the end of the lease, else '0'
--   4-19   lease token
--  20-52   fingerprint: version, digest
--  53-60   fence
--  61-68   deadline: the end of the lease, or that of the retention
--  69-72   attempt
--  73-80   retention: how long the key is kept once its lease lapsed
--
-- Numbers are big-endian, times are microseconds of the server's clock: whole numbers
-- below 2^53, which a Lua number holds exactly.
--
-- This file stands in front of each verb. It leaves in `held` what stands there, or nil,
-- and in `floor` the last fence, which every new one must exceed. Whatever can fail comes before the
-- first write of a script, since a write is not taken back.

local LAYOUT, SIZE = '>c1c1c1c16c33I8I8I4I8', 80
local VERSION = '1'
local IN_FLIGHT, COMPLETED, RELEASED = 'F', 'C', 'R'

-- A key is kept for so many milliseconds beyond its end, and with it its fence, should the
-- server's clock be set back.
local GRACE = 60000

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- When a key is as if never seen.
local function gone_at(it)
    if it.state == IN_FLIGHT then
        return it.deadline + it.retention
    elseif it.state == COMPLETED then
        return it.deadline
    end
    return 0
end

local header = redis.pcall('GETRANGE', KEYS[1], 0, SIZE - 1)
if type(header) == 'table' then
    if header.err:find('WRONGTYPE', 1, true) then
        return { 'corrupt' }
    end
    return header
end

local held, floor = nil, 0
if header ~= '' or redis.call('EXISTS', KEYS[1]) == 1 then
    if #header ~= SIZE then
        return { 'corrupt' }
    end
    local version, state, waiting, token, fingerprint, fence, deadline, attempt, retention =
        struct.unpack(LAYOUT, header)
    local is_known = state == IN_FLIGHT or state == COMPLETED or state == RELEASED
    if version ~= VERSION or not is_known then
        return { 'corrupt' }
    end
    held = {
        state = state,
        waiting = waiting,
        token = token,
        fingerprint = fingerprint,
        fence = fence,
        deadline = deadline,
        attempt = attempt,
        retention = retention,
    }
    floor = fence
    if now >= gone_at(held) then
        held = nil
    end
end

-- The TTL only collects garbage: deadlines decide.
local function ttl(it)
    local left = math.max(gone_at(it) - now, 0)
    return math.floor(left / 1000) + GRACE
end

-- Keeps header and record.
local function put(it, record)
    local packed = struct.pack(LAYOUT, VERSION, it.state, it.waiting, it.token, it.fingerprint,
        it.fence, it.deadline, it.attempt, it.retention)
    redis.call('SET', KEYS[1], packed .. (record or ''), 'PX', ttl(it))
end

-- Writes what changes nothing and takes no room. A script that has written may go on writing
-- though the server is full: only for what takes the place of something as large.
local function touch(it)
    return redis.pcall('PEXPIRE', KEYS[1], ttl(it))
end

-- Frees the key, keeping its fence for a while. A full server takes no write but this one.
local function free()
    held.state = RELEASED
    if not pcall(put, held) then
        redis.call('DEL', KEYS[1])
    end
end

-- What stands there, for one to whom it does not belong.
local function standing()
    if not held then
        return { 'absent' }
    end
    local word = held.state == COMPLETED and 'completed' or 'in flight'
    return { word, held.fence, math.max(held.deadline - now, 0) }
end

local function is_owner(token, fence)
    return held and held.token == token and held.fence == tonumber(fence)
end

-- Wakes who waits for the end of the lease. The write is done, so this may fail.
local function wake(channel)
    if held.waiting == '1' then
        redis.pcall('PUBLISH', channel, KEYS[1])
    end
end

