//! Many services that run the same image and read the same secret, in an account that App Runner throttles. AWS time is that
//! of a clock on the wall, because so are the limits.

use crate::account::{arrange, refused};
use crate::{Begun, Count, Error, Result};
use apprunner_emulator::{Arrangement, Fate, OperationType, ServiceStatus};
use rehearsal::{Execution, Limit, LocalAws, NewService, Options, Outputs, console};
use serde_json::json;
use std::time::{Duration, Instant};

/// How many calls of each operation App Runner takes in a second.
pub const PER_SECOND: f64 = 10.0;

/// The operations of App Runner that groundcrew calls for a service that is there.
const OPERATIONS: [&str; 10] = [
    "DescribeService",
    "ListOperations",
    "ListServices",
    "ListTagsForResource",
    "PauseService",
    "ResumeService",
    "StartDeployment",
    "TagResource",
    "UntagResource",
    "UpdateService",
];
const REPOSITORY: &str = "fleet";
const SECRET: &str = "fleet";
const LOOK: Duration = Duration::from_millis(500);

/// A local AWS with such services, and groundcrew.
pub struct Fleet {
    local: LocalAws,
    outputs: Outputs,
    size: usize,
}

/// Something that concerns every service, from its event on.
pub struct Occasion<'a> {
    fleet: &'a Fleet,
    /// What becomes of each service.
    operation: OperationType,
    /// Executions of `deploy` before.
    before: usize,
    begun: Begun,
    began: Instant,
}

/// How the executions of an occasion have ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ended {
    /// How many there were.
    pub executions: usize,
    /// How many of them did not succeed.
    pub failed: usize,
    /// Their state transitions.
    pub transitions: usize,
    /// When the last of them ended, in seconds since the occasion.
    pub seconds: f64,
}

impl Fleet {
    /// Creates so many services, and deploys groundcrew, which has heard of none of them.
    ///
    /// # Errors
    /// If the local AWS refuses something.
    pub async fn new(size: usize) -> Result<Self> {
        let prepared = rehearsal::prepare().await?;
        let functions = rehearsal::build().await?;
        let local = LocalAws::start(&prepared, Options { time_scale: 1.0 }).await?;
        create_services(&local, size).await?;
        let template = rehearsal::root().join("template.yaml");
        let outputs = local.deploy(&template, functions, &[]).await?;
        for operation in OPERATIONS {
            let limit = Limit {
                service: "apprunner".into(),
                operation: operation.into(),
                per_second: PER_SECOND,
            };
            local.limit(&limit).await?;
        }
        Ok(Self {
            local,
            outputs,
            size,
        })
    }

    /// How many services there are.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Pushes an image that all of them are to run.
    ///
    /// # Errors
    /// If the local AWS refuses it.
    pub async fn push(&self) -> Result<Occasion<'_>> {
        let occasion = self.occasion(OperationType::UpdateService).await?;
        self.local.push_image(REPOSITORY, "latest", "amd64").await?;
        Ok(occasion)
    }

    /// Rotates the secret that all of them read.
    ///
    /// # Errors
    /// If the local AWS refuses it.
    pub async fn rotate(&self) -> Result<Occasion<'_>> {
        let occasion = self.occasion(OperationType::StartDeployment).await?;
        self.local.rotate_secret(SECRET, "two").await?;
        Ok(occasion)
    }

    /// Sweeps all of them, and answers how many stacks were looked at and what was found.
    ///
    /// # Errors
    /// If the local AWS refuses it, or the sweep fails.
    pub async fn sweep(&self) -> Result<(u64, u64, Ended, Count)> {
        let begun = Count::begin(&self.local).await?;
        let machine = self.outputs.get("SweepStateMachineArn")?;
        let input = json!({});
        let sweep = self.local.start_execution(machine, "measured", &input);
        let end = sweep.await?.end().await?;
        if !end.succeeded {
            let why = format!("the sweep failed: {}: {}", end.error, end.message);
            return Err(Error::Unexpected(why));
        }
        let number = |name: &str| end.output[name].as_u64().unwrap_or_default();
        let ended = Ended {
            executions: 1,
            failed: 0,
            transitions: end.transitions,
            seconds: end.seconds,
        };
        let count = Count::since(begun, &self.local).await?;
        Ok((number("stacks"), number("found"), ended, count))
    }

    async fn occasion(&self, operation: OperationType) -> Result<Occasion<'_>> {
        let before = self.local.executions(self.deploy()?, "").await?.len();
        Ok(Occasion {
            fleet: self,
            operation,
            before,
            begun: Count::begin(&self.local).await?,
            began: Instant::now(),
        })
    }

    fn deploy(&self) -> Result<&str> {
        Ok(self.outputs.get("DeployStateMachineArn")?)
    }

    /// Longer than a fleet of that size should take, on a machine that has other things to do.
    fn patience(&self) -> Duration {
        Duration::from_secs(400 + 3 * self.size as u64)
    }
}

