//! What a scalar means to goyaml.v2: YAML 1.1 with its own exceptions (`resolve.go`).

use base64::Engine as _;

/// The long form of the prefix `!!`.
pub(super) const LONG_TAG_PREFIX: &[u8] = b"tag:yaml.org,2002:";

/// A scalar's value as Go's `interface{}` would hold it. Timestamps stay text there.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    /// An integer that only fits an unsigned 64-bit one.
    Uint(u64),
    Float(f64),
    /// The node's own text.
    Text,
    /// Decoded `!!binary`.
    Bytes(Vec<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Null,
    Bool,
    Int,
    Float,
    Str,
    Timestamp,
}

impl Kind {
    fn of_tag(tag: &[u8]) -> Option<Self> {
        Some(match tag.strip_prefix(LONG_TAG_PREFIX)? {
            b"null" => Self::Null,
            b"bool" => Self::Bool,
            b"int" => Self::Int,
            b"float" => Self::Float,
            b"str" => Self::Str,
            b"timestamp" => Self::Timestamp,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Null => "!!null",
            Self::Bool => "!!bool",
            Self::Int => "!!int",
            Self::Float => "!!float",
            Self::Str => "!!str",
            Self::Timestamp => "!!timestamp",
        }
    }
}

pub(super) fn is_merge_tag(tag: &[u8]) -> bool {
    tag.strip_prefix(LONG_TAG_PREFIX) == Some(b"merge")
}

/// Resolves a scalar. `implicit` as in the event. Errors are goyaml.v2's: they abort the whole document.
pub(super) fn resolve(tag: &[u8], implicit: bool, text: &str) -> Result<Scalar, String> {
    if tag.is_empty() {
        return Ok(if implicit {
            natural(text, None).1
        } else {
            Scalar::Text
        });
    }
    let Some(wanted) = Kind::of_tag(tag) else {
        if tag.strip_prefix(LONG_TAG_PREFIX) == Some(b"binary") {
            return decode_base64(text)
                .map(Scalar::Bytes)
                .ok_or_else(|| "!!binary value contains invalid base64 data".to_owned());
        }
        return Ok(Scalar::Text);
    };
    if wanted == Kind::Str {
        return Ok(Scalar::Text);
    }
    let (found, value) = natural(text, Some(wanted));
    match (wanted, found, value) {
        (Kind::Float, Kind::Int, Scalar::Int(int)) => Ok(Scalar::Float(int as f64)),
        (wanted, found, value) if wanted == found => Ok(value),
        (wanted, found, _) => Err(format!(
            "cannot decode {} `{text}` as a {}",
            found.name(),
            wanted.name()
        )),
    }
}

fn natural(text: &str, tag: Option<Kind>) -> (Kind, Scalar) {
    let string = (Kind::Str, Scalar::Text);
    let Some(&first) = text.as_bytes().first() else {
        return (Kind::Null, Scalar::Null);
    };
    match first {
        b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' | b'~' => {
            word(text).unwrap_or(string)
        }
        b'.' => word(text)
            .or_else(|| Some((Kind::Float, Scalar::Float(parse_dot_float(text)?))))
            .unwrap_or(string),
        b'+' | b'-' | b'0'..=b'9' => {
            if let Some(found) = word(text) {
                return found;
            }
            if matches!(tag, None | Some(Kind::Timestamp)) && is_timestamp(text) {
                return (Kind::Timestamp, Scalar::Text);
            }
            number(&text.replace('_', "")).unwrap_or(string)
        }
        _ => string,
    }
}

fn word(text: &str) -> Option<(Kind, Scalar)> {
    Some(match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            (Kind::Bool, Scalar::Bool(true))
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            (Kind::Bool, Scalar::Bool(false))
        }
        "~" | "null" | "Null" | "NULL" => (Kind::Null, Scalar::Null),
        ".nan" | ".NaN" | ".NAN" => (Kind::Float, Scalar::Float(f64::NAN)),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => (Kind::Float, Scalar::Float(f64::INFINITY)),
        "-.inf" | "-.Inf" | "-.INF" => (Kind::Float, Scalar::Float(f64::NEG_INFINITY)),
        _ => return None,
    })
}

/// A number without underscores, beginning with a sign or a digit.
fn number(text: &str) -> Option<(Kind, Scalar)> {
    if let Some(int) = parse_int(text, 0) {
        return Some((Kind::Int, Scalar::Int(int)));
    }
    if let Some(uint) = parse_uint(text, 0) {
        return Some((Kind::Int, Scalar::Uint(uint)));
    }
    if is_yaml_float(text)
        && let Some(float) = parse_float(text)
    {
        return Some((Kind::Float, Scalar::Float(float)));
    }
    // Reached by signs after the prefix: `0b-1` is -1 to goyaml.v2.
    if let Some(digits) = text.strip_prefix("0b") {
        if let Some(int) = parse_int(digits, 2) {
            return Some((Kind::Int, Scalar::Int(int)));
        }
        return parse_uint(digits, 2).map(|uint| (Kind::Int, Scalar::Uint(uint)));
    }
    let digits = text.strip_prefix("-0b")?;
    parse_int(&format!("-{digits}"), 2).map(|int| (Kind::Int, Scalar::Int(int)))
}

