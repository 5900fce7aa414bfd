-- Give back a task that was not begun.

local ending, before = ended_by(ARGV[2], ARGV[3], ARGV[4])
if before and not ending and before.state == 'ready' and before.fence == ARGV[3] and before.worker == ARGV[4] then
  return {'ok'}
end
local task, state = held(ARGV[2], ARGV[3], ARGV[4], before)
if not task then
  return {'lost', state}
end
set(task, 'attempt', task.attempt - 1)
make_ready(task, now)
save(task)
return {'ok'}
