-- uses:
-- Removes a pool that no open learner needs. Its jobs end by themselves: they find no pool and leave.
-- args: pool. answers: 'ok', 'no pool', or 'in use' (a learner there is in no terminal state).
-- First write: freeing.
if redis.call('EXISTS', key('pool', args.pool)) == 0 then return 'no pool' end
if tonumber(redis.call('HGET', key('open'), args.pool) or 0) > 0 then return 'in use' end
begin_freeing()
redis.call('HDEL', key('open'), args.pool)
redis.call('ZREM', key('pools'), args.pool)
redis.call('DEL', key('pool', args.pool))
return 'ok'
