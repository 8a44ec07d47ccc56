//! ARNs, account ids, partitions and role names: the parts of AWS's names that decide who is who.
//!
//! Sources: AWS General Reference ("Amazon Resource Names"), IAM user guide ("IAM identifiers", "IAM and STS quotas"),
//! botocore's `partitions.json`, and aws-iam-authenticator's `pkg/arn/arn.go` for the canonical form of a session.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// IAM refuses longer ARNs (IAM quotas); nothing longer is looked at.
pub const LONGEST_ARN: usize = 2048;

/// The partitions of AWS: separate clouds, none of which trusts a principal of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Partition {
    /// The commercial regions.
    Aws,
    /// China.
    AwsCn,
    /// US GovCloud.
    AwsUsGov,
    /// The European Sovereign Cloud.
    AwsEusc,
    /// ISO.
    AwsIso,
    /// ISO-B.
    AwsIsoB,
    /// ISO-E.
    AwsIsoE,
    /// ISO-F.
    AwsIsoF,
}

impl Partition {
    /// Every partition.
    pub const ALL: [Self; 8] = [
        Self::Aws,
        Self::AwsCn,
        Self::AwsUsGov,
        Self::AwsEusc,
        Self::AwsIso,
        Self::AwsIsoB,
        Self::AwsIsoE,
        Self::AwsIsoF,
    ];

    /// As it stands in an ARN: `aws`, `aws-cn`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::AwsCn => "aws-cn",
            Self::AwsUsGov => "aws-us-gov",
            Self::AwsEusc => "aws-eusc",
            Self::AwsIso => "aws-iso",
            Self::AwsIsoB => "aws-iso-b",
            Self::AwsIsoE => "aws-iso-e",
            Self::AwsIsoF => "aws-iso-f",
        }
    }

    /// The suffix of its endpoints' host names.
    pub const fn dns_suffix(self) -> &'static str {
        match self {
            Self::Aws | Self::AwsUsGov => "amazonaws.com",
            Self::AwsCn => "amazonaws.com.cn",
            Self::AwsEusc => "amazonaws.eu",
            Self::AwsIso => "c2s.ic.gov",
            Self::AwsIsoB => "sc2s.sgov.gov",
            Self::AwsIsoE => "cloud.adc-e.uk",
            Self::AwsIsoF => "csp.hci.ic.gov",
        }
    }

    /// The region that its one IAM endpoint is signed for.
    pub const fn iam_region(self) -> &'static str {
        match self {
            Self::Aws => "us-east-1",
            Self::AwsCn => "cn-north-1",
            Self::AwsUsGov => "us-gov-west-1",
            Self::AwsEusc => "eusc-de-east-1",
            Self::AwsIso => "us-iso-east-1",
            Self::AwsIsoB => "us-isob-east-1",
            Self::AwsIsoE => "eu-isoe-west-1",
            Self::AwsIsoF => "us-isof-south-1",
        }
    }

    /// The partition that a region belongs to, by its prefix. A region that nobody knows is a new commercial one.
    pub fn of_region(region: &str) -> Self {
        for (prefix, partition) in [
            ("cn-", Self::AwsCn),
            ("us-gov-", Self::AwsUsGov),
            ("eusc-", Self::AwsEusc),
            ("us-isob-", Self::AwsIsoB),
            ("us-isof-", Self::AwsIsoF),
            ("eu-isoe-", Self::AwsIsoE),
            ("us-iso-", Self::AwsIso),
        ] {
            if region.starts_with(prefix) {
                return partition;
            }
        }
        Self::Aws
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Partition {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|partition| partition.as_str() == text)
            .ok_or_else(|| ArnError::Partition(shown(text)))
    }
}

/// Twelve digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountId(String);

impl AccountId {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AccountId {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ArnError::Account(shown(text)))
        }
    }
}

