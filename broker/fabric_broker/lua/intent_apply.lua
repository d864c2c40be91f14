-- uses: move lease
-- The leader's verdicts on intents and jobs, each checked against the state that it was based on.
-- args: nonce, epoch (of the leader), changes [{verb, …}]; the verbs are the functions below
-- answers: JSON [1 (done) or 0 (no longer true)] in order; '-1': the caller does not lead. First write: freeing.
local leader = redis.call('HMGET', key('leader'), 'nonce', 'epoch', 'until')
if leader[1] ~= args.nonce or leader[2] ~= int(args.epoch) or tonumber(leader[3]) <= NOW then return '-1' end
begin_freeing()

local VERB = {}

local function state_of(kind, id)
  return redis.call('HGET', key(kind, id), 'state')
end

local function end_job(job, reason)
  for _, id in ipairs(redis.call('SMEMBERS', key('holds', job))) do end_lease(id, read_learner(id), 'died', nil) end
  local f = redis.call('HMGET', key('job', job), 'state', 'wish_reason')
  if f[1] ~= 'ended' then
    redis.call('HSET', key('job', job), 'state', 'ended', 'ended', int(NOW), 'reason', f[2] or reason)
  end
end

-- intent, tries: a task for it is in the queue.
function VERB.enqueued(change)
  local state = state_of('intent', change.intent)
  if state ~= 'wanted' and state ~= 'enqueued' then return false end
  redis.call('HSET', key('intent', change.intent), 'state', 'enqueued', 'since', int(NOW), 'tries', int(change.tries))
  return true
end

-- intent, since: its task never answered and the scheduler does not know its name.
function VERB.again(change)
  local name = key('intent', change.intent)
  local f = redis.call('HMGET', name, 'state', 'since')
  if f[1] ~= 'submitting' or f[2] ~= int(change.since) then return false end
  redis.call('HSET', name, 'state', 'wanted', 'since', int(NOW))
  redis.call('HDEL', name, 'task')
  return true
end

-- intent, host, ids {job: scheduler id}: its task never answered, but the scheduler has its jobs.
function VERB.found(change)
  if state_of('intent', change.intent) ~= 'submitting' then return false end
  redis.call('HSET', key('intent', change.intent), 'state', 'submitted', 'since', int(NOW), 'host', change.host)
  for job, id in pairs(change.ids) do
    redis.call('HSETNX', key('job', job), 'scheduler_id', id)
    if state_of('job', job) == 'submitting' then redis.call('HSET', key('job', job), 'state', 'pending') end
  end
  return true
end

-- job, wish ('cancel' or 'drain'), reason: it shall go. What was never submitted is over at once.
function VERB.wish(change)
  local name = key('job', change.job)
  local job = redis.call('HMGET', name, 'state', 'intent')
  if not job[1] then return false end
  local intent = state_of('intent', job[2])
  if intent == 'wanted' or intent == 'enqueued' then
    redis.call('HSET', key('intent', job[2]), 'state', 'cancelled', 'since', int(NOW))
    for k = 0, tonumber(redis.call('HGET', key('intent', job[2]), 'jobs')) - 1 do
      end_job(job[2] .. '.' .. int(k), change.reason)
    end
    return true
  end
  redis.call('HSET', name, 'wish', change.wish, 'wish_reason', change.reason)
  return true
end

-- intent: a cancel task goes out under this leader's epoch.
function VERB.cancelling(change)
  if not state_of('intent', change.intent) then return false end
  redis.call('HSET', key('intent', change.intent), 'cancel_epoch', int(args.epoch), 'cancel_at', int(NOW))
  redis.call('HINCRBY', key('intent', change.intent), 'cancels', 1)
  return true
end

-- job, was, state, reason: the scheduler's view of it.
function VERB.mark(change)
  if state_of('job', change.job) ~= change.was then return false end
  redis.call('HSET', key('job', change.job), 'state', change.state)
  if change.reason ~= '' then
    redis.call('HSET', key('job', change.job), 'reason', change.reason)
  else
    redis.call('HDEL', key('job', change.job), 'reason')
  end
  return true
end

-- job, nonce ('': nobody claimed it), reason: this copy is dead; what it held is released at once.
function VERB.over(change)
  local job = redis.call('HMGET', key('job', change.job), 'pool', 'nonce')
  if not job[1] or (job[2] or '') ~= change.nonce then return false end
  end_job(change.job, change.reason)
  return true
end

-- intent: all of its jobs are over.
function VERB.close(change)
  if redis.call('ZREM', key('intents'), change.intent) == 0 then return false end
  redis.call('HSET', key('intent', change.intent), 'state', 'over', 'since', int(NOW))
  return true
end

-- pool, set {field: text}, drop [field]: what the submitter remembers of it.
function VERB.remember(change)
  if redis.call('EXISTS', key('pool', change.pool)) == 0 then return false end
  for field, value in pairs(change.set) do redis.call('HSET', key('pool', change.pool), field, value) end
  for _, field in ipairs(change.drop) do redis.call('HDEL', key('pool', change.pool), field) end
  return true
end

-- job: it ended long ago.
function VERB.forget(change)
  local job = redis.call('HMGET', key('job', change.job), 'state', 'intent')
  if job[1] and (job[1] ~= 'ended' or redis.call('SCARD', key('holds', change.job)) > 0) then return false end
  if job[2] and redis.call('ZSCORE', key('intents'), job[2]) then return false end
  redis.call('ZREM', key('jobs'), change.job)
  redis.call('DEL', key('job', change.job), key('log', change.job))
  if job[2] then redis.call('DEL', key('intent', job[2])) end
  return true
end

local done = {}
for i, change in ipairs(args.changes) do done[i] = VERB[change.verb](change) and 1 or 0 end
return list(done)
