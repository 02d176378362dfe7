//! The scripts. Each is one atomic step on the server, and touches only the keys that it is given.
//!
//! Numbers that may pass 2^53 (epochs, positions, versions) stay text and are compared by length, then as
//! text: a Lua number would round them. See [`crate::version`].

use std::sync::LazyLock;

use redis::{Cmd, Pipeline};

use super::patching::PATCHING;

/// A script and its digest.
#[derive(Debug)]
pub(super) struct Script {
    source: String,
    sha: String,
}

impl Script {
    fn new(body: &str) -> Script {
        Script::of(&[PRELUDE, body])
    }

    fn of(parts: &[&str]) -> Script {
        let source = parts.concat();
        let sha = redis::Script::new(&source).get_hash().to_owned();
        Script { source, sha }
    }

    /// Starts `EVALSHA` with these keys; arguments follow.
    pub(super) fn call(&self, keys: &[&[u8]]) -> Cmd {
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(&self.sha).arg(keys.len());
        for key in keys {
            cmd.arg(*key);
        }
        cmd
    }
}

/// Adds `SCRIPT LOAD` of every script.
pub(super) fn load_all(pipeline: &mut Pipeline) {
    let all = [&HASH_WRITE, &DELETE_IF, &PATCH, &PURGE, &GUARD, &GUARD_PATCH, &ADVANCE, &RAISE, &ENTER];
    for script in all {
        pipeline.cmd("SCRIPT").arg("LOAD").arg(&script.source);
    }
}

/// `newer` compares numbers given as text without leading zeros, or of one width. `write_hash` replaces a
/// hash by the fields that stand in `ARGV`; in portions, since Lua's stack holds some 8,000 values. Its `SET`
/// is refused on a server that is out of memory; after any other write (`UNLINK`) a script may go on there.
const PRELUDE: &str = r"
local function newer(a, b) return #a > #b or (#a == #b and a > b) end
local function write_hash(key, expires_at, first, last)
  redis.call('SET', key, '')
  redis.call('UNLINK', key)
  for from = first, last, 1000 do
    redis.call('HSET', key, unpack(ARGV, from, math.min(from + 999, last)))
  end
  if expires_at ~= '' and first < last then redis.call('PEXPIREAT', key, expires_at) end
end
";

/// Replaces a hash. `KEYS`: key. `ARGV`: expiry in Unix milliseconds or empty, then field, value, ….
pub(super) static HASH_WRITE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
write_hash(KEYS[1], ARGV[1], 2, #ARGV)
return 1
",
    )
});

/// `read(key)` gives what a key holds; `same(kind, held, count, at)` says whether that is the value that stands at
/// `at` in `ARGV` (`s`, bytes, or `h`, number of fields, field, value, …), and where the next one begins.
const COMPARING: &str = r"
local function read(key)
  local kind = redis.call('TYPE', key).ok
  local held, count = nil, 0
  if kind == 'string' then
    held = redis.call('GET', key)
  elseif kind == 'hash' then
    local flat = redis.call('HGETALL', key)
    held, count = {}, #flat / 2
    for i = 1, #flat, 2 do held[flat[i]] = flat[i + 1] end
  end
  return kind, held, count
end
local function same(kind, held, count, at)
  if ARGV[at] == 's' then return kind == 'string' and held == ARGV[at + 1], at + 2 end
  local fields = tonumber(ARGV[at + 1])
  local last = at + 1 + 2 * fields
  local alike = kind == 'hash' and count == fields
  for i = at + 2, last, 2 do
    alike = alike and held[ARGV[i]] == ARGV[i + 1]
  end
  return alike, last + 1
end
";

/// Deletes a key while it holds one of the values. `KEYS`: key. `ARGV`: the values as [`COMPARING`] reads them.
/// Returns 0 where it holds something else.
pub(super) static DELETE_IF: LazyLock<Script> = LazyLock::new(|| {
    Script::of(&[
        COMPARING,
        r"
local kind, held, count = read(KEYS[1])
if kind == 'none' then return 1 end
local at = 1
while at <= #ARGV do
  local found
  found, at = same(kind, held, count, at)
  if found then
    redis.call('UNLINK', KEYS[1])
    return 1
  end
end
return 0
",
    ])
});

