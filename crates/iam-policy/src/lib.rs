//! IAM policy documents: read as IAM reads them, judged in three values. Pure.

/// ARNs, partitions and role names.
pub mod arn;
/// Condition operators.
pub mod condition;
/// Policy documents.
pub mod document;
/// Three-valued logic.
pub mod kleene;