impl Occasion<'_> {
    /// How many services App Runner has been asked to deploy, and how often in all.
    pub fn reached(&self) -> (usize, usize) {
        let services = self.fleet.local.apprunner().snapshot().services.into_iter();
        let asked = services.map(|service| {
            let operations = service.operations.iter();
            operations
                .filter(|operation| operation.operation_type == self.operation)
                .count()
        });
        asked.fold((0, 0), |(services, all), asked| {
            (services + usize::from(asked > 0), all + asked)
        })
    }

    /// Waits until every service is being deployed; answers after how many seconds the last one was.
    ///
    /// # Errors
    /// If some are not in the end.
    pub async fn reach(&self) -> Result<f64> {
        let mut told = 0;
        loop {
            let (reached, seconds) = (self.reached().0, self.began.elapsed().as_secs_f64());
            if reached >= self.fleet.size {
                return Ok(seconds);
            }
            if reached >= told + 50 {
                told = reached;
                console::progress(format_args!("{reached} services after {seconds:.0} s"));
            }
            self.look_again(|| format!("{reached} of {} services were reached", self.fleet.size))
                .await?;
        }
    }

    /// Waits until every deployment has ended, and everything that follows from it.
    ///
    /// # Errors
    /// If some do not.
    pub async fn end(&self) -> Result<Ended> {
        let mut ended = Ended::default();
        while ended.executions < self.fleet.size {
            // Those that are started meanwhile as well: an event that comes late starts one that finds nothing to do.
            while let Some(new) = self.executions_since(ended.executions).await? {
                for execution in new {
                    let end = execution.end().await?;
                    ended.executions += 1;
                    ended.failed += usize::from(!end.succeeded);
                    ended.transitions += end.transitions;
                }
                ended.seconds = self.began.elapsed().as_secs_f64();
                self.quiet().await?;
            }
            let so_far = || format!("{} executions were started", ended.executions);
            self.look_again(so_far).await?;
        }
        Ok(ended)
    }

    /// Those after the first ones; `None` if there are none.
    async fn executions_since(&self, known: usize) -> Result<Option<Vec<Execution>>> {
        let local = &self.fleet.local;
        let mut all = local.executions(self.fleet.deploy()?, "").await?;
        let new = all.split_off((self.before + known).min(all.len()));
        Ok(Some(new).filter(|new| !new.is_empty()))
    }

    /// What was asked of AWS since.
    ///
    /// # Errors
    /// If the local AWS does not answer.
    pub async fn count(&self) -> Result<Count> {
        Count::since(self.begun, &self.fleet.local).await
    }

    /// Waits until no function has ended for a while: alarms follow a deployment.
    async fn quiet(&self) -> Result<()> {
        const WHILE: Duration = Duration::from_secs(5);
        let mut known = 0;
        loop {
            let invocations = self.fleet.local.invocations().await?.len();
            if invocations == known {
                return Ok(());
            }
            known = invocations;
            tokio::time::sleep(WHILE).await;
        }
    }

    async fn look_again(&self, so_far: impl FnOnce() -> String) -> Result<()> {
        if self.began.elapsed() > self.fleet.patience() {
            let waited = self.began.elapsed().as_secs();
            let why = format!("after {waited} s {}, and no more", so_far());
            return Err(Error::Unexpected(why));
        }
        tokio::time::sleep(LOOK).await;
        Ok(())
    }
}

/// Services that run, before there is anybody who hears of them.
async fn create_services(local: &LocalAws, size: usize) -> Result<()> {
    let repository = local.aws().ecr().create_repository();
    let created = repository.repository_name(REPOSITORY).send().await;
    created.map_err(refused("no repository"))?;
    let image = local.push_image(REPOSITORY, "latest", "amd64").await?;
    let image = format!("{REPOSITORY}@{image}");
    let secret = local.aws().secrets_manager().create_secret();
    let secret = secret.name(SECRET).secret_string("one").send().await;
    let secret = secret.map_err(refused("no secret"))?.arn;
    let secret = secret.unwrap_or_default();
    arrange(local, Arrangement::Quota { services: size })?;
    for n in 0..size {
        if n > 0 && n % 100 == 0 {
            console::progress(format_args!("{n} of {size} services are there"));
        }
        // A creation takes minutes, which is not what this is about.
        let at_once = Arrangement::NextOperation {
            operation: OperationType::CreateService,
            service: None,
            fate: Fate::Takes(0.001),
        };
        arrange(local, at_once)?;
        let (name, environment) = (format!("fleet-{n:04}"), format!("e{n}"));
        let new = NewService {
            name: &name,
            image: &image,
            tags: &[
                ("groundcrew:managed", "true"),
                ("groundcrew:app", "fleet"),
                ("groundcrew:environment", &environment),
                ("groundcrew:image-tag", "latest"),
                // A bake window is so many looks at alarms, as many for each service.
                ("groundcrew:deploy-policy", "bake=0"),
            ],
            secrets: &[("PASSWORD", &secret)],
        };
        create_service(local, &new).await?;
    }
    let is_running = || {
        let services = local.apprunner().snapshot().services;
        services
            .iter()
            .all(|it| it.status == ServiceStatus::Running)
    };
    while !is_running() {
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// The first one waits for its role, which App Runner cannot assume for some seconds.
async fn create_service(local: &LocalAws, new: &NewService<'_>) -> Result<()> {
    const ATTEMPTS: usize = 30;
    for _ in 1..ATTEMPTS {
        if local.create_service(new).await.is_ok() {
            return Ok(());
        }
    }
    local.create_service(new).await?;
    Ok(())
}
