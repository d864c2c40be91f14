-- uses: move lease act
-- Acts on a whole run, 500 learners a call. The run remembers how far it is, so whoever calls next goes on; the
-- submitter does when the caller is gone.
-- args: run, verb ('' goes on with what was begun), priority (of prioritize), by (who asks, or '')
-- answers: {state, changed so far}; state: 'done', 'more', 'no run', 'idle' (nothing was begun). First write: freeing.
local name = key('run', args.run)
local run = read_hash(name)
if not run.name then return { 'no run', 0 } end
if args.verb == '' and not run.action then return { 'idle', tonumber(run.changed or 0) } end
begin_freeing()
if args.verb ~= '' then
  run.action, run.cursor, run.changed, run.action_priority = args.verb, '0', '0', '0'
  if given(args.priority) then run.action_priority = int(args.priority) end
  redis.call('HSET', name, 'action', run.action, 'action_priority', run.action_priority)
  redis.call('SADD', key('bulk'), args.run)
  if args.verb == 'pause' then redis.call('HSET', name, 'paused', args.by ~= '' and args.by or '1') end
  if args.verb == 'resume' then redis.call('HDEL', name, 'paused') end
  -- A submit that died half-way ends with its run.
  if args.verb == 'cancel' then redis.call('HDEL', name, 'adding') end
  if args.verb == 'prioritize' then redis.call('HSET', name, 'priority', run.action_priority) end
end
local first, total = tonumber(run.cursor), tonumber(run.total)
local stop = math.min(first + 500, total)
local changed = tonumber(run.changed)
for index = first, stop - 1 do
  changed = changed + act_on(args.run .. '.' .. int(index), run.action, tonumber(run.action_priority), '')
end
redis.call('HSET', name, 'cursor', int(stop), 'changed', int(changed))
if stop < total then return { 'more', changed } end
redis.call('HDEL', name, 'action', 'action_priority')
redis.call('SREM', key('bulk'), args.run)
return { 'done', changed }
