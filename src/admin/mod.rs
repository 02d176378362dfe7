//! What operators ask a running process: metrics, health, readiness, status.
//!
//! The engine counts through [`metrics`] and keeps a [`Status`] current; everything shown is read from those
//! two. Start at [`serve`].

mod alarm;
mod http;
pub mod metrics;
mod ready;
mod status;

pub use self::alarm::{Alarm, GUARD_HINT, alarms};
pub use self::http::{Admin, AdminError, serve};
pub use self::ready::{POLL_SILENCE_MAX, Reason, liveness, readiness};
pub use self::status::{
    DependencyStatus, GuardStatus, LaneState, LaneStatus, RedisStatus, RefillStatus, Snapshot, Status,
    VerifyStatus,
};
