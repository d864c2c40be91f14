-- What every script begins with: the prefix (KEYS[1]), the named arguments (ARGV[1], one JSON object), the time.
-- Further ARGV are blobs, kept apart because JSON cannot carry bytes.
local PREFIX = KEYS[1]
local args = cjson.decode(ARGV[1])
local NOW = read_clock()

local function key(kind, id)
  if id then return PREFIX .. ':' .. kind .. ':' .. id end
  return PREFIX .. ':' .. kind
end

-- Numbers that Redis must not see as 1.79e+15.
local function int(number)
  return string.format('%.0f', number)
end

-- JSON null arrives as cjson.null.
local function given(value)
  if value == nil or value == cjson.null then return nil end
  return value
end

-- A hash as a table; absent fields are nil.
local function read_hash(name)
  local flat, hash = redis.call('HGETALL', name), {}
  for i = 1, #flat, 2 do hash[flat[i]] = flat[i + 1] end
  return hash
end

local function read_learner(id)
  return read_hash(key('learner', id))
end

-- cjson writes an empty table as {}; answers need [].
local function list(items)
  if #items == 0 then return '[]' end
  return cjson.encode(items)
end

-- Scripts that free or renew begin with a write that Redis accepts when memory is full; whatever they write
-- after it passes too (Redis refuses only the first write of a script). Without this a full fabric could not
-- free itself.
local function begin_freeing()
  redis.call('ZREM', key('leases'), '')
end
