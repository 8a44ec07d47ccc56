//! Whether the Spot role may use the KMS keys of the volumes.

use iam_policy::arn::{Arn, Partition, PrincipalArn};
use iam_policy::condition::ContextValue;
use iam_policy::document::PolicyDocument;
use iam_policy::evaluate::{OwnSide, Request, evaluate};
use iam_policy::kleene::Tri;
use iam_policy::principal::{Class, Identity, Requester};
use serde_json::json;

use super::karpenter::{SpotDemand, spot_demand};
use super::parts::together;
use super::{Check, Group, Judgement, lost_ground, never};
use crate::facts::Facts;
use crate::facts::kms::{KeyState, KmsKey};
use crate::model::{Command, Observed, Role, SPOT_ROLE};

pub(crate) static CHECK: Check = Check {
    id: "spot-kms-grant",
    group: Group::SpotRole,
    title: "The Spot role may use the KMS keys that the node classes name",
    needed: never,
    judge,
};

/// What EC2 Spot does with a key; a key that allows these allows the rest as a rule.
const ESSENTIAL: [&str; 3] = ["CreateGrant", "Decrypt", "GenerateDataKeyWithoutPlaintext"];
/// What the grant of AWS's documentation holds.
const OPERATIONS: [&str; 8] = [
    "Decrypt",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "CreateGrant",
    "DescribeKey",
    "ReEncryptFrom",
    "ReEncryptTo",
];
const NOT_SEEN: &str = "the account's default key and the keys of encrypted AMIs are not looked at";

fn judge(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_ground(facts) {
        return Judgement::ground_lost(reason);
    }
    if let SpotDemand::No(why) = spot_demand(facts) {
        return Judgement::skip(why);
    }
    let keys = &facts.launching.kms_keys;
    if keys.is_empty() {
        return Judgement::skip(format!("no node class in use names a KMS key; {NOT_SEEN}"));
    }
    let role = match &facts.spot_role.observed {
        Observed::Known(role) => role,
        Observed::Absent => return Judgement::skip("the role does not exist: see spot-role-exists"),
        Observed::Unknown(unknown) => {
            return Judgement::unknown(&format!("the role {SPOT_ROLE}"), unknown)
                .headline("Unknown whether the Spot role may use the KMS keys")
                .from(&facts.spot_role);
        }
    };
    let mut judgement = together(keys.iter().map(|key| of_key(facts, key, role)).collect());
    judgement.message.push_str(&format!("; {NOT_SEEN}"));
    judgement.evidence(
        "keys",
        json!(
            keys.iter()
                .map(|key| json!({"key": key.given, "nodeClasses": key.classes}))
                .collect::<Vec<_>>()
        ),
    )
}

fn of_key(facts: &Facts, key: &KmsKey, role: &Role) -> Judgement {
    let named = format!("the key {} of node class {}", key.given, key.classes.join(", "));
    let judgement = match &key.key.observed {
        Observed::Unknown(unknown) => {
            Judgement::unknown(&named, unknown).headline("A KMS key of the volumes could not be read")
        }
        Observed::Absent => Judgement::fail(format!("{named} does not exist in {}", facts.target.region))
            .headline("A KMS key of the volumes does not exist")
            .fix(
                "Correct blockDeviceMappings of the node class.",
                edits(facts, key),
            ),
        Observed::Known(state) if state.state != "Enabled" => {
            let fix = match state.state.as_str() {
                "PendingDeletion" => vec![
                    kms(facts, "cancel-key-deletion", state),
                    kms(facts, "enable-key", state),
                ],
                "Disabled" => vec![kms(facts, "enable-key", state)],
                _ => Vec::new(),
            };
            Judgement::fail(format!(
                "{named} is {}: no volume can be created with it",
                state.state
            ))
            .headline("A KMS key of the volumes cannot be used: it is not enabled")
            .fix("Enable the key, or name another one.", fix)
        }
        Observed::Known(state) if state.aws_managed => Judgement::pass(format!(
            "{named} is managed by AWS: everybody in the account may use it through EC2"
        )),
        Observed::Known(state) => of_state(facts, key, state, role, &named),
    };
    judgement.from(&key.key).from(&key.policy).from(&key.grants)
}

