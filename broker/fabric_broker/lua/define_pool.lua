-- uses:
-- Creates or changes a pool; new settings reach new jobs.
-- args: pool, spec (JSON text), kind, limit (null: keep, 1 for a new pool), slots, ttl (ms)
-- answers: 'created' or 'changed'. First write: HSET (refused when memory is full: it grows).
local name = key('pool', args.pool)
local exists = redis.call('EXISTS', name) == 1
local limit = given(args.limit)
redis.call('HSET', name, 'spec', args.spec, 'kind', args.kind, 'slots', int(args.slots), 'ttl', int(args.ttl))
if limit then
  redis.call('HSET', name, 'limit', int(limit))
elseif not exists then
  redis.call('HSET', name, 'limit', '1')
end
redis.call('ZADD', key('pools'), 'NX', int(NOW), args.pool)
return exists and 'changed' or 'created'
