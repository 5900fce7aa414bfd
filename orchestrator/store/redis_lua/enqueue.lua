-- Store tasks, all or none. Each has FIELDS arguments; the answer has 1 for each that is stored now, else what is there.

local FIELDS = 13
local callers = {}
for at = 2, #ARGV, FIELDS do
  local id, caller = ARGV[at], ARGV[at + 2]
  local first = callers[id] or call('HGET', SPACE .. 'task:' .. id, 'caller') or caller
  if first ~= caller then
    return {'taken', id}
  end
  callers[id] = caller
end

local lanes = {}
local answers = {}
for at = 2, #ARGV, FIELDS do
  local id, queue, caller, needs, keyed = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local task = load_task(id)
  if not task and keyed ~= '' then
    local first = call('HGET', SPACE .. 'keys', keyed)
    task = first and load_task(first)
  end
  if task then
    settle(task)
    answers[#answers + 1] = outcome(task)
  else
    local lane = #queue .. ':' .. queue .. needs
    if not lanes[lane] then
      lanes[lane] = true
      call('SADD', SPACE .. 'lanes:' .. queue, needs)
      call('SADD', SPACE .. 'queues', queue)
    end
    if keyed ~= '' then
      call('HSET', SPACE .. 'keys', keyed, id)
    end
    local seq = string.format('%016.0f', call('HINCRBY', META, 'seq', 1))
    local delay, expires = tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7])
    task = {
      id = id, key = SPACE .. 'task:' .. id, seq = seq, lane = lane, priority = tonumber(ARGV[at + 5]),
      expires = expires and now + expires,
      changes = {
        'seq', seq, 'queue', queue, 'lane', lane, 'caller', caller, 'priority', ARGV[at + 5], 'stored', now,
        'max', ARGV[at + 8], 'delay', ARGV[at + 9], 'most', ARGV[at + 10], 'head', ARGV[at + 11],
        'payload', ARGV[at + 12], 'attempt', 0, 'closed', 0,
      },
    }
    if keyed ~= '' then
      set(task, 'keyed', keyed)
    end
    if task.expires then
      set(task, 'expires', task.expires)
    end
    enter(task, delay > 0 and 'later' or 'ready', now + delay)
    call('ZADD', SPACE .. 'index:open', seq, id)
    save(task)
    answers[#answers + 1] = 1
  end
end
return answers
