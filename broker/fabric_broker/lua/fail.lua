-- uses: move lease
-- The learner's own error ends the lease and costs an attempt.
-- args: learner, job, nonce, slot, token, problem (JSON text: traceback, point, node …)
-- answers: {outcome, new state}. First write: freeing.
local learner = read_learner(args.learner)
if not holds(learner, args) then return { 'FENCED', learner.state or '' } end
begin_freeing()
return { 'OK', end_lease(args.learner, learner, 'error', args.problem) }