/// `strconv.ParseInt(text, base, 64)` for text without underscores.
fn parse_int(text: &str, base: u32) -> Option<i64> {
    let (negative, rest) = match text.as_bytes().first()? {
        b'+' => (false, &text[1..]),
        b'-' => (true, &text[1..]),
        _ => (false, text),
    };
    let magnitude = i128::from(parse_uint(rest, base)?);
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

/// `strconv.ParseUint(text, base, 64)` for text without underscores; base 0 looks at the prefix.
fn parse_uint(text: &str, base: u32) -> Option<u64> {
    let (digits, base) = match (base, text.as_bytes()) {
        (0, [b'0', b'x' | b'X', _, ..]) => (&text[2..], 16),
        (0, [b'0', b'o' | b'O', _, ..]) => (&text[2..], 8),
        (0, [b'0', b'b' | b'B', _, ..]) => (&text[2..], 2),
        (0, [b'0', ..]) => (text, 8),
        (0, _) => (text, 10),
        _ => (text, base),
    };
    // Rust's parser takes a sign, Go's does not.
    if !digits.bytes().all(|c| c.is_ascii_alphanumeric()) {
        return None;
    }
    u64::from_str_radix(digits, base).ok()
}

/// `^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`
fn is_yaml_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let digits = |part: &str| part.bytes().all(|c| c.is_ascii_digit());
    let mantissa_ok = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && digits(fraction),
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => !mantissa.is_empty() && digits(mantissa),
    };
    let exponent_ok = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    mantissa_ok && exponent_ok
}

/// `strconv.ParseFloat` for text of the form above: what overflows is an error there.
fn parse_float(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|float| float.is_finite())
}

/// `strconv.ParseFloat` for text that begins with a dot. Underscores are only allowed after a base prefix, which cannot come
/// after a dot, but Go's check is laxer than that: it wants a digit on both sides.
fn parse_dot_float(text: &str) -> Option<f64> {
    let mut previous_is_digit = false;
    let mut previous_is_underscore = false;
    for c in text.bytes() {
        match c {
            b'0'..=b'9' => (previous_is_digit, previous_is_underscore) = (true, false),
            b'_' if previous_is_digit => (previous_is_digit, previous_is_underscore) = (false, true),
            _ if c == b'_' || previous_is_underscore => return None,
            _ => previous_is_digit = false,
        }
    }
    if previous_is_underscore {
        return None;
    }
    let plain = text.replace('_', "");
    if is_yaml_float(&plain) {
        parse_float(&plain)
    } else {
        None
    }
}

/// `base64.StdEncoding.DecodeString`: CR and LF are passed over, padding is required, stray bits are not looked at.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true);
    let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, config);
    engine.decode(text.replace(['\r', '\n'], "")).ok()
}

/// Whether `time.Parse` takes the text in one of goyaml.v2's four layouts.
fn is_timestamp(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits != 4 || text.as_bytes().get(4) != Some(&b'-') {
        return false;
    }
    let Some((date, rest)) = parse_date(text) else {
        return false;
    };
    if rest.is_empty() {
        return date_is_valid(date);
    }
    let (separator, rest) = rest.split_at_checked(1).unwrap_or(("", rest));
    let Some(rest) = parse_clock(rest) else {
        return false;
    };
    date_is_valid(date)
        && match separator {
            "T" | "t" => parse_zone(rest) == Some(""),
            " " => rest.is_empty(),
            _ => false,
        }
}

/// One or two digits, as Go reads an unpadded number.
fn one_or_two_digits(text: &str) -> Option<(u32, &str)> {
    let count = text.bytes().take(2).take_while(u8::is_ascii_digit).count();
    Some((text.get(..count)?.parse().ok()?, &text[count..]))
}

fn parse_date(text: &str) -> Option<((u32, u32, u32), &str)> {
    let year = text.get(..4)?.parse().ok()?;
    let (month, rest) = one_or_two_digits(text.get(5..)?)?;
    let (day, rest) = one_or_two_digits(rest.strip_prefix('-')?)?;
    Some(((year, month, day), rest))
}

fn date_is_valid((year, month, day): (u32, u32, u32)) -> bool {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return false,
    };
    (1..=days).contains(&day)
}

fn parse_clock(text: &str) -> Option<&str> {
    let (hour, rest) = one_or_two_digits(text)?;
    let (minute, rest) = one_or_two_digits(rest.strip_prefix(':')?)?;
    let (second, mut rest) = one_or_two_digits(rest.strip_prefix(':')?)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    if let Some(fraction) = rest.strip_prefix(['.', ',']) {
        let count = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if count > 0 {
            rest = &fraction[count..];
        }
    }
    Some(rest)
}

fn parse_zone(text: &str) -> Option<&str> {
    if let Some(rest) = text.strip_prefix('Z') {
        return Some(rest);
    }
    let bytes = text.as_bytes();
    let [b'+' | b'-', h1, h2, b':', m1, m2, ..] = bytes else {
        return None;
    };
    if ![h1, h2, m1, m2].iter().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let hours: u32 = text[1..3].parse().ok()?;
    let minutes: u32 = text[4..6].parse().ok()?;
    (hours <= 24 && minutes <= 60).then(|| &text[6..])
}
