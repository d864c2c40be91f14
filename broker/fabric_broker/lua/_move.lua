-- The one way a learner changes its state: state sets, counters, event and view move together.

local function state_key(state, pool)
  if state == 'queued' then return key('queue', pool) end
  if state == 'leased' then return key('leases') end
  return key(state)
end

-- The packed record of whoever shows many learners at once:
-- state run pool priority npoints loss token job slot attempts since ('-' where there is none).
local function show(id)
  local f = redis.call('HMGET', key('learner', id), 'state', 'run', 'pool', 'priority', 'npoints', 'loss', 'token',
    'holder', 'attempts', 'since')
  local job, slot = '-', '-'
  if f[8] then job, slot = string.match(f[8], '^([^:]*):[^:]*:(.*)$') end
  redis.call('HSET', key('view'), id, table.concat({ f[1], f[2], f[3], f[4] or '0', f[5] or '0', f[6] or '-',
    f[7] or '0', job, slot, f[9] or '0', f[10] }, ' '))
end

local function tell_event(id, run, event, from, to, extra)
  local fields = { 'MAXLEN', '~', '20000', '*', 'learner', id, 'run', run, 'event', event, 'from', from, 'to', to,
    'at', int(NOW) }
  for _, item in ipairs(extra or {}) do fields[#fields + 1] = item end
  redis.call('XADD', key('events'), unpack(fields))
end

-- A run has ended when it is whole and none of its learners is open.
local function count(run, from, to)
  local counts = key('counts', run)
  local opened = 0
  if from ~= '' then
    redis.call('HINCRBY', counts, from, -1)
    if not TERMINAL[from] then opened = opened - 1 end
  end
  redis.call('HINCRBY', counts, to, 1)
  if not TERMINAL[to] then opened = opened + 1 end
  if opened == 0 then return end
  local open = redis.call('HINCRBY', counts, 'open', opened)
  if open == 0 then
    if redis.call('HEXISTS', key('run', run), 'adding') == 0 then
      redis.call('HSET', key('run', run), 'ended', int(NOW))
    end
  elseif open == 1 and opened == 1 then
    redis.call('HDEL', key('run', run), 'ended')
  end
end

-- Pools count what reconcile asks for: their leased and their delayed learners. How many are open lies apart, because
-- a learner that is retried may come back to a pool that was removed.
local function count_pool(pool, from, to)
  local function is(state) return (to == state and 1 or 0) - (from == state and 1 or 0) end
  for _, state in ipairs({ 'leased', 'delayed' }) do
    if is(state) ~= 0 then redis.call('HINCRBY', key('pool', pool), state, is(state)) end
  end
  local function is_open(state) return (state == '' or TERMINAL[state]) and 0 or 1 end
  local opened = is_open(to) - is_open(from)
  if opened ~= 0 then redis.call('HINCRBY', key('open'), pool, opened) end
end

local function may_move(from, event, to)
  return TRANSITIONS[(from or '') .. '|' .. event .. '|' .. to] == true
end

-- learner: its fields as read_learner gave them (state, pool and run are used). score: of the new state set.
-- extra: further fields of the event, names and values in turn.
local function move(id, learner, event, to, score, extra)
  local from = learner.state or ''
  if not may_move(from, event, to) then
    error('FABRIC no transition ' .. from .. ' --' .. event .. '--> ' .. to .. ' for learner ' .. id)
  end
  if from ~= '' then
    redis.call('ZREM', state_key(from, learner.pool), id)
  end
  redis.call('ZADD', state_key(to, learner.pool), int(score), id)
  redis.call('HSET', key('learner', id), 'state', to, 'since', int(NOW))
  count_pool(learner.pool, from, to)
  count(learner.run, from, to)
  tell_event(id, learner.run, event, from, to, extra)
  learner.state = to
end
