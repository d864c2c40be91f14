-- uses:
-- All that is known of one learner.
-- args: learner. answers: {now, fields, deadline or '', problem (JSON) or '', place in its queue or '', length of that
-- queue, batches in the journal, run's settings, holder's job fields}; fields are empty when there is no such learner. Writes nothing.
local function or_nothing(value) return value or '' end
local learner = read_learner(args.learner)
local job = learner.holder and string.match(learner.holder, '^([^:]*):') or ''
local queue = key('queue', learner.pool or '')
return {
  int(NOW),
  redis.call('HGETALL', key('learner', args.learner)),
  or_nothing(redis.call('ZSCORE', key('leases'), args.learner)),
  or_nothing(redis.call('GET', key('error', args.learner))),
  or_nothing(redis.call('ZRANK', queue, args.learner)),
  redis.call('ZCARD', queue),
  redis.call('LLEN', key('journal', args.learner)),
  redis.call('HGETALL', key('run', learner.run or '')),
  redis.call('HGETALL', key('job', job)),
}
