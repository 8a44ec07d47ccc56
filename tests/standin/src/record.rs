//! What was asked, in order. No token, secret or signature is kept.

use std::time::Duration;

use crate::fault::Fault;
use crate::kubernetes::Attributes;

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its place among all requests since the start.
    pub number: usize,
    /// `iam:GetRole`, `eks:DescribeCluster`, `kubernetes:list nodepools.karpenter.sh`, `kubernetes:get /version`
    pub action: String,
    /// The action with what it is about: `iam:GetRole demo-node`, `kubernetes:get configmaps kube-system/aws-auth`. Faults and
    /// changes are aimed by it.
    pub long: String,
    /// Its parameters: form fields, path labels and query; for Kubernetes the query.
    pub parameters: Vec<(String, String)>,
    /// The region that it was signed for; empty for Kubernetes.
    pub region: String,
    /// What was asked of Kubernetes.
    pub kubernetes: Option<Attributes>,
    /// `GET`, `POST`, ...
    pub method: String,
    /// The path as sent.
    pub path: String,
    /// The access key id that signed it, or signed its token.
    pub access_key: Option<String>,
    /// Who that is: an ARN, or a Kubernetes user name.
    pub caller: Option<String>,
    /// `User-Agent`
    pub user_agent: String,
    /// The fault that struck it.
    pub fault: Option<Fault>,
    /// The status it was answered with; none: not answered.
    pub status: Option<u16>,
    /// When it had been read, from the start of the stand-in.
    pub started: Duration,
    /// When its answer was ready.
    pub ended: Option<Duration>,
}

impl Call {
    /// The first value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        crate::http::get(&self.parameters, name)
    }

    /// Whether the real service would have changed something.
    pub fn is_write(&self) -> bool {
        match &self.kubernetes {
            Some(asked) => {
                let review = matches!(
                    asked.group.as_str(),
                    "authentication.k8s.io" | "authorization.k8s.io"
                );
                !review
                    && matches!(
                        asked.verb.as_str(),
                        "create" | "update" | "patch" | "delete" | "deletecollection"
                    )
            }
            None => {
                let name = self.action.split_once(':').map_or("", |(_, name)| name);
                let reads = ["Get", "List", "Describe", "Simulate", "Assume"];
                !reads.iter().any(|prefix| name.starts_with(prefix))
            }
        }
    }
}

/// The longest chain of calls each of which started after the one before had been answered: an upper bound on how many
/// answers one waited for another. Without a delay it also counts calls that were only scheduled one after the other.
pub fn longest_chain(calls: &[Call]) -> Vec<&Call> {
    let mut done: Vec<&Call> = calls.iter().filter(|call| call.ended.is_some()).collect();
    // Taking what ends first, again and again, gives the most intervals that don't overlap.
    done.sort_by_key(|call| call.ended);
    let mut chain: Vec<&Call> = Vec::new();
    for call in done {
        if chain
            .last()
            .is_none_or(|last| last.ended.is_some_and(|ended| ended <= call.started))
        {
            chain.push(call);
        }
    }
    chain
}
