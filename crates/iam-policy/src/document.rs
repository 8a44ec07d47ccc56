//! IAM policy documents: read leniently, as values that can be judged. Pure.
//!
//! IAM sends documents URL-encoded (RFC 3986), people and tools write them plainly; elements may be a single string or a
//! list, `Statement` an object or a list. What IAM would not have accepted is kept beside the statement as a
//! [`Statement::problems`] entry, so that a judge can refuse to build on it.
//!
//! Sources: IAM user guide, "Grammar of the IAM JSON policy language", "AWS JSON policy elements: Principal",
//! "IAM JSON policy elements: Condition operators".

use std::cell::RefCell;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};

use crate::arn::shown;
use crate::kleene::Tri;
use crate::principal::is_unique_id;

/// IAM's own limits are far below (10,240 characters without white space); a longer text is not a policy document.
pub const LONGEST_DOCUMENT: usize = 256 * 1024;

/// Why a text is not a policy document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Nothing but white space.
    #[error("the policy document is empty")]
    Empty,
    /// Longer than [`LONGEST_DOCUMENT`].
    #[error("the policy document has {0} bytes, more than IAM ever stores")]
    TooLong(usize),
    /// URL-encoded bytes that are no UTF-8.
    #[error("the policy document is URL-encoded and not UTF-8 underneath")]
    Encoding,
    /// Not JSON.
    #[error("the policy document is not JSON: {message} (line {line}, column {column})")]
    Json {
        /// What the JSON parser says.
        message: String,
        /// Line, from 1, of the decoded text.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// A key stands twice in one object.
    #[error("the policy document has the key {key} twice in one object (line {line})")]
    RepeatedKey {
        /// The key, quoted.
        key: String,
        /// Line of the second one, from 1, of the decoded text.
        line: usize,
    },
    /// JSON, but no object.
    #[error("the policy document is not a JSON object, but {0}")]
    NotAnObject(&'static str),
    /// `Statement` is neither an object nor a list of objects.
    #[error("the policy document's Statement holds {0} where a statement should be")]
    NotAStatement(&'static str),
}

/// A policy document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyDocument {
    /// `2012-10-17`; missing means `2008-10-17`, which knows no policy variables.
    pub version: Option<String>,
    /// In the order of the document.
    pub statements: Vec<Statement>,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Place in the document, from 0.
    pub index: usize,
    /// `Sid`
    pub sid: Option<String>,
    /// `Allow` or `Deny`. None: missing or misspelt, and in [`Self::problems`].
    pub effect: Option<Effect>,
    /// `Principal` or `NotPrincipal`.
    pub who: Who,
    /// `Action` or `NotAction`.
    pub actions: Names,
    /// `Resource` or `NotResource`; a trust policy has none.
    pub resources: Names,
    /// Every operator, key and its values; all of them must hold.
    pub conditions: Vec<Condition>,
    /// What IAM would not have accepted.
    pub problems: Vec<String>,
}

/// What a statement does where it applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Allows.
    Allow,
    /// Denies, whatever else allows.
    Deny,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "Allow",
            Self::Deny => "Deny",
        })
    }
}

/// Whom a statement is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Any of these.
    Principal(Vec<Principal>),
    /// Everybody but these.
    NotPrincipal(Vec<Principal>),
    /// The document doesn't say (identity-based policies never do).
    Unsaid,
}

/// One entry of `Principal`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Principal {
    /// `"*"`, or `{"AWS": "*"}`, which is the same.
    Anyone,
    /// `{"AWS": ...}`: an ARN, an account id, or the unique id of something deleted.
    Aws(String),
    /// `{"Service": ...}`
    Service(String),
    /// `{"Federated": ...}`: a SAML or OIDC provider.
    Federated(String),
    /// `{"CanonicalUser": ...}`, of S3.
    CanonicalUser(String),
    /// A key that IAM doesn't know, or a bare string other than `*`.
    Other {
        /// The key; empty for a bare string.
        kind: String,
        /// The value.
        value: String,
    },
}

impl Principal {
    fn new(kind: &str, value: String) -> Self {
        match kind {
            "AWS" if value == "*" => Self::Anyone,
            "AWS" => Self::Aws(value),
            "Service" => Self::Service(value),
            "Federated" => Self::Federated(value),
            "CanonicalUser" => Self::CanonicalUser(value),
            _ => Self::Other {
                kind: kind.to_owned(),
                value,
            },
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("everybody (*)"),
            Self::Aws(value) => f.write_str(value),
            Self::Service(value) => write!(f, "the service {value}"),
            Self::Federated(value) => write!(f, "the identity provider {value}"),
            Self::CanonicalUser(value) => write!(f, "the canonical user {value}"),
            Self::Other { kind, value } if kind.is_empty() => f.write_str(value),
            Self::Other { kind, value } => write!(f, "{kind} {value}"),
        }
    }
}

