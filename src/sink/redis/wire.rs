//! One connection's bytes: what is sent goes out in the order in which it was given, and each command gets its reply.
//!
//! A task of its own for each connection, for as long as somebody can send over it. Commands are written from the
//! buffer that they were made in, and the replies that nearly every command gets (`+OK`, a number) are read without
//! allocating; all others by the client library. Nothing is sent twice, and nothing is known of what a command means.
//! RESP2: <https://redis.io/docs/latest/develop/reference/protocol-spec/>. Start at [`Wire::send`].

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use redis::Value as Reply;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, oneshot};

use super::command::checked_world;
use super::commands::Commands;
use crate::error::WorldError;

/// Requests that wait to be taken; each lane has one at most.
const REQUESTS_MAX: usize = 256;
/// Bytes that are read at a time.
const INPUT_BYTES: usize = 64 << 10;
/// Digits of a length, sign included: Redis's own bound is 512 MiB.
const LENGTH_DIGITS_MAX: usize = 20;
/// Bytes of a string; Redis's own bound is 512 MiB unless it is told otherwise.
const STRING_BYTES_MAX: usize = 1 << 32;
/// Values that the members of one reply may come to; far above what any command asks for.
const OPEN_MAX: usize = 1 << 24;

/// Commands, and once they were answered their replies, one per command. Both may be filled again.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    pub(super) commands: Commands,
    pub(super) replies: Vec<Reply>,
}

impl From<Commands> for Exchange {
    fn from(commands: Commands) -> Exchange {
        Exchange { commands, replies: Vec::new() }
    }
}

/// The end of a connection that commands are given to. Dropping it closes the connection.
#[derive(Debug)]
pub(super) struct Wire {
    requests: mpsc::Sender<Request>,
}

#[derive(Debug)]
struct Request {
    exchange: Exchange,
    answer: oneshot::Sender<Result<Exchange, WorldError>>,
}

impl Wire {
    /// Takes a connected stream over, on the runtime that this is called in.
    pub(super) fn over<S>(stream: S) -> Wire
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let carrier = Carrier {
            stream,
            requests,
            unsent: VecDeque::new(),
            written: 0,
            is_flushed: true,
            unanswered: VecDeque::new(),
            input: Input::default(),
        };
        #[expect(clippy::disallowed_methods, reason = "whoever waits for an answer hears its errors")]
        tokio::spawn(carrier);
        Wire { requests: sender }
    }

    /// Sends the commands behind all that were given before, and waits for their replies.
    ///
    /// # Errors
    /// `Disconnected`: what was sent may have been carried out, or not. `Protocol`: what came is no reply, and the
    /// connection is closed.
    pub(super) async fn send(&self, mut exchange: Exchange) -> Result<Exchange, WorldError> {
        let (answer, answered) = oneshot::channel();
        exchange.replies.clear();
        exchange.replies.reserve(exchange.commands.len());
        self.requests.send(Request { exchange, answer }).await.map_err(|_| WorldError::Disconnected)?;
        answered.await.unwrap_or(Err(WorldError::Disconnected))
    }
}

