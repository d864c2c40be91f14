-- uses: move lease
-- The holder gives a learner back without fault: drain, command, or its slot died.
-- args: learner, job, nonce, slot, token, event ('release' or 'died'), problem (JSON text or null), began (whether a
-- slot ever worked on it)
-- answers: {outcome, new state}. First write: freeing.
local learner = read_learner(args.learner)
if not holds(learner, args) then return { 'FENCED', learner.state or '' } end
begin_freeing()
return { 'OK', end_lease(args.learner, learner, args.event, given(args.problem), not args.began) }
