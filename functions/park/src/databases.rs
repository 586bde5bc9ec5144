//! Stopping and starting the databases of a stack.

use crate::observed::Database;
use crate::schedule::Schedule;
use crate::task::{Outcome, Task};
use aws_sdk_apprunner::types::ServiceStatus;
use groundcrew::{Aws, Error, Result};

/// Stops them, once the services are paused.
///
/// # Errors
/// `NotReady` or `Busy` until all of them are stopped.
pub(crate) async fn stop(aws: &Aws, schedule: &Schedule, task: &Task) -> Result<Outcome> {
    let Some(observed) = task.look(aws, schedule).await? else {
        return Ok(task.overtaken());
    };
    let paused = |service: &crate::observed::Service| service.status == ServiceStatus::Paused;
    if !observed.services.iter().all(paused) {
        // Somebody has woken one since it was paused, and needs the database.
        return Ok(task.overtaken());
    }
    let mut waiting = None;
    for database in &observed.databases {
        match database.status.as_str() {
            "stopped" => {}
            "available" => {
                let stopped = aws.rds().stop_db_instance();
                stopped
                    .db_instance_identifier(&database.name)
                    .send()
                    .await
                    .map_err(Error::aws("rds:StopDBInstance"))?;
                waiting = Some(being(database, "being stopped"));
            }
            _ if database.is_broken() => return Err(broken(database, "stopped")),
            status => waiting = Some(being(database, status)),
        }
    }
    waiting.map_or_else(|| Ok(task.done()), Err)
}

/// Starts them.
///
/// # Errors
/// `NotReady` or `Busy` until all of them can be connected to.
pub(crate) async fn start(aws: &Aws, schedule: &Schedule, task: &Task) -> Result<Outcome> {
    let Some(observed) = task.look(aws, schedule).await? else {
        return Ok(task.overtaken());
    };
    let mut waiting = None;
    for database in &observed.databases {
        match database.status.as_str() {
            "stopped" => {
                let started = aws.rds().start_db_instance();
                started
                    .db_instance_identifier(&database.name)
                    .send()
                    .await
                    .map_err(Error::aws("rds:StartDBInstance"))?;
                waiting = Some(being(database, "being started"));
            }
            _ if database.is_up() => {}
            _ if database.is_broken() => return Err(broken(database, "used")),
            status => waiting = Some(being(database, status)),
        }
    }
    waiting.map_or_else(|| Ok(task.done()), Err)
}

fn being(database: &Database, what: &str) -> Error {
    Error::NotReady(format!("database {}, which is {what},", database.name))
}

fn broken(database: &Database, what: &str) -> Error {
    Error::Failed(format!(
        "database {} is {} and cannot be {what}",
        database.name, database.status
    ))
}
