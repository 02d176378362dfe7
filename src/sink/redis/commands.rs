//! Commands as the bytes that are sent: Redis's protocol, one command behind the other in one buffer.
//!
//! What nearly every record becomes, a `SET` or an `UNLINK`, is written here directly; all else by way of the
//! client library's [`Cmd`]. Format: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.
//!
//! By way of a `Cmd`, the library's pipeline and its connection a value was copied three times and every command
//! allocated twice. Start at [`Commands`].

use redis::Cmd;

/// Bytes of a `SET` beside key and value, with an expiry.
const COMMAND_OVERHEAD_BYTES: usize = 96;

/// Commands that are sent together.
#[derive(Debug, Default)]
pub(super) struct Commands {
    bytes: Vec<u8>,
    /// Where each command ends.
    ends: Vec<usize>,
}

impl Commands {
    /// Makes room for so many commands, whose keys and values are so long together. Growing as they come would copy what
    /// is there several times over.
    pub(super) fn reserve(&mut self, count: usize, bytes: usize) {
        self.bytes.reserve(bytes + count * COMMAND_OVERHEAD_BYTES);
        self.ends.reserve(count);
    }

    /// One command.
    pub(super) fn one(cmd: &Cmd) -> Commands {
        let mut commands = Commands::default();
        commands.add(cmd);
        commands
    }

    /// Adds a command.
    pub(super) fn add(&mut self, cmd: &Cmd) {
        cmd.write_packed_command(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Adds a command behind `ASKING`, by which a node answers for a slot that is on its way to it. Two replies.
    pub(super) fn add_asking(&mut self, cmd: &Cmd) {
        self.ask_next();
        self.add(cmd);
    }

    /// Adds `ASKING` for the command that is added next.
    pub(super) fn ask_next(&mut self) {
        self.add(&redis::cmd("ASKING"));
    }

    /// Adds `SET`, with an expiry in Unix milliseconds where there is one, and only of a key that is absent where
    /// that is wanted.
    pub(super) fn add_set(&mut self, key: &[u8], value: &[u8], expires_at_ms: Option<i64>, if_absent: bool) {
        let words = 3 + if expires_at_ms.is_some() { 2 } else { 0 } + usize::from(if_absent);
        self.bytes.reserve(key.len() + value.len() + COMMAND_OVERHEAD_BYTES);
        self.begin(words);
        self.word(b"SET");
        self.word(key);
        self.word(value);
        if let Some(at_ms) = expires_at_ms {
            self.word(b"PXAT");
            self.word(itoa::Buffer::new().format(at_ms).as_bytes());
        }
        if if_absent {
            self.word(b"NX");
        }
        self.ends.push(self.bytes.len());
    }

    /// Adds `UNLINK` of one key.
    pub(super) fn add_unlink(&mut self, key: &[u8]) {
        self.begin(2);
        self.word(b"UNLINK");
        self.word(key);
        self.ends.push(self.bytes.len());
    }

    /// Adds a command of others once more.
    pub(super) fn add_again(&mut self, others: &Commands, index: usize) {
        let begin = index.checked_sub(1).and_then(|before| others.ends.get(before)).copied().unwrap_or(0);
        let end = others.ends.get(index).copied().unwrap_or(begin);
        self.bytes.extend_from_slice(others.bytes.get(begin..end).unwrap_or_default());
        self.ends.push(self.bytes.len());
    }

    /// Number of commands, and so of replies.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// True where there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// What is sent.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes all commands out, keeping the room for others.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Bytes that there is room for.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    fn begin(&mut self, words: usize) {
        self.length(b'*', words);
    }

    fn word(&mut self, word: &[u8]) {
        self.length(b'$', word.len());
        self.bytes.extend_from_slice(word);
        self.bytes.extend_from_slice(b"\r\n");
    }

    fn length(&mut self, sign: u8, length: usize) {
        self.bytes.push(sign);
        self.bytes.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_directly_is_what_the_library_writes() {
        for (expires_at_ms, if_absent) in
            [(None, false), (Some(1), true), (Some(i64::MAX), false), (None, true)]
        {
            let mut cmd = redis::cmd("SET");
            cmd.arg(b"k{\r\n}".as_slice()).arg(b"".as_slice());
            if let Some(at_ms) = expires_at_ms {
                cmd.arg("PXAT").arg(at_ms);
            }
            if if_absent {
                cmd.arg("NX");
            }
            let mut written = Commands::default();
            written.add_set(b"k{\r\n}", b"", expires_at_ms, if_absent);
            assert_eq!(written.as_bytes(), Commands::one(&cmd).as_bytes());
        }
        let mut written = Commands::default();
        written.add_unlink(b"key");
        assert_eq!(written.as_bytes(), Commands::one(redis::cmd("UNLINK").arg("key")).as_bytes());
    }

    #[test]
    fn one_of_many_is_sent_again_by_itself() {
        let mut commands = Commands::default();
        commands.add(&redis::cmd("TIME"));
        commands.add_unlink(b"a");
        commands.add_set(b"b", b"1", None, false);
        let mut again = Commands::default();
        again.add_again(&commands, 1);
        again.add_again(&commands, 0);
        assert_eq!(again.as_bytes(), b"*2\r\n$6\r\nUNLINK\r\n$1\r\na\r\n*1\r\n$4\r\nTIME\r\n");
        assert_eq!((commands.len(), again.len()), (3, 2));
        commands.clear();
        assert!(commands.is_empty() && commands.as_bytes().is_empty() && commands.capacity() > 0);
    }
}
