//! Exit codes: what scripts rely on, and the README lists.

use std::process::ExitCode;

use crate::source::StopReason;

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: an unexpected failure; for `stoker test`, a case that differs.
    Failed,
    /// 2: bad usage or settings, or an input line that is no record.
    Usage,
    /// 3: a dependency could not be reached: at start with `--fail-fast`, or by `stoker check`.
    Unreachable,
    /// 4: Kafka ended the membership for good.
    Fenced,
    /// 5: the drain deadline passed at shutdown. Nothing is lost; the next start does some of it again.
    DrainDeadline,
    /// 6: stopped by the error policy.
    ErrorPolicy,
    /// 7: the job ended, and is not done: `refill` or `preload` ended early, `verify` found differences, `wait` gave up.
    Incomplete,
}

impl Exit {
    /// The number that the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
            Exit::Fenced => 4,
            Exit::DrainDeadline => 5,
            Exit::ErrorPolicy => 6,
            Exit::Incomplete => 7,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

impl From<&StopReason> for Exit {
    fn from(reason: &StopReason) -> Exit {
        match reason {
            StopReason::Signal => Exit::Done,
            StopReason::DrainDeadline => Exit::DrainDeadline,
            StopReason::ErrorPolicy { .. } => Exit::ErrorPolicy,
            StopReason::Fenced { .. } => Exit::Fenced,
            StopReason::Failed { .. } => Exit::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stop_reason_has_its_documented_code() {
        let detail = String::new();
        let cases = [
            (StopReason::Signal, 0),
            (StopReason::Failed { detail: detail.clone() }, 1),
            (StopReason::Fenced { detail: detail.clone() }, 4),
            (StopReason::DrainDeadline, 5),
            (StopReason::ErrorPolicy { detail }, 6),
        ];
        for (reason, code) in cases {
            assert_eq!(Exit::from(&reason).code(), code, "{reason:?}");
        }
    }
}
