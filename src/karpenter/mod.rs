//! Karpenter: its objects, its requirement algebra, the traces of failed launches, its controller's identity.
//!
//! Everything here is pure. The objects are read from the JSON that the API server (or a manifest) gives, are
//! plain values that can be saved and loaded, and are judged without any I/O.

mod json;

pub mod identity;
pub mod instances;
pub mod nodepools_file;
pub mod objects;
pub mod requirements;
pub mod traces;

pub use json::BrokenObject;

/// Texts in messages that decide a finding. Where a message is too long to keep, the part around one of these is kept.
pub(crate) const MARKERS: [&str; 3] = [
    "ServiceLinkedRoleCreationNotPermitted",
    "MaxSpotInstanceCountExceeded",
    "UnauthorizedOperation",
];