/// Carries commands and replies. Ends with the connection, or with its [`Wire`].
struct Carrier<S> {
    stream: S,
    requests: mpsc::Receiver<Request>,
    /// Not sent, or the first of them only in part.
    unsent: VecDeque<Request>,
    /// Bytes of the first one that are sent.
    written: usize,
    /// False where the stream may hold bytes back.
    is_flushed: bool,
    unanswered: VecDeque<Request>,
    input: Input,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Carrier<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        while let Poll::Ready(request) = this.requests.poll_recv(cx) {
            match request {
                Some(request) => this.unsent.push_back(request),
                // Nobody waits for an answer any more.
                None => return Poll::Ready(()),
            }
        }
        // Read also where nothing can be written any more: the server may have said why.
        let written = this.write(cx);
        match this.read(cx).and(written) {
            Ok(()) => Poll::Pending,
            Err(error) => {
                this.end(error);
                Poll::Ready(())
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Carrier<S> {
    /// Tells whoever waits first why it is over, as far as that is known; all others see their channel closed.
    fn end(&mut self, error: WorldError) {
        let Some(Request { exchange, answer }) =
            self.unanswered.pop_front().or_else(|| self.unsent.pop_front())
        else {
            return;
        };
        let told = exchange.replies.last().and_then(|reply| checked_world(reply).err());
        let error = match (error, told) {
            // It takes no more clients, say, and closes behind that.
            (WorldError::Disconnected, Some(told)) => told,
            (error, _) => error,
        };
        // Whoever waited may be gone.
        let _ = answer.send(Err(error));
    }

    /// Writes what the stream takes.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), WorldError> {
        while let Some(request) = self.unsent.front() {
            let rest = request.exchange.commands.as_bytes().get(self.written..).unwrap_or_default();
            if rest.is_empty() {
                self.written = 0;
                self.unanswered.extend(self.unsent.pop_front());
                continue;
            }
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Err(WorldError::Disconnected),
                Poll::Ready(Ok(count)) => {
                    self.written += count;
                    self.is_flushed = false;
                }
                Poll::Ready(Err(_)) => return Err(WorldError::Disconnected),
                Poll::Pending => return Ok(()),
            }
        }
        if !self.is_flushed {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(flushed) => {
                    flushed.map_err(|_| WorldError::Disconnected)?;
                    self.is_flushed = true;
                }
                Poll::Pending => {}
            }
        }
        Ok(())
    }

    /// Reads until the stream has nothing more, and hands out every answer that is whole.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), WorldError> {
        while let Poll::Ready(count) = self.input.fill(&mut self.stream, cx) {
            if count.unwrap_or(0) == 0 {
                return Err(WorldError::Disconnected);
            }
            while let Some(reply) = self.input.next().map_err(|NoReply| WorldError::Protocol)? {
                self.take(reply)?;
            }
        }
        Ok(())
    }

    /// Gives a reply to whom it is for. Of a long request the first replies come while its last commands are still
    /// to be written.
    fn take(&mut self, reply: Reply) -> Result<(), WorldError> {
        let waiting = self.unanswered.front_mut().or(self.unsent.front_mut());
        let Some(Request { exchange, .. }) = waiting else { return Err(WorldError::Protocol) };
        exchange.replies.push(reply);
        if exchange.replies.len() < exchange.commands.len() {
            return Ok(());
        }
        // Not one that is not even written.
        let Request { exchange, answer } = self.unanswered.pop_front().ok_or(WorldError::Protocol)?;
        // Whoever waited may be gone: the replies of others come behind.
        let _ = answer.send(Ok(exchange));
        Ok(())
    }
}

/// Bytes that are no reply.
#[derive(Debug, PartialEq, Eq)]
struct NoReply;

/// What was received and not yet taken as replies.
#[derive(Debug, Default)]
struct Input {
    bytes: Vec<u8>,
    /// Received up to here.
    filled: usize,
    /// Taken up to here.
    taken: usize,
    /// Of the reply at hand: bytes that were looked at, and values that are not there yet.
    looked_at: usize,
    open: usize,
}

