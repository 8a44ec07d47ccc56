//! Many clusters: which there are ([`inventory`]), and the results of shards put together ([`merge`]).

pub mod inventory;
pub mod merge;

pub use crate::model::Shard;

/// Where [`Shard`] was first.
pub mod shard {
    pub use crate::model::Shard;
}
