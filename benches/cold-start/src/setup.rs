//! Makes what is measured: the functions as they are shipped, and the peers with their packages, once.

use crate::{Error, Result, console};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where things are.
#[derive(Debug)]
pub(crate) struct Places {
    /// The project.
    pub(crate) root: PathBuf,
    /// The programs of the release profile.
    pub(crate) programs: PathBuf,
    /// Everything else that is made here.
    pub(crate) benches: PathBuf,
}

impl Places {
    /// As cargo has put the running program: `target/release/cold-start`.
    pub(crate) fn of_this_program() -> Result<Self> {
        let odd = |what: &str| Error::SetUp(format!("{what} is not where cargo puts it"));
        let program = std::env::current_exe().map_err(Error::io("who am I"))?;
        let target = program.ancestors().nth(2).ok_or_else(|| odd("this"))?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
        let places = Self {
            root: root.ok_or_else(|| odd("the project"))?.to_owned(),
            programs: target.join("release"),
            benches: target.join("benches"),
        };
        let made = fs::create_dir_all(places.benches.join("logs"));
        made.map_err(Error::io("cannot make target/benches"))?;
        Ok(places)
    }
}

/// Builds the functions and the floor in one call, so that they share all that they have in common. Cargo sees to it that what
/// has not changed costs nothing.
pub(crate) fn build(places: &Places, packages: &[&str]) -> Result<()> {
    console::progress(format_args!(
        "building {} as they are shipped (the first time takes half an hour)",
        packages.join(", ")
    ));
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--release", "--quiet", "--target-dir"])
        .arg(places.programs.parent().unwrap_or(&places.programs))
        .args(packages.iter().flat_map(|package| ["--package", package]))
        .current_dir(&places.root);
    // What cargo tells a program that it runs about its package would make build scripts run again, and all behind them.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let about = [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
        ];
        if about.iter().any(|prefix| name.starts_with(prefix)) || name == "LD_LIBRARY_PATH" {
            cargo.env_remove(&*name);
        }
    }
    let status = cargo.status().map_err(Error::io("cannot run cargo"))?;
    if status.success() {
        return Ok(());
    }
    let reason = "the functions do not compile: see the compiler's messages above";
    Err(Error::SetUp(reason.into()))
}

/// A virtual environment with `requirements.txt`; answers its interpreter.
pub(crate) fn python(places: &Places) -> Result<PathBuf> {
    let source = places.root.join("benches/peers/python");
    let venv = places.benches.join("venv");
    let python = venv.join("bin/python");
    let prepared = Prepared::from(&venv, &[source.join("requirements.txt")])?;
    if !prepared.is_up_to_date() {
        console::progress(format_args!(
            "installing boto3 in {} (once)",
            venv.display()
        ));
        prepared.begin()?;
        let log = places.benches.join("logs/venv.log");
        let mut make = Command::new("python3");
        run(make.args(["-m", "venv"]).arg(&venv), &log)?;
        let mut install = Command::new(&python);
        install
            .args(["-m", "pip", "install", "--disable-pip-version-check"])
            .args(["--no-input", "-r"])
            .arg(source.join("requirements.txt"));
        run(&mut install, &log)?;
        prepared.end()?;
    }
    Ok(python)
}

/// The authorities that boto3 trusts, which are Mozilla's, as those of Amazon Linux are.
pub(crate) fn authorities(python: &Path) -> Result<String> {
    let venv = python.ancestors().nth(2).unwrap_or(python);
    let libraries = fs::read_dir(venv.join("lib")).map_err(Error::io("cannot read the venv"))?;
    let files = libraries
        .flatten()
        .map(|library| library.path().join("site-packages/botocore/cacert.pem"));
    let file = files.into_iter().find(|file| file.exists());
    let missing = || Error::SetUp(format!("{} holds no botocore: remove it", venv.display()));
    let file = file.ok_or_else(missing)?;
    fs::read_to_string(&file).map_err(Error::io(format!("cannot read {}", file.display())))
}

/// What a function in Node is started with.
#[derive(Debug)]
pub(crate) struct Node {
    /// `node`
    pub(crate) program: PathBuf,
    /// The interface client.
    pub(crate) client: PathBuf,
    /// The folder of the bundles.
    pub(crate) bundles: PathBuf,
}

