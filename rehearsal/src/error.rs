/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a rehearsal could not be played. (A broken promise is not an error: it is what a rehearsal is for.)
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input of a flow cannot be used; nothing was started.
    #[error("{0}")]
    Input(String),
    /// Python or the packages of the local AWS are missing and could not be had.
    #[error("the local AWS could not be prepared: {0}")]
    Prepare(String),
    /// The functions do not compile.
    #[error("the functions could not be built: {0}")]
    Build(String),
    /// The local AWS did not start, or stopped.
    #[error("the local AWS could not be started: {0}")]
    Start(String),
    /// CloudFormation refused the template.
    #[error("the template could not be deployed: {0}")]
    Deploy(String),
    /// What was played is not kept.
    #[error("the report could not be written: {0}")]
    Report(String),
    /// The local AWS refused a call of the rehearsal itself.
    #[error("the local AWS refused {call}: {reason}")]
    Call {
        /// What was asked.
        call: &'static str,
        /// What it answered.
        reason: String,
    },
}

impl Error {
    /// Turns any error of a call into ours: `.map_err(Error::call("states:StartExecution"))`.
    pub(crate) fn call<E: std::error::Error>(call: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Call {
            call,
            reason: chain(&error),
        }
    }
}

/// An error with all its sources: the SDK's own sentence for a refused call is only "service error".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}
