-- uses:
-- A task takes an intent: of all tasks that were ever enqueued for it only one may submit at a time.
-- args: intent, task (unique per execution)
-- answers: JSON {outcome, pool, kind, spec, jobs}; ALREADY: another task has it, or it needs none. GONE: no such
-- intent or pool. First write: freeing (it only changes short fields).
local name = key('intent', args.intent)
local intent = read_hash(name)
local spec = intent.pool and redis.call('HGET', key('pool', intent.pool), 'spec')
if not spec then return '{"outcome":"GONE"}' end
if intent.state ~= 'wanted' and intent.state ~= 'enqueued' then return '{"outcome":"ALREADY"}' end
begin_freeing()
redis.call('HSET', name, 'state', 'submitting', 'task', args.task, 'since', int(NOW))
return cjson.encode({ outcome = 'OK', pool = intent.pool, kind = intent.kind, spec = spec,
  jobs = tonumber(intent.jobs) })
