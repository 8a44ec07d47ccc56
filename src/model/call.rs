//! The record of every call a run makes: what `-v` prints, what saved facts carry, and what `policy` is tested against.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::model::Observed;

/// One call and its answer, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// `iam:GetRole AWSServiceRoleForEC2Spot`, `get configmaps/aws-auth in kube-system`.
    pub call: String,
    /// `found`, `absent`, `3 items`, or why it could not be read.
    pub answer: String,
}

/// The record, shared by everything that reads. Calls appear in the order in which they were answered.
#[derive(Debug, Clone, Default)]
pub struct Calls(Arc<Mutex<Vec<Call>>>);

impl Calls {
    /// Writes one call down.
    pub fn record(&self, call: &str, answer: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Call {
            call: call.to_owned(),
            answer: answer.into(),
        });
    }

    /// Writes one call down with what it observed.
    pub fn observed<T>(&self, call: &str, observed: &Observed<T>) {
        let answer = match observed {
            Observed::Known(_) => "found".to_owned(),
            Observed::Absent => "absent".to_owned(),
            Observed::Unknown(unknown) => unknown.to_string(),
        };
        self.record(call, answer);
    }

    /// Everything recorded so far, sorted, so that two runs that saw the same give the same record.
    pub fn sorted(&self) -> Vec<Call> {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        calls.sort_by(|a, b| (&a.call, &a.answer).cmp(&(&b.call, &b.answer)));
        calls
    }
}
