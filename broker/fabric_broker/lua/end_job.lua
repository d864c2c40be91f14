-- uses: move lease
-- A job is over: by its own word (nonce given) or because somebody knows it dead (nonce null or the dead copy's).
-- What it still holds is released at once.
-- args: job, nonce (or null), reason
-- answers: how many learners it gave back; -1 if another copy is this job or it is unknown. First write: freeing.
local name = key('job', args.job)
local job = read_hash(name)
local nonce = given(args.nonce)
if not job.pool or (nonce and job.nonce ~= nonce) then return -1 end
begin_freeing()
local held = redis.call('SMEMBERS', key('holds', args.job))
for _, id in ipairs(held) do end_lease(id, read_learner(id), 'died', nil) end
if job.state ~= 'ended' then
  redis.call('HSET', name, 'state', 'ended', 'ended', int(NOW), 'reason', args.reason)
end
return #held
