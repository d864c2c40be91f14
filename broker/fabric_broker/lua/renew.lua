-- uses: move lease judge
-- Renews what an agent holds; looks and reaps on the way. An expired lease that nobody reaped is renewed too; one
-- that Redis forgot (its last second was lost and nobody held the learner since) is restored.
-- args: job, nonce, ttl (ms), holds [[learner, token, slot, echoed command number]], proof (true: a slot of the job
-- came up, so what it acquired unproven counts)
-- answers: JSON {outcome, now, commands {learner: "<n>:<verb>"}, known {learner: [seq, checkpoint number]}, fenced
-- [learner], restored [learner]}; FENCED: another copy is this job; GONE: the claim is unknown.
-- First write: freeing (ZADD of leases would be refused when memory is full).
local job = redis.call('HMGET', key('job', args.job), 'nonce', 'state')
if not job[1] then return '{"outcome":"GONE"}' end
if job[1] ~= args.nonce or job[2] == 'ended' then return '{"outcome":"FENCED"}' end
begin_freeing()
local fenced, restored, commands, known = {}, {}, {}, {}
for _, hold in ipairs(args.holds) do
  local id, token, slot, echoed = hold[1], hold[2], hold[3], hold[4]
  local learner = read_learner(id)
  if holds(learner, { job = args.job, nonce = args.nonce, slot = slot, token = token }) then
    redis.call('ZADD', key('leases'), int(NOW + args.ttl), id)
  elseif learner.state == 'queued' and tonumber(learner.token or 0) < token then
    grant(id, learner, 'restore', args.job, args.nonce, slot, args.ttl, token)
    restored[#restored + 1] = id
  else
    fenced[#fenced + 1] = id
    learner = nil
  end
  if learner then
    known[id] = { tonumber(learner.seq or 0), tonumber(learner.checkpoint_n or 0) }
    if learner.command and tonumber(string.match(learner.command, '^%d+')) > echoed then
      commands[id] = learner.command
    end
  end
end
reap()
if args.proof then redis.call('HSET', key('job', args.job), 'acquired', '1') end
redis.call('ZADD', key('jobs'), int(NOW), args.job)
local answer = cjson.encode({ outcome = 'OK', now = NOW, commands = commands, known = known })
return string.sub(answer, 1, -2) .. ',"fenced":' .. list(fenced) .. ',"restored":' .. list(restored) .. '}'
