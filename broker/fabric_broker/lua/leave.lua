-- uses:
-- May an idle agent go? Always, unless the submitter is silent, learners of its pool are leased, and no other idle
-- job of the pool is there to take them up if their holder dies.
-- args: job, nonce, ttl (ms: a job not seen for so long is no help)
-- answers: 'leave' (the job is marked ended), 'stay', or 'FENCED'. First write: freeing.
local name = key('job', args.job)
local job = read_hash(name)
if job.nonce ~= args.nonce then return 'FENCED' end
if redis.call('SCARD', key('holds', args.job)) > 0 then return 'stay' end

local function somebody_else_idles()
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', key('jobs'), int(NOW - args.ttl), '+inf')) do
    if other ~= args.job then
      local f = redis.call('HMGET', key('job', other), 'pool', 'state')
      if f[1] == job.pool and f[2] == 'running' and redis.call('SCARD', key('holds', other)) == 0 then return true end
    end
  end
  return false
end

-- It ticks every second; a leader lease that still runs says nothing of one that died just now.
local SILENT_MS = 5000
local silent = NOW - tonumber(redis.call('HGET', key('leader'), 'seen') or 0) > SILENT_MS
local leased = tonumber(redis.call('HGET', key('pool', job.pool), 'leased') or 0)
if silent and leased > 0 and not somebody_else_idles() then return 'stay' end
begin_freeing()
redis.call('HSET', name, 'state', 'ended', 'ended', int(NOW), 'reason', 'idle')
return 'leave'
