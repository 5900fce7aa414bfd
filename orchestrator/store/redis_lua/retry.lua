-- Make dead tasks due again: those of some ids, or a page of all of them; how many, and where the next page begins.

local queue, before = ARGV[2], ARGV[3]
local ids = {}
local more = ''
if before == '' then
  for at = 4, #ARGV do
    ids[#ids + 1] = ARGV[at]
  end
else
  local range = call('ZREVRANGEBYSCORE', SPACE .. 'index:dead', before, '-inf', 'WITHSCORES', 'LIMIT', 0, AT_ONCE)
  for at = 1, #range, 2 do
    ids[#ids + 1] = range[at]
    more = '(' .. string.format('%.0f', range[at + 1])
  end
end
local count = 0
for _, id in ipairs(ids) do
  local task = load_task(id)
  if task and task.state == 'dead' and (queue == '' or queue == '=' .. task.queue) then
    task.expires = false
    call('HDEL', task.key, 'expires', 'failure')
    set(task, 'attempt', 0)
    make_ready(task, now)
    save(task)
    count = count + 1
  end
end
return {count, more}
