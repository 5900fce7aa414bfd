-- Tell which store this is: a word that was drawn when it was made, and the version of what it keeps.

if redis.call('HSETNX', KEYS[1], 'birth', ARGV[1]) == 1 then
  redis.call('HSET', KEYS[1], 'version', ARGV[2])
end
return redis.call('HMGET', KEYS[1], 'birth', 'version')
