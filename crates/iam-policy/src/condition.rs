//! Conditions, three-valued: what the request is known to carry is compared, everything else stays unknown.
//!
//! Sources: IAM user guide, "IAM JSON policy elements: Condition operators" (missing keys, `IfExists`, `Null`),
//! "Set operators for multivalued context keys", "IAM policy elements: Variables and tags".

use std::cmp::Ordering;
use std::net::IpAddr;

use jiff::Timestamp;

use crate::document::{Comparison, Condition, Operator, Order, SetOperator, arn_glob, glob};

use super::kleene::Tri;

/// What a request has for a condition key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextValue {
    /// These values; more than one only for a multivalued key.
    Known(Vec<String>),
    /// The key is there, its value is not known.
    Present,
    /// The request does not have the key.
    Absent,
    /// Neither the value is known nor whether the key is there.
    Unknown,
}

impl ContextValue {
    /// One value.
    pub fn one(value: impl Into<String>) -> Self {
        Self::Known(vec![value.into()])
    }
}

/// Judges one condition. `get` tells what the request has for a key, in any case; `variables` whether the document's
/// version knows `${...}`.
pub fn judge(condition: &Condition, variables: bool, get: &dyn Fn(&str) -> ContextValue) -> Tri {
    let operator = &condition.operator;
    let has = match get(&condition.key) {
        ContextValue::Known(values) if values.is_empty() => ContextValue::Absent,
        has => has,
    };
    if operator.comparison == Comparison::Null {
        return null(condition, &has);
    }
    let absent = || when_absent(operator);
    let present = |values: Option<&[String]>| when_present(condition, values, variables, get);
    match has {
        ContextValue::Absent => absent(),
        ContextValue::Known(values) => present(Some(&values)),
        ContextValue::Present => present(None),
        ContextValue::Unknown => absent().whichever(present(None)),
    }
}

/// `Null: true` is "the key is missing"; several values are alternatives.
fn null(condition: &Condition, has: &ContextValue) -> Tri {
    if condition.operator.set.is_some() {
        return Tri::Unknown;
    }
    let missing = match has {
        ContextValue::Absent => Tri::True,
        ContextValue::Known(_) | ContextValue::Present => Tri::False,
        ContextValue::Unknown => Tri::Unknown,
    };
    Tri::any(condition.values.iter().map(|value| match bool_of(value) {
        Some(true) => missing,
        Some(false) => !missing,
        None => Tri::Unknown,
    }))
}

fn when_absent(operator: &Operator) -> Tri {
    if operator.comparison == Comparison::Other {
        return Tri::Unknown;
    }
    match (operator.set, operator.if_exists) {
        // The guide says true of IfExists and false of ForAnyValue, and nothing of both; those who tried it found false.
        (Some(SetOperator::ForAnyValue), true) => Tri::Unknown,
        (Some(SetOperator::ForAnyValue), false) => Tri::False,
        (Some(SetOperator::ForAllValues), _) | (None, true) => Tri::True,
        (None, false) => Tri::from(operator.negated),
    }
}

/// With the key there: `values` are its values, none when they are not known.
fn when_present(
    condition: &Condition,
    values: Option<&[String]>,
    variables: bool,
    get: &dyn Fn(&str) -> ContextValue,
) -> Tri {
    let operator = &condition.operator;
    let negated = operator.negated;
    // Whether one value of the request satisfies the operator, negation included.
    let holds = |value: Option<&str>| {
        let matched = Tri::any(
            condition
                .values
                .iter()
                .map(|wanted| compare(operator.comparison, wanted, value, variables, get)),
        );
        if negated { !matched } else { matched }
    };
    match (values, operator.set) {
        (None, _) => holds(None),
        (Some([one]), _) => holds(Some(one)),
        (Some(all), Some(SetOperator::ForAnyValue)) => {
            Tri::any(all.iter().map(|value| holds(Some(value.as_str()))))
        }
        (Some(all), Some(SetOperator::ForAllValues)) => {
            Tri::all(all.iter().map(|value| holds(Some(value.as_str()))))
        }
        // What IAM does with several values and no set operator is not documented.
        (Some(_), None) => Tri::Unknown,
    }
}

