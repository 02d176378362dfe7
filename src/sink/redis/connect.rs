//! Making one connection: address, TLS, credentials, and what is asked of the server first.
//!
//! A new connection asks for the time, for who it is at the server, and for the right to kill others, and loads
//! the scripts. A [`Link`] with an unanswered command is broken for good, and is fenced before another takes its
//! place. Start at [`Connector::connect`].

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use redis::Value as Reply;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::classify::Fault;
use super::command::{bytes_of, checked, checked_world};
use super::commands::Commands;
use super::memory::Memory;
use super::scripts;
use super::wire::{Exchange, Wire};
use crate::clock::SystemClock;
use crate::error::{ServerCode, WorldError};
use crate::settings::{RedisAddress, RedisSettings, RedisTarget};
use crate::sink::own::Peer;
use crate::tls;

/// An id that no connection has: killing it probes for the right to kill, and answers 0.
const NO_CLIENT: i64 = i64::MAX;

/// Makes connections by the settings.
#[derive(Debug)]
pub(super) struct Connector {
    settings: RedisSettings,
    clock: SystemClock,
}

/// A connection, and who it is at its server.
pub(super) struct Link {
    wire: Wire,
    /// Who it is. Id 0 where the server does not say (a proxy): such a connection cannot be fenced.
    pub(super) peer: Peer,
    /// True once a command stayed without an answer: it must be fenced, and is used no more.
    broken: Cell<bool>,
    timeout: Duration,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("peer", &self.peer).field("broken", &self.broken).finish_non_exhaustive()
    }
}

/// A new connection with what the server said about itself.
#[derive(Debug)]
pub(super) struct Greeted {
    pub(super) link: Link,
    /// Server time less local time, milliseconds.
    pub(super) clock_offset_ms: i64,
    /// False where the server refuses `CLIENT KILL`, or does not say who we are.
    pub(super) may_kill: bool,
}

impl Connector {
    pub(super) fn new(settings: RedisSettings, clock: SystemClock) -> Connector {
        Connector { settings, clock }
    }

    /// Connects to a node and introduces itself. Bounded by `connect_timeout`, the greeting by `timeout`.
    pub(super) async fn connect(&self, node: &str) -> Result<Greeted, WorldError> {
        match timeout(self.settings.connect_timeout, self.open(node)).await {
            Ok(Ok(wire)) => self.greet(node, wire).await,
            Ok(Err(_)) | Err(_) => Err(WorldError::Unreachable { node: node.to_owned() }),
        }
    }

    async fn open(&self, node: &str) -> io::Result<Wire> {
        let (host, port) = match &self.settings.target {
            RedisTarget::Single { address: RedisAddress::Unix(path), .. } => {
                return Ok(Wire::over(UnixStream::connect(path).await?));
            }
            RedisTarget::Single { address: RedisAddress::Tcp(host, port), .. } => (host.as_str(), *port),
            RedisTarget::Cluster(_) => split_address(node).ok_or(io::ErrorKind::InvalidInput)?,
        };
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.settings.tls else { return Ok(Wire::over(stream)) };
        // Certificates are read at each connect: they may have been renewed.
        let connector = tls::connector(tls).map_err(io::Error::other)?;
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok(Wire::over(connector.connect(name, stream).await?))
    }

    /// Logs in where the settings say so; how many commands that takes.
    fn log_in(&self, hello: &mut Commands) -> usize {
        if let Some(password) = &self.settings.password {
            let mut auth = redis::cmd("AUTH");
            if let Some(username) = &self.settings.username {
                auth.arg(username);
            }
            // An unreadable file is on its way to another content, or gone for good: the server judges.
            let now = password.expose_anew();
            hello.add(auth.arg(now.as_deref().unwrap_or(password.expose())));
        }
        if let RedisTarget::Single { database, .. } = &self.settings.target
            && *database != 0
        {
            hello.add(redis::cmd("SELECT").arg(*database));
        }
        hello.len()
    }