/// The packages of `package.json`, and a bundle of each function. `Err` says why there is none: Node is not needed.
pub(crate) fn node(places: &Places, functions: &[&str]) -> Result<Node> {
    let Some(program) = find("node") else {
        return Err(Error::SetUp("there is no node in the PATH".into()));
    };
    let source = places.root.join("benches/peers/node");
    let folder = places.benches.join("node");
    let log = places.benches.join("logs/node.log");
    let files = ["package.json", "package-lock.json"];
    let prepared = Prepared::from(&folder, &files.map(|file| source.join(file)))?;
    if !prepared.is_up_to_date() {
        console::progress(format_args!(
            "installing the SDK for JavaScript in {} (once: aws-lambda-ric compiles libcurl, two minutes)",
            folder.display()
        ));
        prepared.begin()?;
        fs::create_dir_all(&folder).map_err(Error::io("cannot make target/benches/node"))?;
        for file in files {
            let copied = fs::copy(source.join(file), folder.join(file));
            copied.map_err(Error::io(format!("cannot copy {file}")))?;
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund"])
            .current_dir(&folder);
        run(&mut npm, &log).map_err(|error| {
            let needs = "aws-lambda-ric needs cmake, g++, make, autoconf, automake and libtool";
            Error::SetUp(format!("{error}\n{needs}"))
        })?;
        prepared.end()?;
    }
    let bundles = folder.join("bundles");
    let mut esbuild = Command::new(folder.join("node_modules/.bin/esbuild"));
    let files = functions
        .iter()
        .map(|name| source.join(format!("{name}.mjs")));
    esbuild
        .args(files)
        .args(["--bundle", "--minify", "--platform=node", "--format=esm"])
        .args(["--target=node20", "--main-fields=module,main"])
        .args(["--out-extension:.js=.mjs", "--log-level=warning"])
        .arg(format!("--outdir={}", bundles.display()))
        .current_dir(&folder)
        .env("NODE_PATH", folder.join("node_modules"));
    run(&mut esbuild, &log)?;
    Ok(Node {
        program,
        client: folder.join("node_modules/aws-lambda-ric/bin/index.mjs"),
        bundles,
    })
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut candidates = std::env::split_paths(&path).map(|folder| folder.join(program));
    candidates.find(|candidate| candidate.is_file())
}

/// A folder that is made anew when the files change that say what is in it.
struct Prepared {
    folder: PathBuf,
    wanted: String,
}

impl Prepared {
    fn from(folder: &Path, files: &[PathBuf]) -> Result<Self> {
        let mut wanted = String::new();
        for file in files {
            let text = fs::read_to_string(file);
            wanted += &text.map_err(Error::io(format!("cannot read {}", file.display())))?;
        }
        let folder = folder.to_owned();
        Ok(Self { folder, wanted })
    }

    /// Written last, so that what was interrupted is begun again.
    fn stamp(&self) -> PathBuf {
        self.folder.join("prepared-from.txt")
    }

    fn is_up_to_date(&self) -> bool {
        fs::read_to_string(self.stamp()).is_ok_and(|found| found == self.wanted)
    }

    fn begin(&self) -> Result<()> {
        if !self.folder.exists() {
            return Ok(());
        }
        let doing = format!("cannot remove {}", self.folder.display());
        fs::remove_dir_all(&self.folder).map_err(Error::io(doing))
    }

    fn end(&self) -> Result<()> {
        fs::write(self.stamp(), &self.wanted).map_err(Error::io("cannot write a stamp"))
    }
}

/// Runs a command to its end; what it says goes to a log, whose end is in the error.
fn run(command: &mut Command, log: &Path) -> Result<()> {
    const LINES: usize = 15;
    let failed = || Error::io(format!("cannot run {}", command.get_program().display()));
    let output = File::create(log).map_err(Error::io("cannot write a log"))?;
    let errors = output.try_clone();
    let errors = errors.map_err(Error::io("cannot write a log"))?;
    let failed = failed();
    let status = command
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .status()
        .map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    let said = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = said.lines().collect();
    let end = lines[lines.len().saturating_sub(LINES)..].join("\n");
    let program = command.get_program().display();
    Err(Error::SetUp(format!("{program} failed:\n{end}")))
}
