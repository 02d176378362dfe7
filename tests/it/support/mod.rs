//! What several tests need.

pub(crate) mod redis;
pub(crate) mod sink;