    async fn greet(&self, node: &str, wire: Wire) -> Result<Greeted, WorldError> {
        let mut hello = Commands::default();
        let logged_in = self.log_in(&mut hello);
        hello.add(&redis::cmd("TIME"));
        hello.add(redis::cmd("CLIENT").arg("INFO"));
        hello.add(redis::cmd("INFO").arg("server"));
        hello.add(redis::cmd("CLIENT").arg("KILL").arg("ID").arg(NO_CLIENT));
        scripts::load_all(&mut hello);
        let peer = Peer { run_id: String::new(), id: 0, addr: String::new() };
        let mut link = Link { wire, peer, broken: Cell::new(false), timeout: self.settings.timeout };
        let sent_ms = self.clock.now().unix_ms;
        let unreachable = || WorldError::Unreachable { node: node.to_owned() };
        // A server that hangs still takes connections, by its kernel: somebody else may serve in its place by now.
        let silent = |error| match error {
            WorldError::Timeout | WorldError::Disconnected => unreachable(),
            error => error,
        };
        let replies = link.send(hello).await.map_err(silent)?;
        let (account, replies) = replies.split_at(logged_in.min(replies.len()));
        for reply in account {
            checked(reply).map_err(|fault| match fault {
                Fault::World(error) => error,
                // A password where the server wants none, a database that it does not have.
                _ if self.settings.password.is_some() => WorldError::NotNow { code: ServerCode::Auth },
                _ => unreachable(),
            })?;
        }
        let clock_offset_ms = match replies.first().map(checked_world) {
            Some(Ok(time)) => clock_offset(time, sent_ms, self.clock.now().unix_ms).unwrap_or(0),
            Some(Err(WorldError::Protocol)) | None => 0,
            Some(Err(error)) => return Err(error),
        };
        if let Some(info) = replies.get(1).and_then(bytes_of) {
            let info = String::from_utf8_lossy(info);
            link.peer.id = field(&info, ' ', "id=").and_then(|id| id.parse().ok()).unwrap_or(0);
            link.peer.addr = field(&info, ' ', "addr=").unwrap_or_default().to_owned();
        }
        if let Some(info) = replies.get(2).and_then(bytes_of) {
            let info = String::from_utf8_lossy(info);
            link.peer.run_id = field(&info, '\n', "run_id:").unwrap_or_default().trim().to_owned();
        }
        let may_kill = matches!(replies.get(3), Some(Reply::Int(_))) && link.peer.id != 0;
        for loaded in replies.iter().skip(4) {
            checked_world(loaded)?;
        }
        Ok(Greeted { link, clock_offset_ms, may_kill })
    }
}

impl Link {
    /// Sends commands (at least one) and waits for all of their replies, one per command.
    ///
    /// Whatever ends it early — the limit, a broken connection, the caller dropping this future — leaves the
    /// connection broken: what was sent may still land.
    pub(super) async fn send(&self, commands: Commands) -> Result<Vec<Reply>, WorldError> {
        self.exchange(commands.into()).await.map(|answered| answered.replies)
    }

    /// The same, giving the commands back with their replies.
    pub(super) async fn exchange(&self, exchange: Exchange) -> Result<Exchange, WorldError> {
        let unanswered = Unanswered(&self.broken);
        let answered =
            timeout(self.timeout, self.wire.send(exchange)).await.unwrap_or(Err(WorldError::Timeout))?;
        std::mem::forget(unanswered);
        Ok(answered)
    }

    /// True once a command stayed without an answer.
    pub(super) fn broken(&self) -> bool {
        self.broken.get()
    }

    /// Gives the connection up.
    pub(super) fn give_up(&self) {
        self.broken.set(true);
    }
}

/// Marks the connection broken unless it is forgotten.
struct Unanswered<'a>(&'a Cell<bool>);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

/// One master: its connection, and what is known about it.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) address: String,
    link: RefCell<Option<Rc<Link>>>,
    /// Connections to be killed before anything else is sent here: our own that were lost with commands
    /// unanswered, and those of former owners that could not be killed yet.
    suspects: RefCell<Vec<Peer>>,
    /// Held while connecting, so that lanes share one attempt.
    gate: tokio::sync::Mutex<()>,
    clock_offset_ms: Cell<i64>,
    may_kill: Cell<bool>,
    fenced_count: Cell<u64>,
    /// What it last said about its memory, while a refill runs.
    memory: Cell<Option<Memory>>,
    /// Keys that it had evicted by the first look.
    evicted_before: Cell<Option<u64>>,
}

