-- What wrk sends, told by the environment: BENCH_METHOD, BENCH_AUTHORIZATION, BENCH_ACCEPT, BENCH_TYPE.
-- With BENCH_TAG every request is a manifest under a tag of its own; with BENCH_BODY's marks (%NUMBER%) in place a
-- manifest of its own too. The secret comes through the environment because others can read a command line.

local threads = 0
local method = os.getenv("BENCH_METHOD") or "GET"
local tag = os.getenv("BENCH_TAG")
local body = os.getenv("BENCH_BODY")

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  wrk.method = method
  local names = { Authorization = "BENCH_AUTHORIZATION", Accept = "BENCH_ACCEPT", ["Content-Type"] = "BENCH_TYPE" }
  for name, variable in pairs(names) do
    local value = os.getenv(variable)
    if value and value ~= "" then wrk.headers[name] = value end
  end
end

if tag then
  local count = 0
  function request()
    count = count + 1
    local unique = string.format("%s-%d-%d", tag, number, count)
    return wrk.format(method, wrk.path .. unique, nil, (string.gsub(body, "%%NUMBER%%", unique)))
  end
end

function done(summary, latency, requests)
  local e = summary.errors
  print(string.format('RESULT {"requests":%d,"microseconds":%d,"bytes":%.0f,"errors":%d,"p50":%.0f,"p99":%.0f}',
    summary.requests, summary.duration, summary.bytes, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
