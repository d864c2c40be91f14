-- uses: move lease progress
-- The learner's goal is reached and its last checkpoint committed: done, once.
-- args: learner, job, nonce, slot, token, npoints, loss (text or null)
-- answers: the outcome; ALREADY: the same lease said so before; GAP: points are journaled that no checkpoint covers.
-- First write: freeing (the journal goes).
local learner = read_learner(args.learner)
if learner.state == 'done' and learner.token == int(args.token)
  and learner.holder == holder(args.job, args.nonce, args.slot) then
  return 'ALREADY'
end
if not holds(learner, args) then return 'FENCED' end
if tonumber(learner.checkpoint_upto or -1) < tonumber(learner.seq or 0) then return 'GAP' end
begin_freeing()
local name = key('learner', args.learner)
progress(args.learner, learner, args.npoints, given(args.loss))
redis.call('DEL', key('journal', args.learner), key('error', args.learner))
redis.call('SREM', key('holds', args.job), args.learner)
redis.call('HSET', name, 'barren', '0', 'leased_ms',
  int(tonumber(learner.leased_ms or 0) + math.max(0, NOW - tonumber(learner.lease_start))))
-- The holder stays: it tells a repeated complete from a stranger's.
redis.call('HDEL', name, 'ttl', 'lease_start', 'lease_seq', 'command')
move(args.learner, learner, 'complete', 'done', NOW, { 'job', args.job })
show(args.learner)
return 'OK'
