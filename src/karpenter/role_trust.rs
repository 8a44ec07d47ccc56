//! The trust policy of a role that a pod takes, judged for one known requester: a service account's token (IRSA) or
//! EKS Pod Identity. Three-valued: a condition on something that can't be known from outside stays unknown.
//!
//! Rules: IAM user guide, "IAM JSON policy elements" (operators, `IfExists`, set operators, keys that are absent) and
//! "Available keys for OIDC federation"; EKS user guide, "Session tags of Pod Identity".

use serde_json::{Map, Value, json};

use super::json::clip;
use iam_policy::document::{self, LONGEST_DOCUMENT, PolicyError, action_matches, glob};

/// Why a document can't be read as a trust policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Nothing there.
    #[error("the trust policy is empty")]
    Empty,
    /// Far beyond IAM's limit.
    #[error("the trust policy is larger than {} KiB", LONGEST_DOCUMENT / 1024)]
    TooLarge,
    /// Not JSON, URL-encoded or not.
    #[error("the trust policy is not JSON: {0}")]
    NotJson(String),
    /// JSON of another shape.
    #[error("the trust policy is malformed: {0}")]
    Malformed(String),
}

/// Yes, no, or not to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tri {
    /// It holds.
    Yes,
    /// It does not.
    No,
    /// It can't be told.
    Unknown,
}

impl Tri {
    fn of(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }

    fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Unknown => Self::Unknown,
        }
    }
}

/// What a request has for a condition key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextValue {
    /// This value.
    Known(String),
    /// The request has no such key.
    Absent,
    /// It may have anything.
    Unknown,
}

/// The kind of a principal, as the policy names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrincipalKind {
    /// An identity provider.
    Federated,
    /// An AWS service.
    Service,
}

impl PrincipalKind {
    fn key(self) -> &'static str {
        match self {
            Self::Federated => "Federated",
            Self::Service => "Service",
        }
    }
}

/// One condition: an operator on a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustCondition {
    /// As written, `ForAnyValue:` and `IfExists` included.
    pub operator: String,
    /// As written.
    pub key: String,
    /// The values.
    pub values: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Statement {
    allow: bool,
    actions: Vec<String>,
    /// `NotAction`.
    other_actions: bool,
    /// `None`: everyone.
    principals: Option<Vec<(String, String)>>,
    /// `NotPrincipal`.
    other_principals: bool,
    conditions: Vec<TrustCondition>,
}

/// A trust policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustPolicy {
    document: Value,
    statements: Vec<Statement>,
}

/// Who asks for what.
pub struct TrustRequest<'a> {
    /// As in `sts:AssumeRoleWithWebIdentity`.
    pub action: &'a str,
    /// The kind of the principal.
    pub kind: PrincipalKind,
    /// The principal: a provider's ARN, a service's name.
    pub principal: &'a str,
    /// What the request has for a key, given in lower case.
    pub context: &'a dyn Fn(&str) -> ContextValue,
}

/// An `Allow` statement for the action that does not let the requester in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearMiss {
    /// Its place in the policy, from 0.
    pub index: usize,
    /// Whether it names the requester.
    pub names_requester: bool,
    /// The principals it names, of the requester's kind.
    pub principals: Vec<String>,
    /// The conditions that don't hold.
    pub unmet: Vec<TrustCondition>,
}

/// Whether the policy lets the requester in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trusted {
    /// The statement at this index does, under these conditions, all of which hold.
    Yes {
        /// Its place, from 0.
        index: usize,
        /// Its conditions.
        conditions: Vec<TrustCondition>,
    },
    /// A `Deny` at this index keeps it out.
    Denied {
        /// Its place, from 0.
        index: usize,
    },
    /// It depends on conditions that can't be known from outside.
    Unknown {
        /// These.
        conditions: Vec<TrustCondition>,
    },
    /// No statement allows it. The one that comes nearest is first.
    No {
        /// The statements for this action.
        near: Vec<NearMiss>,
    },
}

/// `"x"` or `["x", "y"]`, with booleans and numbers by their text.
fn texts(value: &Value) -> Result<Vec<String>, TrustError> {
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(boolean) => Ok(boolean.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(TrustError::Malformed(
            "a string or a list of strings is expected".to_owned(),
        )),
    };
    match value {
        Value::Array(values) => values.iter().map(one).collect(),
        value => Ok(vec![one(value)?]),
    }
}

