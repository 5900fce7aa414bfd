-- Forget what ended up to some time, in some states: how many, and that time. `older` = seconds before now, or '@' and a time.

local older = ARGV[2]
local limit = string.sub(older, 1, 1) == '@' and tonumber(string.sub(older, 2)) or now - tonumber(older)
local count = 0
for at = 3, #ARGV do
  local state = ARGV[at]
  local ids = call('ZRANGEBYSCORE', SPACE .. 'ended:' .. state, '-inf', limit, 'LIMIT', 0, AT_ONCE - count)
  for _, id in ipairs(ids) do
    local key, recorded = SPACE .. 'task:' .. id, SPACE .. 'recorded:' .. id
    local found = call('HMGET', key, 'queue', 'keyed')
    if found[2] then
      call('HDEL', SPACE .. 'keys', found[2])
    end
    for _, effect in ipairs(call('SMEMBERS', recorded)) do
      call('HDEL', SPACE .. 'effects:' .. found[1], effect)
    end
    call('UNLINK', key, recorded)
    call('ZREM', SPACE .. 'ended:' .. state, id)
    call('ZREM', SPACE .. 'index:' .. state, id)
    call('HINCRBY', SPACE .. 'count:' .. found[1], state, -1)
    count = count + 1
  end
  if count >= AT_ONCE then
    break
  end
end
return {count, text(limit)}
