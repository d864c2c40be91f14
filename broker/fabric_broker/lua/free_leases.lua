-- uses: move lease
-- A user takes learners from their holders: each lease ends at once, its learner is queued again at its place, and the holder is fenced.
-- args: learners [[learner, token]]: only a lease with this very token ends. answers: how many ended. First write: freeing.
begin_freeing()
local ended = 0
for _, wanted in ipairs(args.learners) do
  local id, learner = wanted[1], read_learner(wanted[1])
  if learner.state == 'leased' and learner.token == int(wanted[2]) then
    end_lease(id, learner, 'release', nil)
    ended = ended + 1
  end
end
return ended
