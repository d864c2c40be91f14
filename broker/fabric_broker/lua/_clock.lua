-- The fabric's clock: Redis TIME, in ms. Tests put another file in this one's place to step and stall it.
local function read_clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
