-- Count the tasks of each queue in each state.

local counts = {}
for _, queue in ipairs(call('SMEMBERS', SPACE .. 'queues')) do
  local row = {queue, 0, 0, 0}
  for _, lane in ipairs(lanes_of(queue)) do
    for place, state in ipairs({'ready', 'later', 'leased'}) do
      row[place + 1] = row[place + 1] + call('ZCARD', SPACE .. state .. ':' .. lane)
    end
  end
  for place, count in ipairs(call('HMGET', SPACE .. 'count:' .. queue, 'done', 'dead', 'cancelled')) do
    row[place + 4] = tonumber(count or 0)
  end
  counts[#counts + 1] = row
end
return counts
