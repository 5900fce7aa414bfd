-- What every script of tasks begins with: the time, and how a task moves from one state to another.
--
-- A task is the hash `task:ID`. Where it is found: `ready:LANE` (by priority, then by when it was stored), `later:LANE` and
-- `leased:LANE` (by when it is due, or its lease ends), `expiring` (by when it expires, while nobody has it), `ended:STATE`
-- (by when it ended), and `index:open`, `index:STATE` (by when it was stored). A lane is a queue and what its tasks require.
-- Times are seconds, with fractions; false = there is none.

local call = redis.call
local META = KEYS[1]
local SPACE = string.sub(META, 1, -5)
local AT_ONCE = 1024

local now = tonumber(ARGV[1])
if not now then
  local time = call('TIME')
  now = time[1] + time[2] / 1000000
end

local function text(number)
  return string.format('%.17g', number)
end

local OPEN = {ready = true, later = true, leased = true}

local function load_task(id)
  local key = SPACE .. 'task:' .. id
  local found = call('HMGET', key, 'seq', 'queue', 'lane', 'caller', 'state', 'since', 'priority', 'expires', 'max',
    'attempt', 'fence', 'worker', 'began', 'closed', 'closed_fence', 'ending')
  if not found[1] then
    return nil
  end
  return {
    id = id, key = key, seq = found[1], queue = found[2], lane = found[3], caller = found[4], state = found[5],
    since = tonumber(found[6]), priority = tonumber(found[7]), expires = found[8] and tonumber(found[8]),
    max = tonumber(found[9]), attempt = tonumber(found[10]), fence = found[11], worker = found[12], began = found[13],
    closed = tonumber(found[14]), closed_fence = found[15], ending = found[16], changes = {},
  }
end

local function set(task, field, value)
  task[field] = value
  task.changes[#task.changes + 1] = field
  task.changes[#task.changes + 1] = value
end

local function save(task)
  if #task.changes > 0 then
    call('HSET', task.key, unpack(task.changes))
    task.changes = {}
  end
end

local function leave(task)
  local state = task.state
  if OPEN[state] then
    call('ZREM', SPACE .. state .. ':' .. task.lane, task.seq .. task.id)
    if task.expires and state ~= 'leased' then
      call('ZREM', SPACE .. 'expiring', task.id)
    end
  else
    call('ZREM', SPACE .. 'ended:' .. state, task.id)
    call('ZREM', SPACE .. 'index:' .. state, task.id)
    call('HINCRBY', SPACE .. 'count:' .. task.queue, state, -1)
    call('ZADD', SPACE .. 'index:open', task.seq, task.id)
  end
end

local function enter(task, state, since)
  set(task, 'state', state)
  set(task, 'since', since)
  if OPEN[state] then
    call('ZADD', SPACE .. state .. ':' .. task.lane, state == 'ready' and -task.priority or since, task.seq .. task.id)
    if task.expires and state ~= 'leased' then
      call('ZADD', SPACE .. 'expiring', task.expires, task.id)
    end
  else
    call('ZREM', SPACE .. 'index:open', task.id)
    call('ZADD', SPACE .. 'index:' .. state, task.seq, task.id)
    call('ZADD', SPACE .. 'ended:' .. state, since, task.id)
    call('HINCRBY', SPACE .. 'count:' .. task.queue, state, 1)
  end
end

local function move(task, state, since)
  leave(task)
  enter(task, state, since)
end

local function make_ready(task, due)
  move(task, due > now and 'later' or 'ready', due)
end

local function die(task, failure, at)
  set(task, 'failure', failure)
  move(task, 'dead', at)
end

-- `failure` is what a worker told, as JSON, or a word for what the store itself found: lapsed, lost, expired.
local function close_attempt(task, ending, failure, at)
  local number = task.closed + 1
  set(task, 'closed', number)
  set(task, 'closed_fence', task.fence)
  set(task, 'ending', ending)
  local attempt = {task.attempt, task.fence, task.worker, task.began, text(at), ending, failure or ''}
  set(task, 'attempt' .. number, cmsgpack.pack(attempt))
end

local function lapse(task, failure, at)
  close_attempt(task, 'lapsed', failure, at)
  if task.attempt >= task.max then
    die(task, failure, at)
  else
    make_ready(task, at)
  end
end

-- Let a task become what it is by now.
local function settle(task)
  if task.state == 'leased' and task.since <= now then
    lapse(task, 'lapsed', task.since)
    if task.state == 'ready' and task.expires and task.expires <= now then
      die(task, 'expired', math.max(task.since, task.expires))
    end
  elseif task.state == 'ready' or task.state == 'later' then
    if task.expires and task.expires <= now then
      die(task, 'expired', now)
    elseif task.state == 'later' and task.since <= now then
      move(task, 'ready', task.since)
    end
  end
  save(task)
end

local function settle_lane(lane)
  for _, state in ipairs({'leased', 'later'}) do
    local over = call('ZRANGEBYSCORE', SPACE .. state .. ':' .. lane, '-inf', now, 'LIMIT', 0, AT_ONCE)
    for _, member in ipairs(over) do
      settle(load_task(string.sub(member, 17)))
    end
  end
end

local function lanes_of(queue)
  local lanes = {}
  for _, needs in ipairs(call('SMEMBERS', SPACE .. 'lanes:' .. queue)) do
    lanes[#lanes + 1] = #queue .. ':' .. queue .. needs
  end
  return lanes
end

-- When there is something to do in some lanes, should nothing be stored or given back before.
local function next_of(lanes)
  local least = nil
  for _, lane in ipairs(lanes) do
    for _, state in ipairs({'leased', 'later'}) do
      local first = call('ZRANGE', SPACE .. state .. ':' .. lane, 0, 0, 'WITHSCORES')
      if first[2] and (not least or tonumber(first[2]) < least) then
        least = tonumber(first[2])
      end
    end
  end
  return least
end

-- `caller` confines to the tasks of one; empty = whosever they are.
local function known(id, caller)
  local task = load_task(id)
  if not task or (caller ~= '' and caller ~= '=' .. task.caller) then
    return nil
  end
  settle(task)
  return task
end

-- The task that a worker holds under a fence; else nil, and the state that it is in. `task` = it, if it was loaded already.
local function held(id, fence, worker, task)
  task = task or load_task(id)
  if not task then
    return nil, ''
  end
  if task.state == 'leased' then
    settle(task)
  end
  if task.state == 'leased' and task.fence == fence and task.worker == worker then
    return task
  end
  return nil, task.state
end

local function outcome(task)
  if OPEN[task.state] then
    return {task.id, task.state}
  end
  local found = call('HMGET', task.key, 'result', 'failure')
  return {task.id, task.state, found[1], found[2], task.attempt, task.worker}
end
