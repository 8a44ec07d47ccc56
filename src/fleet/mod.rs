//! Many clusters: which there are ([`inventory`]), and which of them are judged here ([`shard`]).

pub mod inventory;
pub mod shard;