fn bool_of(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// One value of the policy against one of the request (none: not known), without negation.
fn compare(
    comparison: Comparison,
    wanted: &str,
    value: Option<&str>,
    variables: bool,
    get: &dyn Fn(&str) -> ContextValue,
) -> Tri {
    let pattern = matches!(comparison, Comparison::Like | Comparison::Arn);
    let expanded;
    let wanted = if variables && wanted.contains("${") {
        match expand(wanted, pattern, get) {
            Some(text) => {
                expanded = text;
                expanded.as_str()
            }
            None => return Tri::Unknown,
        }
    } else {
        wanted
    };
    let Some(value) = value else {
        // What holds for every value.
        return match comparison {
            Comparison::Like if !wanted.is_empty() && wanted.bytes().all(|b| b == b'*') => Tri::True,
            Comparison::Ip if Range::parse(wanted).is_some_and(|range| range.bits == 0) => Tri::True,
            _ => Tri::Unknown,
        };
    };
    let holds = match comparison {
        Comparison::Text | Comparison::Binary => Some(value == wanted),
        Comparison::TextIgnoreCase => Some(value.to_lowercase() == wanted.to_lowercase()),
        Comparison::Like => Some(glob(wanted, value)),
        Comparison::Arn => arn_glob(wanted, value),
        Comparison::Bool => bool_of(wanted)
            .zip(bool_of(value))
            .map(|(wanted, value)| wanted == value),
        Comparison::Number(order) => number(value)
            .zip(number(wanted))
            .and_then(|(value, wanted)| Some(order.holds(value.partial_cmp(&wanted)?))),
        Comparison::Date(order) => date(value)
            .zip(date(wanted))
            .map(|(value, wanted)| order.holds(value.cmp(&wanted))),
        Comparison::Ip => Range::parse(wanted)
            .zip(value.parse::<IpAddr>().ok())
            .map(|(range, address)| range.has(address)),
        Comparison::Null | Comparison::Other => None,
    };
    holds.map_or(Tri::Unknown, Tri::from)
}

impl Order {
    fn holds(self, found: Ordering) -> bool {
        match self {
            Self::Equal => found.is_eq(),
            Self::Less => found.is_lt(),
            Self::AtMost => found.is_le(),
            Self::Greater => found.is_gt(),
            Self::AtLeast => found.is_ge(),
        }
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// A W3C date (ISO 8601 with a zone, or a day, month or year alone, in UTC), or seconds since 1970.
fn date(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    if let Ok(seconds) = text.parse::<i64>()
        && text.len() > 4
    {
        return Timestamp::from_second(seconds).ok();
    }
    let day = match text.len() {
        4 => format!("{text}-01-01"),
        7 => format!("{text}-01"),
        _ => text.to_owned(),
    };
    format!("{day}T00:00:00Z").parse().ok()
}

/// A range of addresses: `192.0.2.0/24`, or one address.
struct Range {
    base: IpAddr,
    bits: u32,
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (base, bits) = match text.split_once('/') {
            Some((base, bits)) => (base, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let base: IpAddr = base.parse().ok()?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { base, bits })
    }

    fn has(&self, address: IpAddr) -> bool {
        let same = |one: u128, other: u128, width: u32| {
            (one ^ other).checked_shr(width - self.bits).unwrap_or(0) == 0
        };
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                same(u32::from(base).into(), u32::from(address).into(), 32)
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => same(base.into(), address.into(), 128),
            _ => false,
        }
    }
}

/// Puts the values of `${key}` in, and of `${key, 'default'}`; `${*}`, `${?}` and `${$}` are those characters. None when
/// one is not known, has several values, or would bring wildcards into a pattern.
fn expand(text: &str, pattern: bool, get: &dyn Fn(&str) -> ContextValue) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut left = text;
    while let Some((before, after)) = left.split_once("${") {
        out.push_str(before);
        let (name, rest) = after.split_once('}')?;
        left = rest;
        let special = match name {
            "*" | "?" | "$" => Some(name),
            _ => None,
        };
        let value = match special {
            // A literal star in a pattern has no spelling that the matching here knows.
            Some("*" | "?") if pattern => return None,
            Some(literal) => literal.to_owned(),
            None => {
                let (key, default) = match name.split_once(',') {
                    Some((key, default)) => (
                        key.trim(),
                        Some(default.trim().strip_prefix('\'')?.strip_suffix('\'')?.to_owned()),
                    ),
                    None => (name.trim(), None),
                };
                match get(key) {
                    ContextValue::Known(values) => match <[String; 1]>::try_from(values) {
                        Ok([one]) => one,
                        Err(_) => return None,
                    },
                    ContextValue::Absent => default?,
                    ContextValue::Present | ContextValue::Unknown => return None,
                }
            }
        };
        if pattern && value.contains(['*', '?']) {
            return None;
        }
        out.push_str(&value);
    }
    out.push_str(left);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn condition(operator: &str, values: &[&str]) -> Condition {
        Condition {
            operator: Operator::parse(operator),
            key: "k".to_owned(),
            values: values.iter().map(|&value| value.to_owned()).collect(),
        }
    }

    fn judged(operator: &str, values: &[&str], has: ContextValue) -> Tri {
        judge(&condition(operator, values), true, &|key| match key {
            "k" => has.clone(),
            "one" => ContextValue::one("1"),
            "star" => ContextValue::one("*"),
            "two" => ContextValue::Known(vec!["1".into(), "2".into()]),
            "none" => ContextValue::Absent,
            _ => ContextValue::Unknown,
        })
    }

    #[test]
    fn a_missing_key_as_the_user_guide_has_it() {
        use Tri::{False, True};
        for (operator, want) in [
            ("StringEquals", False),
            ("StringLike", False),
            ("StringEqualsIgnoreCase", False),
            ("ArnEquals", False),
            ("ArnLike", False),
            ("Bool", False),
            ("NumericLessThan", False),
            ("DateGreaterThan", False),
            ("IpAddress", False),
            ("BinaryEquals", False),
            ("StringNotEquals", True),
            ("StringNotLike", True),
            ("StringNotEqualsIgnoreCase", True),
            ("ArnNotEquals", True),
            ("ArnNotLike", True),
            ("NumericNotEquals", True),
            ("DateNotEquals", True),
            ("NotIpAddress", True),
            ("StringEqualsIfExists", True),
            ("StringNotEqualsIfExists", True),
            ("BoolIfExists", True),
            ("IpAddressIfExists", True),
            ("ForAllValues:StringEquals", True),
            ("ForAllValues:StringNotEquals", True),
            ("ForAnyValue:StringEquals", False),
            ("ForAnyValue:StringNotEquals", False),
            ("ForAnyValue:StringEqualsIfExists", Tri::Unknown),
            // What nobody has described stays unknown.
            ("StringResembles", Tri::Unknown),
            ("NullIfExists", Tri::Unknown),
        ] {
            assert_eq!(judged(operator, &["a"], ContextValue::Absent), want, "{operator}");
        }
    }

    #[test]
    fn known_values_are_compared() {
        use Tri::{False, True, Unknown};
        const ROLE: &str = "arn:aws:iam::1:role/a";
        const NOW: &str = "2026-11-25T22:00:00Z";
        let (before, more) = ("2019-12-31T22:59:59Z", "arn:aws:iam::1:x:role/a");
        for (operator, values, have, want) in [
            ("StringEquals", &["a"][..], "a", True),
            ("StringEquals", &["a"], "A", False),
            ("StringEquals", &["b", "a"], "a", True),
            ("StringEquals", &["a*"], "ab", False),
            ("StringEquals", &[], "a", False),
            ("StringNotEquals", &["a"], "a", False),
            ("StringNotEquals", &["a", "b"], "b", False),
            ("StringNotEquals", &["a", "b"], "c", True),
            ("StringNotEquals", &[], "a", True),
            ("StringEqualsIgnoreCase", &["ÄB"], "äb", True),
            ("StringNotEqualsIgnoreCase", &["A"], "a", False),
            ("StringLike", &["a*"], "ab", True),
            ("StringLike", &["A*"], "ab", False),
            ("StringNotLike", &["a*"], "ab", False),
            ("StringEqualsIfExists", &["a"], "b", False),
            ("Bool", &["true"], "true", True),
            ("Bool", &["True"], "false", False),
            ("Bool", &["maybe"], "true", Unknown),
            ("ArnLike", &["arn:aws:iam::*:role/a"], ROLE, True),
            ("ArnEquals", &["arn:aws:iam::*:role/a"], ROLE, True),
            ("ArnNotEquals", &["arn:aws:iam::*:role/a"], ROLE, False),
            ("ArnLike", &["*"], ROLE, Unknown),
            // Part by part: a star does not reach across a colon.
            ("ArnLike", &["arn:aws:iam::*:role/a"], more, False),
            ("ArnLike", &["*", "arn:aws:iam::1:role/*"], ROLE, True),
            ("Null", &["true"], "a", False),
            ("Null", &["false"], "a", True),
            ("Null", &["true", "false"], "a", True),
            ("Null", &["x"], "a", Unknown),
            ("NumericEquals", &["1"], "1.0", True),
            ("NumericNotEquals", &["1"], "2", True),
            ("NumericLessThan", &["3600"], "60", True),
            ("NumericLessThan", &["60"], "60", False),
            ("NumericLessThanEquals", &["60"], "60", True),
            ("NumericGreaterThan", &["60"], "61", True),
            ("NumericGreaterThanEquals", &["60"], "59", False),
            ("NumericEquals", &["one"], "1", Unknown),
            // A date that is over, in each form that dates have.
            ("DateLessThan", &["2020-01-01T00:00:00Z"], NOW, False),
            ("DateLessThan", &["2020-01-01"], NOW, False),
            ("DateLessThan", &["2020"], NOW, False),
            ("DateLessThan", &["1577836800"], NOW, False),
            ("DateGreaterThan", &["2020-01"], NOW, True),
            ("DateLessThan", &["2020-01-01T01:00:00+02:00"], before, True),
            ("DateEquals", &["soon"], NOW, Unknown),
            ("IpAddress", &["192.0.2.0/24"], "192.0.2.1", True),
            ("IpAddress", &["192.0.2.0/24"], "192.0.3.1", False),
            ("IpAddress", &["192.0.2.1"], "192.0.2.1", True),
            ("IpAddress", &["0.0.0.0/0"], "192.0.2.1", True),
            ("IpAddress", &["2001:db8::/32"], "2001:db8::1", True),
            ("IpAddress", &["2001:db8::/32"], "192.0.2.1", False),
            ("NotIpAddress", &["192.0.2.0/24"], "192.0.2.1", False),
            ("IpAddress", &["192.0.2.0/33"], "192.0.2.1", Unknown),
            ("BinaryEquals", &["QQ=="], "QQ==", True),
        ] {
            assert_eq!(
                judged(operator, values, ContextValue::one(have)),
                want,
                "{operator} {values:?} {have}"
            );
        }
    }

    #[test]
    fn unknown_values_decide_nothing_but_what_is_the_same_for_all_values() {
        use ContextValue::{Absent, Present, Unknown as Un};
        use Tri::{False, True, Unknown};
        for (operator, values, has, want) in [
            ("StringEquals", &["a"][..], Un, Unknown),
            ("StringEquals", &["a"], Present, Unknown),
            ("StringNotEquals", &["a"], Un, Unknown),
            ("StringEquals", &[], Un, False),
            // Anything is like a star: only whether the key is there is open.
            ("StringLike", &["*"], Present, True),
            ("StringLike", &["*"], Un, Unknown),
            ("StringLikeIfExists", &["*"], Un, True),
            ("StringNotLike", &["*"], Present, False),
            ("Null", &["true"], Un, Unknown),
            ("Null", &["true"], Present, False),
            ("Null", &["false"], Present, True),
            ("Null", &["true"], Absent, True),
            ("Null", &["false"], Absent, False),
            ("Bool", &["true"], Un, Unknown),
            ("BoolIfExists", &["true"], Un, Unknown),
            ("IpAddress", &["192.0.2.0/24"], Un, Unknown),
            // Every address is in it.
            ("IpAddress", &["0.0.0.0/0"], Present, True),
            ("NotIpAddress", &["0.0.0.0/0"], Present, False),
            ("ForAllValues:StringEquals", &["a"], Un, Unknown),
        ] {
            assert_eq!(
                judged(operator, values, has.clone()),
                want,
                "{operator} {values:?} {has:?}"
            );
        }
    }

    #[test]
    fn sets_of_values() {
        use Tri::{False, True, Unknown};
        // The example of the user guide: PostDateTime and UserName against three allowed attributes.
        let have = ContextValue::Known(vec!["PostDateTime".into(), "UserName".into()]);
        let allowed = ["PostDateTime", "Message", "Tags"];
        for (operator, want) in [
            ("ForAllValues:StringLike", False),
            ("ForAnyValue:StringLike", True),
            ("ForAllValues:StringNotLike", False),
            ("ForAnyValue:StringNotLike", True),
            ("StringLike", Unknown),
        ] {
            assert_eq!(judged(operator, &allowed, have.clone()), want, "{operator}");
        }
        assert_eq!(
            judged("ForAllValues:StringEquals", &["a"], ContextValue::Known(vec![])),
            True
        );
        assert_eq!(
            judged("ForAnyValue:StringEquals", &["a"], ContextValue::one("a")),
            True
        );
    }

    #[test]
    fn variables_are_put_in_only_where_the_version_knows_them() {
        use Tri::{False, True, Unknown};
        for (operator, value, have, want) in [
            ("StringEquals", "x-${one}", "x-1", True),
            ("StringEquals", "x-${one}", "x-2", False),
            ("StringEquals", "${none, 'd'}", "d", True),
            ("StringEquals", "${none}", "", Unknown),
            ("StringEquals", "${whatever}", "a", Unknown),
            ("StringEquals", "${two}", "1", Unknown),
            ("StringEquals", "${$}{a}", "${a}", True),
            ("StringEquals", "${*}", "*", True),
            ("StringLike", "${*}", "a", Unknown),
            ("StringLike", "${star}", "a", Unknown),
            ("StringLike", "${one}*", "12", True),
            ("StringEquals", "${open", "${open", Unknown),
        ] {
            assert_eq!(
                judged(operator, &[value], ContextValue::one(have)),
                want,
                "{value}"
            );
        }
        let literal = condition("StringEquals", &["x-${one}"]);
        let get = |_: &str| ContextValue::one("x-${one}");
        assert_eq!(judge(&literal, false, &get), True);
    }

    proptest! {
        /// Whatever the key turns out to be, a result that was known before stays.
        #[test]
        fn knowing_more_never_changes_what_was_known(
            operator in "(ForAnyValue:|ForAllValues:)?(String(Not)?(Equals|Like|EqualsIgnoreCase)|Arn(Not)?Like|Bool|Null|Numeric(Equals|LessThan)|Date(Equals|LessThan)|(Not)?IpAddress|Odd)(IfExists)?",
            values in prop::collection::vec("[a*?]{0,3}|true|false|arn:aws:iam::1:[a*]|0.0.0.0/[0-9]|20[0-9]{2}", 0..3),
            have in prop::collection::vec("[a]{0,3}|true|arn:aws:iam::1:a|192.0.2.1|2026-01-01", 1..2),
        ) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let vague = judged(&operator, &values, ContextValue::Unknown);
            let there = judged(&operator, &values, ContextValue::Present);
            let known = judged(&operator, &values, ContextValue::Known(have));
            let absent = judged(&operator, &values, ContextValue::Absent);
            for finer in [there, known, absent] {
                prop_assert!(vague == Tri::Unknown || finer == vague, "{operator} {values:?}: {vague:?} {finer:?}");
            }
            prop_assert!(there == Tri::Unknown || known == there, "{operator} {values:?}: {there:?} {known:?}");
        }
    }
}
