//! Many clusters: which there are ([`inventory`], [`list`]), judging them in one process ([`engine`]), and what is said of all of them
//! together ([`overview`]).

pub mod engine;
pub mod inventory;
pub mod list;
pub mod overview;

pub use crate::model::Shard;

/// Where [`Shard`] was first.
pub mod shard {
    pub use crate::model::Shard;
}
