//! The scripts. Each is one atomic step on the server, and touches only the keys that it is given.
//!
//! Numbers that may pass 2^53 (epochs, positions) stay text and are compared by length, then as text: a Lua
//! number would round them. Versions are text whose bytes are in their order: see [`crate::version`].

use std::sync::LazyLock;

use redis::Cmd;

use super::commands::Commands;
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

    /// A script of these parts.
    pub(super) fn of(parts: &[&str]) -> Script {
        let source = parts.concat();
        let sha = redis::Script::new(&source).get_hash().to_owned();
        Script { source, sha }
    }

    /// The whole source.
    pub(super) fn source(&self) -> &str {
        &self.source
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
pub(super) fn load_all(commands: &mut Commands) {
    let all = [
        &HASH_WRITE,
        &HASH_WRITE_IF_ABSENT,
        &DELETE_IF,
        &PATCH,
        &PURGE,
        &GUARD,
        &GUARD_PATCH,
        &ADVANCE,
        &RAISE,
        &ENTER,
    ];
    for script in all {
        commands.add(redis::cmd("SCRIPT").arg("LOAD").arg(&script.source));
    }
}

/// `newer` compares numbers given as text without leading zeros. `newer_version` compares versions byte by
/// byte, after beginnings that are one interned string: Lua's own `<` goes by the server's locale, and some (Danish,
/// Welsh) take `aa` or `dd` for one letter.
/// `write_hash` replaces a hash by the fields that stand in `ARGV`; in portions, since Lua's stack holds some
/// 8,000 values. Its `SET` is refused on a server that is out of memory; after any other write (`UNLINK`) a
/// script may go on there.
const PRELUDE: &str = r"
local function newer(a, b) return #a > #b or (#a == #b and a > b) end
local function newer_version(a, b)
  if a == b then return false end
  local from = 1
  while string.sub(a, from, from + 7) == string.sub(b, from, from + 7) do from = from + 8 end
  for i = from, from + 7 do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return not y or (x ~= nil and x > y) end
  end
end
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

/// Writes a hash where the key does not exist. `KEYS` and `ARGV` as for [`HASH_WRITE`]. Returns 0 where it does.
pub(super) static HASH_WRITE_IF_ABSENT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
if redis.call('TYPE', KEYS[1]).ok ~= 'none' then return 0 end
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

/// Steps through the version guard. `KEYS`: key, side key. `ARGV`: the name of the rewrite that they belong to, or
/// empty; then per step `w`, version, owner, side key's expiry, value's expiry, then `s`, bytes or `h`, number of
/// fields, field, value, …; or `d`, version, owner, side key's expiry, `1` and a covered version, `0` and nothing, or
/// `o` and nothing where it applies only to what is remembered of its row; or `t` for `d` where the version is none.
/// An empty expiry is none. Returns how many steps applied.
///
/// Before the steps of a member stand `m`, the commands that add and remove it, and its bytes; `s` is its score then,
/// or empty. Where the key holds another type, adding it fails before anything is remembered; there is nothing to
/// remove.
///
/// The steps are decided first; the last one that applies is then carried out, once.
pub(super) static GUARD: LazyLock<Script> = LazyLock::new(|| Script::new(GUARDING));

/// The same where one of the steps is a patch: `p` (`q` where the version is none), version, owner, side key's expiry, the side key's expiry where
/// no value is left, and the patch as [`PATCHING`] reads it. Patches that apply after the last write or delete
/// that does are carried out upon it, in order.
pub(super) static GUARD_PATCH: LazyLock<Script> =
    LazyLock::new(|| Script::of(&[PRELUDE, PATCHING, GUARDING]));

const GUARDING: &str = r"
local held = redis.call('GET', KEYS[2])
local version, owner, rewrite, side_expires_at
local blank = held and string.find(held, ' ', 1, true)
if blank then
  local second = string.find(held, ' ', blank + 1, true)
  version, owner = string.sub(held, 1, blank - 1), string.sub(held, blank + 1, second and second - 1)
  rewrite = second and string.sub(held, second + 1)
end
local before = version and ARGV[1] ~= '' and rewrite ~= ARGV[1]
local applied, last, patches = 0, nil, {}
local at, add, remove, member = 2, nil, nil, nil
if ARGV[2] == 'm' then add, remove, member, at = ARGV[3], ARGV[4], ARGV[5], 6 end
while at <= #ARGV do
  local step, step_version, step_owner = at, ARGV[at + 1], ARGV[at + 2]
  local applies, overlays
  if ARGV[step] == 'w' then
    applies = not version or before or not newer_version(version, step_version)
    if ARGV[step + 5] == 's' then
      at = step + 7
    else
      at = step + 7 + 2 * tonumber(ARGV[step + 6])
    end
  elseif ARGV[step] == 'p' or ARGV[step] == 'q' then
    local mine = version and owner == step_owner
    overlays = mine and not before and (ARGV[step] == 'q' or not newer_version(version, step_version))
    applies = overlays or not version or (mine and before)
    if overlays and newer_version(version, step_version) then step_version = version end
    at = after_patch(step + 5)
  else
    local covers = ARGV[step + 4] == '1' and ARGV[step + 5]
    local mine = version and owner == step_owner
    applies = (not version and ARGV[step + 4] ~= 'o')
      or (mine and (before or ARGV[step] == 't' or not newer_version(version, step_version)))
      or (covers and (before or not newer_version(version, covers)))
    if mine and not before and newer_version(version, step_version) then step_version = version end
    if covers and newer_version(covers, step_version) then step_version = covers end
    at = step + 6
  end
  if applies then
    applied, before = applied + 1, false
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
if member and not write then
  local removed = redis.pcall(remove, KEYS[1], member)
  if type(removed) == 'table' and removed.err and not string.find(removed.err, 'WRONGTYPE', 1, true) then
    return removed
  end
elseif add == 'ZADD' then
  redis.call(add, KEYS[1], ARGV[write + 6], member)
elseif add then
  redis.call(add, KEYS[1], member)
elseif last and not write then
  redis.call('UNLINK', KEYS[1])
elseif write and ARGV[write + 5] == 'h' then
  write_hash(KEYS[1], ARGV[write + 4], write + 7, write + 6 + 2 * tonumber(ARGV[write + 6]))
elseif write and ARGV[write + 4] ~= '' then
  redis.call('SET', KEYS[1], ARGV[write + 6], 'PXAT', ARGV[write + 4])
elseif write then
  redis.call('SET', KEYS[1], ARGV[write + 6])
end
for _, step in ipairs(patches) do overlay(KEYS[1], step + 5) end
local patch = patches[#patches]
if not patch and last and (ARGV[last] == 'p' or ARGV[last] == 'q') then patch = last end
if patch and redis.call('TYPE', KEYS[1]).ok == 'none' then side_expires_at = ARGV[patch + 4] end
if ARGV[1] ~= '' then rewrite = ARGV[1] end
local remembered = version .. ' ' .. owner
if rewrite and rewrite ~= '' then remembered = remembered .. ' ' .. rewrite end
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
if version and ARGV[1] ~= '' and newer_version(version, ARGV[1]) then return 0 end
local deleted = redis.call('UNLINK', KEYS[1])
if version and ARGV[1] ~= '' then
  redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. owner, 'PXAT', ARGV[2])
end
return deleted
",
    )
});

