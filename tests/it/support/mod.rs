//! What several tests need: real parts, processes under test, and ways to look at what they did.

pub(crate) mod broker;
pub(crate) mod cache;
pub(crate) mod captures;
pub(crate) mod command;
pub(crate) mod failover;
pub(crate) mod instance;
pub(crate) mod load;
pub(crate) mod redis;
pub(crate) mod rig;
pub(crate) mod scene;
pub(crate) mod sink;
pub(crate) mod tls;
pub(crate) mod topic;
pub(crate) mod typed_load;

pub(crate) use redis::wait_for;
