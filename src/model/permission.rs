//! The permissions the program needs, in one table: what `policy read|create|rbac` prints, and the smallest grant for
//! each thing that could not be read. Tested against a record of the calls that the program really makes.

use serde_json::{Value, json};

use crate::model::{Command, Grant};
use eks_aws_auth::VALIDATION_WEBHOOK;

/// One IAM permission: action, and the resources it is needed on. `PARTITION`, `REGION`, `ACCOUNT` and `CLUSTER` are
/// filled in where they are known.
struct Iam {
    actions: &'static [&'static str],
    resources: &'static [&'static str],
}

/// What reading needs.
const READ: &[Iam] = &[
    Iam {
        actions: &[
            "eks:DescribeCluster",
            "eks:ListAccessEntries",
            "eks:ListFargateProfiles",
            "eks:ListNodegroups",
            "eks:ListPodIdentityAssociations",
        ],
        resources: &["arn:PARTITION:eks:REGION:ACCOUNT:cluster/CLUSTER"],
    },
    Iam {
        actions: &["eks:DescribeAccessEntry", "eks:ListAssociatedAccessPolicies"],
        resources: &["arn:PARTITION:eks:REGION:ACCOUNT:access-entry/CLUSTER/*"],
    },
    // The roles that others than Karpenter's nodes run under.
    Iam {
        actions: &["eks:DescribeFargateProfile"],
        resources: &["arn:PARTITION:eks:REGION:ACCOUNT:fargateprofile/CLUSTER/*"],
    },
    Iam {
        actions: &["eks:DescribeNodegroup"],
        resources: &["arn:PARTITION:eks:REGION:ACCOUNT:nodegroup/CLUSTER/*"],
    },
    // The controller's identity, by Pod Identity.
    Iam {
        actions: &["eks:DescribePodIdentityAssociation"],
        resources: &["arn:PARTITION:eks:REGION:ACCOUNT:podidentityassociation/CLUSTER/*"],
    },
    Iam {
        actions: &["eks:DescribeAddon"],
        resources: &["arn:PARTITION:eks:REGION:ACCOUNT:addon/CLUSTER/eks-pod-identity-agent/*"],
    },
    // The same, by IRSA.
    Iam {
        actions: &["iam:GetOpenIDConnectProvider"],
        resources: &["arn:PARTITION:iam::ACCOUNT:oidc-provider/*"],
    },
    Iam {
        actions: &["servicequotas:GetServiceQuota"],
        resources: &["arn:PARTITION:servicequotas:REGION:ACCOUNT:ec2/*"],
    },
    // Only where a node class names a key.
    Iam {
        actions: &["kms:DescribeKey", "kms:GetKeyPolicy", "kms:ListGrants"],
        resources: &["arn:PARTITION:kms:REGION:ACCOUNT:key/*"],
    },
    // Only for kubeconfigs that name no cluster: it is found by its endpoint.
    Iam {
        actions: &["eks:ListClusters"],
        resources: &["*"],
    },
    Iam {
        actions: &["iam:GetRole", "iam:ListAttachedRolePolicies"],
        resources: &["arn:PARTITION:iam::ACCOUNT:role/*"],
    },
    Iam {
        actions: &["iam:GetInstanceProfile"],
        resources: &["arn:PARTITION:iam::ACCOUNT:instance-profile/*"],
    },
    Iam {
        actions: &["iam:SimulatePrincipalPolicy"],
        resources: &[
            "arn:PARTITION:iam::ACCOUNT:role/*",
            "arn:PARTITION:iam::ACCOUNT:user/*",
        ],
    },
];

/// One RBAC rule.
struct Rbac {
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    names: &'static [&'static str],
    /// The one namespace it is needed in; none for the whole cluster.
    namespace: Option<&'static str>,
}

/// The controller's log outlives the Events. Logs may hold anything, so this one is apart and may be left out; it is for the
/// namespace of Karpenter's documentation.
const RBAC_LOG: Rbac = Rbac {
    group: "",
    resources: &["pods/log"],
    verbs: &["get"],
    names: &[],
    namespace: Some("kube-system"),
};

