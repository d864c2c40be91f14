-- uses: move lease judge
-- Leases the first learners of the job's queue to free slots; looks and reaps on the way.
-- args: job, nonce, request (only the same id repeats an answer: a lost reply), slots [int], ttl (ms),
-- proven (false: no slot of the job came up yet, so this does not show that jobs of its pool work)
-- answers: JSON {outcome, leases [{learner, slot, fields…}]}; FENCED: another copy is this job;
-- GONE: Redis does not know the claim. First write: freeing, so that a full fabric can be worked off.
local name = key('job', args.job)
local job = read_hash(name)
if not job.nonce then return '{"outcome":"GONE"}' end
if job.nonce ~= args.nonce or job.state == 'ended' then return '{"outcome":"FENCED"}' end

local function answer(granted)
  local leases = {}
  for _, item in ipairs(granted) do
    local fields = read_learner(item.learner)
    -- Of a repeated answer only what still holds.
    if fields.state == 'leased' and fields.token == item.token and fields.holder == item.holder then
      fields.learner, fields.slot = item.learner, item.slot
      fields.name = redis.call('GET', key('name', item.learner))
      leases[#leases + 1] = fields
    end
  end
  return '{"outcome":"OK","leases":' .. list(leases) .. '}'
end

if job.request == args.request then return answer(cjson.decode(job.granted)) end
begin_freeing()
reap()
promote()
local granted = {}
local queue = redis.call('ZRANGE', key('queue', job.pool), 0, #args.slots - 1)
for i, id in ipairs(queue) do
  local learner, slot = read_learner(id), args.slots[i]
  grant(id, learner, 'acquire', args.job, args.nonce, slot, args.ttl,
    math.max(tonumber(learner.token or 0) + 1, NOW))
  granted[i] = { learner = id, slot = slot, token = learner.token, holder = learner.holder }
end
if #granted > 0 then
  redis.call('HSET', name, 'request', args.request, 'granted', cjson.encode(granted))
  if args.proven then redis.call('HSET', name, 'acquired', '1') end
end
redis.call('ZADD', key('jobs'), int(NOW), args.job)
return answer(granted)
