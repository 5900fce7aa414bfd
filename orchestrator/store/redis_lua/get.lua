-- Tell all of a task.

local task = known(ARGV[2], ARGV[3])
if not task then
  return {'unknown'}
end
return {'ok', call('HGETALL', task.key)}
