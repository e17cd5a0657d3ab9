-- The queue. KEYS[1] is what every key begins with, ARGV[1] the operation, ARGV[2] the time in ms (empty: Redis's own).
--
-- A job is a hash, named <tenant>/<run>/<entity>; each state is a sorted set of jobs:
--
--   queued   since when               waiting  until when (its parents: for ever)    dead  since when
--   running  until its lease ends     retry    until when                            done  since when
--   parked   since when
--
-- A tenant's runnable jobs stand in its own line (`ready:<tenant>`), and tenants that may run take turns in `ring`, ordered by
-- the time they were given. A tenant that is held, cooling or at its cap is not in the ring, so a claim never walks past it.
-- Every operation may be repeated after an answer that was lost, and every loop is bounded.

local P, op = KEYS[1], ARGV[1]
local now = tonumber(ARGV[2])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end

local FOR_EVER = 9e15
local REAP_MAX, PROMOTE_MAX, TURNS_MAX, LINE_MAX, FORGET_MAX = 20, 100, 100, 2000, 5
local TEND_MS = 100               -- how often the queue is tended, whoever calls
local CHARGE_MS = 1000            -- the least that a turn costs its tenant
local POISON_LOST = 3             -- workers that a job may take down
local DEAD_MAX = 10000            -- dead letters that are kept
local KEEP_MS = 24 * 3600 * 1000  -- how long a run that ended is shown
local SILENT_MS = 60 * 1000       -- a worker that says nothing for so long is gone
local AUDIT_MAX = 10000
local CAP = 6                     -- jobs of one tenant at a time, where nobody said

local call = redis.call
local function job(id) return P .. ':job:' .. id end
local function line(tenant) return P .. ':ready:' .. tenant end
local function about(tenant) return P .. ':tenant:' .. tenant end
local function state(name) return P .. ':' .. name end
local function tenant_of(id) return string.match(id, '^[^/]+') end
local function run_of(id) return string.match(id, '^[^/]+/[^/]+') end
local function entity_of(id) return string.match(id, '[^/]+$') end
local function number(text) return tonumber(text or '0') or 0 end
local function count(what) call('HINCRBY', P .. ':counters', what, 1) end
local function text(n) return string.format('%.0f', n) end

local function move(id, to, score)
  local from = call('HGET', job(id), 'state')
  if from then call('ZREM', state(from), id) end
  call('HSET', job(id), 'state', to, 'since', now)
  call('ZADD', state(to), score, id)
end

-- Lets a tenant take part in the turns, if it has something to run and may run it.
local function enter(tenant)
  if call('LLEN', line(tenant)) == 0 or call('ZSCORE', P .. ':ring', tenant) then return end
  local t = call('HMGET', about(tenant), 'held', 'busy', 'cap', 'time')
  if t[1] or number(t[2]) >= (tonumber(t[3]) or CAP) then return end
  local cool = tonumber(call('GET', P .. ':cool:' .. tenant) or '')
  if cool and cool > now then
    call('ZADD', P .. ':cooling', cool, tenant)
    return
  end
  call('ZADD', P .. ':ring', math.max(number(t[4]), number(call('GET', P .. ':turn'))), tenant)
end

-- Puts a job in its tenant's line; of a tenant that is held back it is parked there.
local function ready(id, first)
  local tenant = tenant_of(id)
  local held = call('HGET', about(tenant), 'held')
  if held then move(id, 'parked', now) else move(id, 'queued', now) end
  call('HDEL', job(id), 'worker', 'next')
  call(first and 'LPUSH' or 'RPUSH', line(tenant), id)
  enter(tenant)
end

local function wake() call('PUBLISH', P .. ':wake', '1') end

-- Ends a turn: the place is free, the tenant is charged for it.
local function leave(id)
  local tenant = tenant_of(id)
  local j = call('HMGET', job(id), 'since')
  local weight = math.max(1, number(call('HGET', about(tenant), 'weight')))
  local used = math.max(0, now - number(j[1]) - CHARGE_MS) / weight
  call('HINCRBY', about(tenant), 'busy', -1)
  call('HINCRBYFLOAT', about(tenant), 'time', used)
  if call('ZSCORE', P .. ':ring', tenant) then call('ZINCRBY', P .. ':ring', used, tenant) end
  call('HDEL', job(id), 'worker', 'cancel')
end

-- The jobs that wait for this one, and the seal of its run when it was the last.
local function entity_ended(id, how)
  local run, entity = run_of(id), entity_of(id)
  local key = P .. ':run:' .. run
  local was = call('HGET', key, entity)
  if not was then return end
  call('HSET', key, entity, how)
  if entity == 'seal' then
    if how == 'done' then call('ZADD', P .. ':ended', now, run) end
    return
  end
  if was ~= '' then return end
  for child in string.gmatch(call('HGET', key, '>' .. entity) or '', '%S+') do
    local c = call('HMGET', job(run .. '/' .. child), 'state', 'needs')
    if c[1] == 'waiting' and c[2] then
      local open = false
      for parent in string.gmatch(c[2], '%S+') do
        if call('HGET', key, parent) == '' then open = true end
      end
      if not open then
        call('HDEL', job(run .. '/' .. child), 'needs')
        ready(run .. '/' .. child)
      end
    end
  end
  if call('HINCRBY', key, '#open', -1) == 0 then
    local seal = run .. '/seal'
    call('HSET', key, 'seal', '')
    local s = call('HGET', job(seal), 'state')
    if s ~= 'running' and s ~= 'queued' and s ~= 'parked' then ready(seal) end
  end
end

local function bury(id, why)
  move(id, 'dead', now)
  call('HSET', job(id), 'error', why)
  count('dead')
  entity_ended(id, 'dead')
  local over = call('ZCARD', state('dead')) - DEAD_MAX
  if over > 0 then
    for _, old in ipairs(call('ZRANGE', state('dead'), 0, math.min(over, FORGET_MAX) - 1)) do
      call('ZREM', state('dead'), old)
      call('DEL', job(old))
    end
  end
end

local function finish(id)
  count('done')
  if call('EXISTS', P .. ':run:' .. run_of(id)) == 0 then
    -- A retry after its run was forgotten: nobody will tidy it up.
    call('ZREM', state(call('HGET', job(id), 'state')), id)
    call('DEL', job(id))
    return
  end
  move(id, 'done', now)
  call('HDEL', job(id), 'error', 'attempts', 'mark', 'lost', 'lost_mark', 'progress')
  entity_ended(id, 'done')
end

-- The job of a worker that was not heard of: another one gets it, unless it takes every worker down.
local function recover(id)
  local lost = call('HINCRBY', job(id), 'lost', 1)
  local worker = call('HGET', job(id), 'worker') or '?'
  leave(id)
  count('recovered')
  if lost >= POISON_LOST then
    count('poisoned')
    bury(id, 'it took down ' .. lost .. ' workers, the last of them ' .. worker .. ': what it reads may be more than a worker has memory for')
  else
    call('HSET', job(id), 'error', 'worker ' .. worker .. ' was lost')
    ready(id, true)
  end
end

local function forget(run)
  local key = P .. ':run:' .. run
  for _, entity in ipairs(call('HKEYS', key)) do
    local id = run .. '/' .. entity
    if call('ZREM', state('done'), id) == 1 then call('DEL', job(id)) end
  end
  call('DEL', key)
  call('ZREM', P .. ':runs', run)
  call('ZREM', P .. ':ended', run)
  local tenant = tenant_of(run)
  local t = call('HMGET', about(tenant), 'held', 'busy')
  if not t[1] and number(t[2]) == 0 and call('LLEN', line(tenant)) == 0 then call('DEL', about(tenant)) end
end

local function due(name, most)
  return call('ZRANGEBYSCORE', name, '-inf', now, 'LIMIT', 0, most)
end

-- What time alone brings about. Whoever claims sees to it; the scheduler does too, lest nobody claims.
local function tend()
  local last = number(call('GET', P .. ':tended'))
  if now >= last and now - last < TEND_MS then return end
  call('SET', P .. ':tended', now)
  for _, id in ipairs(due(state('running'), REAP_MAX)) do recover(id) end
  for _, name in ipairs({ 'retry', 'waiting' }) do
    for _, id in ipairs(due(state(name), PROMOTE_MAX)) do ready(id) end
  end
  for _, tenant in ipairs(due(P .. ':cooling', PROMOTE_MAX)) do
    call('ZREM', P .. ':cooling', tenant)
    enter(tenant)
  end
  for _, run in ipairs(call('ZRANGEBYSCORE', P .. ':ended', '-inf', now - KEEP_MS, 'LIMIT', 0, FORGET_MAX)) do forget(run) end
  for _, worker in ipairs(call('ZRANGEBYSCORE', P .. ':beats', '-inf', now - SILENT_MS, 'LIMIT', 0, REAP_MAX)) do
    call('ZREM', P .. ':beats', worker)
    call('HDEL', P .. ':workers', worker)
    call('HDEL', P .. ':claims', worker)
  end
end

local function owned(id, fence)
  local j = call('HMGET', job(id), 'state', 'fence')
  return j[1] == 'running' and j[2] == fence
end

local function claimed(id)
  local j = call('HMGET', job(id), 'fence', 'attempts', 'mark', 'lost', 'lost_mark')
  return { id, j[1], number(j[2]), number(j[3]), number(j[4]), number(j[5]) }
end

local function take(id, worker, lease)
  -- Higher than any fence of before, also when Redis was emptied meanwhile.
  local fence = math.max(now * 1000, number(call('GET', P .. ':fence')) + 1)
  call('SET', P .. ':fence', text(fence))
  move(id, 'running', now + lease)
  call('HSET', job(id), 'fence', text(fence), 'worker', worker)
  call('HDEL', job(id), 'next', 'why')
  return claimed(id)
end

local ops = {}

-- tenant run cap weight, then for each job: entity, the entities it waits for (with blanks between)
-- -> jobs added, jobs that have not ended
function ops.push(tenant, run, cap, weight, ...)
  local name, jobs, added = tenant .. '/' .. run, { ... }, 0
  local key = P .. ':run:' .. name
  call('HSET', about(tenant), 'cap', cap, 'weight', weight)
  call('ZADD', P .. ':runs', 0, name)
  local new = {}
  for n = 1, #jobs, 2 do
    if call('HSETNX', key, jobs[n], '') == 1 then new[#new + 1] = n end
  end
  call('HINCRBY', key, '#open', #new)
  for _, n in ipairs(new) do
    local id, open = name .. '/' .. jobs[n], {}
    for parent in string.gmatch(jobs[n + 1], '%S+') do
      if call('HGET', key, parent) == '' then open[#open + 1] = parent end
    end
    if #open > 0 then
      for _, parent in ipairs(open) do
        local children = call('HGET', key, '>' .. parent)
        call('HSET', key, '>' .. parent, children and (children .. ' ' .. jobs[n]) or jobs[n])
      end
      call('HSET', job(id), 'needs', jobs[n + 1])
      move(id, 'waiting', FOR_EVER)
    else
      ready(id)
    end
    added = added + 1
  end
  -- All of it ended before, and yet it was asked for again: what is missing is the seal.
  local rest = number(call('HGET', key, '#open'))
  if added == 0 and rest == 0 and not call('ZSCORE', P .. ':ended', name) then
    local s = call('HGET', job(name .. '/seal'), 'state')
    if not s or s == 'done' then
      call('HSET', key, 'seal', '')
      ready(name .. '/seal')
      added = 1
    end
  end
  call('HINCRBY', P .. ':counters', 'enqueued', added)
  if added > 0 then wake() end
  return { added, rest }
end

-- worker token lease -> id fence attempts mark lost lost_mark, or nothing and how long to wait
function ops.claim(worker, token, lease)
  lease = tonumber(lease)
  local last = call('HGET', P .. ':claims', worker)
  if last then
    local same, id = string.match(last, '^(%S+) (.+)$')
    -- The same question again: its answer was lost on the way.
    if same == token and call('HGET', job(id), 'state') == 'running' and call('HGET', job(id), 'worker') == worker then
      return claimed(id)
    end
  end
  tend()
  if call('EXISTS', P .. ':paused') == 1 then return { '', 1000 } end
  for _ = 1, TURNS_MAX do
    local turn = call('ZPOPMIN', P .. ':ring')
    if not turn[1] then break end
    local tenant, at = turn[1], tonumber(turn[2])
    call('SET', P .. ':turn', turn[2])
    local t = call('HMGET', about(tenant), 'held', 'busy', 'cap', 'weight')
    local cool = tonumber(call('GET', P .. ':cool:' .. tenant) or '')
    local busy, cap = number(t[2]), tonumber(t[3]) or CAP
    if cool and cool > now then
      call('ZADD', P .. ':cooling', cool, tenant)
    elseif not t[1] and busy < cap then
      local id = call('LPOP', line(tenant))
      if id then
        call('HSET', about(tenant), 'busy', busy + 1, 'time', at + CHARGE_MS / math.max(1, number(t[4])))
        enter(tenant)
        call('HSET', P .. ':claims', worker, token .. ' ' .. id)
        return take(id, worker, lease)
      end
    end
  end
  if call('EXISTS', P .. ':ring') == 1 then return { '', 0 } end
  local wait = 1000
  for _, name in ipairs({ 'running', 'retry', 'waiting', 'cooling' }) do
    local first = call('ZRANGE', P .. ':' .. name, 0, 0, 'WITHSCORES')
    if first[2] then wait = math.min(wait, math.max(TEND_MS, tonumber(first[2]) - now)) end
  end
  return { '', wait }
end

-- worker lease info, then for each job: id fence progress
-- -> for each 1 (go on), 0 (it is another's now) or 2 (cancelled); then 1 if somebody waits for a place
function ops.renew(worker, lease, info, ...)
  local held, out = { ... }, {}
  call('ZADD', P .. ':beats', now, worker)
  call('HSET', P .. ':workers', worker, info)
  for n = 1, #held, 3 do
    local id = held[n]
    if owned(id, held[n + 1]) then
      call('ZADD', state('running'), 'XX', now + tonumber(lease), id)
      if held[n + 2] ~= '' then call('HSET', job(id), 'progress', held[n + 2]) end
      out[#out + 1] = call('HEXISTS', job(id), 'cancel') == 1 and 2 or 1
    else
      out[#out + 1] = 0
    end
  end
  tend()
  out[#out + 1] = call('EXISTS', P .. ':ring')
  return out
end

-- A worker that stops says so.
function ops.bye(worker)
  call('ZREM', P .. ':beats', worker)
  call('HDEL', P .. ':workers', worker)
  call('HDEL', P .. ':claims', worker)
  return 1
end

-- id fence events: how far the job is after it was opened; one that gets on is no poison.
function ops.opened(id, fence, events)
  if not owned(id, fence) then return 0 end
  if number(call('HGET', job(id), 'lost_mark')) ~= tonumber(events) then call('HSET', job(id), 'lost', 0, 'lost_mark', events) end
  return 1
end

-- id fence how, and what it takes -> 1, or 0 if the job is another's now
function ops.settle(id, fence, how, a, b, c, d)
  if not owned(id, fence) then
    -- Settled before, and the answer was lost: the fence is still ours.
    return call('HGET', job(id), 'fence') == fence and 1 or 0
  end
  leave(id)
  call('HDEL', job(id), 'lost', 'lost_mark')
  if how == 'done' then
    finish(id)
  elseif how == 'dead' then
    bury(id, a)
  elseif how == 'again' then
    ready(id)
  elseif how == 'first' then
    ready(id, true)
  elseif how == 'waiting' then -- ms why
    move(id, 'waiting', now + tonumber(a))
    call('HSET', job(id), 'next', text(now + tonumber(a)), 'why', b)
  elseif how == 'retry' then -- ms error attempts mark
    move(id, 'retry', now + tonumber(a))
    call('HSET', job(id), 'next', text(now + tonumber(a)), 'error', b, 'attempts', c, 'mark', d)
    count('retried')
  elseif how == 'reopen' then -- entities that have not ended, with blanks between: the seal waits for them
    local run = run_of(id)
    local key = P .. ':run:' .. run
    move(id, 'waiting', FOR_EVER)
    for entity in string.gmatch(a, '%S+') do
      local other = run .. '/' .. entity
      if call('HGET', key, entity) ~= '' then
        call('HSET', key, entity, '')
        call('HINCRBY', key, '#open', 1)
        ready(other)
      end
    end
    if number(call('HGET', key, '#open')) == 0 then ready(id) end
  end
  enter(tenant_of(id))
  if how ~= 'retry' and how ~= 'waiting' then wake() end
  return 1
end

-- id -> what the run knows of its entities: name, '' or done or dead or "gone <why>"
function ops.run(run)
  return call('HGETALL', P .. ':run:' .. run)
end

-- tenant reason: holds a tenant's jobs back
function ops.hold(tenant, reason)
  call('HSET', about(tenant), 'held', reason)
  call('ZADD', P .. ':held', now, tenant)
  call('ZREM', P .. ':ring', tenant)
  call('ZREM', P .. ':cooling', tenant)
  local parked = 0
  for _, id in ipairs(call('LRANGE', line(tenant), 0, LINE_MAX)) do
    move(id, 'parked', now)
    parked = parked + 1
  end
  return parked
end

-- tenant [reason]: lets them go, if that is why they are held
function ops.free(tenant, reason)
  local held = call('HGET', about(tenant), 'held')
  if not held or (reason ~= '' and held ~= reason) then return 0 end
  call('HDEL', about(tenant), 'held')
  call('ZREM', P .. ':held', tenant)
  for _, id in ipairs(call('LRANGE', line(tenant), 0, LINE_MAX)) do move(id, 'queued', now) end
  enter(tenant)
  wake()
  return 1
end

-- action id who: what an operator does to a job -> 'ok', or why not
function ops.act(action, id, who, expected)
  local s = call('HGET', job(id), 'state')
  if not s then return 'there is no such job' end
  if expected ~= '' and s ~= expected then return 'it is ' .. s .. ' now' end
  local key = P .. ':run:' .. run_of(id)
  if action == 'retry' then
    if s == 'queued' or s == 'running' then return 'it is ' .. s .. ' already' end
    if s == 'done' then return 'it is done' end
    if s == 'waiting' and call('HEXISTS', job(id), 'needs') == 1 then return 'it waits for its parents' end
    if s == 'parked' then return 'its tenant is held back' end
    if s == 'dead' and call('HEXISTS', key, entity_of(id)) == 1 then
      call('HSET', key, entity_of(id), '')
      if entity_of(id) ~= 'seal' then call('HINCRBY', key, '#open', 1) end
    end
    call('HDEL', job(id), 'attempts', 'mark', 'lost', 'lost_mark', 'why')
    ready(id)
    wake()
    return 'ok'
  elseif action == 'cancel' then
    if s == 'done' or s == 'dead' then return 'it has ended' end
    if s == 'running' then
      call('HSET', job(id), 'cancel', who)
      return 'ok'
    end
    call('LREM', line(tenant_of(id)), 0, id)
    call('HDEL', job(id), 'needs')
    bury(id, 'cancelled by ' .. who)
    return 'ok'
  elseif action == 'discard' then
    if s == 'running' then return 'it is running; cancel it first' end
    if s == 'done' then return 'it is done' end
    call('LREM', line(tenant_of(id)), 0, id)
    if s ~= 'dead' then entity_ended(id, 'gone discarded by ' .. who)
    elseif call('HEXISTS', key, entity_of(id)) == 1 then call('HSET', key, entity_of(id), 'gone discarded by ' .. who) end
    call('ZREM', state(s), id)
    call('DEL', job(id))
    return 'ok'
  end
  return 'no such action'
end

-- run who: takes a run out of the queue -> jobs that are still running and were told to stop
function ops.drop(run, who)
  local key, running = P .. ':run:' .. run, 0
  for _, entity in ipairs(call('HKEYS', key)) do
    local id = run .. '/' .. entity
    local s = call('HGET', job(id), 'state')
    if s == 'running' then
      call('HSET', job(id), 'cancel', who)
      running = running + 1
    elseif s then
      call('LREM', line(tenant_of(id)), 0, id)
      call('ZREM', state(s), id)
      call('DEL', job(id))
    end
  end
  call('DEL', key)
  call('ZREM', P .. ':runs', run)
  call('ZREM', P .. ':ended', run)
  return running
end

function ops.tend()
  tend()
  return 1
end

-- A line in the list of what operators did.
function ops.audit(entry)
  call('LPUSH', P .. ':audit', entry)
  call('LTRIM', P .. ':audit', 0, AUDIT_MAX - 1)
  return 1
end

return ops[op](unpack(ARGV, 3))
