-- Everything that happens to the log of one room, each call as a whole.
--
-- KEYS[1]  a hash: e epoch, n head, f first kept number, b weight of what is kept, r the process that last had it,
--          o a time before which nothing kept was appended, i<user and id> the number of the message with that id
-- KEYS[2]  a stream: m message, w weight, t time in ms, k user and id or empty; under the ids NUMBER-0
-- ARGV     what, process, epoch to begin, most messages, most age in ms, most weight, ms to keep an unused room, ...

local hash, stream = KEYS[1], KEYS[2]
local what, process, fresh = ARGV[1], ARGV[2], ARGV[3]
local most, age, heaviest, ttl = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]

-- Numbers are whole and below 2^53; a number by itself would be written with 14 digits.
local function whole(number) return string.format('%d', number) end
local function id(number) return whole(number) .. '-0' end

local known = redis.call('HMGET', hash, 'e', 'n', 'f', 'b', 'r', 'o')
local epoch, head, first = known[1], tonumber(known[2] or ''), tonumber(known[3] or '')
local weight, oldest = tonumber(known[4] or ''), tonumber(known[6] or '')

local begun, changed = false, false
if not (epoch and head and first and weight and oldest) or redis.call('XLEN', stream) ~= head - first + 1 then
  -- Nobody knows it any more, or Redis has let go of a part of it.
  redis.call('DEL', hash, stream)
  epoch, head, first, weight, oldest, begun = fresh, 0, 1, 0, 0, true
  redis.call('HSET', hash, 'e', epoch, 'n', 0, 'f', 1, 'b', 0, 'o', 0, 'r', process)
elseif known[5] ~= process then
  -- Another process has read this from its disk or from a master that it followed, and may have less than was
  -- acknowledged: what comes now would get numbers that were given before.
  epoch = fresh
  redis.call('HSET', hash, 'e', epoch, 'r', process)
end

-- Asked of every room that has readers, every other second, by every node: no more than must be.
if what == 'head' then
  if begun then redis.call('PEXPIRE', hash, ttl) end
  return { epoch, head }
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Lets go of the oldest messages while something has to go, and the oldest one's time says that it may.
local function let_go(has_to, may)
  local before, chunk = first, 1
  while first <= head and has_to() do
    local entries = redis.call('XRANGE', stream, id(first), '+', 'COUNT', chunk)
    local going = #entries > 0
    for _, entry in ipairs(entries) do
      local field = entry[2]
      if not (has_to() and may(tonumber(field[6]))) then
        oldest, going = tonumber(field[6]), false
        break
      end
      weight, first = weight - tonumber(field[4]), first + 1
      if field[8] ~= '' then redis.call('HDEL', hash, 'i' .. field[8]) end
    end
    if not going then break end
    chunk = math.min(chunk * 2, 64)
  end
  changed = true
  if first > before then redis.call('XTRIM', stream, 'MINID', id(first)) end
end

local function always() return true end

if first <= head and now - oldest > age then
  let_go(always, function(at) return now - at > age end)
end

local answer = { epoch }

if what == 'append' then
  local clock = whole(now)
  -- ... then of each draft: user and id, weight, message
  for at = 8, #ARGV, 3 do
    local key = ARGV[at]
    local earlier = key ~= '' and redis.call('HGET', hash, 'i' .. key)
    local kept = earlier and redis.call('XRANGE', stream, earlier .. '-0', earlier .. '-0')[1]
    if kept then
      answer[#answer + 1] = { tonumber(earlier), kept[2][2] }
    else
      if first > head then oldest = now end
      head, changed = head + 1, true
      redis.call('XADD', stream, id(head), 'm', ARGV[at + 2], 'w', ARGV[at + 1], 't', clock, 'k', key)
      if key ~= '' then redis.call('HSET', hash, 'i' .. key, whole(head)) end
      weight = weight + tonumber(ARGV[at + 1])
      answer[#answer + 1] = head
    end
  end
  local function is_too_much() return first < head and (head - first + 1 > most or weight > heaviest) end
  if is_too_much() then let_go(is_too_much, always) end
end

if changed then
  redis.call('HSET', hash, 'n', whole(head), 'f', whole(first), 'b', whole(weight), 'o', whole(oldest))
end

if what == 'after' or what == 'newest' then
  answer[2], answer[3] = head, first
  -- ... then a number or nothing, at most so many messages, at most so much weight
  local wanted, room = tonumber(ARGV[9]), tonumber(ARGV[10])
  local from = what == 'after' and math.max(tonumber(ARGV[8]) + 1, first) or head
  local messages = {}
  while wanted > 0 and from >= first and from <= head do
    local chunk = math.min(wanted, 32)
    local entries
    if what == 'after' then
      entries = redis.call('XRANGE', stream, id(from), '+', 'COUNT', chunk)
      from = from + #entries
    else
      entries = redis.call('XREVRANGE', stream, id(from), '-', 'COUNT', chunk)
      from = from - #entries
    end
    if #entries == 0 then break end
    wanted = wanted - #entries
    for _, entry in ipairs(entries) do
      room = room - tonumber(entry[2][4])
      -- One is given whatever it weighs.
      if room < 0 and #messages > 0 then
        wanted = 0
        break
      end
      messages[#messages + 1] = entry[2][2]
    end
  end
  local last = #messages
  for at = 1, last do
    answer[3 + at] = what == 'after' and messages[at] or messages[last + 1 - at]
  end
  -- The number of the first of them.
  if what == 'after' then
    answer[3 + last + 1] = math.min(math.max(tonumber(ARGV[8]) + 1, first), head + 1)
  else
    answer[3 + last + 1] = head - last + 1
  end
end

redis.call('PEXPIRE', hash, ttl)
redis.call('PEXPIRE', stream, ttl)
return answer
