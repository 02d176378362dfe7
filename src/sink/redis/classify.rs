//! What an error of the server means: text in, one of our words out. What is then *done* about it is
//! [`crate::retry`]'s to say.
//!
//! By the code's text, since the client library knows only some of the codes (it calls `OOM`, `MISCONF`,
//! `NOREPLICAS`, `NOAUTH`, `WRONGPASS` and `BUSY` extensions and would never retry them).

use crate::batch::Refusal;
use crate::error::{ServerCode, WorldError};

/// What one error reply says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// Not now, or not here: the unit is not acknowledged.
    World(WorldError),
    /// The slot is served by that node from now on.
    Moved {
        /// The slot.
        slot: u16,
        /// `host:port`; the host may be empty: the one that was asked.
        node: String,
    },
    /// This one command is to be sent to that node, after `ASKING`.
    Ask {
        /// `host:port`.
        node: String,
    },
    /// This command, for good.
    Refused(Refusal),
}

/// Classifies an error reply by its code (first word) and the rest of its text.
pub(super) fn classify(code: &str, detail: &str) -> Fault {
    if let Some(server_code) = not_now(code, detail) {
        return Fault::World(WorldError::NotNow { code: server_code });
    }
    match code {
        "MOVED" => match redirect(detail) {
            Some((slot, node)) => Fault::Moved { slot, node },
            None => Fault::World(WorldError::Protocol),
        },
        "ASK" => match redirect(detail) {
            Some((_, node)) => Fault::Ask { node },
            None => Fault::World(WorldError::Protocol),
        },
        "NOSCRIPT" => Fault::World(WorldError::NoScript),
        "WRONGTYPE" => Fault::Refused(Refusal::WrongType),
        // Before Redis 7 an error inside a script came wrapped, its own code within the text.
        "ERR" if detail.contains("rror running script") => inside_script(detail),
        "ERR" if detail.starts_with("string exceeds maximum allowed size") => {
            Fault::Refused(Refusal::TooLarge)
        }
        _ => Fault::Refused(Refusal::Command),
    }
}

/// The codes that say "not now". <https://redis.io/docs/latest/develop/reference/protocol-spec/> names no
/// list; these are those of Redis 7.0 to 8.4, from its sources.
fn not_now(code: &str, detail: &str) -> Option<ServerCode> {
    Some(match code {
        "LOADING" => ServerCode::Loading,
        "READONLY" => ServerCode::ReadOnly,
        "CLUSTERDOWN" => ServerCode::ClusterDown,
        "MASTERDOWN" => ServerCode::MasterDown,
        "OOM" => ServerCode::OutOfMemory,
        "MISCONF" => ServerCode::Misconf,
        "NOREPLICAS" => ServerCode::NoReplicas,
        "BUSY" => ServerCode::Busy,
        "NOAUTH" | "WRONGPASS" => ServerCode::Auth,
        "NOPERM" => ServerCode::NoPermission,
        "TRYAGAIN" => ServerCode::TryAgain,
        "ERR" if detail.starts_with("max number of clients") => ServerCode::MaxClients,
        "ERR" if detail.starts_with("invalid password") => ServerCode::Auth,
        _ => return None,
    })
}

fn inside_script(detail: &str) -> Fault {
    let inner = detail.split(|letter: char| !letter.is_ascii_uppercase()).find_map(|word| match word {
        "WRONGTYPE" => Some(Fault::Refused(Refusal::WrongType)),
        "ERR" => None,
        word => not_now(word, "").map(|code| Fault::World(WorldError::NotNow { code })),
    });
    inner.unwrap_or(Fault::Refused(Refusal::Command))
}

/// Reads `<slot> <host>:<port>`.
fn redirect(detail: &str) -> Option<(u16, String)> {
    let (slot, node) = detail.trim().split_once(' ')?;
    Some((slot.parse().ok()?, node.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_of_a_server_has_its_class() {
        let not_now = |code| Fault::World(WorldError::NotNow { code });
        let cases = [
            ("LOADING Redis is loading the dataset in memory", not_now(ServerCode::Loading)),
            ("READONLY You can't write against a read only replica.", not_now(ServerCode::ReadOnly)),
            ("CLUSTERDOWN Hash slot not served", not_now(ServerCode::ClusterDown)),
            ("MASTERDOWN Link with MASTER is down", not_now(ServerCode::MasterDown)),
            ("OOM command not allowed when used memory > 'maxmemory'.", not_now(ServerCode::OutOfMemory)),
            ("MISCONF Redis is configured to save RDB snapshots", not_now(ServerCode::Misconf)),
            ("NOREPLICAS Not enough good replicas to write.", not_now(ServerCode::NoReplicas)),
            ("BUSY Redis is busy running a script.", not_now(ServerCode::Busy)),
            ("NOAUTH Authentication required.", not_now(ServerCode::Auth)),
            ("WRONGPASS invalid username-password pair", not_now(ServerCode::Auth)),
            ("NOPERM User x has no permissions to run the 'set' command", not_now(ServerCode::NoPermission)),
            ("ERR max number of clients reached", not_now(ServerCode::MaxClients)),
            ("TRYAGAIN Multiple keys request during rehashing of slot", not_now(ServerCode::TryAgain)),
            ("MOVED 3999 127.0.0.1:6381", Fault::Moved { slot: 3999, node: "127.0.0.1:6381".into() }),
            ("MOVED 3999 :6381", Fault::Moved { slot: 3999, node: ":6381".into() }),
            ("MOVED x", Fault::World(WorldError::Protocol)),
            ("ASK 3999 ::1:6381", Fault::Ask { node: "::1:6381".into() }),
            ("NOSCRIPT No matching script.", Fault::World(WorldError::NoScript)),
            ("WRONGTYPE Operation against a key", Fault::Refused(Refusal::WrongType)),
            (
                "ERR Error running script (call to f_1): @user_script:3: WRONGTYPE Operation",
                Fault::Refused(Refusal::WrongType),
            ),
            (
                "ERR Error running script (call to f_1): @user_script:3: @user_script: 3: -OOM command",
                not_now(ServerCode::OutOfMemory),
            ),
            (
                "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
                Fault::Refused(Refusal::TooLarge),
            ),
            ("ERR unknown command 'UNLINK'", Fault::Refused(Refusal::Command)),
            ("CROSSSLOT Keys in request don't hash to the same slot", Fault::Refused(Refusal::Command)),
        ];
        for (line, expected) in cases {
            let (code, detail) = line.split_once(' ').unwrap_or((line, ""));
            assert_eq!(classify(code, detail), expected, "{line}");
        }
    }
}
