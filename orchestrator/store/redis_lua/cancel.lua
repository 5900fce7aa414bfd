-- End a task for its caller.

local task = known(ARGV[2], ARGV[3])
if not task then
  return {'unknown'}
end
if OPEN[task.state] then
  if task.state == 'leased' then
    close_attempt(task, 'cancelled', nil, now)
  end
  move(task, 'cancelled', now)
  save(task)
end
return {'ok', task.state}
