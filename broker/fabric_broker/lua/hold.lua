-- uses:
-- Holds the fabric (no job is wanted, those that are there are drained) or lets it go on. Pools keep their limits.
-- args: held (true or false). answers: 'ok'. First write: freeing.
begin_freeing()
if args.held then
  redis.call('HSET', key('meta'), 'held', '1')
else
  redis.call('HDEL', key('meta'), 'held')
end
return 'ok'
