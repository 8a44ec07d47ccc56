//! The domain as plain types. Pure.

mod call;
mod cluster;
mod command;
mod credentials;
mod exit;
mod finding;
mod observed;
pub mod permission;
mod role;
mod shard;
mod target;

pub use call::{Call, Calls};
pub use cluster::{Caller, Cluster};
pub use command::{Command, CommandScope, argv};
pub use credentials::{Clues, CredentialSource};
pub use exit::Exit;
pub use finding::*;
pub use observed::*;
pub use role::*;
pub use shard::Shard;
pub use target::*;

/// The service-linked role's name, the same in every account.
pub const SPOT_ROLE: &str = "AWSServiceRoleForEC2Spot";
/// Its path.
pub const SPOT_ROLE_PATH: &str = "/aws-service-role/spot.amazonaws.com/";