impl TryFrom<String> for AccountId {
    type Error = ArnError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<AccountId> for String {
    fn from(id: AccountId) -> Self {
        id.0
    }
}

/// The name of a role without its path: 1 to 64 of letters, digits and `+=,.@_-`. Unique in its account whatever the
/// path is, and whatever the case (IAM user guide, "IAM and STS quotas").
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoleName(String);

impl RoleName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// From a name, a name with a path (`/team/NAME`, `team/NAME`), or a role's or session's ARN.
    pub fn from_given(given: &str) -> Result<Self, ArnError> {
        if given.starts_with("arn:") {
            let arn: Arn = given.parse()?;
            return arn
                .role_name()
                .ok_or_else(|| ArnError::NotARole(shown(given)))?
                .parse();
        }
        given.rsplit('/').next().unwrap_or(given).parse()
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RoleName {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(ArnError::RoleName(shown(text)))
        }
    }
}

impl TryFrom<String> for RoleName {
    type Error = ArnError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RoleName> for String {
    fn from(name: RoleName) -> Self {
        name.0
    }
}

/// Why a text is not an ARN, account id or role name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArnError {
    /// Not six parts with `arn` in front.
    #[error("{0} is not an ARN: an ARN looks like arn:aws:iam::111122223333:role/NAME")]
    Shape(String),
    /// A partition that does not exist.
    #[error(
        "{0} is no AWS partition (aws, aws-cn, aws-us-gov, aws-eusc, aws-iso, aws-iso-b, aws-iso-e, aws-iso-f)"
    )]
    Partition(String),
    /// Something else than twelve digits.
    #[error("{0} is not an AWS account id: twelve digits")]
    Account(String),
    /// A character that no part of an ARN has.
    #[error("{0} has a character that no ARN has (a space, a line end or a control character)")]
    Character(String),
    /// Longer than [`LONGEST_ARN`].
    #[error("an ARN has at most {LONGEST_ARN} characters, this one has {0}")]
    Length(usize),
    /// Something else than a role or a session of one.
    #[error("{0} is not the ARN of a role")]
    NotARole(String),
    /// Not the name of a role.
    #[error("{0} is not a role name: 1 to 64 letters, digits and +=,.@_-")]
    RoleName(String),
    /// Neither a user, a role, a session nor an account's root.
    #[error("{0} is nobody who can call AWS: {1}")]
    NotAPrincipal(String, &'static str),
}

/// What a person is shown of a text that came from elsewhere: quoted, without control characters, not endless.
pub fn shown(text: &str) -> String {
    const MOST: usize = 120;
    let mut out = String::from("\"");
    for (at, c) in text.chars().enumerate() {
        if at == MOST {
            out.push_str("...");
            break;
        }
        if c == '\\' || c == '"' || c == '\'' || !c.is_control() {
            out.push(c);
        } else {
            out.extend(c.escape_unicode());
        }
    }
    out.push('"');
    out
}

/// `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Arn {
    /// `aws`
    pub partition: Partition,
    /// `eks`
    pub service: String,
    /// Empty for IAM.
    pub region: String,
    /// Twelve digits, empty, or `aws` for what AWS itself owns (managed policies).
    pub account: String,
    /// Everything after the fifth colon; never empty.
    pub resource: String,
}

impl FromStr for Arn {
    type Err = ArnError;

    /// Strict: no spaces around it, a partition that exists, and an account that is empty, `aws` or twelve digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > LONGEST_ARN {
            return Err(ArnError::Length(text.len()));
        }
        let mut parts = text.splitn(6, ':');
        let mut part = || parts.next();
        let (Some("arn"), Some(partition), Some(service), Some(region), Some(account), Some(resource)) =
            (part(), part(), part(), part(), part(), part())
        else {
            return Err(ArnError::Shape(shown(text)));
        };
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(ArnError::Character(shown(text)));
        }
        if service.is_empty() || resource.is_empty() {
            return Err(ArnError::Shape(shown(text)));
        }
        let partition = partition.parse()?;
        if !account.is_empty() && account != "aws" {
            account.parse::<AccountId>()?;
        }
        Ok(Self {
            partition,
            service: service.to_owned(),
            region: region.to_owned(),
            account: account.to_owned(),
            resource: resource.to_owned(),
        })
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            partition,
            service,
            region,
            account,
            resource,
        } = self;
        write!(f, "arn:{partition}:{service}:{region}:{account}:{resource}")
    }
}

