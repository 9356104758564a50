//! One file a verb.

pub(crate) mod bench;
pub(crate) mod consume;
pub(crate) mod dead;
pub(crate) mod object;
pub(crate) mod peek;
pub(crate) mod publish;
pub(crate) mod work;
