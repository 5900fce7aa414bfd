-- End a task well.

local ending, before = ended_by(ARGV[2], ARGV[3], ARGV[4])
if ending == 'done' then
  return {'ok'}
end
local task, state = held(ARGV[2], ARGV[3], ARGV[4], before)
if not task then
  return {'lost', state}
end
close_attempt(task, 'done', nil, now)
set(task, 'result', ARGV[5])
move(task, 'done', now)
save(task)
return {'ok'}
