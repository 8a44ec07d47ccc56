//! Kleene's three-valued logic: what can't be seen stays unknown, and decides only where nothing seen does.

use serde::{Deserialize, Serialize};

/// True, false, or not to be known from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Tri {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It may or may not hold.
    Unknown,
}

impl Tri {
    /// Both hold: one false is enough for false.
    pub const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::False, _) | (_, Self::False) => Self::False,
            (Self::True, Self::True) => Self::True,
            _ => Self::Unknown,
        }
    }

    /// One holds: one true is enough for true.
    pub const fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::True, _) | (_, Self::True) => Self::True,
            (Self::False, Self::False) => Self::False,
            _ => Self::Unknown,
        }
    }

    /// How near to true, for picking the best of several.
    pub const fn rank(self) -> u8 {
        match self {
            Self::True => 2,
            Self::Unknown => 1,
            Self::False => 0,
        }
    }

    /// Knows what is the same in both cases, and nothing else.
    pub const fn whichever(self, other: Self) -> Self {
        match (self, other) {
            (Self::True, Self::True) => Self::True,
            (Self::False, Self::False) => Self::False,
            _ => Self::Unknown,
        }
    }

    /// All of them hold; true of none.
    pub fn all(items: impl IntoIterator<Item = Self>) -> Self {
        items.into_iter().fold(Self::True, Self::and)
    }

    /// One of them holds; false of none.
    pub fn any(items: impl IntoIterator<Item = Self>) -> Self {
        items.into_iter().fold(Self::False, Self::or)
    }
}

impl std::ops::Not for Tri {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            Self::Unknown => Self::Unknown,
        }
    }
}

impl From<bool> for Tri {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every law is checked against the two-valued logic: unknown stands for both values at once.
    #[test]
    fn unknown_is_both_values_at_once() {
        let values = |tri: Tri| match tri {
            Tri::True => vec![true],
            Tri::False => vec![false],
            Tri::Unknown => vec![false, true],
        };
        let of = |mut all: Vec<bool>| {
            all.sort_unstable();
            all.dedup();
            match all.as_slice() {
                [one] => Tri::from(*one),
                _ => Tri::Unknown,
            }
        };
        let every = [Tri::True, Tri::False, Tri::Unknown];
        for a in every {
            assert_eq!(!a, of(values(a).into_iter().map(|x| !x).collect()));
            for b in every {
                let pairs: Vec<(bool, bool)> = values(a)
                    .into_iter()
                    .flat_map(|x| values(b).into_iter().map(move |y| (x, y)))
                    .collect();
                assert_eq!(
                    a.and(b),
                    of(pairs.iter().map(|(x, y)| *x && *y).collect()),
                    "{a:?} and {b:?}"
                );
                assert_eq!(
                    a.or(b),
                    of(pairs.iter().map(|(x, y)| *x || *y).collect()),
                    "{a:?} or {b:?}"
                );
                assert_eq!(
                    a.whichever(b),
                    of(values(a).into_iter().chain(values(b)).collect()),
                    "{a:?} whichever {b:?}"
                );
            }
        }
        assert_eq!(Tri::all([]), Tri::True);
        assert_eq!(Tri::any([]), Tri::False);
    }
}
