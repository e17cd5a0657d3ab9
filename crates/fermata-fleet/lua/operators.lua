-- What operators do, and what holds tenants back: the second part of the script that queue.lua begins.

-- A stretch of a tenant's line is in this state now -> how many jobs, and where the next stretch begins (0: it was the last).
local function show_line(tenant, as, from)
  local ids = call('LRANGE', line(tenant), from, from + LINE_MAX - 1)
  for _, id in ipairs(ids) do
    if call('HGET', job(id), 'state') ~= as then move(id, as, now) end
  end
  return #ids, #ids == LINE_MAX and from + LINE_MAX or 0
end

-- tenant reason from: holds a tenant's jobs back, whatever else it is held for -> jobs parked, where to go on
function ops.hold(tenant, reason, from)
  local held = call('HGET', about(tenant), 'held')
  if not held then
    call('HSET', about(tenant), 'held', reason)
  elseif not string.find(' ' .. held .. ' ', ' ' .. reason .. ' ', 1, true) then
    call('HSET', about(tenant), 'held', held .. ' ' .. reason)
  end
  call('ZADD', P .. ':held', 'NX', now, tenant)
  step_out(tenant)
  return { show_line(tenant, 'parked', tonumber(from)) }
end

-- tenant reason from: a reason (if it is '', all) holds them back no longer -> 1 if none is left, where to go on
function ops.free(tenant, reason, from)
  local held, rest = call('HGET', about(tenant), 'held'), {}
  if not held then return { 0, 0 } end
  for other in string.gmatch(held, '%S+') do
    if reason ~= '' and other ~= reason then rest[#rest + 1] = other end
  end
  if #rest > 0 then
    call('HSET', about(tenant), 'held', table.concat(rest, ' '))
    return { 0, 0 }
  end
  local _, next = show_line(tenant, 'queued', tonumber(from))
  if next > 0 then return { 0, next } end
  call('HDEL', about(tenant), 'held')
  call('ZREM', P .. ':held', tenant)
  enter(tenant)
  tidy(tenant)
  wake()
  return { 1, 0 }
end

-- action id who state until: what an operator does to a job, if it is in that state (or '') -> 'ok', or why not
function ops.act(action, id, who, expected, till)
  local s = call('HGET', job(id), 'state')
  if not s then return 'there is no such job' end
  if expected ~= '' and s ~= expected then return 'it is ' .. s .. ' now' end
  if action == 'retry' then
    if s == 'queued' or s == 'running' then return 'it is ' .. s .. ' already' end
    if s == 'done' then return 'it is done' end
    if s == 'waiting' and call('HEXISTS', job(id), 'needs') == 1 then return 'it waits for its parents' end
    if s == 'parked' then return 'its tenant is held back' end
    open(id)
    absolve(id)
    note(id, 'retry', now, who)
    start(id)
    wake()
    return 'ok'
  elseif action == 'snooze' then
    if s ~= 'dead' and s ~= 'retry' then return 'it is ' .. s .. ': only what failed is put off' end
    till = math.min(number(till), now + SNOOZE_MAX_MS)
    -- The same again, after an answer that was lost.
    local j = call('HMGET', job(id), 'next', 'attempts')
    if s == 'retry' and j[1] == text(till) and not j[2] then return 'ok' end
    open(id)
    absolve(id)
    note(id, 'snooze', now, who)
    move(id, 'retry', till)
    call('HSET', job(id), 'next', text(till))
    soon = till - now < LOOK_MS
    tell_others()
    return 'ok'
  elseif action == 'cancel' then
    if s == 'done' or s == 'dead' then return 'it has ended' end
    if s == 'running' then
      if call('HGET', job(id), 'cancel') ~= who then note(id, 'cancel', now, who) end
      call('HSET', job(id), 'cancel', who)
    else
      unline(id)
      note(id, 'cancel', now, who)
      bury(id, 'cancelled by ' .. who)
    end
    return 'ok'
  elseif action == 'discard' then
    if s == 'running' then return 'it is running; cancel it first' end
    if s == 'done' then return 'it is done' end
    discard(id, 'discarded by ' .. who)
    return 'ok'
  end
  return 'no such action'
end

-- worker who: a worker is to take no new jobs; if nobody ('') says so, it is to again -> whether that changed, or nothing if
-- there is no such worker
function ops.drain(worker, who)
  if not call('ZSCORE', P .. ':beats', worker) then return false end
  if who == '' then return call('HDEL', P .. ':drained', worker) end
  return call('HSETNX', P .. ':drained', worker, who)
end

-- run who: takes a run out of the queue -> jobs that are still running and were told to stop
function ops.drop(run, who)
  local running = 0
  for _, entity in ipairs(call('HKEYS', run_key(run))) do
    local id = run .. '/' .. entity
    if call('HGET', job(id), 'state') == 'running' then
      call('HSET', job(id), 'cancel', who, 'dropped', 1)
      running = running + 1
    else
      erase(id)
    end
  end
  call('DEL', run_key(run))
  call('ZREM', P .. ':runs', run)
  call('ZREM', P .. ':ended', run)
  tidy(tenant_of(run))
  return running
end

function ops.tend()
  tend()
  tell_others()
  return 1
end

-- A line in the list of what operators did.
function ops.audit(entry)
  call('LPUSH', P .. ':audit', entry)
  call('LTRIM', P .. ':audit', 0, AUDIT_MAX - 1)
  return 1
end

return ops[op](unpack(ARGV, 3))
