-- uses: move lease
-- An agent's first act: the job is its own. The submit side cannot promise one job per intent (a stopped task, an
-- sbatch served after its time-out, a requeue while the old copy runs on); this can.
-- The first nonce wins; a higher restart count supersedes, and what the older copy held is released at once.
-- args: job, nonce, restart, node, pid, scheduler_id (or null), walltime_end (ms, or null)
-- answers: JSON {outcome, pool, spec}; FENCED: lost or cancelled. GONE: no such job or pool. First write: freeing.
local name = key('job', args.job)
local job = read_hash(name)
if not job.pool then return cjson.encode({ outcome = 'GONE' }) end
local pool = redis.call('HMGET', key('pool', job.pool), 'spec', 'slots')
if not pool[1] then return cjson.encode({ outcome = 'GONE' }) end
if job.nonce ~= args.nonce then
  if job.state == 'ended' and not job.nonce then return cjson.encode({ outcome = 'FENCED' }) end
  if job.nonce and args.restart <= tonumber(job.restart) then return cjson.encode({ outcome = 'FENCED' }) end
end
begin_freeing()
if job.nonce and job.nonce ~= args.nonce then
  for _, id in ipairs(redis.call('SMEMBERS', key('holds', args.job))) do
    end_lease(id, read_learner(id), 'died', nil)
  end
end
redis.call('HSET', name, 'nonce', args.nonce, 'restart', int(args.restart), 'node', args.node, 'pid', int(args.pid),
  'state', 'running', 'started', int(NOW),
  'slots', pool[2])
if given(args.scheduler_id) then redis.call('HSET', name, 'scheduler_id', args.scheduler_id) end
if given(args.walltime_end) then redis.call('HSET', name, 'walltime_end', int(args.walltime_end)) end
redis.call('HDEL', name, 'request', 'granted', 'reason')
redis.call('ZADD', key('jobs'), int(NOW), args.job)
return cjson.encode({ outcome = 'OK', pool = job.pool, spec = pool[1] })
