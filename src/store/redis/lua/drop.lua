-- Drops what cannot be read.
redis.call('DEL', KEYS[1])
return { 'applied' }