const RBAC: &[Rbac] = &[
    Rbac {
        group: "",
        resources: &["configmaps"],
        verbs: &["get"],
        names: &["aws-auth"],
        namespace: Some("kube-system"),
    },
    // What may be refused when aws-auth is saved.
    Rbac {
        group: "admissionregistration.k8s.io",
        resources: &["validatingwebhookconfigurations"],
        verbs: &["get"],
        names: &[VALIDATION_WEBHOOK],
        namespace: None,
    },
    Rbac {
        group: "karpenter.sh",
        resources: &["nodepools", "nodeclaims", "provisioners", "machines"],
        verbs: &["list"],
        names: &[],
        namespace: None,
    },
    Rbac {
        group: "karpenter.k8s.aws",
        resources: &["ec2nodeclasses", "awsnodetemplates"],
        verbs: &["list"],
        names: &[],
        namespace: None,
    },
    // EKS Auto Mode's.
    Rbac {
        group: "eks.amazonaws.com",
        resources: &["nodeclasses"],
        verbs: &["list"],
        names: &[],
        namespace: None,
    },
    // What failed launches left behind, and how the nodes really run.
    Rbac {
        group: "",
        resources: &["events", "nodes"],
        verbs: &["list"],
        names: &[],
        namespace: None,
    },
    // The controller is found by its label in whichever namespace it is.
    Rbac {
        group: "apps",
        resources: &["deployments"],
        verbs: &["list"],
        names: &[],
        namespace: None,
    },
    Rbac {
        group: "",
        resources: &["pods"],
        verbs: &["list"],
        names: &[],
        namespace: None,
    },
    Rbac {
        group: "",
        resources: &["serviceaccounts"],
        verbs: &["get"],
        names: &[],
        namespace: None,
    },
    // What the groups and users of a mapping may do (`access`).
    Rbac {
        group: "rbac.authorization.k8s.io",
        resources: &["clusterrolebindings", "rolebindings"],
        verbs: &["list"],
        names: &[],
        namespace: None,
    },
    Rbac {
        group: "apps",
        resources: &["daemonsets"],
        verbs: &["get"],
        names: &["eks-pod-identity-agent"],
        namespace: Some("kube-system"),
    },
];

/// Values for the placeholders of the tables; `*` where nothing is known.
#[derive(Debug, Clone)]
pub struct Scope {
    /// `aws`
    pub partition: String,
    /// `eu-west-1`, or `*`
    pub region: String,
    /// Twelve digits, or `*`
    pub account: String,
    /// The cluster's name, or `*`
    pub cluster: String,
}

impl Default for Scope {
    fn default() -> Self {
        Self {
            partition: "aws".to_owned(),
            region: "*".to_owned(),
            account: "*".to_owned(),
            cluster: "*".to_owned(),
        }
    }
}

impl Scope {
    fn fill(&self, resource: &str) -> String {
        resource
            .replace("PARTITION", &self.partition)
            .replace("REGION", &self.region)
            .replace("ACCOUNT", &self.account)
            .replace("CLUSTER", &self.cluster)
    }
}

