//! `template.yaml`, deployed as CloudFormation would.

use crate::console;
use crate::process::Group;
use crate::{Error, LocalAws, Result, project};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

/// The name of the CloudFormation stack.
pub const STACK_NAME: &str = "groundcrew";

/// The outputs of the deployed template.
#[derive(Clone, Debug, Default)]
pub struct Outputs(BTreeMap<String, String>);

impl Outputs {
    /// The value of an output.
    ///
    /// # Errors
    /// [`Error::Deploy`] if the template has no such output.
    pub fn get(&self, name: &str) -> Result<&str> {
        let found = self.0.get(name).map(String::as_str);
        found.ok_or_else(|| Error::Deploy(format!("the template has no output {name}")))
    }

    /// What each state machine does, `provision`, and its ARN.
    pub(crate) fn state_machines(&self) -> impl Iterator<Item = (String, &str)> {
        self.0.iter().filter_map(|(name, arn)| {
            let machine = name.strip_suffix("StateMachineArn")?;
            Some((machine.to_lowercase(), arn.as_str()))
        })
    }
}

impl LocalAws {
    /// Deploys a template through a CloudFormation change set, with the functions in `functions`
    /// ([`crate::build`] made them) in place of the `target/lambda` that the template names.
    ///
    /// # Errors
    /// [`Error::Deploy`] with CloudFormation's own reasons.
    pub async fn deploy(
        &self,
        template: &Path,
        functions: &Path,
        parameters: &[(&str, &str)],
    ) -> Result<Outputs> {
        let _busy = console::busy(format_args!(
            "deploying {} with CloudFormation",
            template.display()
        ));
        let template = stage(template, functions, &self.folder().join("deployed"))
            .map_err(|error| Error::Deploy(format!("{}: {error}", template.display())))?;
        let mut arguments = vec!["--template".to_owned(), template.display().to_string()];
        for (name, value) in parameters {
            arguments.extend(["--parameter".into(), format!("{name}={value}")]);
        }
        let answer = self.cloudformation(&arguments).await?;
        serde_json::from_str(&answer).map(Outputs).map_err(|error| {
            Error::Deploy(format!("the outputs cannot be read: {error} in {answer:?}"))
        })
    }

    /// Deletes what [`Self::deploy`] deployed.
    ///
    /// # Errors
    /// [`Error::Deploy`].
    pub async fn delete(&self) -> Result<()> {
        self.cloudformation(&["--delete".into()]).await.map(drop)
    }

    async fn cloudformation(&self, arguments: &[String]) -> Result<String> {
        let failed =
            |error: std::io::Error| Error::Deploy(format!("cannot run deploy.py: {error}"));
        let log = self.folder().join("deploy.log");
        let mut command = Command::new(&self.prepared().python);
        command
            .arg(project::root().join("rehearsal/local_aws/deploy.py"))
            .args(["--endpoint", &self.endpoint(), "--stack-name", STACK_NAME])
            .args(arguments)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).map_err(failed)?);
        let mut group = Group::spawn(&mut command).map_err(failed)?;
        let mut answer = String::new();
        if let Some(mut output) = group.stdout() {
            output.read_to_string(&mut answer).await.map_err(failed)?;
        }
        if group.wait().await.map_err(failed)?.success() {
            return Ok(answer);
        }
        self.keep_folder();
        Err(Error::Deploy(crate::tail(&log)))
    }

    /// What makes the `aws` CLI, or any SDK, talk to this local AWS.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", "test".into()),
            ("AWS_SECRET_ACCESS_KEY", "test".into()),
            ("AWS_REGION", crate::local_aws::REGION.into()),
            ("AWS_DEFAULT_REGION", crate::local_aws::REGION.into()),
        ]
    }
}

/// The template as it is, in a folder where `target/lambda` holds the functions built for this machine and everything
/// else is what lies beside the template. The real `target/lambda` stays what `cargo lambda build` made of it.
fn stage(template: &Path, functions: &Path, folder: &Path) -> std::io::Result<PathBuf> {
    let source = template.canonicalize()?;
    let beside = source.parent().unwrap_or(Path::new("/"));
    // A second deployment looks at what lies there now.
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder.join("target"))?;
    for entry in fs::read_dir(beside)?
        .flatten()
        .filter(|entry| entry.file_name() != "target")
    {
        symlink(entry.path(), folder.join(entry.file_name()))?;
    }
    symlink(functions, folder.join("target/lambda"))?;
    Ok(folder.join(source.file_name().unwrap_or_default()))
}
