//! What Karpenter's controller asks of AWS to launch for these pools: actions, resources, and the request as IAM sees it.
//!
//! Source: aws/karpenter-provider-aws, the CloudFormation of "Getting started" (`KarpenterControllerPolicy`), and
//! `pkg/providers/launchtemplate`, `instance` and `instanceprofile` for the tags.

use super::launch_paths::{ClassLink, LaunchPaths, NamedIdentity};
use crate::model::Target;

/// What the requests depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LaunchScope {
    pub(crate) partition: String,
    pub(crate) region: String,
    pub(crate) account: String,
    pub(crate) cluster: String,
    /// A pool and a class: policies rarely tell them apart.
    pub(crate) pool: String,
    pub(crate) class: String,
    /// The node roles' names, with their paths.
    pub(crate) roles: Vec<String>,
    /// Karpenter makes an instance profile for a class's role.
    pub(crate) makes_profiles: bool,
    pub(crate) queue: Option<String>,
}

/// What a request carries, as far as policies look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Carries {
    /// Nothing of its own.
    Nothing,
    /// Tags for what is to be created.
    NewTags,
    /// What exists has Karpenter's tags.
    ExistingTags,
    /// A role, or an instance profile with its tags.
    Role,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LaunchRequest {
    pub(crate) action: &'static str,
    pub(crate) resource: String,
    pub(crate) carries: Carries,
    /// Without it nothing is launched; otherwise something else of Karpenter's does not work.
    pub(crate) launches: bool,
}

/// What is asked of EC2: action, kinds of resources, what the request carries, and whether a launch needs it.
const OF_EC2: &[(&str, &[&str], Carries, bool)] = {
    use Carries::{ExistingTags, NewTags, Nothing};
    &[
        ("ec2:CreateFleet", &["fleet"], NewTags, true),
        ("ec2:RunInstances", MADE, NewTags, true),
        ("ec2:CreateLaunchTemplate", &["launch-template"], NewTags, true),
        ("ec2:CreateTags", TAGGED, NewTags, true),
        (
            "ec2:RunInstances",
            &["subnet", "security-group", "image"],
            Nothing,
            true,
        ),
        ("ec2:RunInstances", &["launch-template"], ExistingTags, true),
        ("ec2:CreateFleet", &["launch-template"], ExistingTags, true),
        ("ec2:TerminateInstances", &["instance"], ExistingTags, false),
        // Without a price there is no Spot.
        ("ec2:DescribeSpotPriceHistory", &["*"], Nothing, true),
    ]
};
const MADE: &[&str] = &[
    "instance",
    "volume",
    "network-interface",
    "spot-instances-request",
];
const TAGGED: &[&str] = &[
    "fleet",
    "instance",
    "volume",
    "network-interface",
    "launch-template",
    "spot-instances-request",
];

impl LaunchScope {
    /// What these paths need. None: there is nothing to launch with EC2 Spot.
    pub(crate) fn of(
        paths: &LaunchPaths<'_>,
        target: &Target,
        account: &str,
        queue: Option<&str>,
    ) -> Option<Self> {
        let own: Vec<_> = paths.spot().filter(|path| !path.is_auto_mode()).collect();
        let first = own.first()?;
        let mut roles: Vec<String> = Vec::new();
        for path in &own {
            if let Some(NamedIdentity::Role(role)) = path.identity {
                let role = role.trim_start_matches('/').to_owned();
                if !roles.contains(&role) {
                    roles.push(role);
                }
            }
        }
        Some(Self {
            partition: target.partition.clone(),
            region: target.region.clone(),
            account: account.to_owned(),
            cluster: target.cluster.clone(),
            pool: first.pool.name.clone(),
            class: first
                .pool
                .node_class
                .as_ref()
                .map_or_else(|| "default".to_owned(), |class| class.name.clone()),
            roles,
            makes_profiles: own
                .iter()
                .any(|path| matches!(path.class, ClassLink::Found(class, _) if class.role.is_some())),
            queue: queue.map(str::to_owned),
        })
    }

