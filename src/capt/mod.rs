//! CAPT WorkspaceTemplates: does the NodePool wait for the role?
//!
//! ```text
//! file ── source ──> modules ── hcl ──> graph ── pools, role ──> facts ── check ──> report
//!           (yaml)   manifests ───────────────── pools ────────────┘  └── patch ──> the fixed file
//! ```
pub mod beside;
pub mod check;
pub mod hcl;
mod module;
pub mod patch;
pub mod placeholder;
pub mod pools;
pub mod report;
pub mod role;
pub mod source;
pub mod yaml;

#[cfg(test)]
mod tests;
