-- uses: move lease
-- A user ends a job at once: it is over for the fabric (its agent is fenced), what it held is queued again, and the scheduler is asked to cancel it.
-- args: job, reason. answers: how many learners it gave back; -1: no such job, -2: it has ended. First write: freeing.
local name = key('job', args.job)
local state = redis.call('HGET', name, 'state')
if not state then return -1 end
if state == 'ended' then return -2 end
begin_freeing()
local held = redis.call('SMEMBERS', key('holds', args.job))
for _, id in ipairs(held) do end_lease(id, read_learner(id), 'died', nil) end
redis.call('HSET', name, 'state', 'ended', 'ended', int(NOW), 'reason', args.reason, 'wish', 'cancel', 'wish_reason', args.reason)
return #held
