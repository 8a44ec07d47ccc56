//! Many clusters: which there are ([`inventory`], [`list`]), judging them in one process ([`engine`]), what is said of all of them
//! together ([`overview`]), and the results of shards put together ([`merge`]).

pub mod engine;
pub mod inventory;
pub mod list;
pub mod merge;
pub mod overview;

pub use crate::model::Shard;