fn of_state(facts: &Facts, key: &KmsKey, state: &KeyState, role: &Role, named: &str) -> Judgement {
    let by_grant = key.grants.known().map(|grants| {
        ESSENTIAL.iter().all(|operation| {
            grants
                .iter()
                .any(|grant| grant.grantee == role.arn && grant.operations.iter().any(|one| one == operation))
        })
    });
    if by_grant == Some(true) {
        return Judgement::pass(format!("{SPOT_ROLE} has a grant on {named}"));
    }
    let by_policy = key
        .policy
        .known()
        .map(|policy| ByPolicy::judge(policy, &state.arn, role));
    if by_policy.as_ref().is_some_and(|policy| policy.may == Tri::True) {
        return Judgement::pass(format!("the policy of {named} allows {SPOT_ROLE}"));
    }
    let grant = facts.target.aws(
        &[
            "kms",
            "create-grant",
            "--key-id",
            &state.arn,
            "--grantee-principal",
            &role.arn,
            "--operations",
        ]
        .into_iter()
        .chain(OPERATIONS)
        .collect::<Vec<_>>(),
    );
    let elsewhere = account_of(&state.arn) != account_of(&role.arn);
    const FIX: &str = "Give the Spot role a grant on the key; a statement in the key's policy does the same.";
    const HEADLINE: &str =
        "The Spot role may not use the KMS key of the volumes: Spot instances terminate at once";
    match (by_grant, by_policy) {
        (Some(false), Some(policy)) if policy.may == Tri::False => {
            let delegated = match policy.delegates {
                true => {
                    ". The key's policy leaves its use to the account's IAM policies, and the Spot role's own has nothing for KMS"
                }
                false => "",
            };
            Judgement::fail(format!(
                "neither a grant nor the policy of {named} lets {SPOT_ROLE} use it: the instance starts and is terminated at once (Client.InternalError){delegated}"
            ))
            .headline(HEADLINE)
            .fix(FIX, [grant])
        }
        (Some(false), Some(policy)) => Judgement::undecided(format!(
            "{SPOT_ROLE} has no grant on {named}, and unknown whether its policy allows the role: {}",
            policy.open.join("; ")
        ))
        .headline("Unknown whether the Spot role may use a KMS key")
        .fix(FIX, [grant]),
        _ => {
            let unread = [key.grants.observed.unknown(), key.policy.observed.unknown()];
            let judgement = match unread.into_iter().flatten().next() {
                Some(unknown) => Judgement::unknown(&format!("who may use {named}"), unknown),
                None => Judgement::undecided(format!("who may use {named} could not be read")),
            };
            let judgement = judgement.headline("Unknown whether the Spot role may use a KMS key");
            match elsewhere {
                // KMS shows a key's policy to its own account only, so no permission here lifts that.
                true => {
                    let message = format!(
                        "{}; the key is in account {}",
                        judgement.message,
                        account_of(&state.arn)
                    );
                    Judgement { message, ..judgement }.fix(
                        "The key's own account sees its policy. If the Spot role has no access yet, that account lets this one use the key, and this one makes the grant.",
                        [grant],
                    )
                }
                false => judgement,
            }
        }
    }
}

/// What a key's policy says of the role.
struct ByPolicy {
    may: Tri,
    /// It leaves the use of the key to the IAM policies of the role's account.
    delegates: bool,
    /// What would have to be known.
    open: Vec<String>,
}

impl ByPolicy {
    fn unknown(why: impl ToString) -> Self {
        Self {
            may: Tri::Unknown,
            delegates: false,
            open: vec![why.to_string()],
        }
    }

