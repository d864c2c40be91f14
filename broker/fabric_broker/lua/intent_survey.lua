-- uses:
-- All that reconcile asks for, seen at one moment: pools with their work, living intents with their jobs.
-- args: soon (ms: delayed learners due within it count as work), old (ms: jobs ended for longer), keep (so many
-- ended jobs are kept whatever their age)
-- answers: JSON {now, held, pools [{…}], intents [{…, jobs [{…}]}], old [job], bulk [run]}. Writes nothing.
local function fields(kind, id, names)
  local values, found = redis.call('HMGET', key(kind, id), unpack(names)), {}
  for i, name in ipairs(names) do
    if values[i] then found[name] = values[i] end
  end
  return found
end

local soon = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('delayed'), '-inf', int(NOW + args.soon), 'LIMIT', 0, 500)) do
  local pool = redis.call('HGET', key('learner', id), 'pool')
  if pool then soon[pool] = (soon[pool] or 0) + 1 end
end

local pools = {}
for i, id in ipairs(redis.call('ZRANGE', key('pools'), 0, -1)) do
  local pool = fields('pool', id, { 'kind', 'limit', 'slots', 'ttl', 'deaths', 'last_death', 'retry_at', 'circuit',
    'wanted', 'circuit_since', 'spec' })
  local spec = cjson.decode(pool.spec or '{}')
  pool.spec, pool.overlap, pool.grace, pool.min_lease_time = nil, spec.overlap, spec.grace, spec.min_lease_time
  pool.name, pool.queued, pool.soon = id, redis.call('ZCARD', key('queue', id)), soon[id] or 0
  pools[i] = pool
end

local intents = {}
for i, id in ipairs(redis.call('ZRANGE', key('intents'), 0, -1)) do
  local intent = fields('intent', id, { 'pool', 'kind', 'state', 'jobs', 'created', 'since', 'tries', 'host',
    'reason', 'not_before', 'cancel_at', 'cancels' })
  local jobs = {}
  for k = 0, tonumber(intent.jobs or 0) - 1 do
    local name = id .. '.' .. int(k)
    local job = fields('job', name, { 'state', 'nonce', 'scheduler_id', 'slots', 'acquired', 'started', 'ended',
      'reason', 'wish', 'walltime_end' })
    job.id, job.holds = name, redis.call('SCARD', key('holds', name))
    job.seen = redis.call('ZSCORE', key('jobs'), name) or '0'
    jobs[k + 1] = job
  end
  intent.id, intent.jobs = id, jobs
  intents[i] = intent
end

-- A job that ended is not seen again, so the ones at the head of the set are the oldest.
local old, surplus = {}, redis.call('ZCARD', key('jobs')) - args.keep
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('jobs'), '-inf', int(NOW - args.old), 'LIMIT', 0, 100)) do
  if #old >= surplus then break end
  if redis.call('HGET', key('job', id), 'state') == 'ended' then old[#old + 1] = id end
end

local packed = {}
for i, intent in ipairs(intents) do
  local jobs = list(intent.jobs)
  intent.jobs = nil
  packed[i] = string.sub(cjson.encode(intent), 1, -2) .. ',"jobs":' .. jobs .. '}'
end
return '{"now":' .. int(NOW) .. ',"held":' .. tostring(redis.call('HGET', key('meta'), 'held') == '1')
  .. ',"pools":' .. list(pools) .. ',"intents":[' .. table.concat(packed, ',') .. '],"old":' .. list(old)
  .. ',"bulk":' .. list(redis.call('SMEMBERS', key('bulk'))) .. '}'
