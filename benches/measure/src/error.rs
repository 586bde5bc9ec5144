/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be measured. (A goal that is missed is not an error: it is what measuring is for.)
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The local AWS.
    #[error(transparent)]
    Rehearsal(#[from] rehearsal::Error),
    /// Another program or a file.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// Why it did not work.
        #[source]
        source: std::io::Error,
    },
    /// What was measured is not what was to be measured.
    #[error("{0}")]
    Unexpected(String),
}

impl Error {
    /// Turns an error of input or output into ours: `.map_err(Error::io("cannot write the figures"))`.
    pub fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}