/// Steps on what a key holds. `KEYS`: key. `ARGV`: per step `p` and a patch as [`PATCHING`] reads it, or `i` and a
/// value as [`COMPARING`] does: the key is deleted while it holds that. Returns 1.
pub(super) static PATCH: LazyLock<Script> = LazyLock::new(|| {
    Script::of(&[
        COMPARING,
        PATCHING,
        r"
local at = 1
while at <= #ARGV do
  if ARGV[at] == 'p' then
    at = overlay(KEYS[1], at + 1)
  else
    local kind, held, count = read(KEYS[1])
    local found
    found, at = same(kind, held, count, at + 1)
    if found then redis.call('UNLINK', KEYS[1]) end
  end
end
return 1
",
    ])
});

/// Steps through the version guard. `KEYS`: key, side key. `ARGV`: per step
/// `w`, version, owner, side key's expiry, value's expiry, then `s`, bytes or `h`, number of fields, field,
/// value, …; or `d`, version, owner, side key's expiry, `1` and a covered version or `0` and nothing.
/// An empty expiry is none. Returns how many steps applied.
///
/// The steps are decided first; the last one that applies is then carried out, once.
pub(super) static GUARD: LazyLock<Script> = LazyLock::new(|| Script::new(GUARDING));

/// The same where one of the steps is a patch: `p`, version, owner, side key's expiry, the side key's expiry where
/// no value is left, and the patch as [`PATCHING`] reads it. Patches that apply after the last write or delete
/// that does are carried out upon it, in order.
pub(super) static GUARD_PATCH: LazyLock<Script> =
    LazyLock::new(|| Script::of(&[PRELUDE, PATCHING, GUARDING]));

const GUARDING: &str = r"
local held = redis.call('GET', KEYS[2])
local version, owner, side_expires_at
if held then
  local blank = string.find(held, ' ', 1, true)
  if blank then version, owner = string.sub(held, 1, blank - 1), string.sub(held, blank + 1) end
end
local applied, last, patches = 0, nil, {}
local at = 1
while at <= #ARGV do
  local step, step_version, step_owner = at, ARGV[at + 1], ARGV[at + 2]
  local applies, overlays
  if ARGV[step] == 'w' then
    applies = not version or not newer(version, step_version)
    if ARGV[step + 5] == 's' then
      at = step + 7
    else
      at = step + 7 + 2 * tonumber(ARGV[step + 6])
    end
  elseif ARGV[step] == 'p' then
    overlays = version and owner == step_owner and (step_version == '' or not newer(version, step_version))
    applies = overlays or not version
    if overlays and newer(version, step_version) then step_version = version end
    at = after_patch(step + 5)
  else
    local covers = ARGV[step + 4] == '1' and ARGV[step + 5]
    local mine = version and owner == step_owner
    applies = not version
      or (mine and (step_version == '' or not newer(version, step_version)))
      or (covers and not newer(version, covers))
    if mine and newer(version, step_version) then step_version = version end
    if covers and newer(covers, step_version) then step_version = covers end
    at = step + 6
  end
  if applies then
    applied = applied + 1
    version, owner, side_expires_at = step_version, step_owner, ARGV[step + 3]
    if overlays then
      patches[#patches + 1] = step
    else
      last, patches = step, {}
    end
  end
end
if applied == 0 then return 0 end
local write = last and ARGV[last] == 'w' and last
if last and not write then
  redis.call('UNLINK', KEYS[1])
elseif write and ARGV[write + 5] == 'h' then
  write_hash(KEYS[1], ARGV[write + 4], write + 7, write + 6 + 2 * tonumber(ARGV[write + 6]))
elseif write and ARGV[write + 4] ~= '' then
  redis.call('SET', KEYS[1], ARGV[write + 6], 'PXAT', ARGV[write + 4])
elseif write then
  redis.call('SET', KEYS[1], ARGV[write + 6])
end
for _, step in ipairs(patches) do overlay(KEYS[1], step + 5) end
local patch = patches[#patches] or (last and ARGV[last] == 'p' and last)
if patch and redis.call('TYPE', KEYS[1]).ok == 'none' then side_expires_at = ARGV[patch + 4] end
local remembered = version .. ' ' .. owner
if side_expires_at ~= '' then
  redis.call('SET', KEYS[2], remembered, 'PXAT', side_expires_at)
else
  redis.call('SET', KEYS[2], remembered)
end
return applied
";

/// Deletes a key of a table that was truncated. `KEYS`: key, side key. `ARGV`: the truncate's version or empty; the
/// side key's expiry from then on. A key of which the guard remembers something newer stays; of any other that it
/// remembers, it then remembers the truncate, so that what was written before and comes late is refused. Returns
/// the number of keys deleted.
pub(super) static PURGE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local held = redis.call('GET', KEYS[2])
local version, owner
if held then version, owner = string.match(held, '^(%S*) (.*)$') end
if version and ARGV[1] ~= '' and newer(version, ARGV[1]) then return 0 end
local deleted = redis.call('UNLINK', KEYS[1])
if version and ARGV[1] ~= '' then
  redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. owner, 'PXAT', ARGV[2])
end
return deleted
",
    )
});

