-- uses:
-- An agent that drains says so; it leases nothing more.
-- args: job, nonce. answers: the outcome. First write: freeing.
if redis.call('HGET', key('job', args.job), 'nonce') ~= args.nonce then return 'FENCED' end
begin_freeing()
redis.call('HSET', key('job', args.job), 'state', 'draining')
return 'OK'