impl Input {
    /// Receives some bytes; how many.
    fn fill<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.taken == self.filled {
            (self.taken, self.filled) = (0, 0);
            // One large answer is not what all others need.
            if self.bytes.len() > INPUT_BYTES {
                self.bytes = Vec::new();
            }
        } else if self.filled == self.bytes.len() && self.taken > 0 {
            self.bytes.copy_within(self.taken..self.filled, 0);
            (self.filled, self.taken) = (self.filled - self.taken, 0);
        }
        if self.filled == self.bytes.len() {
            self.bytes.resize((self.bytes.len() * 2).max(INPUT_BYTES), 0);
        }
        let mut room = ReadBuf::new(self.bytes.get_mut(self.filled..).unwrap_or_default());
        Pin::new(stream).poll_read(cx, &mut room).map_ok(|()| {
            let count = room.filled().len();
            self.filled += count;
            count
        })
    }

    /// The next reply; `None` where more bytes are needed.
    fn next(&mut self) -> Result<Option<Reply>, NoReply> {
        let bytes = self.bytes.get(self.taken..self.filled).unwrap_or_default();
        if self.looked_at == 0 {
            self.open = 1;
            if bytes.starts_with(b"+OK\r\n") {
                self.taken += 5;
                return Ok(Some(Reply::Okay));
            }
        }
        while self.open > 0 {
            match value_at(bytes, self.looked_at)? {
                Some((end, members)) => {
                    self.looked_at = end;
                    self.open = self.open - 1 + members;
                    if self.open > OPEN_MAX {
                        return Err(NoReply);
                    }
                }
                None => return Ok(None),
            }
        }
        let whole = bytes.get(..self.looked_at).unwrap_or_default();
        let reply = match whole {
            [b':', number @ .., b'\r', b'\n'] => Reply::Int(number_of(number)?),
            _ => redis::parse_redis_value(whole).map_err(|_| NoReply)?,
        };
        self.taken += self.looked_at;
        self.looked_at = 0;
        Ok(Some(reply))
    }
}

/// Where the value at that place ends, and how many values follow as its members; `None` where more bytes are needed.
fn value_at(bytes: &[u8], at: usize) -> Result<Option<(usize, usize)>, NoReply> {
    let rest = bytes.get(at..).unwrap_or_default();
    let Some(line) = memchr::memchr(b'\n', rest) else { return Ok(None) };
    let behind = at + line + 1;
    let Some([kind, text @ .., b'\r']) = rest.get(..line) else { return Err(NoReply) };
    match kind {
        b'+' | b'-' | b':' => Ok(Some((behind, 0))),
        // A negative length is a null.
        b'$' => match usize::try_from(number_of(text)?) {
            Ok(length) => {
                let end = behind + length.min(STRING_BYTES_MAX) + 2;
                if length > STRING_BYTES_MAX {
                    Err(NoReply)
                } else {
                    Ok((bytes.len() >= end).then_some((end, 0)))
                }
            }
            Err(_) => Ok(Some((behind, 0))),
        },
        b'*' => Ok(Some((behind, usize::try_from(number_of(text)?).unwrap_or(0)))),
        _ => Err(NoReply),
    }
}