impl TryFrom<String> for Arn {
    type Error = ArnError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Arn> for String {
    fn from(arn: Arn) -> Self {
        arn.to_string()
    }
}

impl Arn {
    /// The account, when it is one.
    pub fn account_id(&self) -> Option<AccountId> {
        self.account.parse().ok()
    }

    /// The role's name, of a role's ARN (its path left out) or of a session's.
    pub fn role_name(&self) -> Option<&str> {
        match self.service.as_str() {
            "iam" => {
                let rest = self.resource.strip_prefix("role/")?;
                rest.rsplit('/').next().filter(|name| !name.is_empty())
            }
            "sts" => {
                let rest = self.resource.strip_prefix("assumed-role/")?;
                let (role, session) = rest.rsplit_once('/')?;
                let name = role.rsplit('/').next()?;
                (!name.is_empty() && !session.is_empty()).then_some(name)
            }
            _ => None,
        }
    }

    /// The path of a role or user, with its slashes: `/` or `/team/`. None for anything else, and for sessions, whose
    /// ARNs have none.
    pub fn path(&self) -> Option<&str> {
        if self.service != "iam" {
            return None;
        }
        let (kind, rest) = self.resource.split_once('/')?;
        if !matches!(kind, "role" | "user") {
            return None;
        }
        // "/team/NAME": the slash after the kind opens the path, the last one closes it.
        let end = rest.rfind('/').map_or(0, |at| at + 1);
        let start = kind.len();
        self.resource.get(start..start + 1 + end)
    }
}

/// Who can call AWS, told by the ARN (IAM user guide, "IAM identifiers" and "AWS JSON policy elements: Principal").
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PrincipalArn {
    /// `arn:P:iam::A:user/PATH/NAME`
    User(Arn),
    /// `arn:P:iam::A:role/PATH/NAME`
    Role(Arn),
    /// `arn:P:sts::A:assumed-role/NAME/SESSION`
    Session {
        /// The whole ARN.
        arn: Arn,
        /// The role's name; the ARN does not tell its path.
        role: RoleName,
        /// The session's name.
        session: String,
    },
    /// `arn:P:sts::A:federated-user/NAME`, of GetFederationToken.
    FederatedUser(Arn),
    /// `arn:P:iam::A:root`
    Root(Arn),
}

impl PrincipalArn {
    /// The ARN as it was given.
    pub fn arn(&self) -> &Arn {
        match self {
            Self::User(arn)
            | Self::Role(arn)
            | Self::Session { arn, .. }
            | Self::FederatedUser(arn)
            | Self::Root(arn) => arn,
        }
    }

    /// The name of the role, for a role or a session of one.
    pub fn role_name(&self) -> Option<&str> {
        match self {
            Self::Role(arn) => arn.role_name(),
            Self::Session { role, .. } => Some(role.as_str()),
            Self::User(_) | Self::FederatedUser(_) | Self::Root(_) => None,
        }
    }

    /// `user`, `role`, `role session`, ...
    pub fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Role(_) => "role",
            Self::Session { .. } => "role session",
            Self::FederatedUser(_) => "federated user",
            Self::Root(_) => "root user",
        }
    }
}

impl FromStr for PrincipalArn {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.parse::<Arn>()?)
    }
}

impl TryFrom<Arn> for PrincipalArn {
    type Error = ArnError;

