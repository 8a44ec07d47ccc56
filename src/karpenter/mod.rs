//! Karpenter: its objects, its requirement algebra, the traces of failed launches, its controller's identity.
//!
//! Everything here is pure. The objects are read from the JSON that the API server (or a manifest) gives, are
//! plain values that can be saved and loaded, and are judged without any I/O.

mod json;

pub(crate) mod identity;
pub(crate) mod instances;
pub(crate) mod launch_paths;
pub(crate) mod launch_requests;
pub(crate) mod nodepools_file;
pub mod objects;
pub mod requirements;
pub(crate) mod traces;

pub use json::BrokenObject;
