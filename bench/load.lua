-- wrk's side of `load.py`: every request carries events of its own. Arguments: run, events a request (0: one, unwrapped),
-- file of the event's template, API key, what stands before the events. Prints one line: RESULT and what `load.py` reads. Times in microseconds.
local threads = 0

function setup(thread)
  thread:set("thread_number", threads)
  threads = threads + 1
end

local pieces, batch, head, run, opening
local events = 0

local function split(template)
  local found, from = {}, 1
  while true do
    local first, last, name = template:find("@(%l+)@", from)
    if not first then break end
    found[#found + 1] = template:sub(from, first - 1)
    found[#found + 1] = name
    from = last + 1
  end
  found[#found + 1] = template:sub(from)
  return found
end

local function add_event(out, n)
  events = events + 1
  local id = string.format("%s-%d-%09d", run, thread_number, events)
  local phone = string.format("%d%06d", thread_number, events % 1000000)
  for i = 1, #pieces do
    local piece = pieces[i]
    n = n + 1
    if i % 2 == 1 then out[n] = piece elseif piece == "id" then out[n] = id else out[n] = phone end
  end
  return n
end

local function body()
  local out = {}
  if batch == 0 then
    return table.concat(out, "", 1, add_event(out, 0))
  end
  out[1] = opening .. '"events":['
  local n = 1
  for i = 1, batch do
    if i > 1 then n = n + 1; out[n] = "," end
    n = add_event(out, n)
  end
  out[n + 1] = "]}"
  return table.concat(out, "", 1, n + 1)
end

function init(args)
  run, batch, opening = args[1], tonumber(args[2]), args[5]
  local file = assert(io.open(args[3]))
  pieces = split(file:read("*a"))
  file:close()
  local headers = {["Authorization"] = "Bearer " .. args[4], ["Content-Type"] = "application/json",
                   ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) Firefox/146.0"}
  -- Ids and phones have one length, and so have all bodies: the head is made once.
  local sample = body()
  head = wrk.format("POST", nil, headers, sample)
  head = head:sub(1, #head - #sample)
end

function request()
  return head .. body()
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    "RESULT %d %d %d %d %.1f %.1f %.1f\n", summary.requests, summary.duration, e.status,
    e.connect + e.read + e.write + e.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