    fn try_from(arn: Arn) -> Result<Self, Self::Error> {
        let nobody = |why| Err(ArnError::NotAPrincipal(shown(&arn.to_string()), why));
        if arn.account_id().is_none() {
            return Err(ArnError::Account(shown(&arn.account)));
        }
        if !arn.region.is_empty() {
            return nobody("the ARN of a user, a role or a session has no region");
        }
        match (arn.service.as_str(), arn.resource.split_once('/')) {
            ("iam", None) if arn.resource == "root" => Ok(Self::Root(arn)),
            ("iam", Some(("user", rest))) if !rest.is_empty() && !rest.ends_with('/') => Ok(Self::User(arn)),
            ("iam", Some(("role", rest))) if !rest.is_empty() && !rest.ends_with('/') => Ok(Self::Role(arn)),
            ("iam", Some(("group", _))) => nobody("a group only carries policies, name a user of it"),
            ("iam", Some(("instance-profile", _))) => {
                nobody("an instance profile only carries a role, name that role")
            }
            ("iam", Some(("policy", _))) => nobody("it is a policy"),
            ("sts", Some(("assumed-role", rest))) => match rest.rsplit_once('/') {
                Some((role, session)) if !session.is_empty() => {
                    let role = role.rsplit('/').next().unwrap_or(role).parse()?;
                    let session = session.to_owned();
                    Ok(Self::Session { arn, role, session })
                }
                _ => nobody("the ARN of a session is arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION"),
            },
            ("sts", Some(("federated-user", rest))) if !rest.is_empty() => Ok(Self::FederatedUser(arn)),
            _ => nobody("name a user, a role, a session of a role, or an account's root"),
        }
    }
}

/// The IAM ARN behind whoever calls: `assumed-role/R/S` becomes `arn:P:iam::A:role/R`, everything else that can call
/// stays as it is (aws-iam-authenticator `pkg/arn/arn.go`). The role's path is not in a session's ARN, so it is not in
/// the result either.
pub fn canonical(arn: &Arn) -> Result<Arn, ArnError> {
    let nobody = || ArnError::NotAPrincipal(shown(&arn.to_string()), "name a user, a role or a session");
    let mut parts = arn.resource.split('/');
    match (arn.service.as_str(), parts.next()) {
        ("iam", Some("role" | "user" | "root")) | ("sts", Some("federated-user")) => Ok(arn.clone()),
        ("sts", Some("assumed-role")) => {
            let (role, _) = arn
                .resource
                .strip_prefix("assumed-role/")
                .and_then(|rest| rest.rsplit_once('/'))
                .ok_or_else(nobody)?;
            Ok(Arn {
                service: "iam".to_owned(),
                resource: format!("role/{role}"),
                ..arn.clone()
            })
        }
        _ => Err(nobody()),
    }
}

/// The partition of a region, as a text. See [`Partition::of_region`].
pub fn partition_of_region(region: &str) -> &'static str {
    Partition::of_region(region).as_str()
}

/// The DNS suffix of a partition. See [`Partition::dns_suffix`].
pub fn dns_suffix(partition: &str) -> &'static str {
    partition.parse().unwrap_or(Partition::Aws).dns_suffix()
}

/// The role's name in an assumed-role session's ARN.
pub fn assumed_role_name(arn: &str) -> Option<String> {
    let arn: Arn = arn.parse().ok()?;
    if arn.service != "sts" {
        return None;
    }
    arn.role_name().map(str::to_owned)
}

