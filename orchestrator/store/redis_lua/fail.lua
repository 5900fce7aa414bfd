-- End an attempt that failed: failure, whether to try again, whether it counts, and how much of the backoff to wait, 0 to 1.

local ending, before = ended_by(ARGV[2], ARGV[3], ARGV[4])
if ending == 'failed' then
  local waits = before.state == 'ready' or before.state == 'later'
  return {'ok', before.state, waits and text(math.max(before.since - now, 0)) or ''}
end
local task, state = held(ARGV[2], ARGV[3], ARGV[4], before)
if not task then
  return {'lost', state}
end
local failure, retry, counts, part = ARGV[5], ARGV[6] == '1', ARGV[7] == '1', tonumber(ARGV[8])
close_attempt(task, 'failed', failure, now)
local pause = 0
if not counts then
  set(task, 'max', task.max + 1)
elseif not retry or task.attempt >= task.max then
  die(task, failure, now)
  save(task)
  return {'ok', 'dead', ''}
else
  local backoff = call('HMGET', task.key, 'delay', 'most')
  pause = math.min(tonumber(backoff[2]), tonumber(backoff[1]) * 2 ^ math.min(task.attempt - 1, 64)) * part
end
make_ready(task, now + pause)
save(task)
return {'ok', 'ready', text(pause)}