/// Actions or resources, as patterns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// Any of these.
    These(Vec<String>),
    /// Everything but these (`NotAction`, `NotResource`).
    AllBut(Vec<String>),
    /// The document doesn't say.
    Unsaid,
}

impl Names {
    /// Whether an action is among them: `*` and `?`, in any case. None when the statement doesn't say.
    pub fn has_action(&self, action: &str) -> Option<bool> {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| action_matches(pattern, action));
        match self {
            Self::These(patterns) => Some(any(patterns)),
            Self::AllBut(patterns) => Some(!any(patterns)),
            Self::Unsaid => None,
        }
    }

    /// Whether a resource is among them; `variables`: whether `${...}` is one. Unknown when the statement doesn't say.
    pub fn has_resource(&self, arn: &str, variables: bool) -> Tri {
        let matches = |pattern: &String| match pattern.as_str() {
            "*" => Tri::True,
            open if variables && open.contains("${") => Tri::Unknown,
            pattern => arn_glob(pattern, arn).map_or(Tri::Unknown, Tri::from),
        };
        match self {
            Self::These(patterns) => Tri::any(patterns.iter().map(matches)),
            Self::AllBut(patterns) => !Tri::any(patterns.iter().map(matches)),
            Self::Unsaid => Tri::Unknown,
        }
    }
}

/// One operator on one key: `"StringEquals": {"sts:ExternalId": ["a", "b"]}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The operator.
    pub operator: Operator,
    /// The key as written; keys are compared without regard to case.
    pub key: String,
    /// The values, numbers and booleans as their text.
    pub values: Vec<String>,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.operator, self.key)?;
        match self.values.as_slice() {
            [] => f.write_str("(nothing)"),
            [one] => f.write_str(one),
            all => write!(f, "one of {}", all.join(", ")),
        }
    }
}

/// A condition operator in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// `ForAnyValue:` or `ForAllValues:`
    pub set: Option<SetOperator>,
    /// What is compared, and how.
    pub comparison: Comparison,
    /// `...Not...`: it holds for what does not match, and so (without a set operator) for a key that is missing.
    pub negated: bool,
    /// `...IfExists`
    pub if_exists: bool,
    /// The name between the set operator and `IfExists`, as IAM spells it where IAM knows it.
    pub name: String,
}

/// How the values of a key with several values count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetOperator {
    /// One is enough; a missing key is false, whatever the operator.
    ForAnyValue,
    /// All of them; a missing key is true.
    ForAllValues,
}

/// The comparison of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Exactly.
    Text,
    /// Without regard to case.
    TextIgnoreCase,
    /// With `*` and `?`.
    Like,
    /// Each of the six parts with `*` and `?`; `ArnEquals` and `ArnLike` are the same.
    Arn,
    /// By value.
    Number(Order),
    /// ISO 8601 or seconds since 1970.
    Date(Order),
    /// In a CIDR range.
    Ip,
    /// Bytes in base64, equal as they are written.
    Binary,
    /// `true` or `false`.
    Bool,
    /// Whether the key is missing.
    Null,
    /// IAM has no operator of this name.
    Other,
}

/// What of two values in an order is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The request's is the same.
    Equal,
    /// The request's is smaller.
    Less,
    /// It is not greater.
    AtMost,
    /// It is greater.
    Greater,
    /// It is not smaller.
    AtLeast,
}

