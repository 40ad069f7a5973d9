#!lua name=tripline_f3dbc82c

-- The three things that must happen at once in one shard: a commit, a claim, a release.
-- The version, a digest of this file, is part of every name, so that two releases can run next to
-- each other: after an edit run `python -m engine.store.functions`.
-- No clock, no randomness, no TTL: the same arguments always leave the same keys.
-- Times and numbers are integers below 2^53, which a Lua number holds exactly. They are stored
-- and returned as the strings that came in, because tostring() keeps 14 digits only.

local RING_SPARE = 8
local RING_MAX = 512
local JOURNAL_MAX = 32
-- Before the trigger of a ghost of the trigger's own control group, which counts in that trigger's
-- cooldown and nowhere else.
local GHOST = '~'

-- Arguments per inner call, even so that pairs stay together. unpack() fails near 8,000.
local CHUNK = 1000

local function call_with(command, key, args, from, count)
    local last = from + count - 1
    while from <= last do
        local to = math.min(from + CHUNK - 1, last)
        if key then
            redis.call(command, key, unpack(args, from, to))
        else
            redis.call(command, unpack(args, from, to))
        end
        from = to + 1
    end
end

-- While Redis Cluster moves a slot, its old owner refuses every key that it does not hold, also
-- in the middle of a function, and what was written before stays. A key that never exists finds
-- that out before anything is written.
local function slot_is_moving(tag)
    local answer = redis.pcall('EXISTS', tag .. '?')
    return type(answer) == 'table' and answer.err ~= nil
end

local function smallest_score(key)
    local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    return first[2] or '0'
end

-- Each writer takes the position of its count, which is followed by that many items, and returns
-- the position after them.

local function write_plain(command, key)
    return function(args, at)
        local count = tonumber(args[at])
        call_with(command, key, args, at + 1, count)
        return at + 1 + count
    end
end

local function open_deliveries(args, at)
    local last = at + tonumber(args[at])
    for i = at + 1, last, 3 do
        if redis.call('HSETNX', args[i], 'u', args[i + 1]) == 1 then
            redis.call('HSET', args[i], 'e', args[i + 2])
        end
    end
    return last + 1
end

-- `field` tells why: 'x' cancelled, 'y' no longer true, 'z' consent withdrawn. The earliest time counts.
local function call_back(field)
    return function(args, at)
        local last = at + tonumber(args[at])
        for i = at + 1, last, 2 do
            local known = redis.call('HMGET', args[i], 'u', field)
            local earlier = known[2] and tonumber(known[2]) <= tonumber(args[i + 1])
            if known[1] and not earlier then
                redis.call('HSET', args[i], field, args[i + 1])
            end
        end
        return last + 1
    end
end

local function write_journal(args, at)
    local last = at + tonumber(args[at])
    local i = at + 1
    while i <= last do
        local key, count = args[i], tonumber(args[i + 1])
        call_with('RPUSH', key, args, i + 2, count)
        redis.call('LTRIM', key, -JOURNAL_MAX, -1)
        i = i + 2 + count
    end
    return last + 1
end

-- A counter has 64 bits. What would lead beyond is left out: an error here would stop the shard with
-- half a commit applied, and clients say what a goal is worth.
local function count_funnel(key)
    return function(args, at)
        local last = at + tonumber(args[at])
        for i = at + 1, last, 2 do
            redis.pcall('HINCRBY', key, args[i], args[i + 1])
        end
        return last + 1
    end
end

-- As count_funnel, but what comes to nothing goes.
local function count_pending(key)
    return function(args, at)
        local last = at + tonumber(args[at])
        for i = at + 1, last, 2 do
            if redis.call('HINCRBY', key, args[i], args[i + 1]) == 0 then
                redis.call('HDEL', key, args[i])
            end
        end
        return last + 1
    end
end

-- A ring is {entries to keep, time, delivery, trigger, category, time, ...}, oldest first.
local WIDTH = 4

local function read_ring(key)
    local packed = redis.call('GET', key)
    return packed and cmsgpack.unpack(packed) or {0}
end

local function is_ghost(ring, i)
    return string.sub(ring[i + 2], 1, 1) == GHOST
end

