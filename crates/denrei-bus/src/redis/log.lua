-- Everything that happens to the log of one room, each call as a whole.
--
-- KEYS[1]  a hash: e epoch, n head, f first kept number, b weight of what is kept, r the process that last had it,
--          o a time before which nothing kept was appended, i<user and id> the number of the message with that id
-- KEYS[2]  a stream: m message, w weight, t time in ms, k user and id or empty; under the ids NUMBER-0
-- ARGV     what, process, epoch to begin, most messages, most age in ms, most weight, ms to keep an unused room, ...

local hash, stream = KEYS[1], KEYS[2]
local what, process, fresh = ARGV[1], ARGV[2], ARGV[3]
local most, age, heaviest, ttl = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]

local function whole(number) return string.format('%.0f', number) end
local function id(number) return whole(number) .. '-0' end

local known = redis.call('HMGET', hash, 'e', 'n', 'f', 'b', 'r', 'o')
local epoch, head, first = known[1], tonumber(known[2] or ''), tonumber(known[3] or '')
local weight, oldest = tonumber(known[4] or ''), tonumber(known[6] or '')

if not (epoch and head and first and weight and oldest) or redis.call('XLEN', stream) ~= head - first + 1 then
  -- Nobody knows it any more, or Redis has let go of a part of it.
  redis.call('DEL', hash, stream)
  epoch, head, first, weight, oldest = fresh, 0, 1, 0, 0
  redis.call('HSET', hash, 'e', epoch, 'n', 0, 'f', 1, 'b', 0, 'o', 0, 'r', process)
elseif known[5] ~= process then
  -- Another process has read this from its disk or from a master that it followed, and may have less than was
  -- acknowledged: what comes now would get numbers that were given before.
  epoch = fresh
  redis.call('HSET', hash, 'e', epoch, 'r', process)
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Lets go of the oldest messages while the function says so of the weight and time of the next one.
local function let_go(goes)
  local before, chunk = first, 1
  while first <= head do
    local entries = redis.call('XRANGE', stream, id(first), '+', 'COUNT', chunk)
    local going = #entries > 0
    for _, entry in ipairs(entries) do
      local field = entry[2]
      going = goes(tonumber(field[6]))
      if not going then
        oldest = tonumber(field[6])
        break
      end
      weight, first = weight - tonumber(field[4]), first + 1
      if field[8] ~= '' then redis.call('HDEL', hash, 'i' .. field[8]) end
    end
    if not going then break end
    chunk = math.min(chunk * 2, 64)
  end
  if first > before then
    redis.call('XTRIM', stream, 'MINID', id(first))
    redis.call('HSET', hash, 'f', whole(first), 'b', whole(weight), 'o', whole(oldest))
  end
end

if first <= head and now - oldest > age then
  let_go(function(at) return now - at > age end)
  redis.call('HSET', hash, 'o', whole(oldest))
end

local answer = { epoch }
local clock = whole(now)

if what == 'append' then
  -- ... then of each draft: user and id, weight, message
  for at = 8, #ARGV, 3 do
    local key = ARGV[at]
    local earlier = key ~= '' and redis.call('HGET', hash, 'i' .. key)
    local kept = earlier and redis.call('XRANGE', stream, earlier .. '-0', earlier .. '-0')[1]
    if kept then
      answer[#answer + 1] = { tonumber(earlier), kept[2][2] }
    else
      if first > head then oldest = now end
      head = head + 1
      redis.call('XADD', stream, id(head), 'm', ARGV[at + 2], 'w', ARGV[at + 1], 't', clock, 'k', key)
      if key ~= '' then redis.call('HSET', hash, 'i' .. key, whole(head)) end
      weight = weight + tonumber(ARGV[at + 1])
      answer[#answer + 1] = head
    end
  end
  redis.call('HSET', hash, 'n', whole(head), 'b', whole(weight), 'o', whole(oldest))
  local function is_too_much() return first < head and (head - first + 1 > most or weight > heaviest) end
  if is_too_much() then let_go(is_too_much) end
else
  answer[2], answer[3] = head, first
end

if what == 'after' or what == 'newest' then
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