impl Node {
    pub(super) fn new(address: &str) -> Node {
        Node {
            address: address.to_owned(),
            link: RefCell::new(None),
            suspects: RefCell::new(Vec::new()),
            gate: tokio::sync::Mutex::new(()),
            clock_offset_ms: Cell::new(0),
            may_kill: Cell::new(true),
            fenced_count: Cell::new(0),
            memory: Cell::new(None),
            evicted_before: Cell::new(None),
        }
    }

    /// Server time less local time, milliseconds.
    pub(super) fn clock_offset_ms(&self) -> i64 {
        self.clock_offset_ms.get()
    }

    /// Takes in what it says about its memory.
    pub(super) fn remembers(&self, memory: Option<Memory>) {
        if let Some(memory) = memory {
            self.evicted_before.set(Some(self.evicted_before.get().unwrap_or(memory.evicted)));
        }
        self.memory.set(memory);
    }

    /// No refill runs: the next one looks anew.
    pub(super) fn forgets_memory(&self) {
        self.memory.set(None);
        self.evicted_before.set(None);
    }

    /// True where it has no room for history.
    pub(super) fn is_full(&self, share: f64) -> bool {
        let evicted = self.evicted_before.get().unwrap_or(u64::MAX);
        self.memory.get().is_some_and(|memory| memory.is_full(share, evicted))
    }

    /// False once the server refused `CLIENT KILL`.
    pub(super) fn may_kill(&self) -> bool {
        self.may_kill.get()
    }

    /// Connections that were fenced at this node.
    pub(super) fn fenced_count(&self) -> u64 {
        self.fenced_count.get()
    }

    /// The connection in use, if it is whole. A broken one becomes a suspect.
    pub(super) fn live(&self) -> Option<Rc<Link>> {
        let mut link = self.link.borrow_mut();
        if let Some(lost) = link.take_if(|link| link.broken()) {
            self.suspect(std::slice::from_ref(&lost.peer));
        }
        link.clone()
    }

    /// Kills these connections: now, or where that does not succeed, before anything else is sent here.
    pub(super) async fn fence(&self, peers: &[Peer]) {
        let killed = match self.live() {
            Some(link) => self.kill(&link, peers).await.is_ok(),
            None => false,
        };
        if !killed {
            self.suspect(peers);
        }
    }

    fn suspect(&self, peers: &[Peer]) {
        let mut suspects = self.suspects.borrow_mut();
        for peer in peers {
            if !suspects.contains(peer) {
                suspects.push(peer.clone());
            }
        }
    }

    /// The connection; where there is none, connects anew and kills the suspects first.
    pub(super) async fn link(&self, connector: &Connector) -> Result<Rc<Link>, WorldError> {
        if let Some(link) = self.live() {
            return Ok(link);
        }
        let _gate = self.gate.lock().await;
        if let Some(link) = self.live() {
            return Ok(link);
        }
        let greeted = connector.connect(&self.address).await?;
        self.clock_offset_ms.set(greeted.clock_offset_ms);
        self.may_kill.set(greeted.may_kill);
        let link = Rc::new(greeted.link);
        let suspects = self.suspects.borrow().clone();
        self.kill(&link, &suspects).await?;
        // Only those: another lane's take-over may have added some meanwhile.
        self.suspects.borrow_mut().retain(|suspect| !suspects.contains(suspect));
        *self.link.borrow_mut() = Some(Rc::clone(&link));
        Ok(link)
    }

