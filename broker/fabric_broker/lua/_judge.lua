-- The judge's rule: who may be declared dead, and when.
--
-- A lease may expire only if the fabric was looked at all along. If the last look is more than TTL/6 ago, or the
-- clock stepped back, holders may have been unable to renew: nothing with that TTL expires for one TTL from this
-- look. A gap within a grace does not begin it anew, but does not count towards it either: what counts is time that
-- was watched. (Were it to count, a clock that steps forward twice would end the grace before a holder's next renewal.)
-- meta: look = time of the last look; grace:<ttl> = when the last grace for leases of that TTL began.

local REAPED_AT_MOST, SCANNED_AT_MOST, DUE_AT_MOST = 20, 200, 20

-- Stamps the look; answers {ttl -> start of grace} and the longest ttl in use.
local function look()
  local meta, graces, longest = read_hash(key('meta')), {}, 0
  local last = tonumber(meta.look)
  for field, value in pairs(meta) do
    local ttl = tonumber(string.match(field, '^grace:(%d+)$'))
    if ttl then
      local since = tonumber(value)
      local runs = since <= NOW and NOW < since + ttl
      local gap = last ~= nil and NOW - last > ttl / 6
      if runs and gap then
        since = since + NOW - last
        redis.call('HSET', key('meta'), field, int(since))
      elseif not runs and (gap or last == nil or NOW < last or since > NOW) then
        since = NOW
        redis.call('HSET', key('meta'), field, int(since))
      end
      graces[ttl] = since
      longest = math.max(longest, ttl)
    end
  end
  if last == nil or NOW < last or NOW - last >= 50 then redis.call('HSET', key('meta'), 'look', int(NOW)) end
  return graces, longest
end

-- After a step back of the clock the deadlines of dead holders lie too far ahead; living ones renew theirs.
local function pull_in_deadlines(longest)
  local far = redis.call('ZRANGEBYSCORE', key('leases'), '(' .. int(NOW + longest), '+inf', 'LIMIT', 0, REAPED_AT_MOST)
  for _, id in ipairs(far) do
    local ttl = tonumber(redis.call('HGET', key('learner', id), 'ttl'))
    redis.call('ZADD', key('leases'), int(NOW + ttl), id)
  end
end

-- Looks, then ends expired leases that the rule allows to end. Answers their ids and whether a grace runs.
local function reap()
  local graces, longest = look()
  pull_in_deadlines(longest)
  local reaped, grace = {}, false
  local expired = redis.call('ZRANGEBYSCORE', key('leases'), '-inf', int(NOW), 'LIMIT', 0, SCANNED_AT_MOST)
  for _, id in ipairs(expired) do
    if #reaped >= REAPED_AT_MOST then break end
    local learner = read_learner(id)
    local ttl = tonumber(learner.ttl)
    if NOW >= (graces[ttl] or 0) + ttl then
      end_lease(id, learner, 'expire', nil)
      reaped[#reaped + 1] = id
    else
      grace = true
    end
  end
  return reaped, grace
end

-- Delayed learners whose time has come are queued again.
local function promote()
  local due = redis.call('ZRANGEBYSCORE', key('delayed'), '-inf', int(NOW), 'LIMIT', 0, DUE_AT_MOST)
  for _, id in ipairs(due) do
    local learner = read_learner(id)
    move(id, learner, 'due', 'queued', tonumber(learner.rank))
    show(id)
  end
  return #due
end