    /// The service-linked role's own policy has nothing for KMS, so that what is left to the account does not help it.
    fn judge(policy: &str, key: &str, role: &Role) -> Self {
        const OWN: OwnSide = OwnSide::Silent {
            boundary_limits: false,
        };
        let document = match PolicyDocument::parse(policy) {
            Ok(document) => document,
            Err(error) => return Self::unknown(error),
        };
        let (key, arn) = match (key.parse::<Arn>(), role.arn.parse::<PrincipalArn>()) {
            (Ok(key), Ok(arn)) => (key, arn),
            (Err(error), _) | (_, Err(error)) => return Self::unknown(error),
        };
        let account = arn.arn().account.clone();
        let requester = Requester::from(Identity {
            role_arn: Some(arn.arn().clone()),
            id: Some(role.id.clone()),
            ..Identity::from(arn)
        });
        let mut all = Self {
            may: Tri::True,
            delegates: false,
            open: Vec::new(),
        };
        for operation in ESSENTIAL {
            let request = Request {
                requester: &requester,
                action: &format!("kms:{operation}"),
                resource: &key,
                context: &|name| through_ec2(name, operation, &account, &key),
            };
            let decision = evaluate(&document, &request);
            let may = decision.with_own_side(&OWN, account == key.account);
            all.may = all.may.and(may);
            all.delegates |= decision.verdict == Tri::True && decision.class() == Some(Class::Account);
            if may == Tri::Unknown {
                all.open.extend(decision.unknown());
            }
        }
        all.open.dedup();
        all
    }
}

/// What a use of the key by EC2 on the role's behalf carries (KMS developer guide, "Condition keys for AWS KMS").
fn through_ec2(name: &str, operation: &str, account: &str, key: &Arn) -> Option<ContextValue> {
    Some(match name {
        "kms:calleraccount" => ContextValue::one(account),
        // How the service is called in China is not documented.
        "kms:viaservice" if key.partition == Partition::AwsCn => ContextValue::Present,
        "kms:viaservice" => ContextValue::one(format!("ec2.{}.amazonaws.com", key.region)),
        "kms:grantisforawsresource" if operation == "CreateGrant" => ContextValue::one("true"),
        "kms:grantisforawsresource" => ContextValue::Absent,
        "aws:sourceip" | "aws:viaawsservice" | "aws:calledvia" | "aws:calledviafirst"
        | "aws:calledvialast" => ContextValue::Unknown,
        _ => return None,
    })
}

fn account_of(arn: &str) -> &str {
    arn.split(':').nth(4).unwrap_or_default()
}

fn kms(facts: &Facts, verb: &str, state: &KeyState) -> Command {
    facts.target.aws(&["kms", verb, "--key-id", &state.arn])
}

