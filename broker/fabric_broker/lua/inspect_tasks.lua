-- uses:
-- The control plane as RQ keeps it: its queues, and the tasks that run, wait or failed. RQ's own keys are read, and
-- only those fields that are text; a task's pickled call is left alone.
-- args: prefix (of RQ's keys, without the last colon), most (tasks per kind). answers: [queue, waiting, running, failed, …],
-- [kind, id, [status, description, created, started, ended], traceback (zlib) or '', the same in base64 or '', …].
-- Writes nothing. (RQ's own counts would: they clean up on the way.)
local queues, tasks = {}, {}

local function rq(kind, id) return args.prefix .. ':' .. kind .. ':' .. id end

local function task(kind, id)
  -- Running tasks are listed as "<id>:<execution>".
  id = string.match(id, '^([^:]+)') or id
  local fields = redis.call('HMGET', rq('job', id), 'status', 'description', 'created_at', 'started_at', 'ended_at', 'exc_info')
  local result, told = redis.call('XREVRANGE', rq('results', id), '+', '-', 'COUNT', 1)[1], ''
  if result then
    for i = 1, #result[2], 2 do
      if result[2][i] == 'exc_string' then told = result[2][i + 1] end
    end
  end
  local raw = fields[6] or ''
  for i = 1, 5 do fields[i] = fields[i] or '' end
  fields[6] = nil
  tasks[#tasks + 1] = { kind, id, fields, raw, told }
end

for _, name in ipairs(redis.call('SMEMBERS', args.prefix .. ':queues')) do
  local queue = string.match(name, ':queue:(.*)$') or name
  local waiting = redis.call('LRANGE', rq('queue', queue), 0, args.most - 1)
  local running = redis.call('ZRANGE', rq('wip', queue), 0, args.most - 1)
  local failed = redis.call('ZREVRANGE', rq('failed', queue), 0, args.most - 1)
  queues[#queues + 1] = {
    queue, redis.call('LLEN', rq('queue', queue)), redis.call('ZCARD', rq('wip', queue)), redis.call('ZCARD', rq('failed', queue)),
  }
  for _, id in ipairs(running) do task('running', id) end
  for _, id in ipairs(waiting) do task('waiting', id) end
  for _, id in ipairs(failed) do task('failed', id) end
end
return { queues, tasks }