/// The name without path of a role given as a name, a name with a path, or an ARN. Lenient: what is not a role's name comes
/// back as its last part; [`RoleName::from_given`] says why it is none.
pub fn role_name(given: &str) -> String {
    if let Ok(name) = RoleName::from_given(given) {
        return name.into();
    }
    let resource = given.splitn(6, ':').nth(5).unwrap_or(given);
    resource.rsplit('/').next().unwrap_or(resource).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_an_arn_and_what_is_not() {
        for text in [
            "arn:aws:iam::111122223333:role/demo",
            "arn:aws:iam::111122223333:role/team/a/demo",
            "arn:aws-cn:sts::111122223333:assumed-role/demo/session:with:colons",
            "arn:aws-us-gov:eks:us-gov-west-1:111122223333:cluster/demo",
            "arn:aws:iam::aws:policy/AdministratorAccess",
            "arn:aws:s3:::bucket",
        ] {
            let arn: Arn = text.parse().unwrap();
            assert_eq!(arn.to_string(), text);
        }
        let why = |text: &str| text.parse::<Arn>().map(|_| ()).unwrap_err().to_string();
        assert_eq!(
            [
                "",
                "arn:aws:iam::111122223333:",
                "role/demo",
                "arn:aws:iam::1111:role/demo",
                // What CDK's README prints.
                "arn:aws:iam::…:role/demo",
                "arn:amazon:iam::111122223333:role/demo",
                "arn:aws:iam::111122223333:role/demo ",
                "arn:aws:iam::111122223333:role/\u{1b}[31m",
            ]
            .map(why),
            [
                "\"\" is not an ARN: an ARN looks like arn:aws:iam::111122223333:role/NAME",
                "\"arn:aws:iam::111122223333:\" is not an ARN: an ARN looks like arn:aws:iam::111122223333:role/NAME",
                "\"role/demo\" is not an ARN: an ARN looks like arn:aws:iam::111122223333:role/NAME",
                "\"1111\" is not an AWS account id: twelve digits",
                "\"…\" is not an AWS account id: twelve digits",
                "\"amazon\" is no AWS partition (aws, aws-cn, aws-us-gov, aws-eusc, aws-iso, aws-iso-b, aws-iso-e, aws-iso-f)",
                "\"arn:aws:iam::111122223333:role/demo \" has a character that no ARN has (a space, a line end or a control character)",
                "\"arn:aws:iam::111122223333:role/\\u{1b}[31m\" has a character that no ARN has (a space, a line end or a control character)",
            ]
        );
        assert_eq!(
            format!("arn:aws:iam::111122223333:role/{}", "x".repeat(5000)).parse::<Arn>(),
            Err(ArnError::Length(5031))
        );
    }

    #[test]
    fn partitions_and_their_regions() {
        for (region, partition, suffix) in [
            ("eu-west-1", "aws", "amazonaws.com"),
            ("mx-central-1", "aws", "amazonaws.com"),
            ("cn-northwest-1", "aws-cn", "amazonaws.com.cn"),
            ("us-gov-east-1", "aws-us-gov", "amazonaws.com"),
            ("eusc-de-east-1", "aws-eusc", "amazonaws.eu"),
            ("us-iso-west-1", "aws-iso", "c2s.ic.gov"),
            ("us-isob-east-1", "aws-iso-b", "sc2s.sgov.gov"),
            ("eu-isoe-west-1", "aws-iso-e", "cloud.adc-e.uk"),
            ("us-isof-south-1", "aws-iso-f", "csp.hci.ic.gov"),
        ] {
            assert_eq!(partition_of_region(region), partition, "{region}");
            assert_eq!(dns_suffix(partition), suffix, "{partition}");
        }
        for partition in Partition::ALL {
            assert_eq!(partition.as_str().parse(), Ok(partition));
            assert_eq!(Partition::of_region(partition.iam_region()), partition);
            assert_eq!(
                serde_json::to_value(partition).unwrap(),
                serde_json::json!(partition.as_str())
            );
        }
    }

    #[test]
    fn names_and_paths_of_roles() {
        for (given, name, path) in [
            ("iam::111122223333:role/demo", Some("demo"), Some("/")),
            ("iam::111122223333:role/a/b/demo", Some("demo"), Some("/a/b/")),
            ("sts::111122223333:assumed-role/demo/i-0", Some("demo"), None),
            ("sts::111122223333:assumed-role/demo", None, None),
            ("iam::111122223333:user/team/eve", None, Some("/team/")),
            ("iam::111122223333:root", None, None),
            ("iam::111122223333:instance-profile/demo", None, None),
        ] {
            let arn: Arn = format!("arn:aws:{given}").parse().unwrap();
            assert_eq!(arn.role_name(), name, "{given}");
            assert_eq!(arn.path(), path, "{given}");
        }
        for (given, name) in [
            ("demo", "demo"),
            ("/team/demo", "demo"),
            ("arn:aws:iam::111122223333:role/team/demo", "demo"),
            ("arn:aws:sts::111122223333:assumed-role/demo/eve", "demo"),
        ] {
            assert_eq!(RoleName::from_given(given).unwrap().as_str(), name);
            assert_eq!(role_name(given), name);
        }
        for given in ["", "a b", "arn:aws:iam::111122223333:user/demo", &"x".repeat(65)] {
            assert!(RoleName::from_given(given).is_err(), "{given}");
        }
        assert_eq!(
            assumed_role_name("arn:aws:sts::111122223333:assumed-role/demo/eve").as_deref(),
            Some("demo")
        );
        assert_eq!(assumed_role_name("arn:aws:iam::111122223333:role/demo"), None);
    }

    #[test]
    fn the_canonical_arn_of_a_session_is_its_role() {
        let of = |given: &str| canonical(&given.parse().unwrap()).map(|arn| arn.to_string());
        for (given, want) in [
            (
                "aws:sts::111122223333:assumed-role/demo/eve",
                "aws:iam::111122223333:role/demo",
            ),
            (
                "aws-cn:sts::111122223333:assumed-role/a/demo/eve",
                "aws-cn:iam::111122223333:role/a/demo",
            ),
        ] {
            assert_eq!(of(&format!("arn:{given}")), Ok(format!("arn:{want}")));
        }
        for same in [
            "arn:aws:iam::111122223333:role/team/demo",
            "arn:aws:iam::111122223333:user/eve",
            "arn:aws:iam::111122223333:root",
            "arn:aws:sts::111122223333:federated-user/eve",
        ] {
            assert_eq!(of(same).as_deref(), Ok(same));
        }
        for none in [
            "arn:aws:sts::111122223333:assumed-role/demo",
            "arn:aws:iam::111122223333:group/demo",
            "arn:aws:s3:::bucket",
        ] {
            assert!(of(none).is_err(), "{none}");
        }
    }

    #[test]
    fn who_can_call_and_who_cannot() {
        let profile = Err("an instance profile only carries a role, name that role");
        let group = Err("a group only carries policies, name a user of it");
        for (given, want) in [
            ("iam::111122223333:user/team/eve", Ok("user")),
            ("iam::111122223333:role/team/demo", Ok("role")),
            ("sts::111122223333:assumed-role/demo/eve", Ok("role session")),
            ("sts::111122223333:federated-user/eve", Ok("federated user")),
            ("iam::111122223333:root", Ok("root user")),
            ("iam::111122223333:instance-profile/demo", profile),
            ("iam::111122223333:group/demo", group),
            ("sts::111122223333:assumed-role/demo", Err("role/ROLE/SESSION")),
            ("iam::aws:role/demo", Err("twelve digits")),
            ("iam::111122223333:role/", Err("name a user, a role")),
            ("iam:eu-west-1:111122223333:role/x", Err("has no region")),
            ("eks:eu-west-1:111122223333:cluster/x", Err("has no region")),
        ] {
            let given = format!("arn:aws:{given}");
            match (given.parse::<PrincipalArn>(), want) {
                (Ok(found), Ok(kind)) => {
                    assert_eq!(found.kind(), kind, "{given}");
                    assert_eq!(found.arn().to_string(), given);
                }
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{given}: {error}"),
                (found, _) => panic!("{given}: {found:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_prints_back(text in "(arn:)?[a-z-]{0,9}(:[a-z0-9/ …\\-]{0,14}){0,7}|\\PC*") {
            if let Ok(arn) = text.parse::<Arn>() {
                prop_assert_eq!(arn.to_string(), text.clone());
                let json = serde_json::to_string(&arn).unwrap();
                prop_assert_eq!(serde_json::from_str::<Arn>(&json).unwrap(), arn.clone());
                let _ = (arn.role_name(), arn.path(), canonical(&arn));
                let _ = PrincipalArn::try_from(arn);
            }
            let _ = (role_name(&text), RoleName::from_given(&text), assumed_role_name(&text));
        }
    }
}