fn edits(facts: &Facts, key: &KmsKey) -> Vec<Command> {
    key.classes
        .iter()
        .take(3)
        .map(|class| facts.target.kubectl(&["edit", "ec2nodeclass", class]))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::checks::testing::{Damage, told_of};
    use crate::facts::fixture::{
        absent, capacity_type, denied, known, node_pool, spot_role, with_karpenter, with_pools,
    };
    use crate::facts::kms::KeyGrant;

    const ARN: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd";

    /// A key of this state, with this policy and these operations granted to the Spot role.
    fn key(facts: &mut Facts, state: &str, statements: Value, granted: &[&str]) {
        let policy = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        let grants = match granted {
            [] => Vec::new(),
            operations => vec![KeyGrant {
                grantee: spot_role().arn,
                operations: operations.iter().map(|one| (*one).to_owned()).collect(),
            }],
        };
        facts.launching.kms_keys = vec![KmsKey {
            given: "alias/nodes".into(),
            classes: vec!["default".into()],
            key: known(
                "kms:DescribeKey alias/nodes",
                KeyState {
                    arn: ARN.into(),
                    state: state.into(),
                    aws_managed: false,
                },
            ),
            policy: known("kms:GetKeyPolicy", policy),
            grants: known("kms:ListGrants", grants),
        }];
    }

    fn statement(effect: &str, who: &str, action: &str, condition: Value) -> Value {
        json!({"Effect": effect, "Principal": {"AWS": who}, "Action": action, "Resource": "*", "Condition": condition})
    }

    fn allow(who: &str, action: &str, condition: Value) -> Value {
        statement("Allow", who, action, condition)
    }

    /// What KMS gives a new key.
    fn root() -> Value {
        allow("arn:aws:iam::111122223333:root", "kms:*", json!({}))
    }

    fn the_role() -> Value {
        allow(&spot_role().arn, "kms:*", json!({}))
    }

    fn only_grants() -> Value {
        json!({"Bool": {"kms:GrantIsForAWSResource": "true"}})
    }

    /// What the key of aws/ebs has, for this service.
    fn everyone(service: &str) -> Value {
        let condition =
            json!({"StringEquals": {"kms:CallerAccount": "111122223333", "kms:ViaService": service}});
        allow("*", "kms:*", condition)
    }

    /// A key with this policy alone.
    fn policy(facts: &mut Facts, statements: Value) {
        key(facts, "Enabled", statements, &[]);
    }

    fn first(facts: &mut Facts) -> &mut KmsKey {
        &mut facts.launching.kms_keys[0]
    }

    fn describe(facts: &mut Facts, change: impl FnOnce(&mut KeyState)) {
        policy(facts, root());
        if let Observed::Known(state) = &mut first(facts).key.observed {
            change(state);
        }
    }

    const CASES: &[(&str, Damage)] = &[
        ("none", |_| {}),
        ("no grant", |f| policy(f, root())),
        ("a grant", |f| key(f, "Enabled", root(), &ESSENTIAL)),
        ("a grant of too little", |f| {
            key(f, "Enabled", root(), &["Decrypt"])
        }),
        ("by its policy", |f| {
            let role = &spot_role().arn;
            let keys = ["kms:Decrypt", "kms:GenerateDataKey*"].map(|action| allow(role, action, json!({})));
            policy(
                f,
                json!([keys[0], keys[1], allow(role, "kms:CreateGrant", only_grants())]),
            );
        }),
        ("its policy allows everyone of the account", |f| {
            let condition = json!({"StringEquals": {"kms:CallerAccount": "111122223333"}});
            policy(f, allow("*", "kms:*", condition));
        }),
        ("everyone of the account, through EC2", |f| {
            policy(f, everyone("ec2.eu-west-1.amazonaws.com"))
        }),
        ("everyone of the account, through RDS", |f| {
            policy(f, everyone("rds.eu-west-1.amazonaws.com"))
        }),
        ("under a condition that the request decides", |f| {
            let condition = json!({"StringEquals": {"kms:EncryptionContext:aws:ebs:id": "vol-1"}});
            policy(f, allow(&spot_role().arn, "kms:*", condition));
        }),
        ("grants for AWS resources alone", |f| {
            policy(f, allow(&spot_role().arn, "kms:*", only_grants()))
        }),
        ("root and a Deny", |f| {
            let deny = statement("Deny", "111122223333", "kms:CreateGrant", json!({}));
            policy(f, json!([root(), the_role(), deny]));
        }),
        ("a Deny unless through EC2", |f| {
            let condition = json!({"StringNotLike": {"kms:ViaService": "ec2.*.amazonaws.com"}});
            policy(f, json!([the_role(), statement("Deny", "*", "kms:*", condition)]));
        }),
        ("the role of another partition", |f| {
            let other = spot_role().arn.replace("arn:aws:", "arn:aws-cn:");
            policy(f, allow(&other, "kms:*", json!({})));
        }),
        ("a repeated key", |f| {
            policy(f, the_role());
            let twice = the_role()
                .to_string()
                .replace(r#""Effect""#, r#""Effect":"Deny","Effect""#);
            first(f).policy = known("kms:GetKeyPolicy", format!(r#"{{"Statement":{twice}}}"#));
        }),
        ("disabled", |f| describe(f, |key| key.state = "Disabled".into())),
        ("about to be deleted", |f| {
            describe(f, |key| key.state = "PendingDeletion".into())
        }),
        ("AWS's own", |f| describe(f, |key| key.aws_managed = true)),
        ("not there", |f| {
            policy(f, root());
            first(f).key = absent("kms:DescribeKey alias/nodes");
        }),
        ("of another account", |f| {
            describe(f, |key| key.arn = ARN.replace("1111", "9999"));
            first(f).policy = denied("kms:GetKeyPolicy");
            first(f).grants = denied("kms:ListGrants");
        }),
        ("grants denied", |f| {
            policy(f, root());
            first(f).grants = denied("kms:ListGrants");
        }),
        ("key denied", |f| {
            policy(f, root());
            first(f).key = denied("kms:DescribeKey");
        }),
        ("the role is missing", |f| {
            policy(f, root());
            f.spot_role = absent("iam:GetRole AWSServiceRoleForEC2Spot");
        }),
        ("nothing wants Spot", |f| {
            policy(f, root());
            with_pools(f, vec![node_pool("a", capacity_type(&["on-demand"]))]);
        }),
    ];

    #[test]
    fn keys_of_every_kind() {
        insta::assert_snapshot!(told_of(with_karpenter, judge, CASES));
    }
}
