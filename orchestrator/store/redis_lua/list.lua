-- Tell of tasks, the last that was stored first: a page, and where the next one begins (empty = there is none).
--
-- Arguments: the id before which it begins, or its seq after '#'; the queue; the caller; how many are told of; and states.

local before, queue, caller, limit = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local LOOKED_AT = 512
local wanted, indexes = {}, {}
for at = 6, #ARGV do
  wanted[ARGV[at]] = true
  local index = OPEN[ARGV[at]] and 'open' or ARGV[at]
  if not indexes[index] then
    indexes[index] = true
    indexes[#indexes + 1] = index
  end
end

local start = '+inf'
if string.sub(before, 1, 1) == '#' then
  start = '(' .. string.sub(before, 2)
elseif before ~= '' then
  local task = known(string.sub(before, 2), caller)
  if not task then
    return {'unknown'}
  end
  start = '(' .. task.seq
end

local found = {}
for _, index in ipairs(indexes) do
  local range = call('ZREVRANGEBYSCORE', SPACE .. 'index:' .. index, start, '-inf', 'WITHSCORES', 'LIMIT', 0, LOOKED_AT)
  for at = 1, #range, 2 do
    found[#found + 1] = {range[at], tonumber(range[at + 1])}
  end
end
table.sort(found, function(one, other)
  return one[2] > other[2]
end)

local page = {'ok', ''}
local last = #found < LOOKED_AT
for place, one in ipairs(found) do
  if place > LOOKED_AT or #page - 2 >= limit then
    last = false
    break
  end
  page[2] = string.format('%.0f', one[2])
  local info = call('HMGET', SPACE .. 'task:' .. one[1], 'queue', 'caller', 'state', 'attempt', 'max', 'priority', 'worker',
    'stored', 'since', 'failure', 'head')
  if wanted[info[3]] and (queue == '' or queue == '=' .. info[1]) and (caller == '' or caller == '=' .. info[2]) then
    info[12] = one[1]
    page[#page + 1] = info
  end
end
if last then
  page[2] = ''
end
return page