/// IAM's operators (IAM user guide, "IAM JSON policy elements: Condition operators").
const OPERATORS: [(&str, Comparison, bool); 27] = {
    use Comparison::{Arn, Binary, Bool, Date, Ip, Like, Null, Number, Text, TextIgnoreCase};
    use Order::{AtLeast, AtMost, Equal, Greater, Less};
    [
        ("StringEquals", Text, false),
        ("StringNotEquals", Text, true),
        ("StringEqualsIgnoreCase", TextIgnoreCase, false),
        ("StringNotEqualsIgnoreCase", TextIgnoreCase, true),
        ("StringLike", Like, false),
        ("StringNotLike", Like, true),
        ("ArnEquals", Arn, false),
        ("ArnLike", Arn, false),
        ("ArnNotEquals", Arn, true),
        ("ArnNotLike", Arn, true),
        ("NumericEquals", Number(Equal), false),
        ("NumericNotEquals", Number(Equal), true),
        ("NumericLessThan", Number(Less), false),
        ("NumericLessThanEquals", Number(AtMost), false),
        ("NumericGreaterThan", Number(Greater), false),
        ("NumericGreaterThanEquals", Number(AtLeast), false),
        ("DateEquals", Date(Equal), false),
        ("DateNotEquals", Date(Equal), true),
        ("DateLessThan", Date(Less), false),
        ("DateLessThanEquals", Date(AtMost), false),
        ("DateGreaterThan", Date(Greater), false),
        ("DateGreaterThanEquals", Date(AtLeast), false),
        ("IpAddress", Ip, false),
        ("NotIpAddress", Ip, true),
        ("BinaryEquals", Binary, false),
        ("Bool", Bool, false),
        ("Null", Null, false),
    ]
};

impl Operator {
    /// Reads an operator's name; every name is one, unknown ones as [`Comparison::Other`].
    pub fn parse(text: &str) -> Self {
        let (set, rest) = match text.split_once(':') {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case("ForAnyValue") => {
                (Some(SetOperator::ForAnyValue), rest)
            }
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case("ForAllValues") => {
                (Some(SetOperator::ForAllValues), rest)
            }
            _ => (None, text),
        };
        let (name, if_exists) = match rest.len().checked_sub("IfExists".len()) {
            Some(end)
                if rest
                    .get(end..)
                    .is_some_and(|tail| tail.eq_ignore_ascii_case("IfExists")) =>
            {
                (rest.get(..end).unwrap_or(rest), true)
            }
            _ => (rest, false),
        };
        let known = OPERATORS
            .iter()
            .find(|(known, ..)| known.eq_ignore_ascii_case(name))
            // There is no NullIfExists; what it would mean is not known.
            .filter(|(_, comparison, _)| !if_exists || *comparison != Comparison::Null);
        let (name, comparison, negated) = known.copied().unwrap_or((name, Comparison::Other, false));
        Self {
            set,
            comparison,
            negated,
            if_exists,
            name: name.to_owned(),
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.set {
            Some(SetOperator::ForAnyValue) => "ForAnyValue:",
            Some(SetOperator::ForAllValues) => "ForAllValues:",
            None => "",
        })?;
        f.write_str(&self.name)?;
        f.write_str(if self.if_exists { "IfExists" } else { "" })
    }
}

/// Reads JSON as it is, but for a key that stands twice in one object: which of the two IAM would take is not known.
struct Strict<'a>(&'a RefCell<Option<String>>);

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(Strict(self.0))? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if all.contains_key(&key) {
                let error = A::Error::custom("a repeated key");
                *self.0.borrow_mut() = Some(key);
                return Err(error);
            }
            let value = entries.next_value_seed(Strict(self.0))?;
            all.insert(key, value);
        }
        Ok(Value::Object(all))
    }
}

/// The JSON of a document, URL-encoded or not; for whoever wants to change it and nothing else of it.
pub fn decode(text: &str) -> Result<Value, PolicyError> {
    if text.len() > LONGEST_DOCUMENT {
        return Err(PolicyError::TooLong(text.len()));
    }
    let trimmed = text.trim_start_matches('\u{feff}').trim();
    if trimmed.is_empty() {
        return Err(PolicyError::Empty);
    }
    // Plain JSON may hold a percent sign in a value; only what cannot be JSON is decoded.
    let decoded = if trimmed.starts_with('%') {
        percent_encoding::percent_decode_str(trimmed)
            .decode_utf8()
            .map_err(|_| PolicyError::Encoding)?
    } else {
        std::borrow::Cow::Borrowed(trimmed)
    };
    if decoded.trim().is_empty() {
        return Err(PolicyError::Empty);
    }
    let repeated = RefCell::new(None);
    let mut reader = serde_json::Deserializer::from_str(&decoded);
    let read = Strict(&repeated)
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value));
    read.map_err(|error| match repeated.take() {
        Some(key) => PolicyError::RepeatedKey {
            key: shown(&key),
            line: error.line(),
        },
        None => PolicyError::Json {
            // The parser's own message ends with the place, which is said separately.
            message: error
                .to_string()
                .split(" at line ")
                .next()
                .unwrap_or_default()
                .to_owned(),
            line: error.line(),
            column: error.column(),
        },
    })
}