    /// Kills these connections, over a connection to their server. Those of another server process ended
    /// with it, and our own is passed over: what it carries is in order.
    ///
    /// `CLIENT KILL` frees the other connection before it answers, so nothing of it lands afterwards
    /// (`freeClient` in Redis's networking.c). By id *and* address: ids start again with the server.
    async fn kill(&self, link: &Link, peers: &[Peer]) -> Result<(), WorldError> {
        let mut commands = Commands::default();
        for peer in peers.iter().filter(|peer| peer.run_id == link.peer.run_id && **peer != link.peer) {
            commands.add(redis::cmd("CLIENT").arg("KILL").arg("ID").arg(peer.id).arg("ADDR").arg(&peer.addr));
        }
        if commands.is_empty() || !self.may_kill.get() {
            return Ok(());
        }
        for reply in link.send(commands).await? {
            match checked(&reply) {
                Ok(_) => self.fenced_count.set(self.fenced_count.get().saturating_add(1)),
                // Refused, or "No such client" from a server of the old form.
                Err(Fault::Refused(_)) => {}
                Err(Fault::World(WorldError::NotNow { code: ServerCode::NoPermission })) => {
                    self.may_kill.set(false);
                }
                Err(Fault::World(error)) => return Err(error),
                Err(Fault::Moved { .. } | Fault::Ask { .. }) => return Err(WorldError::Protocol),
            }
        }
        Ok(())
    }

    /// Takes a new measure of the server's clock. It counts only where it differs by more than the time that
    /// the answer took can explain, so that the expiry of a resend stays what it was.
    pub(super) fn measure_clock(&self, time: &Reply, sent_ms: i64, answered_ms: i64) {
        const NOISE_MS: i64 = 50;
        if let Some(measured) = clock_offset(time, sent_ms, answered_ms) {
            let doubt = answered_ms.saturating_sub(sent_ms).saturating_add(NOISE_MS);
            if measured.saturating_sub(self.clock_offset_ms.get()).saturating_abs() > doubt {
                self.clock_offset_ms.set(measured);
            }
        }
    }
}

/// Server time less local time, taken half way between sending and answer.
fn clock_offset(time: &Reply, sent_ms: i64, answered_ms: i64) -> Option<i64> {
    let Reply::Array(parts) = time else { return None };
    let number = |index: usize| -> Option<i64> {
        std::str::from_utf8(bytes_of(parts.get(index)?)?).ok()?.parse().ok()
    };
    let server_ms = number(0)?.checked_mul(1000)?.checked_add(number(1)? / 1000)?;
    let local_ms = sent_ms.checked_add(answered_ms.checked_sub(sent_ms)? / 2)?;
    server_ms.checked_sub(local_ms)
}

/// Splits `host:port`; the host may be an IPv6 address, with or without brackets.
pub(super) fn split_address(node: &str) -> Option<(&str, u16)> {
    let (host, port) = node.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some((host, port.parse().ok()?))
}

/// What follows `name` in a list of `name value` fields.
fn field<'a>(info: &'a str, separator: char, name: &str) -> Option<&'a str> {
    info.split(separator).find_map(|part| part.trim().strip_prefix(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_split_at_the_last_colon() {
        assert_eq!(split_address("redis.example:6379"), Some(("redis.example", 6379)));
        assert_eq!(split_address("::1:6379"), Some(("::1", 6379)));
        assert_eq!(split_address("[::1]:6379"), Some(("::1", 6379)));
        for bad in ["redis", "redis:", "redis:99999"] {
            assert_eq!(split_address(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_clock_offset_is_taken_half_way_and_moves_only_past_doubt() {
        let time = |ms: i64| {
            let part = |number: i64| Reply::BulkString(number.to_string().into_bytes());
            Reply::Array(vec![part(ms / 1000), part(ms % 1000 * 1000)])
        };
        assert_eq!(clock_offset(&time(10_500), 9_000, 9_200), Some(1_400));
        assert_eq!(clock_offset(&Reply::Nil, 0, 0), None);

        let node = Node::new("h:1");
        node.measure_clock(&time(10_500), 9_000, 9_200);
        assert_eq!(node.clock_offset_ms(), 1_400);
        node.measure_clock(&time(10_600), 9_000, 9_200);
        assert_eq!(node.clock_offset_ms(), 1_400, "within doubt");
        node.measure_clock(&time(13_000), 9_000, 9_010);
        assert_eq!(node.clock_offset_ms(), 3_995);
    }
}
