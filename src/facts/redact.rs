//! Masking facts so that they can go into a public issue and are still judged the same.
//!
//! Works on the facts' values, never on the file's text: what stands inside of a value (an ARN in a message, a line of aws-auth, a
//! string of a policy document) is found there. The same value always gets the same mask, so that whatever was equal stays equal,
//! which is all that judging looks at. A leading zero stays one, because YAML reads `0123...` otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use regex_lite::{Captures, Regex};
use serde_json::Value;

use super::Facts;
use crate::cluster::clues::{host_of, region_of_eks_host};
use crate::model::SPOT_ROLE;

/// What `--redact` masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redact {
    /// What identifies accounts, persons and machines.
    Ids,
    /// The names of roles, users and clusters, too.
    Names,
}

/// Masked facts, and what became of what was in them.
#[derive(Debug)]
pub struct Redacted {
    pub facts: Facts,
    /// One sentence: how many of what were masked, and what was left.
    pub said: String,
}

/// Masks facts.
///
/// # Errors
/// Never in practice: the patterns are fixed, and masked facts are facts.
pub fn redact(facts: &Facts, what: Redact) -> Result<Redacted, String> {
    let mut value = serde_json::to_value(facts).map_err(|error| error.to_string())?;
    let mut masks = Masks::new().map_err(|error| error.to_string())?;
    masks.learn(facts, what);
    if what == Redact::Names {
        masks.learn_names(&value);
    }
    masks.apply(&mut value);
    let mut masked: Facts = serde_json::from_value(value).map_err(|error| error.to_string())?;
    masked.redacted = true;
    Ok(Redacted {
        facts: masked,
        said: masks.said(what),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Account,
    UniqueId,
    Email,
    Ip,
    Host,
    EndpointId,
    Resource,
    Uuid,
    Name,
}

impl Kind {
    const ALL: [(Self, &'static str); 9] = [
        (Self::Account, "account ids"),
        (Self::UniqueId, "unique ids"),
        (Self::Email, "e-mail addresses"),
        (Self::Ip, "IP addresses"),
        (Self::Host, "host names of endpoints"),
        (Self::EndpointId, "ids of endpoints and OIDC issuers"),
        (Self::Resource, "ids of instances, networks and other resources"),
        (Self::Uuid, "UUIDs"),
        (Self::Name, "names of roles, users and clusters"),
    ];
}

struct Masks {
    token: Regex,
    word: Regex,
    principal: Regex,
    /// Values whose type is known from where they stand, and what to put in their place.
    literal: BTreeMap<String, String>,
    seen: BTreeMap<Kind, BTreeMap<String, String>>,
}

impl Masks {
    fn new() -> Result<Self, regex_lite::Error> {
        Ok(Self {
            // The longest that can begin at a place comes first; a word is whole, so that no mask begins in the middle of one. A
            // percent-encoded character separates as the character does.
            token: Regex::new(concat!(
                r"(?P<code>%[0-9A-Fa-f]{2})",
                r"|(?P<mail>[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)",
                r"|(?P<uuid>[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12})",
                r"|(?P<resource>(?:i|vpc|subnet|sg|eni|ami|lt|vol|snap|igw|nat|rtb|acl|vpce|fleet|sir|cr)-(?:[0-9a-f]{17}|[0-9a-f]{8}))",
                r"|(?P<ip>ip-[0-9]{1,3}(?:-[0-9]{1,3}){3}|[0-9]{1,3}(?:\.[0-9]{1,3}){3})",
                r"|(?P<ipv6>[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)",
                r"|(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]*)",
            ))?,
            word: Regex::new(r"[0-9A-Za-z]+")?,
            principal: Regex::new(
                r"arn:[a-z-]+:(?:iam|sts)::[0-9*]*:(?:role|user|group|assumed-role|federated-user|instance-profile)/([A-Za-z0-9_+=,.@/-]+)",
            )?,
            literal: BTreeMap::new(),
            seen: BTreeMap::new(),
        })
    }

    /// The mask of a value, always the same.
    fn mask(&mut self, kind: Kind, old: &str, make: impl FnOnce(usize) -> String) -> String {
        let of_kind = self.seen.entry(kind).or_default();
        let n = of_kind.len() + 1;
        of_kind.entry(old.to_owned()).or_insert_with(|| make(n)).clone()
    }

    /// Values that nothing but their place tells.
    fn learn(&mut self, facts: &Facts, what: Redact) {
        let endpoint = facts
            .cluster
            .known()
            .and_then(|cluster| cluster.endpoint.as_deref());
        for server in [Some(facts.target.server.as_str()), endpoint]
            .into_iter()
            .flatten()
        {
            if let Some(host) = host_of(server)
                && region_of_eks_host(&host).is_none()
                && host.parse::<std::net::IpAddr>().is_err()
                && host != "localhost"
            {
                let mask = self.mask(Kind::Host, &host, |n| format!("host{n}.example"));
                self.literal.insert(host, mask);
            }
        }
        if what == Redact::Names {
            let mask = self.mask(Kind::Name, &facts.target.cluster, |n| format!("cluster{n}"));
            self.literal.insert(facts.target.cluster.clone(), mask);
            for name in [Some(&facts.target.context), facts.target.profile.as_ref()]
                .into_iter()
                .flatten()
            {
                self.learn_name(name);
            }
            let roles = facts.node_roles.known().into_iter().flatten();
            for name in roles.map(|role| &role.name) {
                self.learn_name(name);
            }
        }
    }

    /// The names in the ARNs of principals, and the other fields that hold such a name.
    fn learn_names(&mut self, value: &Value) {
        match value {
            Value::String(text) => {
                let decoded = percent_encoding::percent_decode_str(text).decode_utf8_lossy();
                let paths: BTreeSet<String> = self
                    .principal
                    .captures_iter(&decoded)
                    .map(|found| found[1].to_owned())
                    .collect();
                for segment in paths.iter().flat_map(|path| path.split('/')) {
                    self.learn_name(segment);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.learn_names(item)),
            Value::Object(fields) => fields.values().for_each(|item| self.learn_names(item)),
            _ => {}
        }
    }

    fn learn_name(&mut self, name: &str) {
        // AWS's own names say nothing about anybody, and an ARN or an e-mail address is masked as what it is.
        let known = [
            "",
            SPOT_ROLE,
            "aws-service-role",
            "spot.amazonaws.com",
            "AWSReservedSSO",
        ];
        if known.contains(&name) || name.starts_with("system:") || name.contains([':', '@']) {
            return;
        }
        if !self.literal.contains_key(name) {
            let mask = self.mask(Kind::Name, name, |n| format!("name{n}"));
            self.literal.insert(name.to_owned(), mask);
        }
    }

    fn apply(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.value(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.apply(item)),
            Value::Object(fields) => {
                let old = std::mem::take(fields);
                for (key, mut item) in old {
                    self.apply(&mut item);
                    // Fields of ours have no such value in their names; the keys of maps may.
                    fields.insert(self.text(&key), item);
                }
            }
            _ => {}
        }
    }

    /// A value that is itself a JSON document is one of values.
    fn value(&mut self, text: &str) -> String {
        let document =
            text.trim_start().starts_with(['{', '[']) && serde_json::from_str::<Value>(text).is_ok();
        if document {
            self.json(text)
        } else {
            self.text(text)
        }
    }

    /// Masks the strings of a JSON text and leaves everything else, repeated keys too, as it is.
    fn json(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find('"') {
            let (before, literal) = rest.split_at(start);
            let mut escaped = false;
            let end = literal[1..].find(|c| {
                let end = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                end
            });
            let (literal, after) = literal.split_at(end.map_or(literal.len(), |end| end + 2));
            out.push_str(before);
            match serde_json::from_str::<String>(literal) {
                Ok(value) => out.push_str(&Value::String(self.text(&value)).to_string()),
                Err(_) => out.push_str(literal),
            }
            rest = after;
        }
        out.push_str(rest);
        out
    }

    fn text(&mut self, text: &str) -> String {
        let token = self.token.clone();
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        while let Some(found) = token.captures_at(text, at) {
            let (start, mut end) = found
                .get(0)
                .map_or((text.len(), text.len()), |all| (all.start(), all.end()));
            out.push_str(&text[at..start]);
            if found.name("ipv6").is_some() && !is_ipv6(text, start, end) {
                // The colons of an ARN or a time: what is before the first of them is a word like any other.
                end = start + text[start..].find(':').map_or(0, |colon| colon + 1);
                out.push_str(&self.words(&text[start..end]));
            } else {
                out.push_str(&self.token(text, start, &found));
            }
            at = end;
        }
        out.push_str(&text[at..]);
        out
    }

    fn token(&mut self, text: &str, start: usize, found: &Captures<'_>) -> String {
        let all = &found[0];
        if found.name("code").is_some() {
            return all.to_owned();
        }
        // In YAML a letter after a backslash is part of an escape (`"\ta@b.example"`), not of the value.
        if text[..start].ends_with('\\') && found.name("mail").is_some() {
            let escape = match all.as_bytes()[0] {
                b'x' => 3,
                b'u' => 5,
                b'U' => 9,
                _ => 1,
            };
            let (escape, rest) = all.split_at(escape.min(all.len()));
            return format!("{escape}{}", self.text(rest));
        }
        if let Some(mask) = self.literal.get(all) {
            return mask.clone();
        }
        let followed = text[start + all.len()..]
            .chars()
            .next()
            .is_some_and(|next| next.is_ascii_alphanumeric());
        if found.name("mail").is_some() {
            self.mask(Kind::Email, all, |n| format!("person{n}@example.com"))
        } else if found.name("uuid").is_some() && !followed {
            self.mask(Kind::Uuid, all, |n| format!("00000000-0000-4000-8000-{n:012x}"))
        } else if found.name("resource").is_some() && !followed {
            let (prefix, digits) = all.split_once('-').unwrap_or((all, ""));
            let width = digits.len();
            self.mask(Kind::Resource, all, |n| format!("{prefix}-{n:0width$x}"))
        } else if found.name("ip").is_some() && !followed {
            self.ipv4(all)
        } else if found.name("ipv6").is_some() {
            self.mask(Kind::Ip, all, |n| format!("2001:db8::{n:x}"))
        } else {
            self.words(all)
        }
    }

    /// `10.0.1.2` and the private DNS name `ip-10-0-1-2` are the same address.
    fn ipv4(&mut self, text: &str) -> String {
        let (prefix, digits, separator) = match text.strip_prefix("ip-") {
            Some(digits) => ("ip-", digits, '-'),
            None => ("", text, '.'),
        };
        let parts: Vec<&str> = digits.split(separator).collect();
        if !parts.iter().all(|part| part.parse::<u8>().is_ok()) {
            return text.to_owned();
        }
        // A range for tests of networks (RFC 2544).
        let mask = self.mask(Kind::Ip, &parts.join("."), |n| {
            format!("198.{}.{}.{}", 18 + (n >> 16 & 1), n >> 8 & 255, n & 255)
        });
        format!("{prefix}{}", mask.replace('.', &separator.to_string()))
    }

    /// The words of a name: ids that stand in it.
    fn words(&mut self, text: &str) -> String {
        let word = self.word.clone();
        word.replace_all(text, |found: &Captures<'_>| self.one_word(&found[0]))
            .into_owned()
    }

    fn one_word(&mut self, word: &str) -> String {
        let all = |kind: fn(&u8) -> bool| word.as_bytes().iter().all(kind);
        if let Some(mask) = self.literal.get(word) {
            return mask.clone();
        }
        if word.len() == 12 && all(u8::is_ascii_digit) {
            let first = if word.starts_with('0') { '0' } else { '9' };
            return self.mask(Kind::Account, word, |n| format!("{first}{n:011}"));
        }
        if word.len() == 32 && all(u8::is_ascii_hexdigit) {
            let lower = word.bytes().any(|b| b.is_ascii_lowercase());
            // An endpoint has it in upper case, a host name compared with it in lower case.
            let mask = self.mask(Kind::EndpointId, &word.to_ascii_uppercase(), |n| {
                format!("{n:032X}")
            });
            return if lower { mask.to_ascii_lowercase() } else { mask };
        }
        const PREFIXES: [&str; 10] = [
            "AROA", "AIDA", "AKIA", "ASIA", "ANPA", "AIPA", "AGPA", "ANVA", "ASCA", "ABIA",
        ];
        let id = |b: &u8| b.is_ascii_uppercase() || b.is_ascii_digit();
        if word.len() >= 12
            && word.as_bytes().iter().all(id)
            && PREFIXES.iter().any(|prefix| word.starts_with(prefix))
        {
            return self.mask(Kind::UniqueId, word, |n| format!("{}{n:017}", &word[..4]));
        }
        word.to_owned()
    }

    fn said(&self, what: Redact) -> String {
        let masked: Vec<String> = Kind::ALL
            .iter()
            .filter_map(|(kind, words)| Some(format!("{} {words}", self.seen.get(kind)?.len())))
            .collect();
        let masked = if masked.is_empty() {
            "nothing that needs it".to_owned()
        } else {
            masked.join(", ")
        };
        let left = match what {
            Redact::Ids => {
                "names of roles, users and clusters (--redact=names masks them), of Kubernetes objects, regions and times"
            }
            Redact::Names => "names of Kubernetes objects, regions and times",
        };
        format!("masked: {masked}; left: {left}")
    }
}

/// Whether this part of a text is an IPv6 address that ends and begins there.
fn is_ipv6(text: &str, start: usize, end: usize) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric();
    text[start..end].parse::<Ipv6Addr>().is_ok()
        && !text[..start].ends_with(|c| word(c) || c == ':')
        && !text[end..].starts_with(word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masks() -> Masks {
        Masks::new().expect("the patterns")
    }

    #[test]
    fn equal_stays_equal_and_nothing_else_changes() {
        for (text, want) in [
            (
                "arn:aws:iam::111122223333:role/x 111122223333,444455556666 012345678901 sha256abc111122223333 20261121103000",
                "arn:aws:iam::900000000001:role/x 900000000001,900000000002 000000000003 sha256abc111122223333 20261121103000",
            ),
            (
                "AROAEXAMPLEEXAMPLE:a.b@corp.example https://0123456789ABCDEF0123456789ABCDEF.gr7.x 0123456789abcdef0123456789abcdef",
                "AROA00000000000000001:person1@example.com https://00000000000000000000000000000001.gr7.x 00000000000000000000000000000001",
            ),
            (
                "arn%3Aaws%3Aiam%3A%3A111122223333%3Aroot and %22111122223333%22",
                "arn%3Aaws%3Aiam%3A%3A900000000001%3Aroot and %22900000000001%22",
            ),
            (
                "10.0.1.25 ip-10-0-1-25.eu-west-1.compute.internal 10.0.1.26:443 v1.34.2 1.2.3.4567 300.1.1.1",
                "198.18.0.1 ip-198-18-0-1.eu-west-1.compute.internal 198.18.0.2:443 v1.34.2 1.2.3.4567 300.1.1.1",
            ),
            (
                "fd00::1 [fd00::1]:443 arn:aws:iam::111122223333:user/a arn:aws:iam::aws:policy/a arn:aws:s3:::b 12:34:56",
                "2001:db8::1 [2001:db8::1]:443 arn:aws:iam::900000000001:user/a arn:aws:iam::aws:policy/a arn:aws:s3:::b 12:34:56",
            ),
            (
                "i-0123456789abcdef0 subnet-12345678 vpc-12345678, i-0123456789abcdef0, my-i-12345678x",
                "i-00000000000000001 subnet-00000002 vpc-00000003, i-00000000000000001, my-i-12345678x",
            ),
            (
                "d3adb33f-0000-4000-8000-0123456789ab 2026-11-25T22:00:00Z",
                "00000000-0000-4000-8000-000000000001 2026-11-25T22:00:00Z",
            ),
            // YAML's escapes stay what they were.
            (r#"- "\ta@b.example""#, r#"- "\tperson1@example.com""#),
            (r#"- "\u0020a@b.example""#, r#"- "\u0020person1@example.com""#),
        ] {
            assert_eq!(masks().text(text), want);
        }
    }

    #[test]
    fn a_name_is_found_wherever_it_stands_whole() {
        let mut masks = masks();
        masks.learn_name("demo");
        assert_eq!(
            masks.text("arn:aws:sqs:eu-west-1:111122223333:demo demo, demo-node cluster/demo"),
            "arn:aws:sqs:eu-west-1:900000000001:name1 name1, name1-node cluster/name1"
        );
    }

    #[test]
    fn a_document_in_a_value_stays_one() {
        let text =
            r#"{"a": "x\ta@b.example", "a": ["\u0031\u0031112222333 111122223333"], "111122223333": 1}"#;
        assert_eq!(
            masks().value(text),
            r#"{"a": "x\tperson1@example.com", "a": ["11112222333 900000000001"], "900000000001": 1}"#
        );
    }

    proptest! {
        #[test]
        fn any_text_keeps_its_shape(text in r#"(\\|"|@|[a-z0-9:.%-]|a@b\.c|111122223333|10\.0\.0\.1|::|\{|\}){0,24}"#) {
            let mut all = masks();
            let once = all.text(&text);
            prop_assert_eq!(all.text(&text), once.clone());
            let document = serde_json::json!({"value": text}).to_string();
            let masked: Value = serde_json::from_str(&all.value(&document)).expect("still JSON");
            prop_assert_eq!(masked["value"].as_str(), Some(once.as_str()));
        }
    }
}
