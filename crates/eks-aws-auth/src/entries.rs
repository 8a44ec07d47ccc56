//! Access entries and authentication modes, as the EKS API describes them.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

/// Where the cluster looks principals up. It can only be changed towards `API`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AuthenticationMode {
    /// Only aws-auth.
    ConfigMap,
    /// Access entries first, then aws-auth.
    ApiAndConfigMap,
    /// Only access entries; aws-auth is ignored.
    Api,
}

impl AuthenticationMode {
    /// Whether access entries count.
    pub fn uses_entries(self) -> bool {
        self != Self::ConfigMap
    }

    /// Whether aws-auth counts.
    pub fn uses_aws_auth(self) -> bool {
        self != Self::Api
    }

    /// The name the EKS API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "CONFIG_MAP",
            Self::ApiAndConfigMap => "API_AND_CONFIG_MAP",
            Self::Api => "API",
        }
    }
}

impl std::fmt::Display for AuthenticationMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for AuthenticationMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::ConfigMap, Self::ApiAndConfigMap, Self::Api]
            .into_iter()
            .find(|mode| mode.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| {
                format!("{text:?} is not an authentication mode (CONFIG_MAP, API_AND_CONFIG_MAP or API)")
            })
    }
}

/// The type of an access entry. It cannot be changed once the entry is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EntryType {
    /// People and programs.
    Standard,
    /// Linux (and Bottlerocket) nodes.
    Ec2Linux,
    /// Windows nodes.
    Ec2Windows,
    /// Fargate pod execution roles.
    FargateLinux,
    /// Nodes of EKS Auto Mode.
    Ec2,
    /// Hybrid nodes.
    HybridLinux,
    /// SageMaker HyperPod.
    HyperpodLinux,
    /// A type that came later.
    #[serde(untagged)]
    Other(String),
}

impl From<String> for EntryType {
    /// By its name. Case does not matter to EKS: what was created as `ec2_linux` is a node's entry like any other.
    fn from(name: String) -> Self {
        [
            Self::Standard,
            Self::Ec2Linux,
            Self::Ec2Windows,
            Self::FargateLinux,
            Self::Ec2,
            Self::HybridLinux,
            Self::HyperpodLinux,
        ]
        .into_iter()
        .find(|known| known.as_str().eq_ignore_ascii_case(&name))
        .unwrap_or(Self::Other(name))
    }
}

impl<'de> Deserialize<'de> for EntryType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl EntryType {
    /// The name the EKS API uses.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Standard => "STANDARD",
            Self::Ec2Linux => "EC2_LINUX",
            Self::Ec2Windows => "EC2_WINDOWS",
            Self::FargateLinux => "FARGATE_LINUX",
            Self::Ec2 => "EC2",
            Self::HybridLinux => "HYBRID_LINUX",
            Self::HyperpodLinux => "HYPERPOD_LINUX",
            Self::Other(name) => name,
        }
    }
}

/// How far an access policy reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct AccessScope {
    /// `cluster` or `namespace`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The namespaces, for `namespace`.
    #[serde(deserialize_with = "null_is_default")]
    pub namespaces: Vec<String>,
}

/// An access policy associated with an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AssociatedPolicy {
    /// `arn:aws:eks::aws:cluster-access-policy/...`
    pub policy_arn: String,
    /// Where it holds.
    #[serde(default)]
    pub access_scope: AccessScope,
}

/// An access entry: `accessEntry` of DescribeAccessEntry, plus what other calls know about it. Unknown fields are ignored.
///
/// Username and groups are always what the API says, never computed: each type has its own form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AccessEntry {
    /// The principal, with its full path.
    pub principal_arn: String,
    /// Groups.
    #[serde(default, deserialize_with = "null_is_default")]
    pub kubernetes_groups: Vec<String>,
    /// Username with its placeholders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Type.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<EntryType>,
    /// When the entry was made.
    #[serde(
        default,
        deserialize_with = "timestamp",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub created_at: Option<Timestamp>,
    /// When it was last changed.
    #[serde(
        default,
        deserialize_with = "timestamp",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub modified_at: Option<Timestamp>,
    /// The entry's own ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_entry_arn: Option<String>,
    /// The cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// The unique id the entry is bound to. The API does not tell it; the entry's ARN ends in an id of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal_id: Option<String>,
    /// Policies, from ListAssociatedAccessPolicies; absent if that was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<AssociatedPolicy>>,
}

impl AccessEntry {
    /// An entry with nothing but its principal, type, username and groups.
    pub fn new(principal_arn: &str, kind: EntryType, username: &str, groups: &[&str]) -> Self {
        Self {
            principal_arn: principal_arn.to_owned(),
            kubernetes_groups: groups.iter().map(|&group| group.to_owned()).collect(),
            username: Some(username.to_owned()),
            kind: Some(kind),
            created_at: None,
            modified_at: None,
            access_entry_arn: None,
            cluster_name: None,
            principal_id: None,
            policies: None,
        }
    }

    /// The type's name; `STANDARD` where none is given, which is the API's default.
    pub fn kind_str(&self) -> &str {
        self.kind.as_ref().map_or("STANDARD", EntryType::as_str)
    }
}

fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// The API sends seconds since 1970 with a fraction; the AWS CLI prints RFC 3339.
fn timestamp<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
    use serde::de::Error as _;
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Seconds(f64),
        Text(String),
    }
    match Option::<Form>::deserialize(from)? {
        None => Ok(None),
        Some(Form::Seconds(seconds)) => {
            let duration = jiff::SignedDuration::try_from_secs_f64(seconds).map_err(D::Error::custom)?;
            Timestamp::from_duration(duration)
                .map(Some)
                .map_err(D::Error::custom)
        }
        Some(Form::Text(text)) => text.parse().map(Some).map_err(D::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shapes_of_api_and_cli_are_read() {
        let api = r#"{"accessEntryArn":"arn:aws:eks:eu-west-1:111122223333:access-entry/demo/role/111122223333/N/x",
            "clusterName":"demo","createdAt":1.7003E9,"kubernetesGroups":["system:nodes"],"modifiedAt":1700300001.25,
            "principalArn":"arn:aws:iam::111122223333:role/N","tags":{"a":"b"},"type":"EC2_LINUX",
            "username":"system:node:{{EC2PrivateDNSName}}"}"#;
        let entry: AccessEntry = serde_json::from_str(api).unwrap();
        assert_eq!(entry.kind, Some(EntryType::Ec2Linux));
        assert_eq!(entry.created_at.unwrap().as_second(), 1_700_300_000);
        let cli = r#"{"principalArn":"arn:aws:iam::111122223333:role/N","createdAt":"2023-11-18T10:13:20.123000+01:00",
            "kubernetesGroups":null,"type":"SOMETHING_NEW"}"#;
        let entry: AccessEntry = serde_json::from_str(cli).unwrap();
        assert_eq!(entry.created_at.unwrap().as_second(), 1_700_298_800);
        assert_eq!(entry.kind, Some(EntryType::Other("SOMETHING_NEW".to_owned())));
        let again: AccessEntry = serde_json::from_str(&serde_json::to_string(&entry).unwrap()).unwrap();
        assert_eq!(again, entry);
        assert!(serde_json::from_str::<AccessEntry>(r#"{"principalArn":"x","createdAt":"soon"}"#).is_err());
        for (name, kind) in [
            ("ec2_linux", EntryType::Ec2Linux),
            ("Ec2_Windows", EntryType::Ec2Windows),
            ("standard", EntryType::Standard),
        ] {
            assert_eq!(EntryType::from(name.to_owned()), kind, "case does not matter");
        }
    }
}