/// Moves a watermark. `KEYS`: watermark. `ARGV`: epoch, position to set; position last acknowledged here, or
/// empty to set it whatever is there; a position that was sent but not acknowledged, or empty.
///
/// Returns `ok`, `missing`, `behind:<position>`, or `newer` where another owner writes. A higher position is
/// none of another owner's while its epoch is not newer: a snapshot of the time before a rewind was loaded. What
/// is written meanwhile goes on from the lower one, so the watermark goes back to it. Where nothing changes
/// nothing is written, so that a look succeeds on a server that is out of memory.
pub(super) static ADVANCE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local held = redis.pcall('GET', KEYS[1])
if type(held) ~= 'string' then held = '' end
local epoch, position = string.match(held, '^(%d+):(%d+)$')
if epoch and newer(epoch, ARGV[1]) then return 'newer' end
local target = ARGV[1] .. ':' .. ARGV[2]
if ARGV[3] ~= '' then
  if not epoch then return 'missing' end
  local ours = epoch == ARGV[1]
  if not (ours and (position == ARGV[2] or position == ARGV[4])) then
    if newer(ARGV[3], position) then return 'behind:' .. position end
  end
end
if held ~= target then redis.call('SET', KEYS[1], target) end
return 'ok'
",
    )
});

/// Raises the epoch of an owner record. `KEYS`: record. `ARGV`: the epoch. Returns 1 and the fields as they
/// were, or 0 and the fields where the record's epoch is as new.
pub(super) static RAISE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local fields = redis.call('HGETALL', KEYS[1])
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if epoch and not newer(ARGV[1], epoch) then return {0, fields} end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1])
return {1, fields}
",
    )
});

/// Enters an owner's connections. `KEYS`: record. `ARGV`: epoch, then field, value, … of all of them; with
/// the epoch alone nothing is written. Returns -1 where the record's epoch is newer, 0 where it was ours,
/// else 1 and the fields of a record that was missing or older.
pub(super) static ENTER: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if epoch and newer(epoch, ARGV[1]) then return {-1, {}} end
local state, fields = 0, {}
if epoch ~= ARGV[1] then state, fields = 1, redis.call('HGETALL', KEYS[1]) end
if #ARGV > 1 then
  redis.call('HSET', KEYS[1], 'epoch', ARGV[1])
  redis.call('UNLINK', KEYS[1])
  redis.call('HSET', KEYS[1], 'epoch', unpack(ARGV))
end
return {state, fields}
",
    )
});
