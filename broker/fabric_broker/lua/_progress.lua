-- Points: how many there are, and how fast they come.

local RATE_MEMORY_MS = 30000

-- npoints: the learner's new number of points; loss: text or nil. Keeps the run's sum and its decayed rate.
local function progress(id, learner, npoints, loss)
  local by = npoints - tonumber(learner.npoints or 0)
  redis.call('HSET', key('learner', id), 'npoints', int(npoints))
  if loss then redis.call('HSET', key('learner', id), 'loss', loss) end
  if by ~= 0 then
    local counts = key('counts', learner.run)
    local rate = redis.call('HMGET', counts, 'rate', 'rate_at')
    local old = tonumber(rate[1] or 0) * math.exp(-math.max(0, NOW - tonumber(rate[2] or NOW)) / RATE_MEMORY_MS)
    redis.call('HINCRBY', counts, 'points', int(by))
    redis.call('HSET', counts, 'rate', string.format('%.4f', old + math.max(by, 0) / RATE_MEMORY_MS * 1000),
      'rate_at', int(NOW))
  end
  learner.npoints = int(npoints)
end
