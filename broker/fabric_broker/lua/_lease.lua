-- What a lease is and how it ends.

local function holder(job, nonce, slot)
  return job .. ':' .. nonce .. ':' .. int(slot)
end

-- One holder: token, agent nonce and slot must all be equal.
local function holds(learner, by)
  return learner.state == 'leased' and learner.token == int(by.token)
    and learner.holder == holder(by.job, by.nonce, by.slot)
end

-- Writes a fresh lease into a queued learner. The token rises even when Redis forgot some.
local function grant(id, learner, event, job, nonce, slot, ttl, token)
  redis.call('HSET', key('learner', id), 'token', int(token), 'holder', holder(job, nonce, slot), 'ttl', int(ttl),
    'lease_start', int(NOW), 'lease_seq', learner.seq or '0')
  redis.call('HDEL', key('learner', id), 'command', 'resume_to')
  redis.call('SADD', key('holds', job), id)
  redis.call('HSETNX', key('run', learner.run), 'started', int(NOW))
  redis.call('HSETNX', key('meta'), 'grace:' .. int(ttl), '0')
  move(id, learner, event, 'leased', NOW + ttl, { 'job', job })
  learner.token, learner.holder = int(token), holder(job, nonce, slot)
  show(id)
end

local function command_verb(learner)
  if not learner.command then return nil end
  return string.match(learner.command, '^%d+:(%a+)$')
end

-- The lease of a learner is over without a complete. event: release, expire, died or error.
-- Where it goes: cancelled if that was asked for; failed when its own errors spent the attempts; quarantined after
-- BARREN_LEASES leases without one new point; paused if asked for; delayed after an error; else queued at its place.
-- problem: JSON text for error:<id>, or nil. unused: no slot ever began with it. Answers the new state.
local function end_lease(id, learner, event, problem, unused)
  local name = key('learner', id)
  local job = string.match(learner.holder, '^([^:]*):')
  local run = redis.call('HMGET', key('run', learner.run), 'attempts', 'backoff', 'paused')
  local verb, to, score, by = command_verb(learner), nil, NOW, event
  local barren = tonumber(learner.barren or 0)
  if tonumber(learner.seq or 0) > tonumber(learner.lease_seq or 0) then
    barren = 0
  elseif not verb and not unused then
    barren = barren + 1
  end
  local attempts = tonumber(learner.attempts or 0)
  if event == 'error' then attempts = attempts + 1 end

  if verb == 'cancel' then
    to, by = 'cancelled', 'cancel'
  elseif event == 'error' and attempts >= tonumber(run[1]) then
    to = 'failed'
  elseif barren >= BARREN_LEASES then
    to, by = 'quarantined', 'barren'
  elseif verb == 'pause' or run[3] then
    to, by = 'paused', 'pause'
  elseif event == 'error' then
    to, score = 'delayed', NOW + tonumber(run[2]) * 1000 * 2 ^ (attempts - 1)
  else
    to, score = 'queued', tonumber(learner.rank)
  end

  if problem then redis.call('SET', key('error', id), problem) end
  redis.call('SREM', key('holds', job), id)
  redis.call('HSET', name, 'attempts', int(attempts), 'barren', int(barren), 'leased_ms',
    int(tonumber(learner.leased_ms or 0) + math.max(0, NOW - tonumber(learner.lease_start))))
  redis.call('HDEL', name, 'holder', 'ttl', 'lease_start', 'lease_seq', 'command')
  if to == 'paused' then redis.call('HSET', name, 'resume_to', 'queued') end
  move(id, learner, by, to, score, { 'job', job, 'cause', event })
  show(id)
  return to
end
