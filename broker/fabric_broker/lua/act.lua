-- uses: move lease act
-- Acts on learners named one by one.
-- args: verb, learners [id, at most 500], priority (of prioritize), by (who asks, or '').
-- answers: how many changed. First write: freeing.
begin_freeing()
local changed = 0
for _, id in ipairs(args.learners) do changed = changed + act_on(id, args.verb, given(args.priority), args.by) end
return changed
