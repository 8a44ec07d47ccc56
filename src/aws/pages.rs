//! Turning the pages of a list, of AWS or of Kubernetes, to an end.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use crate::model::{Unknown, Why};

/// What never ends is not read on: twenty thousand pages are ten million objects of Kubernetes.
const MOST: usize = 20_000;

/// The place in a list. A token that came before leads back to where it came: such a list has no end, and what is in it is not known.
#[derive(Debug)]
pub struct Pages {
    token: Option<String>,
    seen: HashSet<u64>,
    hasher: RandomState,
    most: usize,
}

impl Default for Pages {
    fn default() -> Self {
        Self {
            token: None,
            seen: HashSet::new(),
            hasher: RandomState::new(),
            most: MOST,
        }
    }
}

impl Pages {
    /// The token of the page to ask for; none for the first.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Whether no page was read yet.
    pub fn is_first(&self) -> bool {
        self.token.is_none()
    }

    /// Goes on to the page of this token. False: there is none, the list is complete.
    ///
    /// # Errors
    /// The token came before, or the list is too long to be one.
    pub fn turn(&mut self, next: Option<String>, call: &str) -> Result<bool, Unknown> {
        let Some(next) = next.filter(|next| !next.is_empty()) else {
            return Ok(false);
        };
        let incomplete = |what: String| Unknown::new(Why::Incomplete, format!("the answer to {call} {what}"));
        if !self.seen.insert(self.hasher.hash_one(&next)) {
            return Err(incomplete("repeats a page token".to_owned()));
        }
        if self.seen.len() >= self.most {
            return Err(incomplete(format!("has no end: {} pages", self.most)));
        }
        self.token = Some(next);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How turning through these tokens ends: the pages read, or why not all.
    fn read(tokens: &[&str], most: usize) -> Result<usize, String> {
        let mut pages = Pages {
            most,
            ..Pages::default()
        };
        for (at, token) in tokens.iter().enumerate() {
            assert_eq!(pages.is_first(), at == 0);
            if !pages
                .turn(Some((*token).to_owned()), "list pods")
                .map_err(|unknown| unknown.detail)?
            {
                return Ok(at + 1);
            }
            assert_eq!(pages.token(), Some(*token));
        }
        assert_eq!(pages.turn(None, "list pods"), Ok(false));
        Ok(tokens.len() + 1)
    }

    #[test]
    fn a_list_ends_or_is_not_known() {
        let repeats = Err("the answer to list pods repeats a page token".to_owned());
        assert_eq!(read(&[], 9), Ok(1));
        assert_eq!(read(&[""], 9), Ok(1));
        assert_eq!(read(&["a", "b"], 9), Ok(3));
        assert_eq!(read(&["a", "a"], 9), repeats);
        assert_eq!(read(&["a", "b", "a"], 9), repeats);
        assert_eq!(
            read(&["a", "b", "c"], 3),
            Err("the answer to list pods has no end: 3 pages".to_owned())
        );
    }
}
