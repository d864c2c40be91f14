-- uses:
-- Changes how many jobs a pool may have.
-- args: pool, limit. answers: 'ok' or 'no pool'. First write: freeing, so that a full fabric can be scaled down.
if redis.call('EXISTS', key('pool', args.pool)) == 0 then return 'no pool' end
begin_freeing()
redis.call('HSET', key('pool', args.pool), 'limit', int(args.limit))
return 'ok'
