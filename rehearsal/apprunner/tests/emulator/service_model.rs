//! Where AWS's published service model is.

use std::path::{Path, PathBuf};

const MODEL: &str = "site-packages/botocore/data/apprunner/2020-05-15/service-2.json.gz";

/// botocore's model, in the environment that a rehearsal prepares for itself.
pub(crate) fn service_model() -> PathBuf {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/rehearsal/venv/lib");
    let pythons = std::fs::read_dir(&lib).into_iter().flatten().flatten();
    pythons
        .map(|python| python.path().join(MODEL))
        .find(|model| model.is_file())
        .unwrap_or_else(|| {
            panic!(
                "no botocore under {}: run `cargo rehearse --prepare` first",
                lib.display()
            )
        })
}
