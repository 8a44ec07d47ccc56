//! The differential proof of the authenticator's rules: generated aws-auth documents and principals, decided here and by the
//! authenticator's own code (`tests/testbed/oracle`).
//!
//! `CAPT_SPOT_ORACLE` names the oracle (default: the test bed's). Without it the tests are noted as not run, and with `CI=true`
//! they fail. `CAPT_SPOT_FUZZ_DOCUMENTS` and `CAPT_SPOT_FUZZ_SEED` make a longer or another run
//! (`make fuzz-authenticator`).

// Helpers of tests; what they say is for whoever runs them.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod documents;

use capt_spot_standin::oracle::Oracle;
use eks_aws_auth::{
    AuthenticationMode, AwsAuth, Caller, Cluster, Decision, Existence, Loss, Mapping, Outcome, PrincipalKind,
    Settings, decide,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

const DOCUMENTS: usize = 20_000;
const SEED: u64 = 0x5eed_0001;

#[derive(Clone, Debug, Serialize)]
struct Request {
    data: BTreeMap<String, String>,
    principals: Vec<Principal>,
    sso_role_match: bool,
    parse_repeatedly: u32,
}

#[derive(Clone, Debug, Serialize)]
struct Principal {
    arn: String,
    access_key_id: String,
    private_dns_name: String,
}

#[derive(Debug, Deserialize)]
struct Answer {
    parsed: Vec<Parsed>,
    outcomes: Vec<BTreeSet<Way>>,
}

#[derive(Debug, Deserialize)]
struct Parsed {
    roles: Option<Vec<Entry>>,
    users: Option<Vec<Entry>>,
    accounts: Option<Vec<String>>,
    errors: bool,
    message: String,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Entry {
    #[serde(default, alias = "rolearn", alias = "userarn")]
    arn: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    groups: Option<Vec<String>>,
    #[serde(default)]
    sso: Option<Sso>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Sso {
    #[serde(rename = "permissionSetName")]
    permission_set_name: String,
    #[serde(rename = "accountID")]
    account_id: String,
    #[serde(default)]
    partition: String,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    outcome: String,
    username: String,
    groups: Vec<String>,
}

fn oracle() -> Option<Oracle> {
    Oracle::start("authenticator-oracle", "CAPT_SPOT_ORACLE")
}

#[test]
fn decides_as_the_authenticator_does() {
    let Some(mut oracle) = oracle() else { return };
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|value| value.parse::<u64>().unwrap())
    };
    let documents = number("CAPT_SPOT_FUZZ_DOCUMENTS").map_or(DOCUMENTS, |n| usize::try_from(n).unwrap());
    let seed = number("CAPT_SPOT_FUZZ_SEED").unwrap_or(SEED);

    let mut generator = Generator {
        state: seed,
        tame: false,
        mapped: Vec::new(),
    };
    let mut disagreements = Vec::new();
    let mut tally: BTreeMap<&str, usize> = BTreeMap::new();
    let mut left = documents;
    while left > 0 {
        let batch: Vec<Request> = (0..left.min(500)).map(|_| generator.request()).collect();
        left -= batch.len();
        let answers: Vec<Answer> = oracle.ask(&batch);
        for (request, answer) in batch.into_iter().zip(answers) {
            for outcomes in &answer.outcomes {
                *tally
                    .entry(if outcomes.len() > 1 {
                        "ambiguous"
                    } else {
                        "decided"
                    })
                    .or_default() += 1;
                if outcomes.iter().any(|way| way.outcome == "mapped") {
                    *tally.entry("mapped").or_default() += 1;
                }
            }
            *tally
                .entry(if answer.parsed.iter().any(|parsed| parsed.errors) {
                    "damaged"
                } else {
                    "clean"
                })
                .or_default() += 1;
            if disagreement(&request, &answer).is_some() {
                disagreements.push(request);
            }
        }
        if disagreements.len() >= 5 {
            break;
        }
    }
    let shown: Vec<String> = disagreements
        .iter()
        .take(5)
        .map(|request| {
            let small = shrink(&mut oracle, request.clone());
            let answer: Answer = oracle.ask(std::slice::from_ref(&small)).remove(0);
            let why = disagreement(&small, &answer).unwrap_or_default();
            format!("{}\n{why}", serde_json::to_string(&small).unwrap())
        })
        .collect();
    assert!(
        shown.is_empty(),
        "seed {seed}: disagreements with the authenticator:\n{}",
        shown.join("\n\n")
    );

    // A generator that only makes rubbish, or only good documents, would prove nothing.
    let share = |name: &str, of: &[&str]| {
        let all: usize = of.iter().map(|name| tally.get(name).copied().unwrap_or(0)).sum();
        tally.get(name).copied().unwrap_or(0) * 100 / all.max(1)
    };
    eprintln!("{documents} documents: {tally:?}");
    assert!(
        (15..=85).contains(&share("damaged", &["damaged", "clean"])),
        "{tally:?}"
    );
    assert!(
        (10..=90).contains(&share("mapped", &["ambiguous", "decided"])),
        "{tally:?}"
    );
}

/// The golden cases are what the authenticator says, not what somebody thinks it says.
#[test]
fn golden_cases_are_the_authenticators() {
    let Some(mut oracle) = oracle() else { return };
    let mut asked = 0;
    for file in ["aws_auth_cases.yaml", "quirks.yaml"] {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("golden")
            .join(file);
        let golden: serde_json::Value =
            serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        for case in golden["cases"].as_array().unwrap() {
            let text = |name: &str| case[name].as_str().unwrap_or_default().to_owned();
            let data: Option<BTreeMap<String, String>> = case["config_map"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect();
            // A value that is no text never reaches the authenticator.
            let Some(data) = data else { continue };
            let request = Request {
                data,
                principals: vec![Principal {
                    arn: text("principal_arn"),
                    access_key_id: text("access_key_id"),
                    private_dns_name: text("ec2_private_dns_name"),
                }],
                sso_role_match: case["sso_role_match_gate"] == true,
                parse_repeatedly: 0,
            };
            let answer: Answer = oracle.ask(std::slice::from_ref(&request)).remove(0);
            let name = text("name");
            let errors = answer.parsed.iter().any(|parsed| parsed.errors);
            assert_eq!(
                errors,
                case["parse_errors"] == true,
                "{name}: {:?}",
                answer.parsed
            );
            let outcomes = &answer.outcomes[0];
            let expected: Vec<Way> = if let Some(ways) = case["expect_one_of"].as_array() {
                ways.iter().map(mapped_way).collect()
            } else if case["expect"].is_object() {
                vec![mapped_way(&case["expect"])]
            } else {
                let outcome = if case["not_mapped"] == true {
                    "not-mapped"
                } else {
                    "denied"
                };
                vec![Way {
                    outcome: outcome.to_owned(),
                    username: String::new(),
                    groups: Vec::new(),
                }]
            };
            assert_eq!(*outcomes, expected.into_iter().collect(), "{name}");
            asked += 1;
        }
    }
    assert!(asked > 110, "{asked}");
}

fn mapped_way(expected: &serde_json::Value) -> Way {
    Way {
        outcome: "mapped".to_owned(),
        username: expected["username"].as_str().unwrap().to_owned(),
        groups: serde_json::from_value(expected["groups"].clone()).unwrap(),
    }
}

/// Limits and odd corners that chance hardly ever reaches, each named for what it is about.
#[test]
fn agrees_at_the_limits() {
    let Some(mut oracle) = oracle() else { return };
    let dev = "- rolearn: arn:aws:iam::111122223333:role/Dev\n  username: u\n  groups: [g]\n";
    let nested = |open: &str, depth: usize, close: &str| {
        format!(
            "{dev}- rolearn: x\n  y: {}{}\n",
            open.repeat(depth),
            close.repeat(depth)
        )
    };
    let bomb = |levels: usize, width: usize, rest: usize| {
        let mut text = "- x\n".repeat(rest) + "- a0: &a0 x\n";
        for level in 1..=levels {
            let items = vec![format!("*a{}", level - 1); width].join(", ");
            text.push_str(&format!("- a{level}: &a{level} [{items}]\n"));
        }
        text + dev
    };
    let mut cases: Vec<(String, String)> = [documents::GO_REFUSES, documents::GO_READS]
        .concat()
        .into_iter()
        .map(|(what, text)| (what.to_owned(), text.to_owned()))
        .collect();
    for depth in [100, 9_995, 9_996, 9_997, 9_998, 9_999, 10_000, 10_001] {
        cases.push((format!("flow lists {depth} deep"), nested("[", depth, "]")));
        cases.push((format!("flow maps {depth} deep"), nested("{a: ", depth, "}")));
        cases.push((
            format!("block lists {depth} deep"),
            format!("{dev}- {}x\n", "- ".repeat(depth)),
        ));
        cases.push((
            format!("unclosed flow lists {depth} deep"),
            format!("{dev}- {}\n", "[".repeat(depth)),
        ));
        let mut stairs = format!("{dev}- a:\n");
        let steps = depth / 20;
        for step in 1..steps {
            stairs.push_str(&format!("{}a:\n", " ".repeat(2 + step)));
        }
        cases.push((format!("block maps {steps} deep"), stairs));
        let half = depth / 2;
        cases.push((
            format!("an alias of a list {half} deep, {half} deep"),
            format!(
                "{dev}- &a {}{}\n- {}*a{}\n",
                "[".repeat(half),
                "]".repeat(half),
                "[".repeat(half),
                "]".repeat(half)
            ),
        ));
    }
    for length in [1_020, 1_021, 1_022, 1_023, 1_024, 1_025, 1_026] {
        let key = "k".repeat(length);
        cases.push((
            format!("a key of {length} characters"),
            format!("{dev}  {key}: x\n"),
        ));
        cases.push((
            format!("a flow key of {length} characters"),
            format!("{dev}  x: {{{key}: x}}\n"),
        ));
        cases.push((
            format!("a quoted key of {length} characters"),
            format!("{dev}  \"{key}\": x\n"),
        ));
        cases.push((
            format!("a key after {length} blanks"),
            format!("{dev}  x{}: y\n", " ".repeat(length)),
        ));
    }
    for (levels, width, rest) in [
        (1, 99, 0),
        (1, 100, 0),
        (1, 101, 1_000),
        (2, 30, 0),
        (2, 31, 0),
        (2, 32, 0),
        (2, 33, 0),
        (3, 9, 0),
        (3, 10, 0),
        (3, 10, 12),
        (3, 40, 600),
        (4, 10, 100),
        (4, 10, 115),
        (9, 9, 0),
        (20, 2, 0),
        (12, 2, 30),
        (12, 2, 60),
        (12, 2, 90),
        (2, 620, 3_000),
        (2, 640, 4_000),
        (3, 75, 4_500),
        (6, 9, 6_000),
        (6, 9, 4_000),
        (5, 13, 20_000),
    ] {
        cases.push((
            format!("aliases: {levels} levels of {width}, {rest} more"),
            bomb(levels, width, rest),
        ));
    }
    for rest in 0..80 {
        for (levels, width) in [(2, 40), (3, 12), (3, 16), (4, 7), (4, 8)] {
            cases.push((
                format!("aliases: {levels} levels of {width}, {rest} more"),
                bomb(levels, width, rest),
            ));
        }
    }
    // The guard against alias bombs stops the first of each pair of these by a hair.
    for (levels, width, rest) in [
        (6, 6, 1_297),
        (6, 6, 1_298),
        (3, 30, 478),
        (3, 30, 479),
        (5, 8, 804),
        (5, 8, 805),
    ] {
        cases.push((
            format!("aliases: {levels} levels of {width}, {rest} before"),
            bomb(levels, width, rest),
        ));
    }
    for padding in 500..530 {
        for tail in [
            "\u{7}",
            "---\n\u{7}",
            "...\n\u{7}",
            "\u{feff}x",
            "\u{e9}: x\n",
            "\u{1F600}\n",
            "a: \"\\\n\"",
            "\r\n- x",
            "x",
        ] {
            cases.push((
                format!("{tail:?} after {padding} bytes"),
                format!("{dev}#{}\n{tail}", "c".repeat(padding - dev.len())),
            ));
            cases.push((
                format!("BOM and {tail:?} after {padding}"),
                format!("\u{feff}\u{feff}#{}\n{dev}{tail}", "c".repeat(padding)),
            ));
        }
    }
    cases.push((
        "a mebibyte of entries".to_owned(),
        dev.repeat((1 << 20) / dev.len()),
    ));
    cases.push(("a mebibyte of brackets".to_owned(), "[".repeat(1 << 20)));
    cases.push(("a mebibyte of dashes".to_owned(), "- ".repeat(1 << 19)));
    cases.push(("a mebibyte of colons".to_owned(), "? ".repeat(1 << 19)));
    cases.push((
        "a mebibyte of empty lists".to_owned(),
        format!("[{}]", "[],".repeat(340_000)),
    ));
    cases.push(("a mebibyte of quotes".to_owned(), "'".repeat(1 << 20)));
    cases.push((
        "a mebibyte of anchors".to_owned(),
        format!("- {}x", "&a ".repeat(1 << 18)),
    ));
    cases.push((
        "a long text".to_owned(),
        format!("{dev}- rolearn: {}\n", "x ".repeat(1 << 19)),
    ));

    let principal = |arn: &str| Principal {
        arn: arn.to_owned(),
        access_key_id: "AKIAEXAMPLE".to_owned(),
        private_dns_name: "ip-10-0-0-1.ec2.internal".to_owned(),
    };
    let mut failures = Vec::new();
    for (name, text) in cases {
        let request = Request {
            data: BTreeMap::from([
                ("mapRoles".to_owned(), text.clone()),
                ("mapAccounts".to_owned(), text.replace("rolearn: ", "")),
            ]),
            principals: vec![principal("arn:aws:sts::111122223333:assumed-role/Dev/s1")],
            sso_role_match: false,
            parse_repeatedly: 0,
        };
        let answer: Answer = oracle.ask(std::slice::from_ref(&request)).remove(0);
        if let Some(why) = disagreement(&request, &answer) {
            failures.push(format!("{name}: {}", why.chars().take(400).collect::<String>()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What differs, if anything does.
fn disagreement(request: &Request, answer: &Answer) -> Option<String> {
    let aws_auth = AwsAuth::parse(&request.data);
    // Which of two colliding keys stays is chance there: what was seen must be among what is said to be possible.
    if aws_auth
        .problems
        .iter()
        .any(|problem| problem.loss == Loss::Chance)
    {
        return undecided(request, answer, &aws_auth);
    }
    let [parsed] = answer.parsed.as_slice() else {
        return Some(format!(
            "the authenticator reads it in {} ways",
            answer.parsed.len()
        ));
    };
    if parsed.errors != aws_auth.parse_errors {
        return Some(format!(
            "errors: theirs {} ({}), ours {} ({:?})",
            parsed.errors, parsed.message, aws_auth.parse_errors, aws_auth.problems
        ));
    }
    for (theirs, ours) in [(&parsed.roles, &aws_auth.roles), (&parsed.users, &aws_auth.users)] {
        let theirs = theirs.as_deref().unwrap_or_default();
        let ours: Vec<Entry> = ours.iter().map(entry).collect();
        let same = theirs.len() == ours.len()
            && theirs.iter().zip(&ours).all(|(theirs, ours)| {
                (&theirs.arn, &theirs.username, &theirs.sso) == (&ours.arn, &ours.username, &ours.sso)
                    && theirs.groups.as_deref().unwrap_or_default()
                        == ours.groups.as_deref().unwrap_or_default()
            });
        if !same {
            return Some(format!(
                "entries: theirs {theirs:?} ({}), ours {ours:?} ({:?})",
                parsed.message, aws_auth.problems
            ));
        }
    }
    let theirs = parsed.accounts.as_deref().unwrap_or_default();
    let ours: Vec<&str> = aws_auth
        .accounts
        .iter()
        .map(|account| account.account.as_str())
        .collect();
    if theirs != ours {
        return Some(format!(
            "accounts: theirs {theirs:?} ({}), ours {ours:?}",
            parsed.message
        ));
    }
    for (principal, theirs) in request.principals.iter().zip(&answer.outcomes) {
        let decision = decide_here(request, &aws_auth, principal);
        let ours = ways(&decision);
        if *theirs != ours {
            return Some(format!(
                "{}: theirs {theirs:?}, ours {ours:?}: {}",
                principal.arn, decision.reason
            ));
        }
    }
    None
}

fn undecided(request: &Request, answer: &Answer, aws_auth: &AwsAuth) -> Option<String> {
    for (principal, theirs) in request.principals.iter().zip(&answer.outcomes) {
        let ours = ways(&decide_here(request, aws_auth, principal));
        if !theirs.is_subset(&ours) {
            return Some(format!(
                "{}: theirs {theirs:?}, ours {ours:?} (by chance)",
                principal.arn
            ));
        }
    }
    None
}

fn decide_here(request: &Request, aws_auth: &AwsAuth, principal: &Principal) -> Decision {
    let cluster = Cluster {
        mode: AuthenticationMode::ConfigMap,
        aws_auth: Some(aws_auth),
        entries: None,
        settings: Settings {
            sso_role_match: request.sso_role_match,
            ..Settings::default()
        },
    };
    match Caller::parse(&principal.arn) {
        Ok(mut caller) => {
            if caller.kind == PrincipalKind::Role {
                caller.session = Some(String::new());
            }
            let caller = caller
                .with_access_key_id(Some(principal.access_key_id.clone()))
                .with_private_dns_name(Some(principal.private_dns_name.clone()));
            decide(&cluster, &caller, Existence::Unknown)
        }
        Err(error) => Decision::refused(&principal.arn, &error),
    }
}

fn entry(mapping: &Mapping) -> Entry {
    Entry {
        arn: mapping.arn.clone(),
        username: mapping.username.clone(),
        groups: Some(mapping.groups.clone()),
        sso: mapping.sso.as_ref().map(|sso| Sso {
            permission_set_name: sso.permission_set_name.clone(),
            account_id: sso.account_id.clone(),
            partition: sso.partition.clone(),
        }),
    }
}

fn ways(decision: &Decision) -> BTreeSet<Way> {
    let way = |outcome: Outcome, username: &Option<String>, groups: &[String]| Way {
        outcome: serde_json::to_value(outcome)
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned(),
        username: username.clone().unwrap_or_default(),
        groups: groups.to_vec(),
    };
    if decision.outcome == Outcome::Ambiguous {
        decision
            .alternatives
            .iter()
            .map(|other| way(other.outcome, &other.username, &other.groups))
            .collect()
    } else {
        BTreeSet::from([way(decision.outcome, &decision.username, &decision.groups)])
    }
}

/// Makes a disagreement smaller while it stays one.
fn shrink(oracle: &mut Oracle, mut request: Request) -> Request {
    let mut differs = |request: &Request| {
        let answer: Answer = oracle.ask(std::slice::from_ref(request)).remove(0);
        disagreement(request, &answer).is_some()
    };
    for key in request.data.keys().cloned().collect::<Vec<_>>() {
        let mut smaller = request.clone();
        smaller.data.remove(&key);
        if differs(&smaller) {
            request = smaller;
        }
    }
    for key in request.data.keys().cloned().collect::<Vec<_>>() {
        let mut size = request.data[&key].chars().count().div_ceil(2);
        while size > 0 {
            let mut at = 0;
            while at < request.data[&key].chars().count() {
                let text: String = request.data[&key]
                    .chars()
                    .enumerate()
                    .filter(|(i, _)| !(at..at + size).contains(i))
                    .map(|(_, c)| c)
                    .collect();
                let mut smaller = request.clone();
                smaller.data.insert(key.clone(), text);
                if differs(&smaller) {
                    request = smaller;
                } else {
                    at += size;
                }
            }
            size /= 2;
        }
    }
    request
}

/// Makes documents and principals; the seed decides everything (SplitMix64).
struct Generator {
    state: u64,
    /// The document at hand is to be a good one, or nearly.
    tame: bool,
    /// Principals (kind, account, name) that the document at hand maps.
    mapped: Vec<(&'static str, &'static str, &'static str)>,
}

#[rustfmt::skip]
const SCALARS: &[&str] = &[
    "y", "Y", "yes", "no", "NO", "on", "Off", "true", "False", "null", "~", "Null", "''", "\"\"", "00123",
    "0o17", "0x1F", "0b101", "0b-1", "-0b1", "+12", "-7", "1_000", "_1", "1e3", "1e999", ".5", ".5e1", "._5",
    ".5_0", "1.", "1.5.2", "12:30", "190:20:30", "2001-12-14", "2001-12-14t21:59:43.10-05:00",
    "2001-12-14 21:59:43", "2001-2-30", ".inf", "-.Inf", ".nan", ".NaN", "+.inf", "0b", "0x", "08", "09.5",
    "18446744073709551615", "18446744073709551616", "-9223372036854775809", "1234", "{{SessionName}}",
    "\"{{SessionName}}\"", "'{{AccountID}}'", "a: b", "a:b", "a #b", "a#b", "- a", "-a", "-", "?", "? a",
    ":a", ":", "!!str 12", "!!int 12", "!!int a", "!!float 1", "!!float 0x10", "!!float 18446744073709551615",
    "!!bool yes", "!!bool 1", "!!null ''", "!!null x", "!!binary aGk=", "!!binary aGk", "!!binary /+8=",
    "!!binary ''", "!!timestamp 2001-01-01", "!!timestamp 1", "!foo bar", "! 12",
    "!<tag:yaml.org,2002:int> 3", "!!map x", "&a b", "*a", "&a", "*b", "|", ">", "|-\n    x",
    ">-\n    x\n    y", "|2\n    x", "|+\n    x\n\n", "[a, b]", "[]", "{}", "{a: b}", "[a, [b]]", "{a, b}",
    "[a: b]", "{[]: b}", "{? []: b}", "[[]: b]", "[{}: b, c]", "<<", "\"\\x41\\u0042\\n\"", "\"\\q\"", "'it''s'", "\"a\\\n  b\"", "a\n    b", "'a\n\n    b'",
    "@a", "`a`", "%a", "a\tb", "\ta", "\u{a0}", "caf\u{e9}", "\u{2028}x", "\u{85}", "=", "a,b", "a]", "a}",
    "[a", "{a", "\"a", "'a", "0", "-0", "+", "-.", ".", "..", "...", "---", "1e", "1e+5", "0b12", "0o9",
    "0X1f", "1__2", "1_", "2001-1-1", "20011-01-01", "2001-01-01T00:00:00Z", "2001-01-01T24:00:00Z",
];

#[rustfmt::skip]
const GROUPS: &[&str] = &[
    "system:masters", "system:nodes", "system:bootstrappers", "eks:kube-proxy-windows",
    "team:{{SessionName}}", "\"{{AccountID}}\"", "system:bootstrappers,system:nodes", "",
];

#[rustfmt::skip]
const USERNAMES: &[&str] = &[
    "admin", "system:node:{{EC2PrivateDNSName}}", "\"system:node:{{EC2PrivateDNSName}}\"",
    "system:node:{{SessionName}}", "u-{{SessionNameRaw}}", "k-{{AccessKeyID}}", "\"{{ SessionName }}\"",
    "a{{AccountID}}b", "''",
];

#[rustfmt::skip]
const NAMES: &[&str] = &[
    "Dev", "dev", "DEV", "Node", "node", "Karpenter-N_1", "team/Dev", "De\u{17f}k", "Desk", "des\u{212a}",
    "\u{130}x", "ix",
];
#[rustfmt::skip]
const ACCOUNTS: &[&str] = &[
    "111122223333", "012345670123", "555555555555",
];

#[rustfmt::skip]
const TOKENS: &[&str] = &[
    "- ", "-", ": ", ":", "? ", "?", "[", "]", "{", "}", ",", "&a ", "*a", "*a ", "!!str ", "!!int ", "!t ",
    "!", "|", ">", "|-\n", "\n", "\n  ", "\n    ", "\n- ", " ", "  ", "\t", "'", "\"", "#", " #", "---",
    "\n---\n", "\n...\n", "%YAML 1.1\n---\n", "%TAG ! x\n", "<<", "<<: *a", "[]: x", "{}: x\n", "{[]: x}", "\n  []: x\n", "rolearn", "userarn", "username",
    "groups", "arn:aws:iam::111122223333:role/Dev", "a", "b", "1", "~", "\\", "\\\n", "\r\n", "\r",
    "\u{feff}", "\u{85}", "\u{2028}", "\u{e9}", "\u{1F600}", "\u{7}", "{{", "}}", "@", "`", "%", "0x1", "yes",
    ".nan", "=", "|2", ">+1\n",
];

impl Generator {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(n.max(1)).unwrap()).unwrap()
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// A chance that only wild documents have.
    fn odd(&mut self, percent: usize) -> bool {
        self.chance(percent) && !self.tame
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from[self.below(from.len())]
    }

    fn request(&mut self) -> Request {
        self.tame = self.chance(55);
        self.mapped.clear();
        let mut data = BTreeMap::new();
        for (key, percent) in [("mapRoles", 85), ("mapUsers", 45), ("mapAccounts", 35)] {
            if self.chance(percent) {
                let text = self.text(key);
                data.insert(key.to_owned(), text);
            }
        }
        let principals = (0..=self.below(4)).map(|_| self.principal()).collect();
        Request {
            data,
            principals,
            sso_role_match: self.chance(10),
            parse_repeatedly: 0,
        }
    }

    fn principal(&mut self) -> Principal {
        let account = self.pick(ACCOUNTS);
        let partition = if self.chance(5) {
            self.pick(&["aws-cn", "aws-eusc", "aws-x", ""])
        } else {
            "aws"
        };
        let name = self.pick(NAMES);
        let session = self.pick(&[
            "s1",
            "i-0123456789abcdef0",
            "i-1a2b3c4d",
            "jo@example.com",
            "i-x",
            "EKSGetTokenAuth",
            "",
            "a:b",
        ]);
        let at = self.below(self.mapped.len());
        if let Some(&(kind, account, name)) = self.mapped.get(at)
            && self.chance(60)
        {
            let arn = match kind {
                "user" => format!("arn:aws:iam::{account}:user/{name}"),
                _ => format!("arn:aws:sts::{account}:assumed-role/{name}/{session}"),
            };
            return Principal {
                arn,
                access_key_id: "AKIAEXAMPLE".to_owned(),
                private_dns_name: "ip-10-0-0-1.ec2.internal".to_owned(),
            };
        }
        let arn = match self.below(20) {
            0..=11 => format!("arn:{partition}:sts::{account}:assumed-role/{name}/{session}"),
            12..=15 => format!("arn:{partition}:iam::{account}:user/{name}"),
            16 => format!("arn:{partition}:iam::{account}:role/{name}"),
            17 => format!("arn:{partition}:sts::{account}:federated-user/{name}"),
            18 => format!("arn:{partition}:iam::{account}:root"),
            _ => self
                .pick(&[
                    "",
                    "arn:aws:sts::111122223333:assumed-role/Dev",
                    "arn:aws:s3:::x",
                    "arn:aws:iam::1",
                    "x",
                ])
                .to_owned(),
        };
        Principal {
            arn,
            access_key_id: "AKIAEXAMPLE".to_owned(),
            private_dns_name: "ip-10-0-0-1.ec2.internal".to_owned(),
        }
    }

    fn mapped_arn(&mut self) -> String {
        let account = self.pick(ACCOUNTS);
        let name = self.pick(NAMES);
        match self.below(24) {
            0..=13 => {
                self.mapped.push(("role", account, name));
                format!("arn:aws:iam::{account}:role/{name}")
            }
            14..=18 => {
                self.mapped.push(("user", account, name));
                format!("arn:aws:iam::{account}:user/{name}")
            }
            19 => format!("arn:aws:sts::{account}:assumed-role/{name}/s1"),
            20 => format!("ARN:AWS:IAM::{account}:ROLE/{name}"),
            21 => format!("arn:aws:iam::{account}:role/{name}*"),
            22 => format!("arn:aws:iam::{account}:root"),
            _ => format!("arn:aws-cn:iam::{account}:role/{name}"),
        }
    }

    fn text(&mut self, key: &str) -> String {
        let mut text = match if self.tame { 50 } else { self.below(100) } {
            0..=7 => self.soup(),
            8..=9 => self
                .pick(&[
                    "",
                    "''",
                    "\"\"",
                    "``",
                    " \n",
                    "{}",
                    "{\"a\":1}",
                    " {",
                    "[]",
                    "null",
                    "~",
                    "x",
                    "# c",
                    "\u{feff}",
                ])
                .to_owned(),
            10 => self.deep(),
            11 => self.bomb(key),
            12 => self.colliding(key),
            13 => self.long(key),
            _ if key == "mapAccounts" => self.accounts(),
            _ => self.entries(key),
        };
        let edits = match self.below(100) {
            _ if self.tame => 0,
            0..=49 => 0,
            50..=79 => 1,
            80..=94 => 2,
            _ => 6,
        };
        for _ in 0..edits {
            self.edit(&mut text);
        }
        if self.chance(6) {
            text = text.replace('\n', "\r\n");
        }
        if self.chance(3) {
            text.insert(0, '\u{feff}');
            if self.chance(30) {
                text.insert(0, '\u{feff}');
            }
        }
        if self.chance(4) {
            // Over the edge of the decoder's chunks.
            let padding = 480 + self.below(64);
            text.insert_str(0, &format!("#{}\n", "x".repeat(padding)));
        }
        text
    }

    fn quoted(&mut self, value: &str) -> String {
        match self.below(10) {
            0 => format!("\"{value}\""),
            1 => format!("'{value}'"),
            2 if !value.is_empty() => format!("&a {value}"),
            3 if !value.is_empty() => format!("{value} # comment"),
            _ => value.to_owned(),
        }
    }

    fn field_name(&mut self, name: &str) -> String {
        match self.below(if self.tame { 300 } else { 40 }) {
            0 => name.to_uppercase(),
            1 => name.replace('s', "\u{17f}"),
            2 => format!("\"{name}\""),
            3 => format!("? {name}\n  "),
            4 => format!("{name} "),
            5 => name.chars().rev().collect(),
            6 => format!(
                "!!binary {}",
                if name == "username" {
                    "dXNlcm5hbWU="
                } else {
                    "Z3JvdXBz"
                }
            ),
            _ => name.to_owned(),
        }
    }

    fn groups(&mut self) -> String {
        let count = self.below(4);
        let one = |this: &mut Self| {
            if this.odd(15) {
                this.pick(SCALARS)
            } else {
                this.pick(GROUPS)
            }
        };
        let groups: Vec<&str> = (0..count).map(|_| one(self)).collect();
        match self.below(10) {
            0..=2 => format!("[{}]", groups.join(", ")),
            3 if !self.tame => self.pick(SCALARS).to_owned(),
            _ => {
                let indent = if self.tame {
                    "\n  - "
                } else {
                    self.pick(&["\n  - ", "\n    - ", "\n  -  ", "\n- ", "\n   - ", "\n  -\n     "])
                };
                groups.iter().map(|group| format!("{indent}{group}")).collect()
            }
        }
    }

    fn entries(&mut self, key: &str) -> String {
        let field = if key == "mapUsers" { "userarn" } else { "rolearn" };
        let mut text = String::new();
        if self.chance(6) {
            text.push_str(self.pick(&[
                "---\n",
                "%YAML 1.1\n---\n",
                "# head\n",
                "\n\n",
                "%TAG !e! tag:x,1:\n---\n",
            ]));
        }
        if self.odd(8) {
            return text + &self.json(field);
        }
        for _ in 0..=self.below(4) {
            let mut fields: Vec<(String, String)> = Vec::new();
            let arn = self.mapped_arn();
            if !self.odd(6) {
                fields.push((
                    field.to_owned(),
                    if self.odd(5) {
                        self.pick(SCALARS).to_owned()
                    } else {
                        self.quoted(&arn)
                    },
                ));
            }
            if self.chance(90) {
                let username = if self.odd(25) {
                    self.pick(SCALARS)
                } else {
                    self.pick(USERNAMES)
                };
                fields.push(("username".to_owned(), username.to_owned()));
            }
            if self.chance(85) {
                let groups = self.groups();
                fields.push(("groups".to_owned(), groups));
            }
            if self.odd(8) {
                let value = self.pick(SCALARS).to_owned();
                let name = self.pick(&[
                    "userid",
                    "description",
                    "sso",
                    "user",
                    "1",
                    "yes",
                    "~",
                    "1.5",
                    ".nan",
                    "username",
                    "Groups",
                    field,
                ]);
                fields.push((name.to_owned(), value));
            }
            if self.odd(8) {
                if self.chance(60) {
                    fields.retain(|(name, _)| name != "groups");
                }
                for name in ["GROUPS", "Groups", "gROUPS"] {
                    let list = self.pick(&[
                        "[a]",
                        "[a, b, c]",
                        "[~, d]",
                        "[~, ~, ~]",
                        "[1, e]",
                        "[]",
                        "~",
                        "x",
                    ]);
                    fields.push((name.to_owned(), list.to_owned()));
                }
            }
            if self.odd(6) && key == "mapRoles" {
                let account = if self.chance(70) {
                    "'111122223333'"
                } else {
                    self.pick(SCALARS)
                };
                let set = self.pick(&["Dev", "View_Only", "a b", "12", "''"]);
                let partition = self.pick(&["", "\n    partition: aws", "\n    partition: x"]);
                if self.chance(70) {
                    fields.retain(|(name, _)| name != field);
                }
                fields.push((
                    "sso".to_owned(),
                    format!("\n    permissionSetName: {set}\n    accountID: {account}{partition}"),
                ));
            }
            if self.odd(6) {
                let value = self.pick(&[
                    "*a",
                    "[*a]",
                    "{username: m}",
                    "[{username: m}, {groups: [x]}]",
                    "x",
                    "*b",
                ]);
                fields.push(("<<".to_owned(), value.to_owned()));
            }
            if self.chance(10) {
                fields.reverse();
            }
            let head = if self.tame {
                "- "
            } else {
                self.pick(&[
                    "- ",
                    "- ",
                    "- ",
                    "- ",
                    "- ",
                    "-   ",
                    "-\n  ",
                    "- &a\n  ",
                    "- !!map\n  ",
                    " - ",
                ])
            };
            let inner = " ".repeat(match head {
                "-   " => 4,
                " - " => 3,
                _ => 2,
            });
            text.push_str(head);
            let count = fields.len();
            for (at, (name, value)) in fields.into_iter().enumerate() {
                let name = self.field_name(&name);
                let colon = if self.tame {
                    ": "
                } else {
                    self.pick(&[": ", ": ", ": ", ": ", ": ", ": ", ": ", ":  ", ":\n      ", ":"])
                };
                text.push_str(&format!("{name}{colon}{value}\n"));
                if at + 1 < count {
                    text.push_str(&inner);
                }
            }
            if count == 0 {
                text.push('\n');
            }
            if self.odd(4) {
                text.push_str(self.pick(&[
                    "---\n", "...\n", "# c\n", "\n", "- *a\n", "- {}\n", "- x\n", "-\n", "- [a]\n",
                ]));
            }
        }
        text
    }

    fn json(&mut self, field: &str) -> String {
        let entries: Vec<String> = (0..=self.below(3))
            .map(|_| {
                let arn = self.mapped_arn();
                let space = self.pick(&["", " ", "\n "]);
                let groups = self.pick(&["[\"g\"]", "[]", "null", "\"g\"", "[1, \"g\"]", "[null]", "{\"a\": 1}"]);
                let username = self.pick(&["\"u\"", "1", "null", "true", "\"\\u0041\"", "\"a\\/b\""]);
                format!("{{{space}\"{field}\":{space}\"{arn}\",\"username\":{username},{space}\"groups\":{groups}}}")
            })
            .collect();
        format!("[{}]", entries.join(","))
    }

    fn accounts(&mut self) -> String {
        let items: Vec<String> = (0..=self.below(4))
            .map(|_| {
                let account = self.pick(ACCOUNTS);
                match if self.tame { 5 } else { self.below(10) } {
                    0 => self.pick(SCALARS).to_owned(),
                    1 => format!("default: {account}"),
                    2 => format!("[{account}]"),
                    _ => self.quoted(account),
                }
            })
            .collect();
        if self.chance(15) {
            format!("[{}]", items.join(", "))
        } else {
            items.iter().map(|item| format!("- {item}\n")).collect()
        }
    }

    fn soup(&mut self) -> String {
        (0..self.below(30)).map(|_| self.pick(TOKENS)).collect()
    }

    fn deep(&mut self) -> String {
        let depth = 1 + self.below(60);
        let (open, close) = match self.below(6) {
            0 => ("[", "]"),
            1 => ("{a: ", "}"),
            2 => ("- ", ""),
            3 => ("? ", ""),
            4 => ("[[]: ", "]"),
            _ => ("{? ", "}"),
        };
        let closing = if self.chance(80) { depth } else { self.below(depth) };
        format!(
            "- rolearn: arn:aws:iam::111122223333:role/Dev\n  x:\n    {}{}\n",
            open.repeat(depth),
            close.repeat(closing)
        )
    }

    fn bomb(&mut self, key: &str) -> String {
        let field = if key == "mapUsers" { "userarn" } else { "rolearn" };
        let (levels, width) = (1 + self.below(5), 2 + self.below(9));
        let mut text = "- a0: &a0 [x, y]\n".to_owned();
        for level in 1..=levels {
            let items = vec![format!("*a{}", level - 1); width];
            text.push_str(&format!("- a{level}: &a{level} [{}]\n", items.join(", ")));
        }
        text + &format!("- {field}: arn:aws:iam::111122223333:role/Dev\n  username: u\n  groups: [g]\n")
    }

    /// Keys that become the same JSON key.
    fn colliding(&mut self, key: &str) -> String {
        let keys = self.pick(&[
            "1|\"1\"",
            "yes|\"true\"",
            "1.5|\"1.5\"",
            "1e6|\"1e+06\"",
            "1e5|'100000'",
            ".nan|.NaN",
            "0x10|'16'",
            "1|01",
        ]);
        let (a, b) = keys.split_once('|').unwrap_or((keys, keys));
        let (x, y) = (
            self.pick(&[".nan", "x", ".inf", "{~: 1}"]),
            self.pick(&[".nan", "x", "[.inf]", "2"]),
        );
        format!("- x: {{{a}: {x}, {b}: {y}}}\n{}", self.entries(key))
    }

    /// Several of the decoder's chunks, with something bad near the end or in a document that is never read.
    fn long(&mut self, key: &str) -> String {
        let mut text = self.entries(key);
        for _ in 0..self.below(8) {
            let more = self.entries(key);
            text.push_str(&more);
        }
        if self.chance(60) {
            text.push_str(self.pick(&["---\n", "...\n", "--- x\n", "]\n", "? x\n"]));
            let padding = self.below(1200);
            text.push_str(&"y ".repeat(padding / 2));
            text.push_str(self.pick(&["\u{7}", "\t- x", "\n]", "\"", "\u{1}\n", "\n%YAML 9\n"]));
        }
        text
    }

    /// Damages a text a little.
    fn edit(&mut self, text: &mut String) {
        let mut chars: Vec<char> = text.chars().collect();
        let at = self.below(chars.len() + 1);
        let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
        let line = self.below(lines.len());
        match self.below(12) {
            0 | 1 if at < chars.len() => {
                chars.remove(at);
            }
            2 | 3 => {
                let token: Vec<char> = self.pick(TOKENS).chars().collect();
                chars.splice(at..at, token);
            }
            4 if at < chars.len() => chars[at] = self.pick(TOKENS).chars().next().unwrap_or('x'),
            5 => chars.truncate(at),
            6 => {
                lines.remove(line);
                *text = lines.join("\n");
                return;
            }
            7 => {
                let copy = lines[line].clone();
                lines.insert(line, copy);
                *text = lines.join("\n");
                return;
            }
            8 => {
                let other = self.below(lines.len());
                lines.swap(line, other);
                *text = lines.join("\n");
                return;
            }
            9 => {
                lines[line].insert_str(0, self.pick(&[" ", "  ", "\t", " \t"]));
                *text = lines.join("\n");
                return;
            }
            10 => {
                let shorter = lines[line].strip_prefix(' ').map(str::to_owned);
                lines[line] = shorter.unwrap_or_else(|| lines[line].trim().to_owned());
                *text = lines.join("\n");
                return;
            }
            _ => lines[line].push_str(self.pick(&[" ", "\t", " #x", "\u{a0}", ":", ",", "'", "\""])),
        }
        *text = chars.into_iter().collect();
    }
}
