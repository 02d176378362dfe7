//! The scripts. Each is one atomic step on the server, and touches only the keys that it is given.
//!
//! Numbers that may pass 2^53 (epochs, positions, versions) stay text and are compared by length, then as
//! text: a Lua number would round them. See [`crate::version`].

use std::sync::LazyLock;

use redis::{Cmd, Pipeline};

/// A script and its digest.
#[derive(Debug)]
pub(super) struct Script {
    source: String,
    sha: String,
}

impl Script {
    /// A script of that body, behind the functions that all of them share.
    pub(super) fn new(body: &str) -> Script {
        Script::of_source(format!("{PRELUDE}{body}"))
    }

    /// A script of that whole source.
    pub(super) fn of_source(source: String) -> Script {
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
pub(super) fn load_all(pipeline: &mut Pipeline) {
    let all = [&HASH_WRITE, &DELETE_IF, &GUARD, &ADVANCE, &RAISE, &ENTER];
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

/// Deletes a key while it holds one of the values. `KEYS`: key. `ARGV`: per value `s`, bytes, or `h`, number
/// of fields, field, value, …. Returns 0 where it holds something else.
pub(super) static DELETE_IF: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return 1 end
local held, count = nil, 0
if kind == 'string' then
  held = redis.call('GET', KEYS[1])
elseif kind == 'hash' then
  local flat = redis.call('HGETALL', KEYS[1])
  held, count = {}, #flat / 2
  for i = 1, #flat, 2 do held[flat[i]] = flat[i + 1] end
end
local at = 1
while at <= #ARGV do
  local same
  if ARGV[at] == 's' then
    same = kind == 'string' and held == ARGV[at + 1]
    at = at + 2
  else
    local fields = tonumber(ARGV[at + 1])
    local last = at + 1 + 2 * fields
    same = kind == 'hash' and count == fields
    for i = at + 2, last, 2 do
      same = same and held[ARGV[i]] == ARGV[i + 1]
    end
    at = last + 1
  end
  if same then
    redis.call('UNLINK', KEYS[1])
    return 1
  end
end
return 0
",
    )
});

/// Steps through the version guard. `KEYS`: key, side key. `ARGV`: per step
/// `w`, version, owner, side key's expiry, value's expiry, then `s`, bytes or `h`, number of fields, field,
/// value, …; or `d`, version, owner, side key's expiry, `1` and a covered version or `0` and nothing.
/// An empty expiry is none. Returns how many steps applied.
///
/// The steps are decided first; the last one that applies is then carried out, once.
pub(super) static GUARD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local held = redis.call('GET', KEYS[2])
local version, owner, side_expires_at
if held then
  local blank = string.find(held, ' ', 1, true)
  if blank then version, owner = string.sub(held, 1, blank - 1), string.sub(held, blank + 1) end
end
local applied, write = 0, nil
local at = 1
while at <= #ARGV do
  local step, step_version, step_owner = at, ARGV[at + 1], ARGV[at + 2]
  local applies
  if ARGV[step] == 'w' then
    applies = not version or not newer(version, step_version)
    if ARGV[step + 5] == 's' then
      at = step + 7
    else
      at = step + 7 + 2 * tonumber(ARGV[step + 6])
    end
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
    write = ARGV[step] == 'w' and step
  end
end
if applied == 0 then return 0 end
if not write then
  redis.call('UNLINK', KEYS[1])
elseif ARGV[write + 5] == 'h' then
  write_hash(KEYS[1], ARGV[write + 4], write + 7, write + 6 + 2 * tonumber(ARGV[write + 6]))
elseif ARGV[write + 4] ~= '' then
  redis.call('SET', KEYS[1], ARGV[write + 6], 'PXAT', ARGV[write + 4])
else
  redis.call('SET', KEYS[1], ARGV[write + 6])
end
local remembered = version .. ' ' .. owner
if side_expires_at ~= '' then
  redis.call('SET', KEYS[2], remembered, 'PXAT', side_expires_at)
else
  redis.call('SET', KEYS[2], remembered)
end
return applied
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
