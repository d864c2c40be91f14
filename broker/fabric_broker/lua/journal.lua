-- uses: move lease progress
-- Appends a signed batch of points of a leased learner.
-- args: learner, job, nonce, slot, token, first, last (sequence numbers), points (how many are new to the learner),
-- loss (text or null). ARGV[2]: the entry as journal.py packs it.
-- answers: {outcome, highest sequence, checkpoint number, command or ''}. ALREADY: all of it is there; GAP: it does
-- not follow on the highest sequence, send again from there + 1. First write: RPUSH (refused when memory is full).
local learner = read_learner(args.learner)
if not holds(learner, args) then return { 'FENCED', 0, 0, '' } end
local seq, n = tonumber(learner.seq or 0), tonumber(learner.checkpoint_n or 0)
local command = learner.command or ''
if args.last <= seq then return { 'ALREADY', seq, n, command } end
if args.first ~= seq + 1 then return { 'GAP', seq, n, command } end
redis.call('RPUSH', key('journal', args.learner), ARGV[2])
redis.call('HSET', key('learner', args.learner), 'seq', int(args.last))
progress(args.learner, learner, tonumber(learner.npoints or 0) + args.points, given(args.loss))
show(args.learner)
return { 'OK', args.last, n, command }