-- The newest `keep` of all and of each category stay, and the newest of each trigger, RING_MAX at
-- most. Of ghosts only that one, so that they never hide a message.
local function trimmed(ring, keep)
    local from, of_category, triggers, count, staying = #ring - WIDTH + 1, {}, {}, 0, {}
    local number = 0
    for i = from, 2, -WIDTH do
        local category, stays = ring[i + 3], not triggers[ring[i + 2]]
        if not is_ghost(ring, i) then
            of_category[category] = (of_category[category] or 0) + 1
            local own = category ~= '' and of_category[category] <= keep
            stays = stays or number < keep or own
            number = number + 1
        end
        if stays and count < RING_MAX then
            staying[i], count = true, count + 1
        end
        triggers[ring[i + 2]] = true
    end
    local kept = {keep}
    for i = 2, #ring, WIDTH do
        if staying[i] then
            for j = i, i + WIDTH - 1 do
                kept[#kept + 1] = ring[j]
            end
        end
    end
    return kept
end

-- A claim that the log knows of and the ring does not was forgotten by a store that was rolled
-- back. Enter it in its place again.
local function restore_claim(key, keep, delivery, trigger, category, time)
    local ring = read_ring(key)
    local place = #ring + 1
    for i = #ring - WIDTH + 1, 2, -WIDTH do
        if ring[i + 1] == delivery then
            return
        end
        if ring[i] > time then
            place = i
        end
    end
    for _, value in ipairs({category, trigger, delivery, time}) do
        table.insert(ring, place, value)
    end
    redis.call('SET', key, cmsgpack.pack(trimmed(ring, math.max(ring[1], keep))))
end

local function restore_claims(args, at)
    local last = at + tonumber(args[at])
    for i = at + 1, last, 6 do
        local keep, time = tonumber(args[i + 1]), tonumber(args[i + 5])
        restore_claim(args[i], keep, args[i + 2], args[i + 3], args[i + 4], time)
    end
    return last + 1
end

local function forget_claim(key, delivery)
    local ring = read_ring(key)
    local kept = {ring[1]}
    for i = 2, #ring, WIDTH do
        if ring[i + 1] ~= delivery then
            for j = i, i + WIDTH - 1 do
                kept[#kept + 1] = ring[j]
            end
        end
    end
    if #kept < #ring then
        redis.call('SET', key, cmsgpack.pack(kept))
    end
end

local function give_claims_back(args, at)
    local last = at + tonumber(args[at])
    for i = at + 1, last, 2 do
        forget_claim(args[i], args[i + 1])
    end
    return last + 1
end

local function trim_outbox(key, trim_to)
    if trim_to < 0 then
        return
    end
    local gone = {}
    for _, seq in ipairs(redis.call('HKEYS', key)) do
        if tonumber(seq) <= trim_to then
            gone[#gone + 1] = seq
        end
    end
    call_with('HDEL', key, gone, 1, #gone)
end

-- KEYS: the meta hash.
-- ARGV: tag, commit id, expected offset and page, new offset and page, watermark, registry,
--       partitions, withhold until, trim to, next seq, then counted lists in the order in which
--       they are applied below. Everything is checked before the first write.
local function commit(keys, args)
    local meta, tag = keys[1], args[1]
    if slot_is_moving(tag) then
        return redis.error_reply('-TRYAGAIN the hash slot of this shard is being moved')
    end
    local stored = redis.call('HMGET', meta, 'o', 'p', 'c', 'n')
    local offset, page = stored[1] or '-1', stored[2] or '0'
    local timers, outbox = tag .. 't', tag .. 'x'
    if offset == args[5] and page == args[6] then
        local status = stored[3] == args[2] and 'OK' or 'DUP'
        return {status, offset, page, smallest_score(timers)}
    end
    if offset ~= args[3] or page ~= args[4] then
        return {'GAP', offset, page, smallest_score(timers)}
    end

    local next_seq = args[12]
    if stored[4] and tonumber(stored[4]) > tonumber(next_seq) then
        next_seq = stored[4]
    end
    redis.call('HSET', meta, 'o', args[5], 'p', args[6], 'c', args[2], 'w', args[7], 'r', args[8],
        'k', args[9], 'h', args[10], 'n', next_seq)
    local at = 13
    at = write_plain('HSET', outbox)(args, at)
    trim_outbox(outbox, tonumber(args[11]))
    at = write_plain('HSET', meta)(args, at) -- forwarded, withdrawn
    at = write_plain('MSET')(args, at) -- states
    at = write_plain('ZADD', timers)(args, at)
    at = write_plain('ZREM', timers)(args, at)
    at = open_deliveries(args, at)
    at = call_back('x')(args, at) -- cancelled
    at = call_back('y')(args, at) -- no longer true
    at = call_back('z')(args, at) -- consent withdrawn
    at = write_plain('HSET', tag .. 'w')(args, at) -- withheld
    at = write_plain('HDEL', tag .. 'w')(args, at)
    at = restore_claims(args, at)
    at = give_claims_back(args, at)
    at = write_plain('DEL')(args, at) -- journals and rings of forgotten users
    at = write_journal(args, at)
    at = count_funnel(tag .. 'f')(args, at)
    at = count_pending(tag .. 'i')(args, at)
    write_plain('DEL')(args, at) -- closed deliveries, states that are gone
    return {'OK', args[5], args[6], smallest_score(timers)}
end

-- When the cap allows the next one: the time its (max)th newest entry leaves the window, 0 for now.
-- `category` false: every claim counts. A claim made by a faster clock lies ahead, so a period of 0
-- has to be told from one not over.
local function cap_free_at(ring, max, per, now, category)
    if per <= 0 then
        return 0
    end
    if max <= 0 then
        return now + per
    end
    local times = {}
    for i = 2, #ring, WIDTH do
        local counts = not category or ring[i + 3] == category
        if now - ring[i] < per and counts and not is_ghost(ring, i) then
            times[#times + 1] = ring[i]
        end
    end
    if #times < max then
        return 0
    end
    table.sort(times)
    return times[#times - max + 1] + per
end

-- As above for a calendar window; `starts` is when each begins. Behind the last one nothing is known
-- of its end, so a day later. A clock that is behind the decision is taken to be in its window.
local function calendar_free_at(ring, max, starts, now, category)
    local place = 1
    for i = 1, #starts do
        if starts[i] <= now then
            place = i
        end
    end
    local from, to, used = starts[place], starts[place + 1], 0
    for i = 2, #ring, WIDTH do
        local within = ring[i] >= from and (not to or ring[i] < to)
        if within and (not category or ring[i + 3] == category) and not is_ghost(ring, i) then
            used = used + 1
        end
    end
    if used < max then
        return 0
    end
    return to or now + 86400000
end

-- The limits of a claim, from their first argument on: cooldown, spacing, category, then the caps of
-- all and those of the category, each as a count of words and (max, per) pairs, then calendar caps:
-- max, whether only the category counts, a count of starts, the starts.
local function read_limits(args, at)
    local limits = {
        cooldown = tonumber(args[at]), spacing = tonumber(args[at + 1]), category = args[at + 2],
        caps = {}, calendars = {}, largest = 0
    }
    at = at + 3
    for _, category in ipairs({false, limits.category}) do
        local last = at + tonumber(args[at])
        for i = at + 1, last, 2 do
            local cap = {max = tonumber(args[i]), per = tonumber(args[i + 1]), category = category}
            limits.caps[#limits.caps + 1] = cap
            limits.largest = math.max(limits.largest, cap.max)
        end
        at = last + 1
    end
    while at <= #args do
        local cap = {max = tonumber(args[at]), starts = {}}
        cap.category = args[at + 1] == '1' and limits.category
        local last = at + 2 + tonumber(args[at + 2])
        for i = at + 3, last do
            cap.starts[#cap.starts + 1] = tonumber(args[i])
        end
        limits.calendars[#limits.calendars + 1] = cap
        limits.largest = math.max(limits.largest, cap.max)
        at = last + 1
    end
    return limits
end

local function refusal(ring, limits, now, trigger)
    local cooldown, spacing = limits.cooldown, limits.spacing
    local reason, free_at = nil, 0
    local function refuse(code, at)
        if at > 0 then
            reason = reason or code
            free_at = math.max(free_at, at)
        end
    end
    for i = 2, #ring, WIDTH do
        local own = ring[i + 2] == trigger or ring[i + 2] == GHOST .. trigger
        if cooldown > 0 and own and now - ring[i] < cooldown then
            refuse('COOLDOWN', ring[i] + cooldown)
        end
    end
    for i = 2, #ring, WIDTH do
        if spacing > 0 and now - ring[i] < spacing and not is_ghost(ring, i) then
            refuse('SPACING', ring[i] + spacing)
        end
    end
    for _, cap in ipairs(limits.caps) do
        refuse('FREQUENCY_CAP', cap_free_at(ring, cap.max, cap.per, now, cap.category))
    end
    for _, cap in ipairs(limits.calendars) do
        refuse('FREQUENCY_CAP', calendar_free_at(ring, cap.max, cap.starts, now, cap.category))
    end
    return reason, free_at
end

local function add_to_ring(key, ring, limits, now, delivery, trigger, category)
    local keep = math.min(math.max(ring[1], limits.largest + RING_SPARE), RING_MAX)
    for _, value in ipairs({now, delivery, trigger, category}) do
        ring[#ring + 1] = value
    end
    redis.call('SET', key, cmsgpack.pack(trimmed(ring, keep)))
end

-- Claims and limits may be missing in a store that was rolled back: while it is withheld from, and
-- while it has not applied what the asker knows that it had applied once.
local function is_behind(meta, after)
    local stored = redis.call('HMGET', meta, 'o', 'h')
    return tonumber(stored[1] or '-1') < tonumber(after) or (stored[2] or '0') ~= '0'
end

-- KEYS: the ledger entry, the user's ring, the meta hash.
-- ARGV: now, lease, delivery, trigger, token, counted, after, the end of the closed hours (0: open),
-- then the limits as read_limits has them. A claim that is not counted (0, transactional) stays out
-- of the ring; one counted as the ghost of the trigger's own control group (g) enters it with the
-- mark of a ghost.
-- The token names this very question: asked again with it, the answer is SEND again.
local function claim(keys, args)
    local entry, now = keys[1], tonumber(args[1])
    local stored = redis.call('HMGET', entry, 'u', 'e', 'x', 'c', 'l', 't', 'y', 'z')
    if not stored[1] then
        return {'GONE', 0, ''}
    end
    if stored[4] then
        if stored[6] == args[5] then
            return {'SEND', 0, ''}
        end
        local lease_ends = tonumber(stored[4]) + tonumber(stored[5])
        if now < lease_ends then
            return {'WAIT', lease_ends, ''}
        end
        return {'UNKNOWN', 0, ''}
    end
    if stored[8] and tonumber(stored[8]) <= now then
        return {'CONSENT', 0, ''}
    end
    if stored[3] and tonumber(stored[3]) <= now then
        return {'CANCELLED', 0, ''}
    end
    if stored[7] and tonumber(stored[7]) <= now then
        return {'NO_LONGER_TRUE', 0, ''}
    end
    if now > tonumber(stored[2]) then
        return {'EXPIRED', 0, ''}
    end
    if is_behind(keys[3], args[7]) then
        return {'BEHIND', 0, ''}
    end
    local ring = read_ring(keys[2])
    local limits = read_limits(args, 9)
    local reason, free_at = refusal(ring, limits, now, args[4])
    local closed_until = tonumber(args[8])
    if closed_until > now then
        reason, free_at = reason or 'QUIET_HOURS', math.max(free_at, closed_until)
    end
    if reason then
        return {'REFUSED', free_at, reason}
    end
    if args[6] == '1' then
        add_to_ring(keys[2], ring, limits, now, args[3], args[4], limits.category)
    elseif args[6] == 'g' then
        add_to_ring(keys[2], ring, limits, now, args[3], GHOST .. args[4], '')
    end
    redis.call('HSET', entry, 'c', args[1], 'l', args[2], 't', args[5])
    return {'SEND', 0, ''}
end

-- KEYS: the ledger entry, the user's ring. ARGV: delivery.
local function release(keys, args)
    if redis.call('HDEL', keys[1], 'c', 'l', 't') == 0 then
        return 0
    end
    forget_claim(keys[2], args[1])
    return 1
end

redis.register_function('tripline_commit_f3dbc82c', commit)
redis.register_function('tripline_claim_f3dbc82c', claim)
redis.register_function('tripline_release_f3dbc82c', release)