    pub(crate) fn requests(&self) -> Vec<LaunchRequest> {
        let mut all = Vec::new();
        let mut ask = |action, resource: String, carries, launches| {
            all.push(LaunchRequest {
                action,
                resource,
                carries,
                launches,
            });
        };
        for (action, kinds, carries, launches) in OF_EC2 {
            for kind in *kinds {
                ask(*action, self.of_ec2(kind), *carries, *launches);
            }
        }
        let iam = format!("arn:{}:iam::{}", self.partition, self.account);
        for role in &self.roles {
            ask("iam:PassRole", format!("{iam}:role/{role}"), Carries::Role, true);
        }
        if self.makes_profiles {
            let profile = format!("{iam}:instance-profile/{}_0123456789", self.cluster);
            for action in [
                "iam:GetInstanceProfile",
                "iam:CreateInstanceProfile",
                "iam:TagInstanceProfile",
                "iam:AddRoleToInstanceProfile",
            ] {
                ask(action, profile.clone(), Carries::Role, false);
            }
        }
        if let Some(queue) = &self.queue {
            let queue = format!(
                "arn:{}:sqs:{}:{}:{queue}",
                self.partition, self.region, self.account
            );
            for action in ["sqs:GetQueueUrl", "sqs:ReceiveMessage", "sqs:DeleteMessage"] {
                ask(action, queue.clone(), Carries::Nothing, false);
            }
        }
        all
    }

    /// A resource of this kind. The simulator wants one that could be: an id and not a wildcard.
    fn of_ec2(&self, kind: &str) -> String {
        let prefix = match kind {
            "*" => return "*".to_owned(),
            "image" => "ami",
            "instance" => "i",
            "volume" => "vol",
            "network-interface" => "eni",
            "launch-template" => "lt",
            "security-group" => "sg",
            "spot-instances-request" => "sir",
            kind => kind,
        };
        let account = match kind {
            "image" => "",
            _ => &self.account,
        };
        let (partition, region) = (&self.partition, &self.region);
        format!("arn:{partition}:ec2:{region}:{account}:{kind}/{prefix}-0123456789abcdef0")
    }

    /// What a request carries, by condition key.
    pub(crate) fn context(&self, carries: Carries) -> Vec<(String, Vec<String>)> {
        let one = |key: &str, value: &str| (key.to_owned(), vec![value.to_owned()]);
        let cluster_tag = format!("kubernetes.io/cluster/{}", self.cluster);
        let tags: Vec<(&str, &str)> = match carries {
            Carries::Nothing => Vec::new(),
            Carries::NewTags | Carries::ExistingTags => vec![
                (&cluster_tag, "owned"),
                ("eks:eks-cluster-name", &self.cluster),
                ("karpenter.sh/nodepool", &self.pool),
                ("karpenter.k8s.aws/ec2nodeclass", &self.class),
            ],
            Carries::Role => vec![
                (&cluster_tag, "owned"),
                ("eks:eks-cluster-name", &self.cluster),
                ("topology.kubernetes.io/region", &self.region),
                ("karpenter.k8s.aws/ec2nodeclass", &self.class),
            ],
        };
        let mut context = vec![one("aws:RequestedRegion", &self.region)];
        let new = matches!(carries, Carries::NewTags | Carries::Role);
        let existing = matches!(carries, Carries::ExistingTags | Carries::Role);
        for (key, value) in &tags {
            if new {
                context.push(one(&format!("aws:RequestTag/{key}"), value));
            }
            if existing {
                context.push(one(&format!("aws:ResourceTag/{key}"), value));
                context.push(one(&format!("ec2:ResourceTag/{key}"), value));
            }
        }
        if new {
            context.push((
                "aws:TagKeys".to_owned(),
                tags.iter().map(|(key, _)| (*key).to_owned()).collect(),
            ));
        }
        match carries {
            Carries::NewTags => context.push(one("ec2:CreateAction", "CreateFleet")),
            Carries::Role => {
                let service = match self.partition.as_str() {
                    "aws-cn" => "ec2.amazonaws.com.cn",
                    _ => "ec2.amazonaws.com",
                };
                context.push(one("iam:PassedToService", service));
            }
            Carries::Nothing | Carries::ExistingTags => {}
        }
        context
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for() {
        let scope = LaunchScope {
            partition: "aws".into(),
            region: "eu-west-1".into(),
            account: "111122223333".into(),
            cluster: "demo".into(),
            pool: "general".into(),
            class: "default".into(),
            roles: vec!["demo-node".into()],
            makes_profiles: true,
            queue: Some("demo".into()),
        };
        let all = scope.requests();
        let mut lines = Vec::new();
        for carries in [
            Carries::Nothing,
            Carries::NewTags,
            Carries::ExistingTags,
            Carries::Role,
        ] {
            lines.push(format!("{carries:?}: {:?}", scope.context(carries)));
            lines.extend(
                all.iter()
                    .filter(|one| one.carries == carries)
                    .map(|one| format!("  {} {}", one.action, one.resource)),
            );
        }
        insta::assert_snapshot!(lines.join("\n"));
    }
}
