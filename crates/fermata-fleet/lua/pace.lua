-- The pace that workers share. KEYS[1] is what every key begins with, ARGV[1] the operation, ARGV[2] the time in microseconds
-- (empty: Redis's own), ARGV[3] the tenant.
--
--   cool:<tenant>            until when Tempo is left alone, in ms; the queue reads it too
--   pace:<tenant>            tat: when the next slot is, in us    level, since: the adaptive factor, below
--                            row: refusals that followed each other    again: until when others belong to the last
--                            granted, refused: counts    factor: as last used
--   pace-active:<tenant>     workers, by the ms at which they last took a slot
--   pace-address:<address>   when the next slot of an address is, in us
--   pace-began               when this Redis was first asked, in us
--
-- A slot is reserved and waited for: whoever asks is told how long, in time that passes, so no worker's clock matters. What is
-- deferred leaves no trace. Nothing here loops; all of it expires.

local P, op, tenant = KEYS[1], ARGV[1], ARGV[3]
local now = tonumber(ARGV[2])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end

local SECOND = 1000000
local PAUSE_FIRST, DOUBLED_MAX, PAUSE_MAX = SECOND, 60 * SECOND, 300 * SECOND
local HORIZON = 60 * SECOND       -- nobody is given a slot so far ahead: the clock has jumped
local ACTIVE_MS = 30000           -- a worker that took no slot for so long is not counted
local KEEP_MS = 3600 * 1000       -- how long an idle tenant is remembered

-- The factor. A refusal sets the level, and what follows is counted in slots, not in seconds:
--
--      level x 0.85 .. 1      level                    level x (1 + 1 %, 2 %, 4 % ...)
--      | 60 slots: the        | until slot 500:        | each 110 slots the excess doubles, until
--      | quota over there     | what was good           | there is a refusal or the full rate
--      | is empty             | stays                   |
local REFILL, REFILL_LOW = 60, 0.85
local STAY, DOUBLES, EXCESS = 500, 110, 0.01
local STAY_US, DOUBLES_US = 6 * SECOND, 1.8 * SECOND  -- at least, where a rate makes 500 slots a blink
local LEVEL_MIN = 0.1
local SHORT = 0.3  -- below this level all of it is shortened, or the way back would take an hour
-- What a refusal leaves of the factor: the first; one that comes before slot AT_ONCE_SLOTS; while the level stays; as it rises.
local FIRST, AT_ONCE, STAYING, RISING = 0.7, 0.9, 0.94, 0.85
local AT_ONCE_SLOTS = 150

local call = redis.call
local hash = P .. ':pace:' .. tenant
local function number(text) return tonumber(text or '') end
local function whole(n) return string.format('%.0f', n) end

-- How many slots each part takes.
local function lengths(level, period)
  local scale = math.min(1, level / SHORT)
  return { refill = REFILL * scale, at_once = AT_ONCE_SLOTS * scale, stay = math.max(STAY, STAY_US / period) * scale,
    doubles = math.max(DOUBLES, DOUBLES_US / period) * scale }
end

-- The factor so many slots after the refusal; nil where it is over.
local function factor(level, since, period)
  if not level then return nil end
  local slots = lengths(level, period)
  if since < slots.refill then return level * (REFILL_LOW + (1 - REFILL_LOW) * since / slots.refill) end
  if since < slots.stay then return level end
  local f = level * (1 + EXCESS * (2 ^ math.min(30, (since - slots.stay) / slots.doubles) - 1))
  if f < 1 then return f end
end

local function level_after_refusal(level, since, period)
  if not level then return FIRST end
  local f, slots = factor(level, since, period) or 1, lengths(level, period)
  local new
  if since < slots.at_once then new = f * AT_ONCE
  elseif since < slots.stay + slots.doubles then new = f * STAYING
  else new = math.max(level, f * RISING) end  -- the level itself was good
  return math.max(LEVEL_MIN, new)
end

local function cool_until()
  local key = P .. ':cool:' .. tenant
  local till = number(call('GET', key))
  if not till then return 0 end
  if till * 1000 > now + PAUSE_MAX + SECOND then
    -- The clock was set back. Nobody knows what is left of the pause; this is the most.
    till = math.ceil((now + PAUSE_MAX) / 1000)
    call('SET', key, whole(till), 'PX', whole(PAUSE_MAX / 1000))
  end
  return till * 1000
end

-- When the next slot is. `hold` is how far ahead slots may be that were given and are not in this Redis.
local function tat(text, period, hold)
  local t = number(text)
  if t and t <= now + HORIZON + period then return t end
  if t then return now + hold end
  local key = P .. ':pace-began'
  local began = number(call('GET', key))
  if not began or began > now then
    began = now
    call('SET', key, whole(began))
  end
  return began + hold
end

local function active() return call('ZCOUNT', P .. ':pace-active:' .. tenant, now / 1000 - ACTIVE_MS, '+inf') end

-- period of the tenant (0: no limit), burst, longest wait, hold, worker, whether something was accepted since, whether
-- the worker comes back from its local share, address (or empty), period of the address; all times in us.
local function reserve(period, burst, wait_max, hold, worker, accepted, returning, address, address_period)
  local h = call('HMGET', hash, 'tat', 'level', 'since', 'row')
  local level, since, row = number(h[2]), (number(h[3]) or 0) + 1, number(h[4]) or 0
  local f = period > 0 and factor(level, since, period) or 1
  local step, cool = period / f, cool_until()

  local slot, which = now, ''
  if cool > slot then slot, which = cool, 'cool' end
  local mine
  if period > 0 then
    mine = tat(h[1], step, hold)
    if returning then mine = math.max(mine, now + hold) end
    if mine - (burst - 1) * step > slot then slot, which = mine - (burst - 1) * step, 'tenant' end
  end
  local address_key, shared = P .. ':pace-address:' .. address, nil
  if address ~= '' then
    shared = math.max(now, tat(call('GET', address_key), address_period, hold))
    if shared > slot then slot, which = shared, 'address' end
  end
  local wait = slot - now
  if wait > wait_max then return { 0, whole(math.ceil(wait)), which, active(), whole(f * 1e6) } end

  call('HINCRBY', hash, 'granted', 1)
  local set = { 'factor', whole(f * 1e6) }
  if mine then
    mine = math.max(mine, slot) + step
    set[3], set[4] = 'tat', whole(mine)
  end
  if level and f < 1 then set[#set + 1] = 'since'; set[#set + 1] = since
  elseif level then call('HDEL', hash, 'level', 'since') end
  if accepted and row > 0 and now >= cool then set[#set + 1] = 'row'; set[#set + 1] = 0 end
  call('HSET', hash, unpack(set))
  call('PEXPIRE', hash, whole(math.max(KEEP_MS, math.ceil(((mine or now) - now) / 1000))))
  -- An address is charged in the order of asking, or one slow tenant would hold up all the others.
  if shared then
    shared = shared + address_period
    call('SET', address_key, whole(shared), 'PX', whole(math.ceil((shared - now) / 1000) + 60000))
  end
  local key = P .. ':pace-active:' .. tenant
  call('ZADD', key, whole(now / 1000), worker)
  call('ZREMRANGEBYSCORE', key, '-inf', '(' .. whole(now / 1000 - ACTIVE_MS))
  call('PEXPIRE', key, ACTIVE_MS)
  return { 1, whole(math.ceil(wait)), which, call('ZCARD', key), whole(f * 1e6) }
end

-- period of the tenant, `Retry-After` in us (or empty), whether something was accepted since.
local function cool(period, retry_after, accepted)
  local h = call('HMGET', hash, 'level', 'since', 'row', 'again')
  local level, since, row = number(h[1]), number(h[2]) or 0, number(h[3]) or 0
  local till, again = cool_until(), number(h[4])
  local pause = retry_after or 0
  call('HINCRBY', hash, 'refused', 1)
  -- What was under way together is refused together: that is one refusal. Slots that were given before a pause are used in
  -- it, so only the pause of the refusal that counted says when the next one counts.
  if not again or now >= again or again > now + PAUSE_MAX then
    if accepted then row = 0 end
    row = row + 1
    -- Where nothing was accepted in between, a slower pace would not have been either.
    if row == 1 and period > 0 then
      level = level_after_refusal(level, since, period)
      local f = factor(level, 0, period)
      call('HSET', hash, 'level', string.format('%.6f', level), 'since', 0, 'factor', whole(f * 1e6))
    end
    pause = math.max(pause, math.min(DOUBLED_MAX, PAUSE_FIRST * 2 ^ math.min(16, row - 1)))
    call('HSET', hash, 'row', row, 'again', whole(now + math.min(PAUSE_MAX, pause)))
  end
  till = math.max(till, now + math.min(PAUSE_MAX, math.max(PAUSE_FIRST, pause)))
  call('SET', P .. ':cool:' .. tenant, whole(math.ceil(till / 1000)), 'PX', whole(math.ceil((till - now) / 1000)))
  call('PEXPIRE', hash, KEEP_MS)
  return whole(till - now)
end

local function look()
  local h = call('HMGET', hash, 'tat', 'factor', 'granted', 'refused', 'row')
  local function ahead(t) return whole(math.max(0, (t or 0) - now)) end
  local till = (number(call('GET', P .. ':cool:' .. tenant)) or 0) * 1000
  return { h[2] or '1000000', ahead(till), active(), ahead(number(h[1])), h[3] or '0', h[4] or '0', h[5] or '0' }
end

if op == 'reserve' then
  return reserve(tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8], ARGV[9] == '1',
    ARGV[10] == '1', ARGV[11], number(ARGV[12]))
elseif op == 'cool' then
  return cool(tonumber(ARGV[4]), number(ARGV[5]), ARGV[6] == '1')
elseif op == 'look' then
  return look()
end
return redis.error_reply('no such operation: ' .. op)
