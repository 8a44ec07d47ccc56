//! `--shard I/N`: the part of an inventory that one of several runs judges.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// One of `of` parts, counted from 0 as Kubernetes counts the indexes of a Job, so that `--shard $(JOB_COMPLETION_INDEX)/8` is a
/// container's argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Shard {
    /// Which, from 0.
    pub index: usize,
    /// How many there are.
    pub of: usize,
}

impl Shard {
    /// The most parts: what Kubernetes takes as the completions of an Indexed Job.
    pub const MOST: usize = 100_000;

    /// The only part there is.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    /// Whether what belongs to this account is in this part. The same account is in the same part of as many, in every run and
    /// version: an account is read by one run, and results can be compared with yesterday's.
    pub fn holds(self, account: &str) -> bool {
        let digest = sha2::Sha256::digest(account.as_bytes());
        let number = digest[..8]
            .iter()
            .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        number % self.of as u64 == self.index as u64
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(index, of)| {
            let number = |text: &str| {
                let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
                digits.then(|| text.parse::<usize>().ok()).flatten()
            };
            Some((number(index)?, number(of)?))
        });
        let Some((index, of)) = parts else {
            return Err(format!(
                "\"{}\" is not I/N; for example 0/4, the first of four shards",
                text.escape_debug()
            ));
        };
        if of == 0 || of > Self::MOST {
            return Err(format!("{of} shards: there are 1 to {}", Self::MOST));
        }
        if index >= of {
            return Err(format!(
                "shard {index} of {of} does not exist: they are counted from 0, the last is {}/{of}",
                of - 1
            ));
        }
        Ok(Self { index, of })
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notation() {
        for (text, want) in [
            ("0/1", Ok("0/1")),
            ("3/4", Ok("3/4")),
            ("4/4", Err("counted from 0, the last is 3/4")),
            ("1/0", Err("0 shards")),
            ("0/100001", Err("100001 shards")),
            ("1", Err("is not I/N")),
            ("-1/4", Err("is not I/N")),
            ("+1/4", Err("is not I/N")),
            ("1/4/8", Err("is not I/N")),
            ("/4", Err("is not I/N")),
            ("1/", Err("is not I/N")),
            ("99999999999999999999/4", Err("is not I/N")),
        ] {
            match (text.parse::<Shard>(), want) {
                (Ok(shard), Ok(want)) => assert_eq!(shard.to_string(), want),
                (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
                (got, want) => panic!("{text}: {got:?}, not {want:?}"),
            }
        }
    }

    #[test]
    fn every_account_is_in_one_shard_and_stays_there() {
        for of in [1, 2, 7, 50] {
            let mut held = vec![0; of];
            for n in 0..1000 {
                let account = format!("{n:012}");
                let shards: Vec<usize> = (0..of)
                    .filter(|index| Shard { index: *index, of }.holds(&account))
                    .collect();
                assert_eq!(shards.len(), 1, "{account} of {of}");
                held[shards[0]] += 1;
            }
            assert!(held.iter().all(|n| *n > 0), "{of}: {held:?}");
        }
        // What an earlier version said.
        let of_eight = |account: &str| (0..8).find(|index| Shard { index: *index, of: 8 }.holds(account));
        assert_eq!(of_eight("111122223333"), Some(4));
        assert_eq!(of_eight("123456789012"), Some(2));
    }
}