/// The IAM policy for reading.
pub fn read_policy(scope: &Scope) -> Value {
    let statements: Vec<Value> = READ
        .iter()
        .map(|iam| {
            let resources: Vec<String> = iam
                .resources
                .iter()
                .map(|resource| scope.fill(resource))
                .collect();
            json!({"Effect": "Allow", "Action": iam.actions, "Resource": resources})
        })
        .collect();
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// The statement that lets somebody create the one role, and no other service-linked role.
///
/// Resource and condition as in the IAM user guide, "Service-linked role permissions".
pub fn create_statement(partition: &str) -> Value {
    json!({
        "Effect": "Allow",
        "Action": "iam:CreateServiceLinkedRole",
        "Resource": format!("arn:{partition}:iam::*:role/aws-service-role/spot.amazonaws.com/{}", crate::model::SPOT_ROLE),
        "Condition": {"StringEquals": {"iam:AWSServiceName": "spot.amazonaws.com"}}
    })
}

/// The IAM policy for creating the role.
pub fn create_policy(scope: &Scope) -> Value {
    json!({"Version": "2012-10-17", "Statement": [create_statement(&scope.partition)]})
}

/// The RBAC objects for reading, bound to a group (or a user, or a service account).
pub fn rbac_objects(subject: &Value) -> Vec<Value> {
    let rule = |rbac: &Rbac| {
        let mut rule = json!({"apiGroups": [rbac.group], "resources": rbac.resources, "verbs": rbac.verbs});
        if let (false, Some(map)) = (rbac.names.is_empty(), rule.as_object_mut()) {
            map.insert("resourceNames".to_owned(), json!(rbac.names));
        }
        rule
    };
    let cluster_rules: Vec<Value> = RBAC
        .iter()
        .filter(|rbac| rbac.namespace.is_none())
        .map(rule)
        .collect();
    let mut objects = vec![
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": "capt-spot-read"}, "rules": cluster_rules
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "capt-spot-read"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "capt-spot-read"},
            "subjects": [subject]
        }),
    ];
    let mut namespaces: Vec<&str> = RBAC.iter().filter_map(|rbac| rbac.namespace).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    for namespace in namespaces {
        let rules = RBAC
            .iter()
            .filter(|rbac| rbac.namespace == Some(namespace))
            .map(rule)
            .collect();
        objects.extend(role_in("capt-spot-read", namespace, rules, subject));
    }
    if let Some(namespace) = RBAC_LOG.namespace {
        objects.extend(role_in(
            "capt-spot-read-log",
            namespace,
            vec![rule(&RBAC_LOG)],
            subject,
        ));
    }
    objects
}

/// What `--publish` needs: to apply OpenReports objects in one namespace. It reads and deletes none.
pub fn publish_objects(subject: &Value, namespace: &str) -> Vec<Value> {
    let rule =
        json!({"apiGroups": ["openreports.io"], "resources": ["reports"], "verbs": ["create", "patch"]});
    role_in("capt-spot-publish", namespace, vec![rule], subject).into()
}

/// A Role of one namespace, and its binding.
fn role_in(name: &str, namespace: &str, rules: Vec<Value>, subject: &Value) -> [Value; 2] {
    [
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": name, "namespace": namespace}, "rules": rules
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": name, "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [subject]
        }),
    ]
}

/// A grant as something to ask for, on one line: an IAM statement, or an RBAC rule with where it has to hold.
pub fn rule(grant: &Grant) -> String {
    match grant {
        Grant::Iam { .. } => format!("the IAM statement {}", grant.statement()),
        Grant::Rbac { namespace, .. } => match namespace {
            Some(namespace) => format!("the RBAC rule {} in the namespace {namespace}", grant.statement()),
            None => format!("the RBAC rule {} in a ClusterRole", grant.statement()),
        },
    }
}

/// What to ask for, in words.
pub fn grant_remedy(grant: &Grant) -> String {
    match grant {
        Grant::Iam { action, .. } => format!(
            "Ask for {action}: {}. All that the tool reads with is in the policy below.",
            grant.statement()
        ),
        Grant::Rbac { namespace, .. } => format!(
            "Ask for the RBAC rule {}{}. All that the tool reads with is in the manifest below.",
            grant.statement(),
            namespace
                .as_ref()
                .map(|namespace| format!(" in the namespace {namespace}"))
                .unwrap_or_default()
        ),
    }
}

/// The command that prints what to ask for.
pub fn grant_commands(grant: &Grant) -> Vec<Command> {
    let policy = match grant {
        Grant::Iam { .. } => "read",
        Grant::Rbac { .. } => "rbac",
    };
    vec![Command::local(&["kubectl", "capt-spot", "policy", policy])]
}
