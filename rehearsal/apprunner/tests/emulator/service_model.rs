//! Where AWS's published service model is.

use std::path::PathBuf;
use std::sync::LazyLock;

/// botocore's model, in the environment that a rehearsal prepares for itself.
pub(crate) fn service_model() -> PathBuf {
    static MODEL: LazyLock<PathBuf> = LazyLock::new(|| {
        // On a thread of its own: the test that comes first may have a runtime already.
        let prepared = std::thread::spawn(|| {
            tokio::runtime::Runtime::new()
                .expect("a runtime can be made")
                .block_on(rehearsal::prepare())
        });
        let prepared = prepared.join().expect("nothing panics");
        prepared
            .expect("what the local AWS needs is there")
            .apprunner_model
    });
    MODEL.clone()
}
