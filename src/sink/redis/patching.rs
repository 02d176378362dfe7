//! The part of the scripts that overlays a value with a patch: what [`crate::patch::Patch::overlay`] does, on the
//! server.
//!
//! JSON goes past a scanner of tokens and never through `cjson`, which rounds numbers over 2^53, loses `12.50`'s
//! zero, and turns members into any order. The scanner takes the same steps as `crate::patch`'s own.

/// `overlay(key, at)` carries out the patch that stands at `at` in `ARGV`, and returns where the next step begins:
/// `j` (JSON) or `h` (hash), `1` where other fields stay or `0`, expiry or empty, number of fields, per field its name,
/// `v` (value), `k` (kept) or `g` (gone), and the value or nothing; number of needed names, those names. A key that
/// is not there stays so; one that cannot be overlaid is deleted.
///
/// `after_patch(at)` says where the next step begins, and does nothing.
pub(super) const PATCHING: &str = r#"
local function after_patch(at)
  local needs = at + 4 + 3 * tonumber(ARGV[at + 3])
  return needs + 1 + tonumber(ARGV[needs])
end
local function blank(json, at)
  return string.match(json, '^[ \t\n\r]*()', at)
end
local function text_end(json, at)
  if string.byte(json, at) ~= 34 then return nil end
  at = at + 1
  while true do
    local found = string.find(json, '["\\]', at)
    if not found then return nil end
    if string.byte(json, found) == 34 then return found + 1 end
    at = found + 2
  end
end
local function value_end(json, at)
  local first = string.byte(json, at)
  if first == 34 then return text_end(json, at) end
  if first ~= 123 and first ~= 91 then return string.match(json, '^[%w+.-]+()', at) end
  local depth = 0
  while true do
    local found = string.find(json, '["{}%[%]]', at)
    if not found then return nil end
    local byte = string.byte(json, found)
    if byte == 34 then
      at = text_end(json, found)
      if not at then return nil end
    else
      at = found + 1
      depth = depth + ((byte == 123 or byte == 91) and 1 or -1)
      if depth == 0 then return at end
    end
  end
end
local function members(json)
  local names, values = {}, {}
  local at = blank(json, 1)
  if string.byte(json, at) ~= 123 then return nil end
  at = blank(json, at + 1)
  if string.byte(json, at) == 125 then
    if blank(json, at + 1) ~= #json + 1 then return nil end
    return names, values
  end
  while true do
    local stop = text_end(json, at)
    if not stop then return nil end
    local name = string.sub(json, at, stop - 1)
    at = blank(json, stop)
    if string.byte(json, at) ~= 58 then return nil end
    at = blank(json, at + 1)
    stop = value_end(json, at)
    if not stop or values[name] then return nil end
    names[#names + 1] = name
    values[name] = string.sub(json, at, stop - 1)
    at = blank(json, stop)
    local byte = string.byte(json, at)
    if byte == 125 then
      if blank(json, at + 1) ~= #json + 1 then return nil end
      return names, values
    end
    if byte ~= 44 then return nil end
    at = blank(json, at + 1)
  end
end
local function overlay_json(key, at)
  local names, held = members(redis.call('GET', key))
  if not names then return redis.call('UNLINK', key) end
  local count = tonumber(ARGV[at + 3])
  local needs = at + 4 + 3 * count
  for i = needs + 1, needs + tonumber(ARGV[needs]) do
    if not held[ARGV[i]] then return redis.call('UNLINK', key) end
  end
  local stay = ARGV[at + 1] == '1'
  local told, parts = {}, {}
  local function put(name, value) parts[#parts + 1] = name .. ':' .. value end
  if stay then
    for i = at + 4, needs - 1, 3 do
      if ARGV[i + 1] == 'v' then told[ARGV[i]] = ARGV[i + 2] end
    end
    for _, name in ipairs(names) do put(name, told[name] or held[name]) end
  end
  for i = at + 4, needs - 1, 3 do
    local name, what = ARGV[i], ARGV[i + 1]
    if what == 'v' and not (stay and held[name]) then put(name, ARGV[i + 2]) end
    if what == 'k' and not stay and held[name] then put(name, held[name]) end
  end
  local json = '{' .. table.concat(parts, ',') .. '}'
  if ARGV[at + 2] ~= '' then
    redis.call('SET', key, json, 'PXAT', ARGV[at + 2])
  else
    redis.call('SET', key, json)
  end
end
local function overlay_hash(key, at)
  local needs = at + 4 + 3 * tonumber(ARGV[at + 3])
  local set, gone, named = {}, {}, {}
  for i = at + 4, needs - 1, 3 do
    local name, what = ARGV[i], ARGV[i + 1]
    named[name] = true
    if what == 'v' then
      set[#set + 1] = name
      set[#set + 1] = ARGV[i + 2]
    elseif what == 'g' then
      gone[#gone + 1] = name
    end
  end
  if ARGV[at + 1] == '0' then
    for _, name in ipairs(redis.call('HKEYS', key)) do
      if not named[name] then gone[#gone + 1] = name end
    end
  end
  for from = 1, #set, 1000 do
    redis.call('HSET', key, unpack(set, from, math.min(from + 999, #set)))
  end
  for from = 1, #gone, 1000 do
    redis.call('HDEL', key, unpack(gone, from, math.min(from + 999, #gone)))
  end
  if ARGV[at + 2] ~= '' then
    redis.call('PEXPIREAT', key, ARGV[at + 2])
  else
    redis.call('PERSIST', key)
  end
end
local function overlay(key, at)
  local kind = redis.call('TYPE', key).ok
  if kind == 'string' and ARGV[at] == 'j' then
    overlay_json(key, at)
  elseif kind == 'hash' and ARGV[at] == 'h' then
    overlay_hash(key, at)
  elseif kind ~= 'none' then
    redis.call('UNLINK', key)
  end
  return after_patch(at)
end
"#;
