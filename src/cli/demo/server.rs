//! A private Redis server: on a free port of this machine, without persistence, in a temporary folder.
//!
//! It must not outlive the demo, however that ends: a second Ctrl-C and SIGKILL leave no time to clean up. So the
//! server is started by a shell that waits for the end of its standard input, a pipe that the demo holds; then
//! it ends the server and deletes the folder.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::Trouble;
use crate::clock::SystemClock;
use crate::sink::redis::Reader;

const MISSING: &str = "redis-server is not installed. On Debian or Ubuntu: sudo apt-get install redis-server; \
                       on macOS: brew install redis. `make demo` does it by itself.";

/// The first that knows `SET … PXAT` and `CLIENT INFO`.
const VERSION_MIN: (u32, u32) = (6, 2);

/// It answers after some ten milliseconds; this long on a machine that is very busy.
const START_WITHIN: Duration = Duration::from_secs(10);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A port that was free may be taken by the time that the server binds it.
const PORTS_TRIED: u32 = 3;

/// `$1` is the folder, the rest are the server's arguments. Out of the terminal's reach, so that a Ctrl-C does not
/// end the server before the engine has left it.
const KEEPER: &str = r#"
folder=$1; shift
redis-server "$@" >/dev/null 2>&1 &
server=$!
cat >/dev/null
kill "$server" 2>/dev/null
wait "$server"
rm -rf -- "$folder"
"#;

/// The running server. Ended, and its folder deleted, when dropped.
#[derive(Debug)]
pub(super) struct Server {
    keeper: Child,
    folder: PathBuf,
    port: u16,
}

impl Server {
    /// Starts one and waits until it answers.
    ///
    /// # Errors
    /// [`Trouble::Missing`]: there is no redis-server here, or one that is too old. [`Trouble::Failed`]: it does
    /// not start.
    pub(super) fn start(clock: SystemClock) -> Result<Server, Trouble> {
        check_version()?;
        let folder = make_folder().map_err(|error| Trouble::failed("a temporary folder", &error))?;
        let mut server = Server::spawn(folder, clock);
        for _ in 1..PORTS_TRIED {
            match server {
                // Its folder goes with it.
                Err(Trouble::Failed(_)) => {
                    let folder =
                        make_folder().map_err(|error| Trouble::failed("a temporary folder", &error))?;
                    server = Server::spawn(folder, clock);
                }
                Ok(_) | Err(Trouble::Missing(_) | Trouble::Interrupted) => break,
            }
        }
        server
    }

    fn spawn(folder: PathBuf, clock: SystemClock) -> Result<Server, Trouble> {
        let port = free_port().map_err(|error| Trouble::failed("a free port", &error))?;
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "stoker-demo-redis"])
            .args([&folder, Path::new("--dir"), &folder])
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .args(["--loglevel", "warning", "--logfile", "redis.log"])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| Trouble::failed("sh", &error))?;
        let server = Server { keeper, folder, port };
        let deadline = clock.now().monotonic + START_WITHIN;
        while !server.answers() {
            if clock.now().monotonic > deadline {
                let log = std::fs::read_to_string(server.folder.join("redis.log")).unwrap_or_default();
                let last = log.lines().last().unwrap_or("it does not answer");
                return Err(Trouble::Failed(format!("redis-server did not start: {last}")));
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        Ok(server)
    }

    /// True once it is this server that answers, and not another one that was quicker to take the port.
    fn answers(&self) -> bool {
        let folder = Reader::connect("127.0.0.1", self.port, ANSWER_WITHIN).and_then(|mut it| it.folder());
        folder.is_ok_and(|folder| Path::new(&folder) == self.folder)
    }

    /// The port, on 127.0.0.1.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The folder, for what else this run has to keep. Deleted with the server.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A connection that reads.
    pub(super) fn reader(&self) -> Result<Reader, Trouble> {
        Reader::connect("127.0.0.1", self.port, ANSWER_WITHIN)
            .map_err(|error| Trouble::failed("Redis", &error))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The end of the pipe is the sign; the keeper has ended once the folder is gone.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

fn check_version() -> Result<(), Trouble> {
    let said = match Command::new("redis-server").arg("--version").output() {
        Ok(said) => String::from_utf8_lossy(&said.stdout).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Trouble::Missing(MISSING.to_owned()));
        }
        Err(error) => return Err(Trouble::failed("redis-server", &error)),
    };
    match version(&said) {
        Some(found) if found < VERSION_MIN => Err(Trouble::Missing(format!(
            "redis-server {}.{} is too old: {}.{} or newer is needed",
            found.0, found.1, VERSION_MIN.0, VERSION_MIN.1
        ))),
        // A text that says nothing (a fork's) is no reason to refuse it.
        Some(_) | None => Ok(()),
    }
}

/// Major and minor of `Redis server v=7.0.15 sha=…`.
fn version(said: &str) -> Option<(u32, u32)> {
    let (_, rest) = said.split_once("v=")?;
    let mut parts = rest.split(['.', ' ']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// A folder of our own, for this user alone, by the name that the server will call it.
fn make_folder() -> std::io::Result<PathBuf> {
    let temporary = std::env::temp_dir().canonicalize()?;
    let mut number = 0_u32;
    loop {
        let folder = temporary.join(format!("stoker-demo-{}-{number}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => return Ok(folder),
            // A process of that id died before it could clean up.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && number < 100 => number += 1,
            Err(error) => return Err(error),
        }
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_the_server_says() {
        let cases = [
            ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1", Some((7, 0))),
            ("Redis server v=6.0.16 sha=00000000:0", Some((6, 0))),
            ("Valkey server v=8.1.0 sha=00000000:0", Some((8, 1))),
            ("something else", None),
        ];
        for (said, expected) in cases {
            assert_eq!(version(said), expected, "{said}");
        }
        assert!((6, 0) < VERSION_MIN && VERSION_MIN <= (6, 2));
    }

    #[test]
    fn a_server_and_its_folder_end_with_their_owner() {
        let server = Server::start(SystemClock::new()).unwrap_or_else(|trouble| panic!("{trouble:?}"));
        let (folder, port) = (server.folder().to_owned(), server.port());
        assert_eq!(server.reader().map(|mut reader| reader.key_count()), Ok(Ok(0)));
        drop(server);
        assert!(!folder.exists());
        assert!(Reader::connect("127.0.0.1", port, ANSWER_WITHIN).is_err());
    }
}