impl TrustPolicy {
    /// Reads a policy document, URL-encoded (as `iam:GetRole` gives it) or not.
    pub fn parse(text: &str) -> Result<Self, TrustError> {
        let document = document::decode(text).map_err(|error| match error {
            PolicyError::Empty => TrustError::Empty,
            PolicyError::TooLong(_) => TrustError::TooLarge,
            PolicyError::Json {
                message,
                line,
                column,
            } => TrustError::NotJson(clip(&format!("{message} at line {line} column {column}"))),
            other => TrustError::NotJson(other.to_string()),
        })?;
        let statements = match document.get("Statement") {
            None | Some(Value::Null) => return Err(TrustError::Malformed("it has no Statement".to_owned())),
            Some(Value::Array(statements)) => {
                statements.iter().map(Statement::read).collect::<Result<_, _>>()?
            }
            Some(one) => vec![Statement::read(one)?],
        };
        Ok(Self { document, statements })
    }

    /// The document with one statement more, ready for `aws iam update-assume-role-policy`. What is there stays.
    pub fn with(&self, statement: Value) -> Value {
        let mut document = match &self.document {
            Value::Object(map) => map.clone(),
            _ => Map::new(),
        };
        let mut statements = match document.remove("Statement") {
            Some(Value::Array(statements)) => statements,
            Some(one) => vec![one],
            None => Vec::new(),
        };
        statements.push(statement);
        document.entry("Version").or_insert_with(|| json!("2012-10-17"));
        document.insert("Statement".to_owned(), Value::Array(statements));
        Value::Object(document)
    }

    /// How many statements there are.
    pub fn len(&self) -> usize {
        self.statements.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// The principals of a kind that may do `action`, whatever the conditions.
    pub fn principals_for(&self, action: &str) -> Vec<String> {
        let allows = self
            .statements
            .iter()
            .filter(|statement| statement.allow && statement.covers(action));
        allows
            .flat_map(|statement| statement.principals.iter().flatten())
            .map(|(_, name)| name.clone())
            .collect()
    }

    /// Whether the policy lets `request` in.
    pub fn judge(&self, request: &TrustRequest<'_>) -> Trusted {
        let (mut may_allow, mut may_deny) = (Vec::new(), Vec::new());
        let mut allowed = None;
        let mut near = Vec::new();
        for (index, statement) in self.statements.iter().enumerate() {
            if !statement.covers(request.action) {
                continue;
            }
            let names_requester = statement.names(request);
            if !statement.allow && !names_requester {
                continue;
            }
            let mut unmet = Vec::new();
            let mut open = Vec::new();
            for condition in &statement.conditions {
                match condition.holds(request) {
                    Tri::Yes => {}
                    Tri::No => unmet.push(condition.clone()),
                    Tri::Unknown => open.push(condition.clone()),
                }
            }
            match (
                statement.allow,
                names_requester && unmet.is_empty(),
                open.is_empty(),
            ) {
                (false, true, true) => return Trusted::Denied { index },
                (false, true, false) => may_deny.extend(open),
                (true, true, false) => may_allow.extend(open),
                (true, true, true) => {
                    allowed.get_or_insert((index, statement.conditions.clone()));
                }
                (true, false, _) => near.push(NearMiss {
                    index,
                    names_requester,
                    principals: statement.principals_of(request.kind),
                    unmet,
                }),
                (false, false, _) => {}
            }
        }
        // A Deny that may apply keeps even an Allow in doubt.
        match allowed {
            Some((index, conditions)) if may_deny.is_empty() => Trusted::Yes { index, conditions },
            Some(_) => Trusted::Unknown { conditions: may_deny },
            None if !may_allow.is_empty() => Trusted::Unknown {
                conditions: may_allow,
            },
            None => {
                near.sort_by_key(|miss: &NearMiss| (!miss.names_requester, miss.unmet.len()));
                Trusted::No { near }
            }
        }
    }
}

impl Statement {
    fn read(value: &Value) -> Result<Self, TrustError> {
        let Value::Object(map) = value else {
            return Err(TrustError::Malformed("a statement is not an object".to_owned()));
        };
        // Element names are matched without regard to case, as IAM does for most documents in circulation.
        let get = |name: &str| {
            map.iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value)
        };
        let allow = match get("Effect").and_then(Value::as_str) {
            Some("Allow") => true,
            Some("Deny") => false,
            _ => {
                return Err(TrustError::Malformed(
                    "a statement has no Effect of Allow or Deny".to_owned(),
                ));
            }
        };
        let (actions, other_actions) = match (get("Action"), get("NotAction")) {
            (Some(actions), _) => (texts(actions)?, false),
            (None, Some(actions)) => (texts(actions)?, true),
            (None, None) => return Err(TrustError::Malformed("a statement has no Action".to_owned())),
        };
        let (principal, other_principals) = match (get("Principal"), get("NotPrincipal")) {
            (Some(principal), _) => (principal, false),
            (None, Some(principal)) => (principal, true),
            (None, None) => return Err(TrustError::Malformed("a statement has no Principal".to_owned())),
        };
        let principals = match principal {
            Value::String(everyone) if everyone == "*" => None,
            Value::Object(kinds) => {
                let mut list = Vec::new();
                for (kind, names) in kinds {
                    list.extend(texts(names)?.into_iter().map(|name| (kind.clone(), name)));
                }
                let everyone = list.iter().any(|(kind, name)| kind == "AWS" && name == "*");
                (!everyone).then_some(list)
            }
            _ => {
                return Err(TrustError::Malformed(
                    "a Principal is neither \"*\" nor an object".to_owned(),
                ));
            }
        };
        let mut conditions = Vec::new();
        match get("Condition") {
            None | Some(Value::Null) => {}
            Some(Value::Object(operators)) => {
                for (operator, keys) in operators {
                    let Value::Object(keys) = keys else {
                        return Err(TrustError::Malformed(format!(
                            "the condition {} is not an object",
                            clip(operator)
                        )));
                    };
                    for (key, values) in keys {
                        let values = texts(values)?;
                        conditions.push(TrustCondition {
                            operator: operator.clone(),
                            key: key.clone(),
                            values,
                        });
                    }
                }
            }
            Some(_) => return Err(TrustError::Malformed("a Condition is not an object".to_owned())),
        }
        Ok(Self {
            allow,
            actions,
            other_actions,
            principals,
            other_principals,
            conditions,
        })
    }

