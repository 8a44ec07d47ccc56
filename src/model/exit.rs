//! The exit codes of the contract, in one place.

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Ready, or done.
    Done,
    /// Not ready, or the thing asked for failed.
    Failed,
    /// Wrong usage.
    Usage,
    /// Nothing failed, but something needed could not be read.
    Undecided,
    /// Ctrl-C.
    Interrupted,
    /// SIGTERM.
    Terminated,
    /// Another program's own exit code, handed on.
    Other(u8),
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Undecided => 3,
            Self::Interrupted => 130,
            Self::Terminated => 143,
            Self::Other(code) => code,
        }
    }

    /// The worse of two, for several clusters in one run: a failure is worse than undecided.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        let rank = |exit: Self| match exit {
            Self::Done => 0,
            Self::Undecided => 1,
            Self::Failed | Self::Other(_) => 2,
            Self::Usage => 3,
            Self::Interrupted | Self::Terminated => 4,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}
