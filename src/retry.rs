//! The one table: an error of the world, and what is done about it. No other file decides to retry.

use crate::error::WorldError;

/// What is done about an error of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Send again after a short pause.
    Retry,
    /// Send again at once, to where the refreshed map points.
    Redirect,
    /// The connection is given up: fence it, connect anew, then send again.
    FenceAndResend,
    /// Wait with growing pauses, be not ready, say so once; nothing is sent meanwhile but probes.
    Pause,
    /// Give the lane up: somebody else owns it.
    GiveUp,
}

/// The table.
pub fn verdict(error: &WorldError) -> Verdict {
    match error {
        WorldError::Timeout | WorldError::Disconnected | WorldError::Protocol => Verdict::FenceAndResend,
        WorldError::Unreachable { .. } | WorldError::NotNow { .. } => Verdict::Pause,
        WorldError::Redirected => Verdict::Redirect,
        WorldError::NoScript => Verdict::Retry,
        WorldError::NotOwner => Verdict::GiveUp,
    }
}

/// The worse of two errors: the one whose verdict asks for more. What a batch reports when several were met.
pub fn worse(one: WorldError, other: WorldError) -> WorldError {
    if severity(&other) > severity(&one) { other } else { one }
}

fn severity(error: &WorldError) -> u8 {
    match verdict(error) {
        Verdict::Retry => 0,
        Verdict::Redirect => 1,
        Verdict::Pause => 2,
        Verdict::FenceAndResend => 3,
        Verdict::GiveUp => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ServerCode;

    #[test]
    fn each_error_of_the_world_has_its_verdict() {
        let not_now = |code| WorldError::NotNow { code };
        let cases = [
            (WorldError::NoScript, Verdict::Retry),
            (WorldError::Redirected, Verdict::Redirect),
            (not_now(ServerCode::OutOfMemory), Verdict::Pause),
            (not_now(ServerCode::NoPermission), Verdict::Pause),
            (WorldError::Unreachable { node: "h:1".into() }, Verdict::Pause),
            (WorldError::Timeout, Verdict::FenceAndResend),
            (WorldError::Disconnected, Verdict::FenceAndResend),
            (WorldError::Protocol, Verdict::FenceAndResend),
            (WorldError::NotOwner, Verdict::GiveUp),
        ];
        for (error, expected) in &cases {
            assert_eq!(verdict(error), *expected, "{error}");
        }
        for pair in cases.windows(2) {
            let [(milder, mild), (graver, grave)] = pair else { unreachable!() };
            if mild != grave {
                assert_eq!(worse(milder.clone(), graver.clone()), *graver);
                assert_eq!(worse(graver.clone(), milder.clone()), *graver);
            }
        }
    }
}
