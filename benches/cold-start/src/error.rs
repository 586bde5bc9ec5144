//! Why nothing could be measured, or why what was measured does not count.

use std::io;

/// The result of everything in this program.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// What is measured is not there and could not be made.
    #[error("{0}")]
    SetUp(String),
    /// A peer did not start, or did not answer.
    #[error("{peer} did not do the job of {job}: {reason}")]
    Peer {
        peer: String,
        job: String,
        reason: String,
    },
    /// Peers that do different work cannot be compared.
    #[error("the comparison is not fair: {0}")]
    Unfair(String),
    /// A file or a socket.
    #[error("{doing}: {error}")]
    Io { doing: String, error: io::Error },
}

impl Error {
    /// `.map_err(Error::io("cannot read the answers"))`
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |error| Self::Io { doing, error }
    }
}
