//! The scripts of writes beside the lanes. The digest is that of [`super::digest`].

use std::sync::LazyLock;

use super::super::scripts::{GUARD, Script};

/// Tells what a key holds: `digest` and `expires_at`. A hash's fields are told apart by sorting their digests, which
/// every collation of the server's sorts alike. Reading a string as text costs its length.
const FINGERPRINT: &str = r"
local function fingerprint(key)
  local kind = redis.call('TYPE', key).ok
  local digest = kind
  if kind == 'string' then
    digest = 's' .. redis.sha1hex(redis.call('GET', key))
  elseif kind == 'hash' then
    local flat, parts = redis.call('HGETALL', key), {}
    for i = 1, #flat, 2 do
      parts[#parts + 1] = redis.sha1hex(#flat[i] .. ':' .. flat[i] .. flat[i + 1])
    end
    table.sort(parts)
    digest = 'h' .. redis.sha1hex(table.concat(parts))
  end
  local expires_at = redis.pcall('PEXPIRETIME', key)
  if type(expires_at) ~= 'number' then expires_at = '' end
  return digest, tostring(expires_at)
end
";

/// `KEYS`: key. Returns digest and expiry, which is empty where the server cannot tell it; nothing where there is no
/// such key.
pub(super) static HELD: LazyLock<Script> = LazyLock::new(|| {
    Script::of(&[
        FINGERPRINT,
        r"
local digest, expires_at = fingerprint(KEYS[1])
if digest == 'none' then return {} end
return {digest, expires_at}
",
    ])
});

/// Deletes a key while it holds that. `KEYS`: key. `ARGV`: digest, expiry or nothing. Returns 1 where it was deleted,
/// 0 where it holds something else, 2 where it is gone.
pub(super) static TAKE_BACK: LazyLock<Script> = LazyLock::new(|| {
    Script::of(&[
        FINGERPRINT,
        r"
local digest, expires_at = fingerprint(KEYS[1])
if digest == 'none' then return 2 end
if digest ~= ARGV[1] then return 0 end
if ARGV[2] ~= '' and expires_at ~= '' and expires_at ~= ARGV[2] then return 0 end
redis.call('UNLINK', KEYS[1])
return 1
",
    ])
});

/// [`GUARD`], for a key or member that is not there; returns -1 where it is.
pub(super) static GUARD_IF_ABSENT: LazyLock<Script> = LazyLock::new(|| {
    Script::of(&[
        r"
local there
if ARGV[2] ~= 'm' then
  there = redis.call('EXISTS', KEYS[1]) == 1
elseif ARGV[3] == 'SADD' then
  there = redis.call('SISMEMBER', KEYS[1], ARGV[5]) == 1
else
  there = redis.call('ZSCORE', KEYS[1], ARGV[5])
end
if there then return -1 end
",
        GUARD.source(),
    ])
});

/// [`GUARD`] of one member's one step, while the guard remembers just that version and owner.
pub(super) static GUARD_IF_REMEMBERED: LazyLock<Script> = LazyLock::new(|| {
    Script::of(&[
        r"
local put = ARGV[7] .. ' ' .. ARGV[8]
local remembered = redis.call('GET', KEYS[2]) or ''
if remembered ~= put and string.sub(remembered, 1, #put + 1) ~= put .. ' ' then return 0 end
",
        GUARD.source(),
    ])
});

/// Brings a member to what the newest change says of it, while it is what was put. `KEYS`: key. `ARGV`: `s` of a set
/// or `z` of a sorted set, member, what was put (its score, or `in` of a set; empty where it was removed), and the
/// same of what it is to be. Returns 1 where it was removed, 3 where it was put right, 0 where it is left alone.
pub(super) static PUT_RIGHT: LazyLock<Script> = LazyLock::new(|| {
    Script::of(&[r"
local key, member, put, now = KEYS[1], ARGV[2], ARGV[3], ARGV[4]
local sorted = ARGV[1] == 'z'
local held
if sorted then
  held = redis.pcall('ZSCORE', key, member)
else
  held = redis.pcall('SISMEMBER', key, member)
  if held == 0 then held = false end
end
if type(held) == 'table' then return 0 end
if put == '' and held then return 0 end
if put ~= '' and not held then return 0 end
if put ~= '' and sorted and tonumber(held) ~= tonumber(put) then return 0 end
if now == '' then
  if not held then return 0 end
  redis.call(sorted and 'ZREM' or 'SREM', key, member)
  return 1
end
if sorted then redis.call('ZADD', key, now, member) else redis.call('SADD', key, member) end
return 3
"])
});

/// All of them, to be loaded.
pub(super) fn all() -> [&'static Script; 5] {
    [&HELD, &TAKE_BACK, &GUARD_IF_ABSENT, &GUARD_IF_REMEMBERED, &PUT_RIGHT]
}
