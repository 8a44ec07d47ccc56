#![doc = include_str!("../README.md")]

/// ARNs, partitions and role names.
pub mod arn;
/// Condition operators.
pub mod condition;
/// Policy documents.
pub mod document;
/// The evaluator.
pub mod evaluate;
/// Three-valued logic.
pub mod kleene;
/// Who asks, and whom an entry of `Principal` means.
pub mod principal;

#[cfg(test)]
mod tests;
