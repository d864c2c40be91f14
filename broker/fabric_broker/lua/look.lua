-- uses: move lease judge
-- The submitter's look: reaps expired leases by the judge's rule and queues delayed learners that are due.
-- args: none. answers: JSON {reaped [learner], promoted, grace}. First write: freeing.
begin_freeing()
local reaped, grace = reap()
local promoted = promote()
return '{"reaped":' .. list(reaped) .. ',"promoted":' .. int(promoted) .. ',"grace":' .. tostring(grace) .. '}'
