-- The queue; what operators do is in operators.lua, the second part of this script.
--
-- KEYS[1] is what every key begins with, ARGV[1] the operation, ARGV[2] the time in ms (empty: Redis's own).
--
-- A job is a hash, named <tenant>/<run>/<entity>; each state is a sorted set of jobs:
--
--   queued   since when               waiting  until when (its parents: for ever)    dead  since when
--   running  until its lease ends     retry    until when                            done  since when
--   parked   since when
--
-- A tenant's runnable jobs stand in its own line (`ready:<tenant>`), and tenants that may run take turns in `ring`, ordered by
-- the time they were given. A tenant that is held, cooling or at its cap is not in the ring, so a claim never walks past it.
-- What became of its turns, and what operators did to it, stands beside it (`past:<job>`), the latest first.
-- Since when a job fails it keeps, too (`failed`); which jobs came to what failed or left it is in a stream (`failures`).
-- Of the workers that a job was lost with since it last got on it keeps the fences (`lost`), until they are heard of again.
-- A run (`run:<tenant>/<run>`) knows of each entity whether it has ended: '' (no), done, dead, or "gone <why>"; in `>entity` it
-- keeps who waits for it, in `#open` how many have not ended.
-- Every operation may be repeated after an answer that was lost. Every loop is bounded: by a constant, or by the entities of a run.

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
local DEAD_MAX = 200000           -- dead letters that are kept
local FAILURES_MAX = 20000        -- changes among what failed that whoever looks now and then can catch up with
local KEEP_MS = 24 * 3600 * 1000  -- how long a run that ended is shown
local SILENT_MS = 60 * 1000       -- a worker that says nothing for so long is gone
local AWAY_MS = 15 * 1000         -- the queue asked nothing for so long: it was away itself, and no worker is to blame
local GRACE_MS = 10 * 1000        -- what workers then have to come back, before leases end
local LOOK_MS = 5 * 1000          -- the longest that workers without work leave the queue alone: they hear what comes
local AUDIT_MAX = 10000
local PAST_MAX = 20               -- what is kept of a job's past
local DETAIL_MAX = 300            -- bytes of a reason that are kept of it
local SNOOZE_MAX_MS = 7 * 24 * 3600 * 1000  -- an unfinished run is gone on with for so long
local CAP = 6                     -- jobs of one tenant at a time, where nobody said

local call = redis.call
local function job(id) return P .. ':job:' .. id end
local function past(id) return P .. ':past:' .. id end
local function line(tenant) return P .. ':ready:' .. tenant end
local function about(tenant) return P .. ':tenant:' .. tenant end
local function state(name) return P .. ':' .. name end
local function run_key(run) return P .. ':run:' .. run end
-- Of any text whatever, since a name that cannot be read must not stop the script.
local function tenant_of(id) return string.match(id, '^[^/]*') end
local function run_of(id) return string.match(id, '^[^/]*/?[^/]*') end
local function entity_of(id) return string.match(id, '[^/]*$') end
local function number(text) return tonumber(text or '0') or 0 end
local function words(text) return select(2, string.gsub(text or '', '%S+', '')) end
local function count(what) call('HINCRBY', P .. ':counters', what, 1) end
local function text(n) return string.format('%.0f', n) end

-- Whether it is time to tend the queue, and when it was last done.
local function is_due(tended)
  local last = number(tended)
  return now < last or now - last >= TEND_MS, last
end

-- Whether a tenant's turn may come -> what is known of it. One that Tempo asked to wait cools first.
local function may_run(tenant)
  local t = call('HMGET', about(tenant), 'held', 'busy', 'cap', 'time', 'weight')
  local cap = tonumber(t[3]) or CAP
  if t[1] or number(t[2]) >= cap then return nil end
  local cool = number(call('GET', P .. ':cool:' .. tenant))
  if cool > now then
    call('ZADD', P .. ':cooling', cool, tenant)
    return nil
  end
  return { busy = number(t[2]), cap = cap, time = number(t[4]), weight = math.max(1, number(t[5])) }
end

local function runs_on(id, worker)
  local j = call('HMGET', job(id), 'state', 'worker')
  return j[1] == 'running' and j[2] == worker
end

local function held_as(id, fence, j) return { id, fence, number(j[1]), number(j[2]), words(j[3]) } end

local function take(id, worker, lease, fence)
  local j = call('HMGET', job(id), 'attempts', 'mark', 'lost', 'state')
  if j[4] then call('ZREM', state(j[4]), id) end
  call('HSET', job(id), 'state', 'running', 'since', now, 'fence', fence, 'worker', worker)
  call('ZADD', state('running'), now + lease, id)
  return held_as(id, fence, j)
end

local function nothing()
  local wait = LOOK_MS
  for _, name in ipairs({ 'running', 'retry', 'waiting', 'cooling' }) do
    local first = call('ZRANGE', P .. ':' .. name, 0, 0, 'WITHSCORES')
    if first[2] then wait = math.min(wait, math.max(TEND_MS, tonumber(first[2]) - now)) end
  end
  return { '', wait }
end

-- The jobs that a claim has brought: kept as its token and their names, a line each.
local function last_claim(worker)
  local last, ids = call('HGET', P .. ':claims', worker), {}
  for id in string.gmatch(last or '', '\n([^\n]+)') do
    if runs_on(id, worker) then ids[#ids + 1] = id end
  end
  return ids, last and string.match(last, '^[^\n]*')
end

-- What a claim seldom needs: to tend the queue, and what to do about a name in another tenant's line. Made below.
local tend, put_right

-- worker token lease most -> of each job: id fence attempts mark lost; if there is none, nothing and how long to wait.
-- nil, with nothing done, if it needs what is made below.
local function claim(worker, token, lease, most)
  lease, most = tonumber(lease), tonumber(most)
  if most == 0 then return {} end
  local before, same = last_claim(worker)
  -- The same question again: its answer was lost on the way.
  if same == token and before[1] then
    for n, id in ipairs(before) do
      call('ZADD', state('running'), 'XX', now + lease, id)
      local j = call('HMGET', job(id), 'attempts', 'mark', 'lost', 'fence')
      before[n] = held_as(id, j[4], j)
    end
    return before
  end
  local known = call('MGET', P .. ':tended', P .. ':paused', P .. ':fence')
  if is_due(known[1]) then
    if not tend then return nil end
    tend()
  end
  if known[2] then return { { '', 1000 } } end
  -- Higher than any fence of before, also when Redis was emptied meanwhile.
  local fence, turn = math.max(now * 1000, number(known[3]) + 1), nil
  local out, ids, empty = {}, { token }, false
  for _ = 1, TURNS_MAX do
    local first = call('ZPOPMIN', P .. ':ring')
    empty = not first[1]
    if empty then break end
    turn = first[2]
    local tenant, at = first[1], tonumber(turn)
    local t = may_run(tenant)
    local id = t and call('LPOP', line(tenant))
    if id and tenant_of(id) == tenant then
      local busy, time = t.busy + 1, at + CHARGE_MS / t.weight
      call('HSET', about(tenant), 'busy', busy, 'time', time)
      if busy < t.cap and call('LLEN', line(tenant)) > 0 then call('ZADD', P .. ':ring', time, tenant) end
      out[#out + 1] = take(id, worker, lease, text(fence))
      ids[#ids + 1] = id
      fence = fence + 1
      if #out == most then break end
    elseif id and put_right then
      call('SET', P .. ':turn', turn)
      put_right(id, tenant)
    elseif id then
      call('LPUSH', line(tenant), id)
      call('ZADD', P .. ':ring', turn, tenant)
      if not out[1] then return nil end
      break
    end
  end
  if not out[1] then
    if turn then call('SET', P .. ':turn', turn) end
    return { empty and nothing() or { '', 0 } }
  end
  call('MSET', P .. ':fence', text(fence - 1), P .. ':turn', turn)
  call('HSET', P .. ':claims', worker, table.concat(ids, '\n'))
  call('ZADD', P .. ':beats', now, worker)
  return out
end

-- Making all the functions below costs Redis as much as a claim does.
if op == 'exchange' and not ARGV[7] then
  local got = claim(unpack(ARGV, 3, 6))
  if got then return { {}, got } end
end

-- Cut between two characters: half of one is no text to whoever reads it.
local function cut(detail)
  if #detail <= DETAIL_MAX then return detail end
  local last = DETAIL_MAX
  while string.find(detail, '^[\128-\191]', last + 1) do last = last - 1 end
  return string.sub(detail, 1, last)
end

-- Turns that tell nothing new: each in a row of them is counted and not kept.
local ALIKE = { again = true, back = true, waiting = true }

-- Keeps what became of a job: what, since when it was under way, turns in a row, by whom, in detail.
local function note(id, what, began, by, detail)
  local turns, key = 1, past(id)
  if ALIKE[what] then
    local last = call('LINDEX', key, 0)
    local same, first, of = string.match(last or '', '^(%l+)\n(%d+)\n%d+\n(%d+)\n')
    if same == what then began, turns = first, of + 1 end
  end
  local entry = table.concat({ what, began, now, turns, by, cut(detail or '') }, '\n')
  if turns > 1 then return call('LSET', key, 0, entry) end
  if call('LPUSH', key, entry) > PAST_MAX then call('LTRIM', key, 0, PAST_MAX - 1) end
end

local stirred = false  -- whether something may run that could not before
local soon = false     -- whether something will before those who look now and then would see it

local FAILED = { dead = true, retry = true }

-- A job has come to those that failed, or has left them.
local function tell_failure(id) call('XADD', P .. ':failures', 'MAXLEN', '~', FAILURES_MAX, '*', 'job', id) end

local function move(id, to, score, from)
  from = from or call('HGET', job(id), 'state')
  if from then call('ZREM', state(from), id) end
  if FAILED[to] or FAILED[from] then tell_failure(id) end
  call('HSET', job(id), 'state', to, 'since', now)
  call('ZADD', state(to), score, id)
end

-- Lets a tenant take part in the turns, if it has something to run and may run it.
local function enter(tenant)
  if call('LLEN', line(tenant)) == 0 or call('ZSCORE', P .. ':ring', tenant) then return end
  local t = may_run(tenant)
  if not t then return end
  call('ZADD', P .. ':ring', math.max(t.time, number(call('GET', P .. ':turn'))), tenant)
  stirred = true
end

local function step_out(tenant)
  call('ZREM', P .. ':ring', tenant)
  call('ZREM', P .. ':cooling', tenant)
end

-- Puts a job in its tenant's line; of a tenant that is held back it is parked there.
local function ready(id, first)
  local tenant = tenant_of(id)
  move(id, call('HEXISTS', about(tenant), 'held') == 1 and 'parked' or 'queued', now)
  call('HDEL', job(id), 'needs', 'next', 'why')
  call(first and 'LPUSH' or 'RPUSH', line(tenant), id)
  stirred = true
  enter(tenant)
end

-- Takes a job out of its tenant's line, if it is there.
local function unline(id)
  local tenant = tenant_of(id)
  call('LREM', line(tenant), 1, id)
  if call('LLEN', line(tenant)) == 0 then step_out(tenant) end
end

local function erase(id)
  unline(id)
  local s = call('HGET', job(id), 'state')
  if s then call('ZREM', state(s), id) end
  if FAILED[s] then tell_failure(id) end
  call('DEL', job(id), past(id))
end

local function wake() call('PUBLISH', P .. ':wake', '1') end

-- Ends a turn: the place is free, and the tenant is charged for it.
local function leave(id, since)
  local tenant = tenant_of(id)
  local t = call('HMGET', about(tenant), 'busy', 'time', 'weight')
  local used = math.max(0, now - number(since) - CHARGE_MS) / math.max(1, number(t[3]))
  call('HSET', about(tenant), 'busy', number(t[1]) - 1, 'time', number(t[2]) + used)
  if used > 0 and call('ZSCORE', P .. ':ring', tenant) then call('ZINCRBY', P .. ':ring', used, tenant) end
  enter(tenant)
end

-- Makes an entity one of its run's that have not ended.
local function open(id)
  local run, entity = run_of(id), entity_of(id)
  if call('HGET', run_key(run), entity) == '' then return end
  call('HSET', run_key(run), entity, '')
  if entity ~= 'seal' then call('HINCRBY', run_key(run), '#open', 1) end
  call('ZADD', P .. ':runs', 0, run)
  call('ZREM', P .. ':ended', run)
end

local function open_count(run) return number(call('HGET', run_key(run), '#open')) end

local function recount(run)
  local fields, open = call('HGETALL', run_key(run)), 0
  for n = 1, #fields, 2 do
    if fields[n + 1] == '' and fields[n] ~= 'seal' then open = open + 1 end
  end
  if open ~= open_count(run) then call('HSET', run_key(run), '#open', open) end
end

-- Puts a job where it belongs: behind the parents that have not ended, or into the line.
local function start(id)
  local key, parents = run_key(run_of(id)), {}
  for parent in string.gmatch(call('HGET', job(id), 'needs') or '', '%S+') do
    if call('HGET', key, parent) == '' then parents[#parents + 1] = parent end
  end
  if #parents == 0 then return ready(id) end
  call('HSET', job(id), 'needs', table.concat(parents, ' '))
  call('HDEL', job(id), 'next')
  if call('HGET', job(id), 'state') ~= 'waiting' then move(id, 'waiting', FOR_EVER) end
end

-- What went wrong before counts no more.
local function absolve(id) call('HDEL', job(id), 'attempts', 'mark', 'lost', 'lost_mark', 'failed') end

local function seal(run)
  local id = run .. '/seal'
  local s = call('HGET', job(id), 'state')
  open(id)
  if s == 'running' or s == 'queued' or s == 'parked' then return end
  absolve(id)
  ready(id)
end

-- The jobs that wait for this one, and the seal of its run when it was the last.
local function entity_ended(id, how)
  local run, entity = run_of(id), entity_of(id)
  local key = run_key(run)
  local was, children = unpack(call('HMGET', key, entity, '>' .. entity))
  if not was then return end
  call('HSET', key, entity, how)
  if entity == 'seal' then
    -- A dead seal keeps its run: whoever retries it has to know what became of the others.
    if how ~= 'dead' and open_count(run) == 0 then call('ZADD', P .. ':ended', now, run) end
    return
  end
  if was ~= '' then return end
  for child in string.gmatch(children or '', '%S+') do
    local c = call('HMGET', job(run .. '/' .. child), 'state', 'needs')
    if c[1] == 'waiting' and c[2] then start(run .. '/' .. child) end
  end
  if call('HINCRBY', key, '#open', -1) == 0 then seal(run) end
end

local function discard(id, why)
  erase(id)
  entity_ended(id, 'gone ' .. why)
end

local function bury(id, why)
  move(id, 'dead', now)
  call('HSETNX', job(id), 'failed', now)
  call('HSET', job(id), 'error', why)
  call('HDEL', job(id), 'next', 'why')
  count('dead')
  entity_ended(id, 'dead')
  local over = math.min(call('ZCARD', state('dead')) - DEAD_MAX, FORGET_MAX)
  if over > 0 then
    for _, old in ipairs(call('ZRANGE', state('dead'), 0, over - 1)) do discard(old, 'given up, long ago') end
  end
end

-- Entities that ended for the queue and not in the store are open again -> entities of the run that are open.
local function reopen(run, entities)
  if call('EXISTS', run_key(run)) == 0 then return 0 end
  for entity in string.gmatch(entities, '%S+') do
    local id = run .. '/' .. entity
    if call('HGET', run_key(run), entity) ~= '' then
      open(id)
      absolve(id)
      ready(id)
    end
  end
  return open_count(run)
end

-- What is known of a tenant that has nothing in the queue.
local function tidy(tenant)
  local t = call('HMGET', about(tenant), 'held', 'busy')
  if t[1] or number(t[2]) > 0 or call('EXISTS', line(tenant)) == 1 then return end
  if call('ZRANGEBYLEX', P .. ':runs', '[' .. tenant .. '/', '(' .. tenant .. '0', 'LIMIT', 0, 1)[1] then return end
  call('DEL', about(tenant))
end

local function particulars(id) return call('HMGET', job(id), 'state', 'fence', 'cancel', 'dropped', 'since', 'worker') end

-- What a turn that ends so is called in the past of its job, and in which of its words the reason stands.
local CALLED = { first = 'back', retry = 'fault' }
local REASON = { dead = 1, waiting = 2, retry = 2, reopen = 1 }

local function note_turn(id, j, how, ...)
  note(id, CALLED[how] or how, j[5] or now, j[6] or '', REASON[how] and (select(REASON[how], ...)))
end

-- Ends a turn on a job in any of the ways there are; what an operator wants of it comes first.
local function conclude(id, j, how, a, b, c, d)
  local canceller, dropped = j[3], j[4]
  leave(id, j[5])
  if how == 'done' then
    call('HDEL', job(id), 'worker', 'cancel', 'attempts', 'mark', 'lost', 'lost_mark', 'failed', 'error')
  else
    call('HDEL', job(id), 'worker', 'cancel')
  end
  if dropped then
    erase(id)
    tidy(tenant_of(id))
  elseif how == 'done' then
    count('done')
    move(id, 'done', now, j[1])
    entity_ended(id, 'done')
  elseif canceller then
    bury(id, 'cancelled by ' .. canceller)
  elseif how == 'dead' then
    bury(id, a)
  elseif how == 'again' then
    ready(id)
  elseif how == 'first' then
    ready(id, true)
  elseif how == 'waiting' then -- ms why
    move(id, 'waiting', now + tonumber(a))
    call('HSET', job(id), 'next', text(now + tonumber(a)), 'why', b)
    soon = soon or tonumber(a) < LOOK_MS
  elseif how == 'retry' then -- ms error attempts mark
    move(id, 'retry', now + tonumber(a))
    call('HSET', job(id), 'next', text(now + tonumber(a)), 'error', b, 'attempts', c, 'mark', d)
    call('HSETNX', job(id), 'failed', now)
    count('retried')
    soon = soon or tonumber(a) < LOOK_MS
  elseif how == 'reopen' then -- entities that have not ended, with blanks between: the seal waits for them
    move(id, 'waiting', FOR_EVER)
    if reopen(run_of(id), a) == 0 then ready(id) end
  end
end

put_right = function(id, tenant)
  bury(id, 'it stood in the line of ' .. tenant)
  enter(tenant)
end

-- Whoever asks for a job that it lost is alive: Redis was away, or the worker stalled, and the job took nobody down.
local function excuse(id, fence)
  local rest = {}
  for other in string.gmatch(call('HGET', job(id), 'lost') or '', '%S+') do
    if other ~= fence then rest[#rest + 1] = other end
  end
  if rest[1] then
    call('HSET', job(id), 'lost', table.concat(rest, ' '))
  else
    call('HDEL', job(id), 'lost')
  end
end

-- id fence how, and what it takes -> 1, or 0 if the job is another's now
local function settle(id, fence, how, ...)
  local j = particulars(id)
  -- Settled before, and the answer was lost: the fence is still ours.
  if j[2] == fence and j[1] ~= 'running' then return 1 end
  if j[2] ~= fence then
    excuse(id, fence)
    return 0
  end
  if how ~= 'done' then call('HDEL', job(id), 'lost', 'lost_mark') end
  note_turn(id, j, how, ...)
  conclude(id, j, how, ...)
  return 1
end

local settled = {}

-- Others may know of what this one does not take, or not at its time.
local function tell_others()
  if soon or (stirred and call('EXISTS', P .. ':ring') == 1) then wake() end
end

local function exchanged(claims)
  tell_others()
  return { settled, claims }
end

if op == 'exchange' then
  local at = 7
  while ARGV[at] do
    local count = tonumber(ARGV[at])
    settled[#settled + 1] = settle(unpack(ARGV, at + 1, at + count))
    at = at + 1 + count
  end
  local got = claim(unpack(ARGV, 3, 6))
  if got then return exchanged(got) end
end

-- The job of a worker that was not heard of: another one gets it, unless it takes every worker down.
local function recover(id)
  local j = call('HMGET', job(id), 'worker', 'fence', 'lost', 'since')
  local worker, fences = j[1] or '?', (j[3] and j[3] .. ' ' or '') .. (j[2] or '?')
  local lost = words(fences)
  call('HSET', job(id), 'lost', fences)
  count('recovered')
  call('HDEL', job(id), 'fence')
  note(id, 'lost', j[4] or now, worker)
  if lost >= POISON_LOST then
    count('poisoned')
    conclude(id, particulars(id), 'dead', 'it took down ' .. lost .. ' workers, the last of them ' .. worker .. ': what it reads may be more than a worker has memory for')
  else
    call('HSET', job(id), 'error', 'worker ' .. worker .. ' was lost')
    conclude(id, particulars(id), 'first')
  end
end

-- Puts a job where its state says that it is, if it is not there -> whether it was not. Redis may have been started from a
-- file that ends in the middle of what a script did.
local function mend(id)
  local j = call('HMGET', job(id), 'state', 'needs', 'worker')
  local s, at = j[1], call('ZSCORE', state(j[1]), id)
  if s == 'done' or s == 'dead' then
    if not at then
      call('ZADD', state(s), now, id)
      if FAILED[s] then tell_failure(id) end
    end
    entity_ended(id, s)
    return true
  elseif s == 'running' then
    if at then return false end
    if j[3] then
      -- Its worker may be at it; then it says so before this lease ends.
      call('ZADD', state(s), now + GRACE_MS, id)
      return true
    end
  elseif s == 'queued' or s == 'parked' then
    if at and call('LPOS', line(tenant_of(id)), id) then return false end
  elseif at and j[2] and s == 'waiting' then
    start(id)
    return call('HGET', job(id), 'state') ~= s
  elseif at and tonumber(at) < FOR_EVER then
    return false
  end
  unline(id)
  if at then call('ZREM', state(s), id) end
  call('HDEL', job(id), 'state')
  start(id)
  return true
end

local function forget(run)
  for _, entity in ipairs(call('HKEYS', run_key(run))) do
    local id = run .. '/' .. entity
    if call('ZREM', state('done'), id) == 1 then call('DEL', job(id), past(id)) end
  end
  call('DEL', run_key(run))
  call('ZREM', P .. ':runs', run)
  call('ZREM', P .. ':ended', run)
  tidy(tenant_of(run))
end

-- Taken out at once: what has no particulars any more must not come up again and again.
local function take_due(name, most)
  local found = call('ZRANGEBYSCORE', state(name), '-inf', now, 'LIMIT', 0, most)
  if found[1] then call('ZREM', state(name), unpack(found)) end
  return found
end

local function part(worker)
  call('ZREM', P .. ':beats', worker)
  call('HDEL', P .. ':workers', worker)
  call('HDEL', P .. ':drained', worker)
  call('HDEL', P .. ':claims', worker)
end

-- What time alone brings about. Whoever claims sees to it; the scheduler does too, lest nobody claims.
tend = function()
  local due, last = is_due(call('GET', P .. ':tended'))
  if not due then return end
  call('SET', P .. ':tended', now)
  local grace = number(call('GET', P .. ':grace'))
  -- Not twice in a row, or leases would never end where the queue is asked that rarely.
  if last > 0 and now - last > AWAY_MS and last >= grace then
    grace = now + GRACE_MS
    call('SET', P .. ':grace', grace)
  end
  if now >= grace then
    for _, id in ipairs(take_due('running', REAP_MAX)) do recover(id) end
  end
  -- Of those that were put off some may have parents that have not ended.
  for _, id in ipairs(take_due('retry', PROMOTE_MAX)) do start(id) end
  for _, id in ipairs(take_due('waiting', PROMOTE_MAX)) do ready(id) end
  for _, tenant in ipairs(take_due('cooling', PROMOTE_MAX)) do enter(tenant) end
  for _, run in ipairs(call('ZRANGEBYSCORE', P .. ':ended', '-inf', now - KEEP_MS, 'LIMIT', 0, FORGET_MAX)) do forget(run) end
  for _, worker in ipairs(call('ZRANGEBYSCORE', P .. ':beats', '-inf', now - SILENT_MS, 'LIMIT', 0, REAP_MAX)) do part(worker) end
end

local function owned(id, fence)
  local j = call('HMGET', job(id), 'state', 'fence')
  return j[1] == 'running' and j[2] == fence
end

local ops = {}

-- worker token lease most, then for each job that ended: how many words follow, id fence how, and what that takes
-- -> for each 1, or 0 if it was another's; then what `claim` says
function ops.exchange() return exchanged(claim(unpack(ARGV, 3, 6))) end

-- tenant run cap weight rate, then for each job: entity, the entities it waits for (with blanks between)
-- -> jobs added or put back where they belong, jobs that have not ended
function ops.push(tenant, run, cap, weight, rate, ...)
  local name, jobs, new, known = tenant .. '/' .. run, { ... }, {}, {}
  local key = run_key(name)
  call('HSET', about(tenant), 'cap', cap, 'weight', weight, 'rate', rate)
  call('ZADD', P .. ':runs', 0, name)
  for n = 1, #jobs, 2 do
    local entity, id = jobs[n], name .. '/' .. jobs[n]
    local how, s = call('HGET', key, entity), call('HGET', job(id), 'state')
    if not how and s == 'dead' then
      call('HSET', key, entity, 'dead')
    elseif not how or how == '' then
      open(id)
      -- One that still runs though its run was dropped goes on.
      if not how and s then call('HDEL', job(id), 'cancel', 'dropped') end
      local which = s and known or new
      which[#which + 1] = n
    end
  end
  for _, n in ipairs(new) do
    local id = name .. '/' .. jobs[n]
    for parent in string.gmatch(jobs[n + 1], '%S+') do
      local children = call('HGET', key, '>' .. parent)
      call('HSET', key, '>' .. parent, children and (children .. ' ' .. jobs[n]) or jobs[n])
    end
    if jobs[n + 1] ~= '' then call('HSET', job(id), 'needs', jobs[n + 1]) end
    start(id)
  end
  local added = #new
  recount(name)
  for _, n in ipairs(known) do
    if mend(name .. '/' .. jobs[n]) then added = added + 1 end
  end
  local rest = open_count(name)
  if rest == 0 then
    local how, s = call('HGET', key, 'seal'), call('HGET', job(name .. '/seal'), 'state')
    -- All of it ended before, or there was nothing to do: what is missing is the seal.
    if not how or (how == '' and not s) then
      seal(name)
      added = added + 1
    elseif how == '' and mend(name .. '/seal') then
      added = added + 1
    end
  end
  call('HINCRBY', P .. ':counters', 'enqueued', added)
  -- Its cap may be higher than it was.
  enter(tenant)
  if added > 0 then wake() end
  return { added, rest }
end

-- worker lease info, then for each job: id fence progress
-- -> for each 1 (go on), 0 (it is another's now) or 2 (cancelled); then 1 if somebody waits for a place; then 1 if the worker
-- is to take no new jobs
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
      excuse(id, held[n + 1])
      out[#out + 1] = 0
    end
  end
  tend()
  tell_others()
  out[#out + 1] = call('EXISTS', P .. ':ring')
  out[#out + 1] = call('HEXISTS', P .. ':drained', worker)
  return out
end

-- A worker that stops says so. What its last claim brought it may not have heard, or not begun.
function ops.bye(worker)
  local ids = last_claim(worker)
  for n = #ids, 1, -1 do conclude(ids[n], particulars(ids[n]), 'first') end
  if ids[1] then wake() end
  part(worker)
  return 1
end

-- id fence events: how far a job that was lost is after it was opened; one that gets on is no poison.
function ops.opened(id, fence, events)
  if not owned(id, fence) then return 0 end
  local mark = tonumber(call('HGET', job(id), 'lost_mark') or '')
  if not mark then
    -- Lost for the first time: whether it had got on before nobody knows.
    call('HSET', job(id), 'lost_mark', events)
  elseif tonumber(events) > mark then
    call('HDEL', job(id), 'lost')
    call('HSET', job(id), 'lost_mark', events)
  end
  return 1
end

-- run entities: what the queue thought had ended has not
function ops.reopen(run, entities)
  local count = reopen(run, entities)
  tell_others()
  return count
end
