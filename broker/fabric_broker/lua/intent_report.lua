-- uses:
-- A task says what the scheduler answered.
-- args: intent, task, result ('submitted', 'refused', 'busy'), host, ids {job: scheduler id}, reason, wait (ms: when
-- busy, how long to leave the scheduler alone)
-- answers: OK; ALREADY: the leader found the jobs before. FENCED: the intent went on without this task, so what it
-- submitted is one too many. GONE: no such intent. First write: freeing.
local name = key('intent', args.intent)
local intent = read_hash(name)
if not intent.pool then return 'GONE' end
if intent.task ~= args.task then return 'FENCED' end
if intent.state == 'submitted' then return 'ALREADY' end
if intent.state ~= 'submitting' then return 'FENCED' end
begin_freeing()
redis.call('HSET', name, 'since', int(NOW), 'reason', args.reason)
if args.result == 'busy' then
  redis.call('HSET', name, 'state', 'wanted', 'not_before', int(NOW + args.wait))
else
  redis.call('HSET', name, 'state', args.result, 'host', args.host)
end
for k = 0, tonumber(intent.jobs) - 1 do
  local job = args.intent .. '.' .. int(k)
  local state = redis.call('HGET', key('job', job), 'state')
  if args.result == 'submitted' then
    if args.ids[job] then redis.call('HSETNX', key('job', job), 'scheduler_id', args.ids[job]) end
    if state == 'submitting' then redis.call('HSET', key('job', job), 'state', 'pending') end
    redis.call('HDEL', key('job', job), 'reason')
  elseif args.result == 'refused' and state ~= 'ended' then
    redis.call('HSET', key('job', job), 'state', 'ended', 'ended', int(NOW), 'reason', args.reason)
  elseif state == 'submitting' then
    redis.call('HSET', key('job', job), 'reason', args.reason)
  end
end
return 'OK'
