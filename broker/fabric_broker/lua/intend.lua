-- uses:
-- Writes intents before anything is submitted: the record that jobs are wanted.
-- args: nonce, epoch (of the leader), pool, intents [[id, jobs]]
-- answers: how many were written; -1: the caller does not lead. 0: no such pool.
-- First write: HSET (refused when memory is full: it grows).
local leader = redis.call('HMGET', key('leader'), 'nonce', 'epoch', 'until')
if leader[1] ~= args.nonce or leader[2] ~= int(args.epoch) or tonumber(leader[3]) <= NOW then return -1 end
local pool = redis.call('HMGET', key('pool', args.pool), 'kind', 'slots')
if not pool[1] then return 0 end
for _, wanted in ipairs(args.intents) do
  local id, jobs = wanted[1], wanted[2]
  redis.call('HSET', key('intent', id), 'pool', args.pool, 'kind', pool[1], 'state', 'wanted', 'jobs', int(jobs),
    'created', int(NOW), 'since', int(NOW), 'tries', '0')
  redis.call('ZADD', key('intents'), int(NOW), id)
  for k = 0, jobs - 1 do
    local job = id .. '.' .. int(k)
    redis.call('HSET', key('job', job), 'pool', args.pool, 'intent', id, 'state', 'submitting', 'slots', pool[2],
      'created', int(NOW))
    redis.call('ZADD', key('jobs'), int(NOW), job)
  end
end
return #args.intents
