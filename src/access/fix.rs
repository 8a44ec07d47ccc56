//! How to map a principal that the cluster does not know.

use crate::checks::mapping_fix::{Fix, Want, mapping_fix, node_kind_by_name, recreate};
use crate::checks::node_verdict::NodeKind;
use crate::model::{Role, Target};
use eks_aws_auth::{
    AccessEntry, AuthenticationMode, AwsAuth, Caller, Decision, EntryType, MapKey, Mapping, Outcome,
    PassedOver, PassedOverBecause, PrincipalKind,
};

/// What the cluster is to whom.
pub(crate) struct Unmapped<'a> {
    pub(crate) target: &'a Target,
    pub(crate) mode: AuthenticationMode,
    pub(crate) aws_auth: Option<&'a AwsAuth>,
    pub(crate) entries: &'a [AccessEntry],
    pub(crate) caller: &'a Caller,
    /// The role in IAM, where it was read.
    pub(crate) role: Option<&'a Role>,
}

/// How to map the principal, where nothing maps it: as the node that it looks like, or else as somebody who may look. Never as
/// an administrator: who should be one is not for a program to say.
pub(crate) fn whois_fix(decision: &Decision, of: &Unmapped<'_>) -> Option<Fix> {
    use PrincipalKind::{AssumedRole, Role, User};
    if decision.outcome != Outcome::NotMapped || !matches!(of.caller.kind, Role | AssumedRole | User) {
        return None;
    }
    let stale = decision
        .passed_over
        .iter()
        .filter(|over| over.because == PassedOverBecause::Stale)
        .find_map(|over| of.entries.get(over.source.index?));
    let in_iam = of.role.map(|role| role.arn.as_str());
    let arn = in_iam
        .or(of.caller.role_arn.as_deref())
        .unwrap_or(&of.caller.canonical_arn);
    let want = match stale {
        Some(entry) => match entry.kind.as_ref() {
            Some(EntryType::Ec2Linux | EntryType::Ec2) => Want::Node(NodeKind::Linux),
            Some(EntryType::Ec2Windows) => Want::Node(NodeKind::Windows),
            Some(EntryType::FargateLinux) => Want::Node(NodeKind::Fargate),
            _ => wanted(decision, of, arn),
        },
        None => wanted(decision, of, arn),
    };
    let as_what = match want {
        Want::Node(NodeKind::Fargate) => "As a Fargate pod execution role, which it looks like",
        Want::Node(_) => "As a node role, which it looks like",
        Want::Viewer | Want::Admin => "As a viewer (for more, choose other groups or another policy)",
    };
    Some(match stale {
        Some(entry) => Fix {
            text: format!("{as_what}: delete the access entry and create it again."),
            commands: recreate(
                of.target,
                &entry.principal_arn,
                in_iam.unwrap_or(&entry.principal_arn),
                want,
            ),
            entry: None,
        },
        None => {
            let fix = mapping_fix(of.target, of.mode, arn, want);
            Fix {
                text: format!("{as_what}. {}", fix.text),
                ..fix
            }
        }
    })
}

fn wanted(decision: &Decision, of: &Unmapped<'_>, arn: &str) -> Want {
    let nearly = |over: &PassedOver| -> Option<&Mapping> {
        let (key, index) = (over.source.key?, over.source.index?);
        let mappings = of.aws_auth?.mappings(key);
        mappings
            .iter()
            .find(|mapping| mapping.index == index && key == MapKey::MapRoles)
    };
    let by_line = decision
        .passed_over
        .iter()
        .filter_map(nearly)
        .find_map(|mapping| {
            let has = |wanted: &str| mapping.groups.iter().any(|group| group == wanted);
            let is_node = has("system:nodes") || mapping.username.starts_with("system:node:");
            is_node.then(|| {
                if has("eks:kube-proxy-windows") {
                    NodeKind::Windows
                } else if has("system:node-proxier") {
                    NodeKind::Fargate
                } else {
                    NodeKind::Linux
                }
            })
        });
    let fargate = of
        .role
        .is_some_and(|role| role.trust.contains("eks-fargate-pods.amazonaws.com"));
    let kind = fargate
        .then_some(NodeKind::Fargate)
        .or(by_line)
        .or_else(|| node_kind_by_name(arn));
    kind.map_or(Want::Viewer, Want::Node)
}
