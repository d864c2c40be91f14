-- uses:
-- An agent says what is wrong where it runs; it is the job's reason until something else is.
-- args: job, nonce, reason. answers: the outcome; FENCED: another copy is this job. First write: freeing.
local name = key('job', args.job)
local job = redis.call('HMGET', name, 'nonce', 'state')
if job[1] ~= args.nonce or job[2] == 'ended' then return 'FENCED' end
begin_freeing()
redis.call('HSET', name, 'reason', args.reason)
return 'OK'