/// Moves a watermark. `KEYS`: watermark. `ARGV`: epoch, position to set; position last acknowledged here, or
/// empty to set it whatever is there; a position that was sent but not acknowledged, or empty; and in the same
/// order what is owed at these positions, as `:<mode><below>.<step>`, or empty.
///
/// Returns `ok`, `missing`, `behind:<position>` with what is owed there, or `newer` where another owner writes. The
/// same position with another debt is behind as well: a snapshot from the middle of a refill was loaded.
/// A higher position is
/// none of another owner's while its epoch is not newer: a snapshot of the time before a rewind was loaded. What
/// is written meanwhile goes on from the lower one, so the watermark goes back to it. Where nothing changes
/// nothing is written, so that a look succeeds on a server that is out of memory.
pub(super) static ADVANCE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local held = redis.pcall('GET', KEYS[1])
if type(held) ~= 'string' then held = '' end
local epoch, position, owed = string.match(held, '^(%d+):(%d+)(.*)$')
if epoch and newer(epoch, ARGV[1]) then return 'newer' end
local target = ARGV[1] .. ':' .. ARGV[2] .. ARGV[5]
if ARGV[3] ~= '' then
  if not epoch then return 'missing' end
  local is = position .. owed
  local known = is == ARGV[3] .. ARGV[6]
    or (epoch == ARGV[1] and (is == ARGV[2] .. ARGV[5] or is == ARGV[4] .. ARGV[7]))
  if not known and not newer(position, ARGV[3]) then return 'behind:' .. position .. owed end
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
