//! What the results are ratios to: `redis-benchmark` sending the very commands that Stoker sends.
//!
//! The command is not written down here but overheard: `MONITOR` shows one of Stoker's own, and its id is replaced by
//! `redis-benchmark`'s placeholder of the same length. So key length, value size, expiry and script are the same by
//! construction. Connections are the lanes, each with one batch in flight; pipeline depth is Stoker's mean batch.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use crate::parts::Cache;

/// How `redis-benchmark` is called for a point.
#[derive(Debug, Clone)]
pub(crate) struct Reference {
    /// Name and arguments, with placeholders.
    pub(crate) command: Vec<String>,
    pub(crate) connections: usize,
    pub(crate) depth: usize,
    /// Keys that it draws from.
    pub(crate) rows: usize,
}

impl Reference {
    /// Commands a second, over so many of them.
    pub(crate) fn run(&self, cache: &Cache, requests: u64) -> f64 {
        cache.flush();
        let mut command = Command::new("redis-benchmark");
        command.args(["-h", "127.0.0.1", "-p", &cache.ports[0].to_string(), "--csv"]);
        command.args(["-n", &requests.to_string(), "-c", &self.connections.to_string()]);
        command.args(["-P", &self.depth.to_string(), "-r", &self.rows.to_string()]);
        if cache.is_cluster() {
            command.arg("--cluster");
        }
        let out = command.args(&self.command).output().expect("redis-benchmark runs");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        rate(&text).unwrap_or_else(|| panic!("redis-benchmark: {}", String::from_utf8_lossy(&out.stderr)))
    }
}

/// The rate in the last line of its CSV. The first field is the command, which may hold commas and quotes; the rate
/// and seven latencies follow it.
fn rate(csv: &str) -> Option<f64> {
    let line = csv.lines().rev().find(|line| line.contains("\",\""))?;
    line.rsplit("\",\"").nth(6)?.parse().ok()
}

/// Hears what is sent to a server until a command names a cached key.
pub(crate) struct Ear(BufReader<TcpStream>);

impl Ear {
    pub(crate) fn open(port: u16) -> Ear {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("redis-server answers");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout can be set");
        stream.write_all(b"MONITOR\r\n").expect("redis-server answers");
        Ear(BufReader::new(stream))
    }

    /// The first write of a row's key, with placeholders in place of its id. In a cluster the placeholder of the slot
    /// is put before it.
    pub(crate) fn command(mut self, is_cluster: bool) -> Vec<String> {
        loop {
            let mut line = Vec::new();
            let read = self.0.read_until(b'\n', &mut line).expect("redis-server shows commands");
            assert!(read > 0, "redis-server closed MONITOR");
            let arguments = arguments(&String::from_utf8_lossy(&line));
            let writes = matches!(arguments.first().map(String::as_str), Some("SET" | "EVALSHA"));
            let key = arguments.iter().find_map(|argument| argument.strip_prefix("customer:"));
            if let (true, Some(id)) = (writes, key) {
                let place = if is_cluster { "{tag}__rand_int__" } else { "__rand_int__" };
                let longest = arguments.iter().map(String::len).max().unwrap_or(0);
                let id = id.to_owned();
                let placed = |argument: &String| match argument.len() == longest {
                    // The value: that of one row for all.
                    true => argument.clone(),
                    false => argument.replace(&id, place),
                };
                return arguments.iter().map(placed).collect();
            }
        }
    }
}

/// The arguments in a line of `MONITOR`: quoted, with C's escapes.
fn arguments(line: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut letters = line.chars();
    while letters.by_ref().any(|letter| letter == '"') {
        let mut argument = String::new();
        while let Some(letter) = letters.next() {
            match letter {
                '"' => break,
                '\\' => argument.push(match letters.next() {
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    Some('a') => '\u{7}',
                    Some('b') => '\u{8}',
                    // A byte that is not ASCII: no event here has one.
                    Some('x') => letters.by_ref().take(2).last().map_or('?', |_| '?'),
                    Some(other) => other,
                    None => break,
                }),
                other => argument.push(other),
            }
        }
        arguments.push(argument);
    }
    arguments
}
