-- uses:
-- Takes, renews or (ttl 0) gives up the leader lease; only the leader's intents and verdicts count.
-- args: nonce, host, ttl (ms), succeeds (the nonce of a submitter that the caller knows dead, or '')
-- answers: the epoch under which the caller leads, or 0. First write: freeing.
-- An epoch is never issued twice, even when Redis forgot the last one (as with tokens).
local name = key('leader')
local leader = read_hash(name)
local deadline = tonumber(leader['until'] or 0)
local mine = leader.nonce == args.nonce
local orphaned = leader.nonce == args.succeeds
if not mine and not orphaned and (deadline > NOW or args.ttl == 0) then
  -- After a step back of the clock the deadline of a dead leader lies too far ahead; a living one renews its own.
  if args.ttl > 0 and deadline > NOW + args.ttl then redis.call('HSET', name, 'until', int(NOW + args.ttl)) end
  return 0
end
begin_freeing()
local epoch = tonumber(leader.epoch or 0)
if not mine then epoch = math.max(epoch + 1, NOW) end
redis.call('HSET', name, 'nonce', args.nonce, 'host', args.host, 'epoch', int(epoch), 'until', int(NOW + args.ttl),
  'seen', int(NOW))
return epoch