impl PolicyDocument {
    /// Reads a document, URL-encoded or not.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        Self::from_value(&decode(text)?)
    }

    /// Reads a document that is JSON already.
    pub fn from_value(value: &Value) -> Result<Self, PolicyError> {
        let Value::Object(document) = value else {
            return Err(PolicyError::NotAnObject(kind_of(value)));
        };
        let found: Vec<&Value> = match document.get("Statement") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(all)) => all.iter().collect(),
            Some(one) => vec![one],
        };
        let mut statements = Vec::with_capacity(found.len());
        for (index, statement) in found.into_iter().enumerate() {
            match statement {
                Value::Object(statement) => statements.push(read_statement(index, statement)),
                other => return Err(PolicyError::NotAStatement(kind_of(other))),
            }
        }
        let text = |key: &str| document.get(key).and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            version: text("Version"),
            statements,
        })
    }

    /// What IAM would refuse, with the statement it is in.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        self.statements.iter().flat_map(|statement| {
            statement
                .problems
                .iter()
                .map(|problem| format!("{}: {problem}", statement.name()))
        })
    }

    /// Whether `${...}` in condition values are variables: only in version 2012-10-17.
    pub fn has_variables(&self) -> bool {
        self.version.as_deref() == Some("2012-10-17")
    }
}

