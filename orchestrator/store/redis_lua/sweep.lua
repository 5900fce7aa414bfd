-- End what has expired, put back what lapsed, and tell in how many seconds there is more; empty = never.

local lanes = {}
for _, queue in ipairs(call('SMEMBERS', SPACE .. 'queues')) do
  for _, lane in ipairs(lanes_of(queue)) do
    settle_lane(lane)
    lanes[#lanes + 1] = lane
  end
end
for _, id in ipairs(call('ZRANGEBYSCORE', SPACE .. 'expiring', '-inf', now, 'LIMIT', 0, AT_ONCE)) do
  settle(load_task(id))
end
local least = next_of(lanes)
local first = call('ZRANGE', SPACE .. 'expiring', 0, 0, 'WITHSCORES')
if first[2] and (not least or tonumber(first[2]) < least) then
  least = tonumber(first[2])
end
return least and text(math.max(least - now, 0)) or ''
