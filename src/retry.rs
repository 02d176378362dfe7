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
