-- What a user's word does to one learner. Each answers true if it changed something.

local function command(id, learner, verb)
  if command_verb(learner) == verb or command_verb(learner) == 'cancel' then return false end
  local number = redis.call('HINCRBY', key('learner', id), 'commands', 1)
  redis.call('HSET', key('learner', id), 'command', int(number) .. ':' .. verb)
  return true
end

-- by: who pauses it, '' if that is not known.
local function pause(id, learner, _, by)
  if learner.state ~= 'leased' and not may_move(learner.state, 'pause', 'paused') then return false end
  if by ~= '' then redis.call('HSET', key('learner', id), 'paused_by', by) end
  if learner.state == 'leased' then return command(id, learner, 'pause') end
  local due = learner.state == 'delayed' and redis.call('ZSCORE', key('delayed'), id) or '0'
  redis.call('HSET', key('learner', id), 'resume_to', learner.state, 'due', due)
  move(id, learner, 'pause', 'paused', NOW)
  return true
end

local function resume(id, learner)
  if learner.state == 'leased' and command_verb(learner) == 'pause' then
    redis.call('HDEL', key('learner', id), 'command', 'paused_by')
    return true
  end
  if learner.state ~= 'paused' then return false end
  local to = learner.resume_to or 'queued'
  local score = NOW
  if to == 'queued' then score = tonumber(learner.rank) end
  if to == 'delayed' then score = tonumber(learner.due) end
  redis.call('HDEL', key('learner', id), 'resume_to', 'due', 'paused_by')
  move(id, learner, 'resume', to, score)
  return true
end

local function cancel(id, learner)
  if learner.state == 'leased' then return command(id, learner, 'cancel') end
  if not may_move(learner.state, 'cancel', 'cancelled') then return false end
  move(id, learner, 'cancel', 'cancelled', NOW)
  return true
end

local function retry(id, learner)
  if not may_move(learner.state, 'retry', 'queued') then return false end
  redis.call('HSET', key('learner', id), 'attempts', '0', 'barren', '0')
  redis.call('DEL', key('error', id))
  move(id, learner, 'retry', 'queued', tonumber(learner.rank))
  return true
end

local function prioritize(id, learner, priority)
  local old = tonumber(learner.priority)
  if old == priority then return false end
  local rank = tonumber(learner.rank) + (old - priority) * 2 ^ 40
  redis.call('HSET', key('learner', id), 'priority', int(priority), 'rank', int(rank))
  if learner.state == 'queued' then redis.call('ZADD', key('queue', learner.pool), int(rank), id) end
  return true
end

local ACTIONS = { pause = pause, resume = resume, cancel = cancel, retry = retry, prioritize = prioritize }

local function act_on(id, verb, priority, by)
  local learner = read_learner(id)
  if not learner.state or not ACTIONS[verb](id, learner, priority, by) then return 0 end
  show(id)
  return 1
end
