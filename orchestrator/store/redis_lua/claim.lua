-- Give tasks to a worker, the greatest priority first, from the lanes whose needs it meets.

local CLAIM_BYTES = 8 * 1048576
local ROUNDS = 4 -- how often it looks again after some of what it found had expired
local queue, worker, limit, lease = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local able = {}
for at = 6, #ARGV do
  able[ARGV[at]] = true
end

-- Needs are words one after the other, each with its length before it: `3:pdf3:web`.
local function meets(needs)
  local at = 1
  while at <= #needs do
    local colon = string.find(needs, ':', at, true)
    local last = colon + tonumber(string.sub(needs, at, colon - 1))
    if not able[string.sub(needs, colon + 1, last)] then
      return false
    end
    at = last + 1
  end
  return true
end

local lanes = {}
for _, needs in ipairs(call('SMEMBERS', SPACE .. 'lanes:' .. queue)) do
  if meets(needs) then
    lanes[#lanes + 1] = #queue .. ':' .. queue .. needs
    settle_lane(lanes[#lanes])
  end
end

local function first_ready(count)
  local found = {}
  for _, lane in ipairs(lanes) do
    local range = call('ZRANGE', SPACE .. 'ready:' .. lane, 0, count - 1, 'WITHSCORES')
    for at = 1, #range, 2 do
      found[#found + 1] = {range[at], tonumber(range[at + 1])}
    end
  end
  if #lanes > 1 then
    table.sort(found, function(one, other)
      if one[2] ~= other[2] then
        return one[2] < other[2]
      end
      return one[1] < other[1]
    end)
  end
  return found
end

local looked_at = 0
local taken = {''}
local size = 0
local function take(task)
  local body = call('HMGET', task.key, 'head', 'payload')
  local fence = next_fence()
  leave(task)
  enter(task, 'leased', now + lease)
  set(task, 'fence', fence)
  set(task, 'attempt', task.attempt + 1)
  set(task, 'worker', worker)
  set(task, 'began', text(now))
  save(task)
  size = size + #body[2]
  taken[#taken + 1] = {task.id, fence, task.attempt, task.max, task.caller, body[1], body[2]}
end

for _ = 1, ROUNDS do
  local wanted = limit - (#taken - 1)
  if wanted == 0 or size >= CLAIM_BYTES then
    break
  end
  local count = math.max(wanted, looked_at)
  local found = first_ready(count)
  for _, one in ipairs(found) do
    if #taken > limit or size >= CLAIM_BYTES then
      break
    end
    local task = load_task(string.sub(one[1], 17))
    if task.expires and task.expires <= now then
      settle(task)
    else
      take(task)
    end
  end
  if #found < count then
    break
  end
  looked_at = 256
end
save_fence()

for _, lane in ipairs(lanes) do
  if call('EXISTS', SPACE .. 'ready:' .. lane) == 1 then
    taken[1] = '0'
    return taken
  end
end
local due = next_of(lanes)
if due then
  taken[1] = text(math.max(due - now, 0))
end
return taken
