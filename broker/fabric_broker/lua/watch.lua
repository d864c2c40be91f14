-- uses:
-- All that changed for somebody who watches, in one round trip: events, the view of whom they speak of, the board.
-- args: after (id of the last event that the caller has; null: none, the newest are sent), count (events at most), seen [learner] (whose
-- view is sent anyway), before (id of the oldest event that the caller has, to read further back; null: do not),
-- board (bool), jobs (at most so many, the newest; runs too).
-- answers: {now, [events], first id, last id, [learner, view, …], [older events], board}; board: {meta, leader, [run, settings,
-- counts, …], [pool, fields, queued, …], [job, seen, fields, holds, …], [intent, fields, …]}. Writes nothing.
local function edge(command, from, to)
  local found = redis.call(command, key('events'), from, to, 'COUNT', 1)[1]
  return found and found[1] or ''
end

local function newest(name)
  local ids = redis.call('ZREVRANGE', name, 0, args.jobs - 1)
  return ids
end

local function views(events)
  local wanted, known = {}, {}
  local function want(id)
    if id ~= '' and not known[id] then
      known[id] = true
      wanted[#wanted + 1] = id
    end
  end
  for _, event in ipairs(events) do
    for i = 1, #event[2], 2 do
      if event[2][i] == 'learner' then want(event[2][i + 1]) end
    end
  end
  for _, id in ipairs(args.seen) do want(id) end
  local found = {}
  for start = 1, #wanted, 500 do
    local stop = math.min(start + 499, #wanted)
    local packed = redis.call('HMGET', key('view'), unpack(wanted, start, stop))
    for i = start, stop do
      found[#found + 1] = wanted[i]
      found[#found + 1] = packed[i - start + 1] or ''
    end
  end
  return found
end

local function hashes(ids, kinds)
  local found = {}
  for _, id in ipairs(ids) do
    found[#found + 1] = id
    for _, kind in ipairs(kinds) do found[#found + 1] = kind(id) end
  end
  return found
end

local function all(kind)
  return function(id) return redis.call('HGETALL', key(kind, id)) end
end

local function board()
  local function queued(pool) return redis.call('ZCARD', key('queue', pool)) end
  local function seen(job) return redis.call('ZSCORE', key('jobs'), job) end
  local function holds(job) return redis.call('SMEMBERS', key('holds', job)) end
  return {
    redis.call('HGETALL', key('meta')),
    redis.call('HGETALL', key('leader')),
    hashes(newest(key('runs')), { all('run'), all('counts') }),
    hashes(redis.call('ZRANGE', key('pools'), 0, -1), { all('pool'), queued }),
    hashes(newest(key('jobs')), { seen, all('job'), holds }),
    hashes(newest(key('intents')), { all('intent') }),
  }
end

local after, before = given(args.after), given(args.before)
local events, older = {}, {}
if after then
  events = redis.call('XRANGE', key('events'), '(' .. after, '+', 'COUNT', args.count)
else
  local backwards = redis.call('XREVRANGE', key('events'), '+', '-', 'COUNT', args.count)
  for i = #backwards, 1, -1 do events[#events + 1] = backwards[i] end
end
if before then older = redis.call('XREVRANGE', key('events'), '(' .. before, '-', 'COUNT', args.count) end
return {
  int(NOW), events, edge('XRANGE', '-', '+'), edge('XREVRANGE', '+', '-'), views(after and events or {}), older,
  args.board and board() or {},
}
