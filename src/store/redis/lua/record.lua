-- What stands under KEYS[1]: a header of 110 bytes and, once completed, the record behind it.
--
--      1   version: '1'
--      2   state: 'F' in flight, 'C' completed, 'R' released
--      3   '1' if somebody waits for the end of the lease, else '0'
--   4-19   lease token
--  20-52   fingerprint: version, digest
--  53-68   fence
--  69-84   deadline: the end of the lease, or that of the retention
--  85-94   attempt
-- 95-110   retention: how long the key is kept once its lease lapsed
--
-- Numbers are decimal with leading zeros, times are microseconds of the server's clock:
-- whole numbers below 2^53, which a Lua number holds exactly. Token and fingerprint are
-- bytes, which string.format would cut at a zero.
--
-- This file stands in front of each verb. It leaves in `held` what stands there, or nil,
-- and in `floor` what every new fence must exceed. Whatever can fail comes before the
-- first write of a script, since a write is not taken back.

local IN_FLIGHT, COMPLETED, RELEASED = 'F', 'C', 'R'

-- A key is kept for so many milliseconds beyond its end, and with it its fence, should the
-- server's clock be set back.
local GRACE = 60000

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function unpacked(header)
    if #header ~= 110 or header:sub(1, 1) ~= '1' then
        return nil
    end
    local fields = {
        state = header:sub(2, 2),
        waiting = header:sub(3, 3),
        token = header:sub(4, 19),
        fingerprint = header:sub(20, 52),
        fence = tonumber(header:sub(53, 68)),
        deadline = tonumber(header:sub(69, 84)),
        attempt = tonumber(header:sub(85, 94)),
        retention = tonumber(header:sub(95, 110)),
    }
    local is_known = fields.state:find('[FCR]')
    local is_whole = fields.fence and fields.deadline and fields.attempt and fields.retention
    return is_known and is_whole and fields
end

local function packed(fields)
    return '1' .. fields.state .. fields.waiting .. fields.token .. fields.fingerprint
        .. string.format('%016.0f%016.0f%010.0f%016.0f',
            fields.fence, fields.deadline, fields.attempt, fields.retention)
end

-- When a key is as if never seen.
local function gone_at(fields)
    if fields.state == IN_FLIGHT then
        return fields.deadline + fields.retention
    elseif fields.state == COMPLETED then
        return fields.deadline
    end
    return 0
end

-- Keeps header and record. The TTL only collects garbage: deadlines decide.
local function put(fields, record)
    local left = math.max(gone_at(fields) - now, 0)
    local ttl = string.format('%.0f', math.ceil(left / 1000) + GRACE)
    return redis.call('SET', KEYS[1], packed(fields) .. (record or ''), 'PX', ttl)
end

local header = redis.pcall('GETRANGE', KEYS[1], 0, 109)
if type(header) == 'table' then
    if header.err:find('WRONGTYPE', 1, true) then
        return { 'corrupt' }
    end
    return header
end

local held, floor = nil, 0
if header ~= '' or redis.call('EXISTS', KEYS[1]) == 1 then
    held = unpacked(header)
    if not held then
        return { 'corrupt' }
    end
    floor = held.fence
    if now >= gone_at(held) then
        held = nil
    end
end

local function next_fence()
    return math.max(now, floor + 1)
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