    fn covers(&self, action: &str) -> bool {
        let listed = self.actions.iter().any(|pattern| action_matches(pattern, action));
        listed != self.other_actions
    }

    fn principals_of(&self, kind: PrincipalKind) -> Vec<String> {
        let all = self.principals.iter().flatten();
        all.filter(|(name, _)| name == kind.key())
            .map(|(_, principal)| principal.clone())
            .collect()
    }

    fn names(&self, request: &TrustRequest<'_>) -> bool {
        let listed = match &self.principals {
            None => true,
            Some(list) => list
                .iter()
                .any(|(kind, name)| kind == request.kind.key() && name == request.principal),
        };
        listed != self.other_principals
    }
}

impl TrustCondition {
    /// Whether it holds for the request.
    pub fn holds(&self, request: &TrustRequest<'_>) -> Tri {
        let operator = self.operator.to_ascii_lowercase();
        let (all_values, operator) = match operator.strip_prefix("forallvalues:") {
            Some(rest) => (true, rest.to_owned()),
            None => (
                false,
                operator
                    .strip_prefix("foranyvalue:")
                    .unwrap_or(&operator)
                    .to_owned(),
            ),
        };
        let (if_exists, operator) = match operator.strip_suffix("ifexists") {
            Some(rest) => (true, rest),
            None => (false, operator.as_str()),
        };
        let value = (request.context)(&self.key.to_ascii_lowercase());
        if operator == "null" {
            let wants_absent = self.values.iter().any(|value| value.eq_ignore_ascii_case("true"));
            return match value {
                ContextValue::Known(_) => Tri::of(!wants_absent),
                ContextValue::Absent => Tri::of(wants_absent),
                ContextValue::Unknown => Tri::Unknown,
            };
        }
        let (negated, matches): (bool, fn(&str, &str) -> bool) = match operator {
            "stringequals" => (false, |pattern, value| pattern == value),
            "stringnotequals" => (true, |pattern, value| pattern == value),
            "stringequalsignorecase" => (false, |pattern, value| {
                pattern.to_lowercase() == value.to_lowercase()
            }),
            "stringnotequalsignorecase" => (true, |pattern, value| {
                pattern.to_lowercase() == value.to_lowercase()
            }),
            "stringlike" | "arnlike" | "arnequals" => (false, glob),
            "stringnotlike" | "arnnotlike" | "arnnotequals" => (true, glob),
            _ => return Tri::Unknown,
        };
        match value {
            ContextValue::Unknown => Tri::Unknown,
            ContextValue::Absent => Tri::of(negated || if_exists || all_values),
            ContextValue::Known(value) => {
                let hit = if self.values.iter().any(|pattern| matches(pattern, &value)) {
                    Tri::Yes
                } else if self.values.iter().any(|pattern| pattern.contains("${")) {
                    // A policy variable may stand for anything.
                    Tri::Unknown
                } else {
                    Tri::No
                };
                if negated { hit.not() } else { hit }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROVIDER: &str = "arn:aws:iam::111122223333:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/AAAA";

    fn context(key: &str) -> ContextValue {
        match key {
            "issuer:sub" => ContextValue::Known("system:serviceaccount:kube-system:karpenter".to_owned()),
            "other:sub" => ContextValue::Absent,
            _ => ContextValue::Unknown,
        }
    }

    fn request() -> TrustRequest<'static> {
        TrustRequest {
            action: "sts:AssumeRoleWithWebIdentity",
            kind: PrincipalKind::Federated,
            principal: PROVIDER,
            context: &context,
        }
    }

    fn statement(effect: &str, condition: Value) -> Value {
        json!({"Effect": effect, "Principal": {"Federated": PROVIDER}, "Action": "sts:AssumeRoleWithWebIdentity",
               "Condition": condition})
    }

    fn judge(statements: Value) -> Trusted {
        let document = json!({"Version": "2012-10-17", "Statement": statements});
        TrustPolicy::parse(&document.to_string())
            .expect("a good policy")
            .judge(&request())
    }

    /// The table of condition operators for a key that is there, one that is not, and one that can't be known.
    #[test]
    fn operators() {
        use Tri::{No, Unknown, Yes};
        const SUB: &str = "system:serviceaccount:kube-system:karpenter";
        let cases = [
            ("StringEquals", SUB, [Yes, No, Unknown]),
            ("stringequals", SUB, [Yes, No, Unknown]),
            (
                "StringEquals",
                "system:serviceaccount:*:karpenter",
                [No, No, Unknown],
            ),
            (
                "StringEquals",
                "SYSTEM:serviceaccount:kube-system:karpenter",
                [No, No, Unknown],
            ),
            (
                "StringEqualsIgnoreCase",
                "SYSTEM:serviceaccount:kube-system:karpenter",
                [Yes, No, Unknown],
            ),
            (
                "StringLike",
                "system:serviceaccount:*:karpenter",
                [Yes, No, Unknown],
            ),
            (
                "StringLike",
                "system:serviceaccount:kube-?ystem:karpenter",
                [Yes, No, Unknown],
            ),
            (
                "StringLike",
                "system:serviceaccount:karpenter:*",
                [No, No, Unknown],
            ),
            ("ForAnyValue:StringLike", "*", [Yes, No, Unknown]),
            ("ForAllValues:StringLike", "*", [Yes, Yes, Unknown]),
            ("StringEqualsIfExists", SUB, [Yes, Yes, Unknown]),
            ("StringEqualsIfExists", "x", [No, Yes, Unknown]),
            ("StringNotEquals", SUB, [No, Yes, Unknown]),
            ("StringNotEquals", "x", [Yes, Yes, Unknown]),
            ("StringNotLike", "*karpenter", [No, Yes, Unknown]),
            ("StringEquals", "${aws:username}", [Unknown, No, Unknown]),
            ("Null", "true", [No, Yes, Unknown]),
            ("Null", "false", [Yes, No, Unknown]),
            (
                "DateGreaterThan",
                "2020-01-01T00:00:00Z",
                [Unknown, Unknown, Unknown],
            ),
        ];
        for (operator, value, expected) in cases {
            let got = ["issuer:sub", "Other:sub", "aws:SourceIp"].map(|key| {
                let condition = TrustCondition {
                    operator: operator.into(),
                    key: key.into(),
                    values: vec![value.into()],
                };
                condition.holds(&request())
            });
            assert_eq!(got, expected, "{operator} {value}");
        }
    }

    #[test]
    fn statements() {
        let good = || statement("Allow", json!({"StringLike": {"issuer:sub": "*"}}));
        let bad = || statement("Allow", json!({"StringEquals": {"issuer:sub": "x"}}));
        assert!(matches!(judge(good()), Trusted::Yes { index: 0, .. }));
        assert!(matches!(
            judge(json!([bad(), good()])),
            Trusted::Yes { index: 1, .. }
        ));
        assert!(matches!(
            judge(json!([good(), statement("Deny", json!({}))])),
            Trusted::Denied { index: 1 }
        ));
        let everyone = json!({"Effect": "Deny", "Principal": "*", "Action": "sts:*"});
        assert!(matches!(
            judge(json!([good(), everyone])),
            Trusted::Denied { index: 1 }
        ));
        let maybe = statement("Deny", json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}));
        assert!(matches!(judge(json!([good(), maybe])), Trusted::Unknown { .. }));
        let maybe = statement("Deny", json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}));
        assert!(matches!(judge(json!([bad(), maybe])), Trusted::No { .. }));
        let other = statement("Deny", json!({"StringEquals": {"issuer:sub": "x"}}));
        assert!(matches!(judge(json!([good(), other])), Trusted::Yes { .. }));
        let maybe = statement("Allow", json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}));
        assert!(matches!(judge(json!([bad(), maybe])), Trusted::Unknown { .. }));
        let elsewhere = json!({"Effect": "Allow", "Principal": {"Federated": "arn:x"}, "Action": "sts:AssumeRoleWithWebIdentity"});
        match judge(json!([elsewhere, bad()])) {
            Trusted::No { near } => {
                assert_eq!(
                    near.iter()
                        .map(|miss| (miss.index, miss.names_requester))
                        .collect::<Vec<_>>(),
                    [(1, true), (0, false)]
                );
            }
            other => panic!("{other:?}"),
        }
        let service = json!({"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"});
        assert_eq!(judge(service), Trusted::No { near: Vec::new() });
        assert_eq!(judge(json!([])), Trusted::No { near: Vec::new() });
        let many: Vec<Value> = std::iter::repeat_with(bad).take(99).chain([good()]).collect();
        assert!(matches!(judge(json!(many)), Trusted::Yes { index: 99, .. }));
    }

    #[test]
    fn documents() {
        let plain = json!({"Statement": statement("Allow", json!({}))}).to_string();
        let encoded =
            percent_encoding::utf8_percent_encode(&plain, percent_encoding::NON_ALPHANUMERIC).to_string();
        assert_eq!(TrustPolicy::parse(&plain), TrustPolicy::parse(&encoded));
        assert_eq!(TrustPolicy::parse(&plain).map(|policy| policy.len()), Ok(1));
        assert_eq!(TrustPolicy::parse(" \n"), Err(TrustError::Empty));
        assert_eq!(
            TrustPolicy::parse(&" ".repeat(LONGEST_DOCUMENT + 1)),
            Err(TrustError::TooLarge)
        );
        assert!(matches!(
            TrustPolicy::parse("%7B%22"),
            Err(TrustError::NotJson(_))
        ));
        for malformed in [
            "{}",
            r#"{"Statement": "x"}"#,
            r#"{"Statement": [{"Effect": "allow"}]}"#,
            r#"{"Statement": [{"Effect": "Allow", "Action": "*"}]}"#,
            r#"{"Statement": [{"Effect": "Allow", "Action": "*", "Principal": "x"}]}"#,
            r#"{"Statement": [{"Effect": "Allow", "Action": "*", "Principal": "*", "Condition": {"A": 1}}]}"#,
        ] {
            assert!(
                matches!(TrustPolicy::parse(malformed), Err(TrustError::Malformed(_))),
                "{malformed}"
            );
        }
    }

    #[test]
    fn another_statement_keeps_the_rest() {
        let policy = TrustPolicy::parse(
            r#"{"Id": "x", "Statement": {"Effect": "Deny", "Action": "*", "Principal": "*"}}"#,
        )
        .expect("a good policy");
        let more = policy.with(json!({"Effect": "Allow"}));
        assert_eq!(
            more,
            json!({"Id": "x", "Version": "2012-10-17",
                   "Statement": [{"Effect": "Deny", "Action": "*", "Principal": "*"}, {"Effect": "Allow"}]})
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,200}") {
            let _ = TrustPolicy::parse(&text);
        }

        /// The pattern of a text with some of its characters replaced matches that text, and a star more changes nothing.
        #[test]
        fn globs(text in "[ab:*?]{0,12}", marks in proptest::collection::vec(any::<bool>(), 12), at in 0usize..13) {
            let mut pattern: String = text
                .chars()
                .zip(&marks)
                .map(|(c, mark)| if *mark { '?' } else { c })
                .collect();
            prop_assert!(glob(&pattern, &text));
            pattern.insert(at.min(pattern.len()), '*');
            prop_assert!(glob(&pattern, &text));
            if !text.contains(['*', '?']) {
                let longer = format!("{text}c");
                prop_assert!(!glob(&longer, &text));
                prop_assert_eq!(glob(&text, "ab"), text == "ab");
            }
        }
    }
}
