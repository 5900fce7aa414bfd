-- Put back what is leased to a worker in a queue, less what it says that it holds.

local queue, worker, begun = ARGV[2], ARGV[3], ARGV[4] == '1'
local kept = {}
for at = 5, #ARGV do
  kept[ARGV[at]] = true
end
local count = 0
for _, lane in ipairs(lanes_of(queue)) do
  settle_lane(lane)
  for _, member in ipairs(call('ZRANGE', SPACE .. 'leased:' .. lane, 0, -1)) do
    local id = string.sub(member, 17)
    if not kept[id] and call('HGET', SPACE .. 'task:' .. id, 'worker') == worker then
      local task = load_task(id)
      count = count + 1
      if begun then
        lapse(task, 'lost', now)
        settle(task)
      else
        set(task, 'attempt', task.attempt - 1)
        make_ready(task, now)
        save(task)
      end
    end
  end
end
return count
