-- uses: move lease progress checkpoint
-- Commits a checkpoint whose file is already safe in the store.
-- args: learner, job, nonce, slot, token, n, upto, size, mac, npoints, loss (text or null),
-- damaged (whether the newest checkpoint so far cannot be used)
-- answers: {outcome, pointer whose file may go or '', command or ''}. ALREADY: this one is committed.
-- First write: freeing (it trims the journal).
local learner = read_learner(args.learner)
if not holds(learner, args) then return { 'FENCED', '', '' } end
local command = learner.command or ''
if args.n <= tonumber(learner.checkpoint_n or 0) then return { 'ALREADY', '', command } end
begin_freeing()
local removable = point_at(args.learner, learner, args)
progress(args.learner, learner, args.npoints, given(args.loss))
show(args.learner)
return { 'OK', removable, command }
