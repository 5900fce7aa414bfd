-- Fences grow from one to the next, over names and tasks alike. They are microseconds of the clock, or more: where a server
-- that has forgotten the last ones takes over, its own are greater nevertheless.

local last_fence = nil

local function next_fence()
  last_fence = last_fence or tonumber(redis.call('HGET', META, 'fence') or 0)
  last_fence = math.max(last_fence + 1, math.floor(now * 1000000))
  return text(last_fence)
end

local function save_fence()
  if last_fence then
    redis.call('HSET', META, 'fence', text(last_fence))
  end
end
