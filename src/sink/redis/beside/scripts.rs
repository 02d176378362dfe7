//! The scripts of writes beside the lanes. The digest is that of [`super::digest`].

use std::sync::LazyLock;

use super::super::scripts::{GUARD, HASH_WRITE, Script};

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
    Script::new(&format!(
        "{FINGERPRINT}
local digest, expires_at = fingerprint(KEYS[1])
if digest == 'none' then return {{}} end
return {{digest, expires_at}}
"
    ))
});

/// Deletes a key while it holds that. `KEYS`: key. `ARGV`: digest, expiry or nothing. Returns 1 where it was deleted,
/// 0 where it holds something else, 2 where it is gone.
pub(super) static TAKE_BACK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{FINGERPRINT}
local digest, expires_at = fingerprint(KEYS[1])
if digest == 'none' then return 2 end
if digest ~= ARGV[1] then return 0 end
if ARGV[2] ~= '' and expires_at ~= '' and expires_at ~= ARGV[2] then return 0 end
redis.call('UNLINK', KEYS[1])
return 1
"
    ))
});

/// The same script, for a key that is not there; returns -1 where it is.
fn if_absent(script: &Script) -> Script {
    Script::of_source(format!(
        "if redis.call('EXISTS', KEYS[1]) == 1 then return -1 end\n{}",
        script.source()
    ))
}

pub(super) static HASH_WRITE_IF_ABSENT: LazyLock<Script> = LazyLock::new(|| if_absent(&HASH_WRITE));
pub(super) static GUARD_IF_ABSENT: LazyLock<Script> = LazyLock::new(|| if_absent(&GUARD));

/// All of them, to be loaded.
pub(super) fn all() -> [&'static Script; 4] {
    [&HELD, &TAKE_BACK, &HASH_WRITE_IF_ABSENT, &GUARD_IF_ABSENT]
}
