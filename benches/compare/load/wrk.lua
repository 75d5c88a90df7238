-- One static request, so that no Lua runs for each; a JSON line at the end. By the environment:
-- BODY_BYTES: POST that many. CLOSE=1: a connection for each request. AUTH, HOST: these fields.
-- PROFILES: so many profiles in turn, counted up from PROFILE.
local body = tonumber(os.getenv("BODY_BYTES") or "0")
local profiles = tonumber(os.getenv("PROFILES") or "0")

wrk.headers["Host"] = os.getenv("HOST") or "localhost"
wrk.headers["User-Agent"] = "acme-payouts/4.2 (+https://example.com)"
wrk.headers["Accept"] = "application/json"
wrk.headers["Accept-Encoding"] = "identity"
wrk.headers["X-Request-Id"] = "7f1d3f0e-2a64-4d5d-9a43-0d6e2a1b7c55"
wrk.headers["Authorization"] = os.getenv("AUTH")
if os.getenv("CLOSE") == "1" then wrk.headers["Connection"] = "close" end
if body > 0 then
   wrk.method = "POST"
   wrk.headers["Content-Type"] = "application/json"
   wrk.body = string.rep("x", body)
end

if profiles > 0 then
   local made, at = {}, 0
   function init()
      for i = 0, profiles - 1 do
         local profile = tonumber(os.getenv("PROFILE")) + i
         made[i] = wrk.format(nil, "/v3/profiles/" .. profile .. "/balances")
      end
   end
   function request()
      at = (at + 1) % profiles
      return made[at]
   end
end

function done(summary, latency)
   local e = summary.errors
   io.write(string.format(
      'RESULT {"requests":%d,"seconds":%f,"bytes":%d,"errors":%d,"refused":%d,"p50":%f,"p99":%f}\n',
      summary.requests - e.status, summary.duration / 1e6, summary.bytes,
      e.connect + e.read + e.write + e.timeout, e.status,
      latency:percentile(50), latency:percentile(99)))
end
