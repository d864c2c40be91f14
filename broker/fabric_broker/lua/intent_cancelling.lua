-- uses:
-- A cancel task asks what is to be done now. It may be late: jobs that were to be cancelled may hold leases by now
-- and are drained instead, and what another leader decided since then counts, not what this task was sent for.
-- args: intent. answers: JSON {kind, jobs [[job, scheduler id or '', 'cancel' or 'drain']]}. Writes nothing.
local intent = redis.call('HMGET', key('intent', args.intent), 'kind', 'cancel_epoch', 'jobs')
local found = {}
if intent[2] and intent[2] == redis.call('HGET', key('leader'), 'epoch') then
  for k = 0, tonumber(intent[3]) - 1 do
    local job = args.intent .. '.' .. int(k)
    local f = redis.call('HMGET', key('job', job), 'wish', 'scheduler_id')
    local wish = f[1]
    if wish == 'cancel' and redis.call('SCARD', key('holds', job)) > 0 then wish = 'drain' end
    if wish then found[#found + 1] = { job, f[2] or '', wish } end
  end
end
return '{"kind":' .. cjson.encode(intent[1] or '') .. ',"jobs":' .. list(found) .. '}'