fn number_of(text: &[u8]) -> Result<i64, NoReply> {
    if text.len() > LENGTH_DIGITS_MAX {
        return Err(NoReply);
    }
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(NoReply)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::error::ServerCode;

    const REPLIES: &[u8] = b"+OK\r\n:42\r\n:-1\r\n$-1\r\n$0\r\n\r\n$4\r\na\r\nb\r\n*-1\r\n*0\r\n\
        *2\r\n$1\r\nx\r\n*1\r\n:7\r\n+QUEUED\r\n-MOVED 1 h:1\r\n-ERR it's no use\r\n+OK\r\n";

    fn replies(chunk_bytes: usize) -> Vec<Reply> {
        let (mut input, mut found) = (Input::default(), Vec::new());
        for chunk in REPLIES.chunks(chunk_bytes) {
            input.bytes.truncate(input.filled);
            input.bytes.extend_from_slice(chunk);
            input.filled += chunk.len();
            while let Some(reply) = input.next().unwrap() {
                found.push(reply);
            }
        }
        assert_eq!(input.taken, input.filled, "nothing is left over");
        found
    }

    #[test]
    fn replies_are_the_same_however_they_are_cut() {
        let whole = replies(REPLIES.len());
        assert_eq!(whole.len(), 13);
        assert!(matches!(whole.get(10), Some(Reply::ServerError(error)) if error.code() == "MOVED"));
        let nested = Reply::Array(vec![Reply::Int(7)]);
        assert_eq!(whole.get(8), Some(&Reply::Array(vec![Reply::BulkString(b"x".to_vec()), nested])));
        for chunk_bytes in 1..12 {
            assert_eq!(replies(chunk_bytes), whole, "{chunk_bytes}");
        }
    }

    #[test]
    fn what_is_no_reply_is_told_and_never_waited_for() {
        for broken in [
            "OK\r\n",
            "+OK\n",
            "$x\r\n",
            ":\r\n",
            ":1x\r\n",
            "*99999999\r\n",
            "$9223372036854775807\r\n",
            "*99999999999999999999999\r\n",
        ] {
            let bytes = broken.as_bytes().to_vec();
            let mut input = Input { filled: bytes.len(), bytes, ..Input::default() };
            assert_eq!(input.next(), Err(NoReply), "{broken}");
        }
    }

    fn pings(count: usize) -> Exchange {
        let mut commands = Commands::default();
        (0..count).for_each(|_| commands.add(&redis::cmd("PING")));
        commands.into()
    }

    #[tokio::test]
    async fn each_sender_gets_its_own_replies_in_the_order_of_sending() {
        let (near, mut far) = tokio::io::duplex(8);
        let wire = Wire::over(near);
        let server = async {
            let mut asked = vec![0; pings(3).commands.as_bytes().len()];
            far.read_exact(&mut asked).await.unwrap();
            far.write_all(b":1\r\n:2\r\n:3\r\n").await.unwrap();
        };
        let (one, two, ()) = tokio::join!(wire.send(pings(1)), wire.send(pings(2)), server);
        assert_eq!(one.unwrap().replies, [Reply::Int(1)]);
        assert_eq!(two.unwrap().replies, [Reply::Int(2), Reply::Int(3)]);
    }

    #[tokio::test]
    async fn replies_are_taken_while_the_rest_is_still_on_its_way() {
        let (near, mut far) = tokio::io::duplex(64);
        let wire = Wire::over(near);
        let server = async {
            let mut asked = vec![0; pings(1).commands.as_bytes().len()];
            for _ in 0..1_000 {
                far.read_exact(&mut asked).await.unwrap();
                far.write_all(b"+PONG\r\n").await.unwrap();
            }
        };
        let (answered, ()) = tokio::join!(wire.send(pings(1_000)), server);
        assert_eq!(answered.unwrap().replies.len(), 1_000);
    }

    #[tokio::test]
    async fn a_sender_that_gave_up_takes_no_reply_of_another_one() {
        let (near, mut far) = tokio::io::duplex(1024);
        let wire = Wire::over(near);
        let given_up = tokio::time::timeout(Duration::from_millis(1), wire.send(pings(2))).await;
        assert!(given_up.is_err());
        let server = async { far.write_all(b":1\r\n:2\r\n:3\r\n").await.unwrap() };
        let (answered, ()) = tokio::join!(wire.send(pings(1)), server);
        assert_eq!(answered.unwrap().replies, [Reply::Int(3)]);
    }

    #[tokio::test]
    async fn a_connection_that_closes_or_says_what_is_no_reply_fails_all_that_wait() {
        let refused = WorldError::NotNow { code: ServerCode::MaxClients };
        for (said, expected) in [
            ("", WorldError::Disconnected),
            ("what?\r\n", WorldError::Protocol),
            ("-ERR max number of clients reached\r\n", refused),
        ] {
            let (near, mut far) = tokio::io::duplex(1024);
            let wire = Wire::over(near);
            let server = async move {
                far.write_all(said.as_bytes()).await.unwrap();
                drop(far);
            };
            let (one, two, ()) = tokio::join!(wire.send(pings(2)), wire.send(pings(1)), server);
            assert_eq!(one.unwrap_err(), expected);
            assert_eq!(two.unwrap_err(), WorldError::Disconnected);
            assert_eq!(wire.send(pings(1)).await.unwrap_err(), WorldError::Disconnected);
        }
    }
}
