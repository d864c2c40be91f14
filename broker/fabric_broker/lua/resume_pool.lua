-- uses:
-- Closes a pool's circuit: its young deaths are forgotten and it submits again.
-- args: pool. answers: 'ok' or 'no pool'. First write: freeing.
if redis.call('EXISTS', key('pool', args.pool)) == 0 then return 'no pool' end
begin_freeing()
redis.call('HDEL', key('pool', args.pool), 'circuit', 'circuit_since', 'deaths', 'last_death', 'retry_at')
return 'ok'
