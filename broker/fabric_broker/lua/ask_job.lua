-- uses:
-- A user wants a job to go: it is drained, or cancelled if it has not started.
-- args: job, reason. answers: 'ok', 'ended', or 'no job'. First write: freeing.
local name = key('job', args.job)
local state = redis.call('HGET', name, 'state')
if not state then return 'no job' end
if state == 'ended' then return 'ended' end
begin_freeing()
local started = state == 'running' or state == 'draining'
redis.call('HSET', name, 'wish', started and 'drain' or 'cancel', 'wish_reason', args.reason)
return 'ok'
