-- uses: move
-- Adds learners first, first + 1, … of a run that is being submitted; those already there are left alone.
-- args: run, first, names [text], pools [the pool of each; empty: the run's], last (bool: the run is whole).
-- ARGV[2…]: a signed payload each, '' if in the store.
-- answers: the run's total, or -1 if the run is not being submitted. First write: SET of the name (refused when
-- memory is full: it grows).
local run = redis.call('HMGET', key('run', args.run), 'pool', 'priority', 'paused', 'adding')
if not run[4] then return -1 end
for i, name in ipairs(args.names) do
  local id = args.run .. '.' .. int(args.first + i - 1)
  if redis.call('EXISTS', key('learner', id)) == 0 then
    redis.call('SET', key('name', id), name)
    if ARGV[i + 1] ~= '' then redis.call('SET', key('payload', id), ARGV[i + 1]) end
    local place = redis.call('HINCRBY', key('meta'), 'place', 1)
    local rank = place - tonumber(run[2]) * 2 ^ 40
    local pool = args.pools[i] or run[1]
    redis.call('HSET', key('learner', id), 'pool', pool, 'run', args.run, 'priority', run[2], 'rank', int(rank))
    local learner = { pool = pool, run = args.run }
    if run[3] then
      redis.call('HSET', key('learner', id), 'resume_to', 'queued')
      move(id, learner, 'add', 'paused', NOW)
    else
      move(id, learner, 'add', 'queued', rank)
    end
    show(id)
    redis.call('HINCRBY', key('run', args.run), 'total', 1)
  end
end
if args.last then
  redis.call('HDEL', key('run', args.run), 'adding')
  -- The first learners may all have ended before the last was added.
  if tonumber(redis.call('HGET', key('counts', args.run), 'open') or 0) == 0 then
    redis.call('HSET', key('run', args.run), 'ended', int(NOW))
  end
end
return tonumber(redis.call('HGET', key('run', args.run), 'total'))