impl Statement {
    /// `statement 2 ("AllowAdmins")`, as people count: from 1.
    pub fn name(&self) -> String {
        match &self.sid {
            Some(sid) if !sid.is_empty() => format!("statement {} ({})", self.index + 1, shown(sid)),
            _ => format!("statement {}", self.index + 1),
        }
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn read_statement(index: usize, from: &Map<String, Value>) -> Statement {
    let mut problems = Vec::new();
    for key in from.keys() {
        if !matches!(
            key.as_str(),
            "Sid"
                | "Effect"
                | "Principal"
                | "NotPrincipal"
                | "Action"
                | "NotAction"
                | "Resource"
                | "NotResource"
                | "Condition"
        ) {
            problems.push(format!("{} is not an element of a statement", shown(key)));
        }
    }
    let sid = match from.get("Sid") {
        Some(Value::String(sid)) => Some(sid.clone()),
        None => None,
        Some(other) => {
            problems.push(format!("Sid is {}", kind_of(other)));
            None
        }
    };
    let effect = match from.get("Effect") {
        Some(Value::String(effect)) if effect == "Allow" => Some(Effect::Allow),
        Some(Value::String(effect)) if effect == "Deny" => Some(Effect::Deny),
        Some(Value::String(effect)) => {
            problems.push(format!(
                "Effect is {}, which is neither Allow nor Deny",
                shown(effect)
            ));
            None
        }
        Some(other) => {
            problems.push(format!("Effect is {}", kind_of(other)));
            None
        }
        None => {
            problems.push("Effect is missing".to_owned());
            None
        }
    };
    let who = match (from.get("Principal"), from.get("NotPrincipal")) {
        (None, None) => Who::Unsaid,
        (Some(who), None) => Who::Principal(read_principals("Principal", who, &mut problems)),
        (None, Some(who)) => Who::NotPrincipal(read_principals("NotPrincipal", who, &mut problems)),
        (Some(who), Some(_)) => {
            problems.push("Principal and NotPrincipal are both there".to_owned());
            Who::Principal(read_principals("Principal", who, &mut problems))
        }
    };
    let mut names = |key: &str, not_key: &str| match (from.get(key), from.get(not_key)) {
        (None, None) => Names::Unsaid,
        (Some(names), None) => Names::These(read_strings(key, names, &mut problems)),
        (None, Some(names)) => Names::AllBut(read_strings(not_key, names, &mut problems)),
        (Some(names), Some(_)) => {
            problems.push(format!("{key} and {not_key} are both there"));
            Names::These(read_strings(key, names, &mut problems))
        }
    };
    let actions = names("Action", "NotAction");
    let resources = names("Resource", "NotResource");
    let conditions = match from.get("Condition") {
        None => Vec::new(),
        Some(Value::Object(block)) => read_conditions(block, &mut problems),
        Some(other) => {
            problems.push(format!("Condition is {}", kind_of(other)));
            Vec::new()
        }
    };
    Statement {
        index,
        sid,
        effect,
        who,
        actions,
        resources,
        conditions,
        problems,
    }
}

fn read_principals(element: &str, from: &Value, problems: &mut Vec<String>) -> Vec<Principal> {
    match from {
        Value::String(text) if text == "*" => vec![Principal::Anyone],
        Value::String(text) => {
            problems.push(format!(
                "{element} is {}: only \"*\" may stand there without a kind",
                shown(text)
            ));
            vec![Principal::new("", text.clone())]
        }
        Value::Object(kinds) => {
            let mut all = Vec::new();
            for (kind, values) in kinds {
                if !matches!(kind.as_str(), "AWS" | "Service" | "Federated" | "CanonicalUser") {
                    problems.push(format!("{} is not a kind of principal", shown(kind)));
                }
                for value in read_strings(element, values, problems) {
                    all.push(Principal::new(kind, value));
                }
            }
            all
        }
        other => {
            problems.push(format!("{element} is {}", kind_of(other)));
            Vec::new()
        }
    }
}

fn read_strings(element: &str, from: &Value, problems: &mut Vec<String>) -> Vec<String> {
    let all = match from {
        Value::Array(all) => all.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut out = Vec::with_capacity(all.len());
    for value in all {
        match value {
            Value::String(text) => out.push(text.clone()),
            // AWS itself writes account ids and condition values unquoted at times.
            Value::Number(number) => out.push(number.to_string()),
            Value::Bool(value) => out.push(value.to_string()),
            other => problems.push(format!("{element} holds {}", kind_of(other))),
        }
    }
    out
}

fn read_conditions(block: &Map<String, Value>, problems: &mut Vec<String>) -> Vec<Condition> {
    let mut out = Vec::new();
    for (name, keys) in block {
        let operator = Operator::parse(name);
        let Value::Object(keys) = keys else {
            problems.push(format!("the condition {} is {}", shown(name), kind_of(keys)));
            continue;
        };
        for (key, values) in keys {
            out.push(Condition {
                operator: operator.clone(),
                key: key.clone(),
                values: read_strings("Condition", values, problems),
            });
        }
    }
    out
}

/// A trust policy with one statement more, and without the dead ids that IAM would refuse to store again. None when it
/// cannot be read, or is too odd to be written back.
pub fn with_statement(trust: &str, statement: Value) -> Option<Value> {
    let mut value = decode(trust).ok()?;
    if PolicyDocument::from_value(&value)
        .ok()?
        .problems()
        .next()
        .is_some()
    {
        return None;
    }
    let object = value.as_object_mut()?;
    let mut statements = match object.remove("Statement") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(all)) => all,
        Some(one) => vec![one],
    };
    let mut unclear = false;
    statements.retain_mut(|one| match without_dead(one) {
        Kept::Whole => true,
        Kept::NoOne => false,
        Kept::Unclear => {
            unclear = true;
            true
        }
    });
    if unclear {
        return None;
    }
    statements.push(statement);
    object.entry("Version").or_insert_with(|| json!("2012-10-17"));
    object.insert("Statement".to_owned(), Value::Array(statements));
    Some(value)
}

enum Kept {
    Whole,
    /// Only dead ids were in it.
    NoOne,
    /// Taking the dead ids out would turn its meaning around.
    Unclear,
}

fn without_dead(statement: &mut Value) -> Kept {
    let is_dead = |value: &Value| value.as_str().is_some_and(is_unique_id);
    for (element, turned) in [("Principal", false), ("NotPrincipal", true)] {
        let Some(Value::Object(kinds)) = statement.get_mut(element) else {
            continue;
        };
        let emptied = match kinds.get_mut("AWS") {
            Some(Value::Array(all)) => {
                let before = all.len();
                all.retain(|value| !is_dead(value));
                before > 0 && all.is_empty()
            }
            Some(one) => is_dead(one),
            None => false,
        };
        if emptied {
            kinds.remove("AWS");
            if kinds.is_empty() {
                return if turned { Kept::Unclear } else { Kept::NoOne };
            }
        }
    }
    Kept::Whole
}

/// Whether an action pattern of a policy has the action: `*` is any characters, `?` any one, case is ignored
/// (IAM user guide, "IAM JSON policy elements: Action").
pub fn action_matches(pattern: &str, action: &str) -> bool {
    glob(&pattern.to_ascii_lowercase(), &action.to_ascii_lowercase())
}

/// IAM's wildcards: `*` is any number of characters, `?` exactly one; everything else is itself, case included.
///
/// Time is at most the product of the lengths, space is constant.
pub fn glob(pattern: &str, text: &str) -> bool {
    let (mut p, mut t) = (pattern, text);
    // Where to go on after the last star: the pattern behind it, and the text from where it is tried again.
    let mut star: Option<(&str, &str)> = None;
    loop {
        let mut left = p.chars();
        match (left.next(), t.chars().next()) {
            (Some('*'), _) => {
                p = left.as_str();
                star = Some((p, t));
            }
            (Some(want), Some(have)) if want == '?' || want == have => {
                p = left.as_str();
                t = rest(t);
            }
            (None, None) => return true,
            _ => match star {
                Some((after, from)) if !from.is_empty() => {
                    t = rest(from);
                    p = after;
                    star = Some((p, t));
                }
                _ => return false,
            },
        }
    }
}

fn rest(text: &str) -> &str {
    let mut chars = text.chars();
    chars.next();
    chars.as_str()
}

/// `ArnLike`: each of the six parts is matched by itself, so that a star does not reach across a colon. None when the
/// pattern has fewer than six parts: then it is not an ARN, and nothing is said about how IAM takes it.
pub fn arn_glob(pattern: &str, arn: &str) -> Option<bool> {
    let patterns: Vec<&str> = pattern.splitn(6, ':').collect();
    if patterns.len() < 6 {
        return None;
    }
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    Some(
        parts.len() == 6
            && patterns
                .iter()
                .zip(&parts)
                .all(|(pattern, part)| glob(pattern, part)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> PolicyDocument {
        PolicyDocument::parse(text).unwrap()
    }

    #[test]
    fn every_form_of_one_statement_is_the_same() {
        let want = parse(
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["111122223333"]},"Action":["sts:AssumeRole"]}]}"#,
        );
        let object = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"sts:AssumeRole"}}"#;
        let encoded =
            percent_encoding::utf8_percent_encode(object, percent_encoding::NON_ALPHANUMERIC).to_string();
        for text in [
            object,
            &encoded,
            &format!("\n  {object}\n"),
            &format!("\u{feff}{object}"),
            // An account id that somebody wrote as a number.
            &object.replace("\"111122223333\"", "111122223333"),
        ] {
            assert_eq!(parse(text), want, "{text}");
        }
        assert_eq!(want.statements[0].problems, Vec::<String>::new());
        assert!(want.has_variables());
    }

    #[test]
    fn a_percent_sign_in_plain_json_stays() {
        let document = parse(
            r#"{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":"a%20b"}}}}"#,
        );
        assert_eq!(document.statements[0].conditions[0].values, ["a%20b"]);
        assert!(!document.has_variables());
    }

    #[test]
    fn what_is_no_document_says_why() {
        let why = |text: &str| PolicyDocument::parse(text).unwrap_err().to_string();
        assert_eq!(
            [
                "",
                " \n",
                "%20%0A",
                "%FF%FE",
                "{\"Statement\": {\"Effect\": \"Deny\",\n \"Effect\": \"Allow\"}}",
                "{\n \"Statement\": [}",
                "[]",
                "null",
                r#"{"Statement":["x"]}"#,
                r#"{"Statement":7}"#,
            ]
            .map(why),
            [
                "the policy document is empty",
                "the policy document is empty",
                "the policy document is empty",
                "the policy document is URL-encoded and not UTF-8 underneath",
                "the policy document has the key \"Effect\" twice in one object (line 2)",
                "the policy document is not JSON: expected value (line 2, column 16)",
                "the policy document is not a JSON object, but a list",
                "the policy document is not a JSON object, but null",
                "the policy document's Statement holds a string where a statement should be",
                "the policy document's Statement holds a number where a statement should be",
            ]
        );
        assert_eq!(
            PolicyDocument::parse(&" ".repeat(LONGEST_DOCUMENT + 1)),
            Err(PolicyError::TooLong(LONGEST_DOCUMENT + 1))
        );
        assert!(matches!(
            PolicyDocument::parse("{} {}"),
            Err(PolicyError::Json { .. })
        ));
        // A deep nest is refused, not recursed into.
        assert!(matches!(
            PolicyDocument::parse(&"{\"a\":".repeat(10_000)),
            Err(PolicyError::Json { .. })
        ));
    }

    #[test]
    fn documents_without_statements_are_documents() {
        for text in [
            "{}",
            r#"{"Version":"2012-10-17"}"#,
            r#"{"Statement":[]}"#,
            r#"{"Statement":null}"#,
        ] {
            assert_eq!(parse(text).statements, []);
        }
    }

    #[test]
    fn a_hundred_statements_keep_their_places() {
        let all: Vec<Value> = (0..100)
            .map(|n| json!({"Sid": format!("S{n}"), "Effect": "Allow", "Action": "sts:AssumeRole"}))
            .collect();
        let document = PolicyDocument::from_value(&json!({"Statement": all})).unwrap();
        assert_eq!(document.statements.len(), 100);
        assert_eq!(document.statements[99].name(), "statement 100 (\"S99\")");
    }

    #[test]
    fn every_form_of_principal() {
        let who = |json: Value| {
            let document = PolicyDocument::from_value(
                &json!({"Statement": {"Effect": "Allow", "Action": "*", "Principal": json}}),
            )
            .unwrap();
            let statement = document.statements.into_iter().next().unwrap();
            match statement.who {
                Who::Principal(who) => (who, statement.problems),
                other => panic!("{other:?}"),
            }
        };
        let none = Vec::<String>::new();
        assert_eq!(who(json!("*")), (vec![Principal::Anyone], none.clone()));
        assert_eq!(who(json!({"AWS": "*"})), (vec![Principal::Anyone], none.clone()));
        assert_eq!(who(json!({"AWS": []})), (vec![], none.clone()));
        assert_eq!(
            who(
                json!({"AWS": ["111122223333", "AROAEXAMPLE"], "Service": "ec2.amazonaws.com", "Federated": "cognito-identity.amazonaws.com", "CanonicalUser": "abc"})
            ),
            (
                vec![
                    Principal::Aws("111122223333".into()),
                    Principal::Aws("AROAEXAMPLE".into()),
                    Principal::Service("ec2.amazonaws.com".into()),
                    Principal::Federated("cognito-identity.amazonaws.com".into()),
                    Principal::CanonicalUser("abc".into()),
                ],
                none
            )
        );
        // A star is everybody only as an AWS principal.
        assert_eq!(who(json!({"Service": "*"})).0, [Principal::Service("*".into())]);
        assert_eq!(
            who(json!("arn:aws:iam::111122223333:root")).1,
            ["Principal is \"arn:aws:iam::111122223333:root\": only \"*\" may stand there without a kind"]
        );
        assert_eq!(who(json!({"aws": "*"})).1, ["\"aws\" is not a kind of principal"]);
        assert_eq!(who(json!(["*"])).1, ["Principal is a list"]);
    }

    #[test]
    fn what_iam_would_refuse_is_kept_beside_the_statement() {
        let allow = |key: &str, value: Value| json!({"Effect": "Allow", "Action": "*", key: value});
        let problems = |statement: Value| {
            let document = PolicyDocument::from_value(&json!({"Statement": statement})).unwrap();
            document.statements[0].problems.join(", ")
        };
        assert_eq!(
            [
                json!({"Action": "*"}),
                json!({"Effect": "allow"}),
                json!({"Effect": true}),
                allow("Sid", json!(1)),
                allow("NotAction", json!("*")),
                json!({"Effect": "Allow", "Principal": "*", "NotPrincipal": "*"}),
                allow("Actions", json!("*")),
                allow("Action", json!({"a": 1})),
                allow("Condition", json!([])),
                allow("Condition", json!({"Bool": "true"})),
                allow("Condition", json!({"Bool": {"a": [null]}})),
            ]
            .map(problems),
            [
                "Effect is missing",
                "Effect is \"allow\", which is neither Allow nor Deny",
                "Effect is a boolean",
                "Sid is a number",
                "Action and NotAction are both there",
                "Principal and NotPrincipal are both there",
                "\"Actions\" is not an element of a statement",
                "Action holds an object",
                "Condition is a list",
                "the condition \"Bool\" is a string",
                "Condition holds null",
            ]
        );
    }

    #[test]
    fn operators_in_their_parts() {
        use SetOperator::{ForAllValues, ForAnyValue};
        for (text, set, if_exists, negated) in [
            ("StringEquals", None, false, false),
            ("StringNotEqualsIfExists", None, true, true),
            ("ForAnyValue:StringLike", Some(ForAnyValue), false, false),
            ("ForAllValues:ArnNotLikeIfExists", Some(ForAllValues), true, true),
            ("ArnEquals", None, false, false),
            ("BoolIfExists", None, true, false),
            ("Null", None, false, false),
            // There is no NullIfExists; what it would mean is not known.
            ("NullIfExists", None, true, false),
            ("NotIpAddress", None, false, true),
            ("DateGreaterThan", None, false, false),
            ("Sun:Moon", None, false, false),
        ] {
            let operator = Operator::parse(text);
            let found = (operator.set, operator.if_exists, operator.negated);
            assert_eq!(found, (set, if_exists, negated), "{text}");
            assert_eq!(operator.to_string(), text);
        }
        assert_eq!(Operator::parse("stringequals").to_string(), "StringEquals");
        assert_eq!(Operator::parse("NullIfExists").comparison, Comparison::Other);
    }

    #[test]
    fn wildcards_as_iam_has_them() {
        for (pattern, text, want) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("?", "", false),
            ("?", "é", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("*ab", "aab", true),
            ("**a**", "bab", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            // Nothing else is special.
            ("[a-z]", "b", false),
            ("a.c", "abc", false),
            ("A", "a", false),
        ] {
            assert_eq!(glob(pattern, text), want, "{pattern} {text}");
        }
        for (pattern, want) in [
            ("sts:AssumeRole", true),
            ("STS:assumerole", true),
            ("sts:Assume*", true),
            ("sts:*", true),
            ("*", true),
            ("s?s:AssumeRole", true),
            ("*:AssumeRole", true),
            ("sts:AssumeRoleWithWebIdentity", false),
            ("sts:Get*", false),
            ("iam:*", false),
            ("sts", false),
        ] {
            assert_eq!(action_matches(pattern, "sts:AssumeRole"), want, "{pattern}");
        }
    }

    #[test]
    fn a_star_in_an_arn_does_not_reach_across_a_colon() {
        // The example of the IAM user guide ("Amazon Resource Name (ARN) condition operators").
        let value = "arn:aws:someservice:us-east-2:999999999999:store/abc:111122223333:finance/document.txt";
        assert_eq!(
            arn_glob("arn:aws:someservice:*:111122223333:finance/*", value),
            Some(false)
        );
        assert!(glob("arn:aws:someservice:*:111122223333:finance/*", value));
        for (pattern, want) in [
            ("arn:aws:iam::111122223333:role/*", Some(true)),
            ("arn:*:iam::111122223333:role/team/demo", Some(true)),
            ("arn:aws:iam::*:role/demo", Some(false)),
            ("arn:aws:iam::111122223333:role/?eam/demo", Some(true)),
            ("*", None),
            ("arn:aws:iam:*", None),
        ] {
            assert_eq!(
                arn_glob(pattern, "arn:aws:iam::111122223333:role/team/demo"),
                want,
                "{pattern}"
            );
        }
    }

    /// JSON that resembles a policy closely enough to reach every branch.
    fn policyish() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            Just("*".to_owned()),
            Just("Allow".to_owned()),
            Just("sts:AssumeRole".to_owned()),
            Just("arn:aws:iam::111122223333:root".to_owned()),
            "\\PC{0,8}",
        ];
        let leaf = prop_oneof![
            text.prop_map(Value::String),
            any::<bool>().prop_map(Value::Bool),
            any::<i32>().prop_map(|n| json!(n)),
            Just(Value::Null),
        ];
        let keys = prop::sample::select(vec![
            "Statement",
            "Version",
            "Id",
            "Sid",
            "Effect",
            "Principal",
            "NotPrincipal",
            "Action",
            "NotAction",
            "Resource",
            "Condition",
            "AWS",
            "Service",
            "StringLike",
            "Null",
            "aws:PrincipalArn",
            "X",
        ]);
        leaf.prop_recursive(6, 64, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::vec((keys.clone(), inner), 0..6).prop_map(|all| {
                    Value::Object(
                        all.into_iter()
                            .map(|(key, value)| (key.to_owned(), value))
                            .collect(),
                    )
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}|[%0-9A-F{}\"]{0,60}") {
            let _ = PolicyDocument::parse(&text);
        }

        /// Whatever is in it, each statement keeps its place, and the same text is read the same.
        #[test]
        fn what_resembles_a_policy_is_read_or_refused(whole in policyish(), statements in prop::collection::vec(policyish(), 0..4)) {
            for value in [json!({"Version": "2012-10-17", "Statement": statements}), whole] {
                let found = PolicyDocument::parse(&value.to_string());
                prop_assert_eq!(&found, &PolicyDocument::from_value(&value));
                for (index, statement) in found.iter().flat_map(|found| &found.statements).enumerate() {
                    prop_assert_eq!(statement.index, index);
                }
            }
        }

        #[test]
        fn globs_agree_with_a_plain_recursion(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            fn plain(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern.split_first(), text.split_first()) {
                    (None, None) => true,
                    (Some((b'*', rest)), _) => plain(rest, text) || (!text.is_empty() && plain(pattern, &text[1..])),
                    (Some((p, rest)), Some((t, more))) => (*p == b'?' || p == t) && plain(rest, more),
                    _ => false,
                }
            }
            prop_assert_eq!(glob(&pattern, &text), plain(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
