//! One file a verb.

pub(crate) mod bench;
pub(crate) mod consume;
pub(crate) mod cron;
pub(crate) mod dead;
pub(crate) mod explain;
pub(crate) mod job;
mod object;
pub(crate) mod peek;
pub(crate) mod publish;
pub(crate) mod queue;
pub(crate) mod salvage;
pub(crate) mod settle;
pub(crate) mod sub;
pub(crate) mod topic;
pub(crate) mod work;
