-- Record an effect under a lease, or tell who was the first.

local task, state = held(ARGV[2], ARGV[3], ARGV[4])
if not task then
  return {'lost', state}
end
local effects, key = SPACE .. 'effects:' .. task.queue, ARGV[5]
local first = call('HGET', effects, key)
if first then
  return {'ok', 0, first}
end
call('HSET', effects, key, task.fence .. ' ' .. task.id)
call('SADD', SPACE .. 'recorded:' .. task.id, key)
return {'ok', 1, task.fence .. ' ' .. task.id}
