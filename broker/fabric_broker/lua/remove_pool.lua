-- uses:
-- Removes a pool that no open learner needs. Its jobs end by themselves: they find no pool and leave.
-- args: pool. answers: 'ok', 'no pool', or 'in use' (learners queued, leased, delayed or paused there).
-- First write: freeing.
if redis.call('EXISTS', key('pool', args.pool)) == 0 then return 'no pool' end
local counters = redis.call('HMGET', key('pool', args.pool), 'leased', 'delayed', 'open_runs')
if redis.call('ZCARD', key('queue', args.pool)) > 0 or tonumber(counters[1] or 0) > 0
  or tonumber(counters[2] or 0) > 0 then
  return 'in use'
end
begin_freeing()
redis.call('ZREM', key('pools'), args.pool)
redis.call('DEL', key('pool', args.pool))
return 'ok'
