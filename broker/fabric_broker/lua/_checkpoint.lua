-- A learner's two pointers: its newest checkpoint and the one before. A pointer is "<token>-<n>", which ends the
-- file's name, with the sequence it covers (upto), size and MAC.

-- Trims journal entries that end at or before upto; an entry begins with "<token> <first> <last> ".
local function trim_journal(id, upto)
  local journal, covered = key('journal', id), 0
  while true do
    local entry = redis.call('LINDEX', journal, covered)
    if not entry or tonumber(string.match(entry, '^%d+ %d+ (%d+) ')) > upto then break end
    covered = covered + 1
  end
  if covered > 0 then redis.call('LTRIM', journal, covered, -1) end
end

-- Points the learner at a new checkpoint. The journal keeps what the one before does not cover, so that a corrupt
-- newest file costs nothing. When the newest one so far is damaged, the one before it stays the one before.
-- Answers the pointer whose file nobody needs any more, or ''.
local function point_at(id, learner, c)
  local name = key('learner', id)
  local removable = learner.previous or ''
  if c.damaged then
    removable = ''
  elseif learner.checkpoint then
    redis.call('HSET', name, 'previous', learner.checkpoint, 'previous_upto', learner.checkpoint_upto,
      'previous_size', learner.checkpoint_size, 'previous_mac', learner.checkpoint_mac)
    trim_journal(id, tonumber(learner.checkpoint_upto))
  end
  redis.call('HSET', name, 'checkpoint', int(c.token) .. '-' .. int(c.n), 'checkpoint_n', int(c.n),
    'checkpoint_upto', int(c.upto), 'checkpoint_size', int(c.size), 'checkpoint_mac', c.mac, 'checkpoint_at', int(NOW),
    'seq', int(math.max(tonumber(learner.seq or 0), c.upto)))
  return removable
end
