//! Whether the Spot role may use the KMS keys of the volumes.

use iam_policy::document::{Effect, PolicyDocument, Principal, Who};
use iam_policy::kleene::Tri;
use serde_json::json;

use super::karpenter::{SpotDemand, spot_demand};
use super::parts::together;
use super::{Check, Group, Judgement, lost_ground, never};
use crate::facts::Facts;
use crate::facts::kms::{KeyState, KmsKey};
use crate::model::{Command, Observed, SPOT_ROLE};

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
        Observed::Known(role) => role.arn.as_str(),
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

fn of_key(facts: &Facts, key: &KmsKey, role: &str) -> Judgement {
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

fn of_state(facts: &Facts, key: &KmsKey, state: &KeyState, role: &str, named: &str) -> Judgement {
    let by_grant = key.grants.known().map(|grants| {
        ESSENTIAL.iter().all(|operation| {
            grants
                .iter()
                .any(|grant| grant.grantee == role && grant.operations.iter().any(|one| one == operation))
        })
    });
    if by_grant == Some(true) {
        return Judgement::pass(format!("{SPOT_ROLE} has a grant on {named}"));
    }
    let by_policy = key.policy.known().map(|policy| allowed_by_policy(policy, role));
    if by_policy == Some(Tri::True) {
        return Judgement::pass(format!("the policy of {named} allows {SPOT_ROLE}"));
    }
    let grant = facts.target.aws(
        &[
            "kms",
            "create-grant",
            "--key-id",
            &state.arn,
            "--grantee-principal",
            role,
            "--operations",
        ]
        .into_iter()
        .chain(OPERATIONS)
        .collect::<Vec<_>>(),
    );
    let elsewhere = account_of(&state.arn) != account_of(role);
    const FIX: &str = "Give the Spot role a grant on the key; a statement in the key's policy does the same.";
    const HEADLINE: &str =
        "The Spot role may not use the KMS key of the volumes: Spot instances terminate at once";
    match (by_grant, by_policy) {
        (Some(false), Some(Tri::False)) => Judgement::fail(format!(
            "neither a grant nor the policy of {named} lets {SPOT_ROLE} use it: the instance starts and is terminated at once (Client.InternalError)"
        ))
        .headline(HEADLINE)
        .fix(FIX, [grant]),
        (Some(false), Some(_)) => Judgement::undecided(format!(
            "{SPOT_ROLE} has no grant on {named}, and whether its policy allows the role depends on more than is known here"
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
                    let message = format!("{}; the key is in account {}", judgement.message, account_of(&state.arn));
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

/// Whether a key's policy names the role itself. The account as principal leaves it to the role's own policies, and the
/// service-linked role's have nothing for KMS.
fn allowed_by_policy(policy: &str, role: &str) -> Tri {
    let Ok(document) = PolicyDocument::parse(policy) else {
        return Tri::Unknown;
    };
    let names_it = |who: &Who| match who {
        Who::Principal(principals) => principals.iter().any(|one| match one {
            Principal::Anyone => true,
            Principal::Aws(arn) => arn == role,
            _ => false,
        }),
        Who::NotPrincipal(_) | Who::Unsaid => true,
    };
    let about = |effect: Option<Effect>, action: &str| -> Tri {
        let of_statement = document
            .statements
            .iter()
            .filter(|one| one.effect == effect)
            .map(|one| {
                let covers = one.actions.has_action(&format!("kms:{action}")).unwrap_or(true);
                match (covers && names_it(&one.who), one.conditions.is_empty()) {
                    (false, _) => Tri::False,
                    (true, true) => Tri::True,
                    // AWS's own example limits CreateGrant to AWS resources, which EC2 is.
                    (true, false)
                        if one
                            .conditions
                            .iter()
                            .all(|one| one.key.eq_ignore_ascii_case("kms:GrantIsForAWSResource")) =>
                    {
                        Tri::True
                    }
                    (true, false) => Tri::Unknown,
                }
            });
        Tri::any(of_statement)
    };
    Tri::all(
        ESSENTIAL.map(|action| about(Some(Effect::Allow), action).and(!about(Some(Effect::Deny), action))),
    )
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

    use super::super::parts::in_worlds;
    use super::*;
    use crate::facts::fixture::{absent, capacity_type, denied, known, node_pool, spot_role, with_pools};
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

    fn root() -> Value {
        json!([{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111122223333:root"}, "Action": "kms:*", "Resource": "*"}])
    }

    fn first(facts: &mut Facts) -> &mut KmsKey {
        &mut facts.launching.kms_keys[0]
    }

    #[test]
    fn keys_of_every_kind() {
        insta::assert_snapshot!(in_worlds(
            judge,
            &[
                ("none", |_| {}),
                ("no grant", |f| key(f, "Enabled", root(), &[])),
                ("a grant", |f| key(
                    f,
                    "Enabled",
                    root(),
                    &["Decrypt", "CreateGrant", "GenerateDataKeyWithoutPlaintext"]
                )),
                ("a grant of too little", |f| key(
                    f,
                    "Enabled",
                    root(),
                    &["Decrypt"]
                )),
                ("by its policy", |f| key(
                    f,
                    "Enabled",
                    json!([
                {"Effect": "Allow", "Principal": {"AWS": spot_role().arn}, "Action": ["kms:Decrypt", "kms:GenerateDataKey*"], "Resource": "*"},
                {"Effect": "Allow", "Principal": {"AWS": spot_role().arn}, "Action": "kms:CreateGrant", "Resource": "*",
                 "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}}}]),
                    &[]
                )),
                ("by its policy, under a condition", |f| key(
                    f,
                    "Enabled",
                    json!([
                {"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*", "Condition": {"StringEquals": {"kms:CallerAccount": "111122223333"}}}]),
                    &[]
                )),
                ("disabled", |f| key(f, "Disabled", root(), &[])),
                ("about to be deleted", |f| key(f, "PendingDeletion", root(), &[])),
                ("AWS's own", |f| {
                    key(f, "Enabled", root(), &[]);
                    first(f).key = known(
                        "kms:DescribeKey alias/aws/ebs",
                        KeyState {
                            arn: ARN.into(),
                            state: "Enabled".into(),
                            aws_managed: true,
                        },
                    );
                }),
                ("not there", |f| {
                    key(f, "Enabled", root(), &[]);
                    first(f).key = absent("kms:DescribeKey alias/nodes");
                }),
                ("of another account", |f| {
                    key(f, "Enabled", root(), &[]);
                    first(f).key = known(
                        "kms:DescribeKey",
                        KeyState {
                            arn: ARN.replace("1111", "9999"),
                            state: "Enabled".into(),
                            aws_managed: false,
                        },
                    );
                    first(f).policy = denied("kms:GetKeyPolicy");
                    first(f).grants = denied("kms:ListGrants");
                }),
                ("grants denied", |f| {
                    key(f, "Enabled", root(), &[]);
                    first(f).grants = denied("kms:ListGrants");
                }),
                ("key denied", |f| {
                    key(f, "Enabled", root(), &[]);
                    first(f).key = denied("kms:DescribeKey");
                }),
                ("the role is missing", |f| {
                    key(f, "Enabled", root(), &[]);
                    f.spot_role = absent("iam:GetRole AWSServiceRoleForEC2Spot");
                }),
                ("nothing wants Spot", |f| {
                    key(f, "Enabled", root(), &[]);
                    with_pools(f, vec![node_pool("a", capacity_type(&["on-demand"]))]);
                }),
            ]
        ));
    }
}
