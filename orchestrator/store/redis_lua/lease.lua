-- Leases on names, each the hash `lease:NAME`: what is asked (acquire, renew, release, get), the name, the holder, its seconds.
--
-- The clock decides when a lease has ended; the key itself goes a minute later, by the server's hand.

local call = redis.call
local META = KEYS[1]
local what, holder, ttl = ARGV[2], ARGV[4], tonumber(ARGV[5])
local key = string.sub(META, 1, -5) .. 'lease:' .. ARGV[3]

local now = tonumber(ARGV[1])
if not now then
  local time = call('TIME')
  now = time[1] + time[2] / 1000000
end

local function text(number)
  return string.format('%.17g', number)
end

local found = call('HMGET', key, 'holder', 'fence', 'ends')
local live = found[1] and tonumber(found[3]) > now
local mine = live and found[1] == holder

if what == 'get' then
  return live and {found[1], found[2], text(tonumber(found[3]) - now)} or {}
elseif what == 'release' then
  if found[1] == holder then
    call('DEL', key)
  end
  return {}
elseif what == 'renew' and not mine or live and not mine then
  return {}
end
local fence = found[2]
if not mine then
  local last = tonumber(call('HGET', META, 'fence') or 0)
  fence = text(math.max(last + 1, math.floor(now * 1000000)))
  call('HSET', META, 'fence', fence)
end
call('HSET', key, 'holder', holder, 'fence', fence, 'ends', text(now + ttl))
call('PEXPIRE', key, string.format('%.0f', math.ceil(ttl * 1000) + 60000))
return {holder, fence, ARGV[5]}
