-- Have a lease end later.

local task, state = held(ARGV[2], ARGV[3], ARGV[4])
if not task then
  return {'lost', state}
end
local due = now + tonumber(ARGV[5])
call('ZADD', SPACE .. 'leased:' .. task.lane, due, task.seq .. task.id)
set(task, 'since', due)
save(task)
return {'ok'}
