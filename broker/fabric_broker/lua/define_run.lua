-- uses:
-- Begins a run: its name is taken, its settings are written, learners may be added.
-- args: run, name, pool, settings {field: short text}. ARGV[2]: the run's signed payload.
-- answers: 'ok', 'exists' (the name), 'no pool'. The same run id again is 'ok': the reply was lost.
-- First write: SET (refused when memory is full: it grows).
local owner = redis.call('HGET', key('run-names'), args.name)
if owner == args.run then return 'ok' end
if owner then return 'exists' end
if redis.call('EXISTS', key('pool', args.pool)) == 0 then return 'no pool' end
redis.call('SET', key('payload', args.run), ARGV[2])
redis.call('HSET', key('run-names'), args.name, args.run)
redis.call('ZADD', key('runs'), int(NOW), args.run)
redis.call('HSET', key('run', args.run), 'name', args.name, 'pool', args.pool, 'created', int(NOW), 'adding', '1',
  'total', '0')
for field, value in pairs(args.settings) do redis.call('HSET', key('run', args.run), field, value) end
return 'ok'
