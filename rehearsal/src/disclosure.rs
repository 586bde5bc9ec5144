//! Whether a secret is anywhere but in Secrets Manager.

use crate::{Error, LocalAws, Result, World};
use std::path::Path;

impl LocalAws {
    /// Every place where `secret` is found among what a run wrote: histories with all inputs and outputs, logs, templates
    /// and descriptions of resources, files. Empty if nobody can have read it there.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn places_that_show(&self, secret: &str) -> Result<Vec<String>> {
        let mut places = Vec::new();
        for (place, text) in self
            .histories()
            .await?
            .into_iter()
            .chain(self.log_events().await?)
        {
            if text.contains(secret) {
                places.push(place);
            }
        }
        if format!("{:?}", World::look(self).await?).contains(secret) {
            places.push("the description of a resource".into());
        }
        search(self.folder(), secret.as_bytes(), &mut places);
        Ok(places)
    }

    async fn histories(&self) -> Result<Vec<(String, String)>> {
        let client = aws_sdk_sfn::Client::new(self.sdk_config());
        let machines = client.list_state_machines().into_paginator().items().send();
        let machines = machines
            .collect::<Result<Vec<_>, _>>()
            .await
            .map_err(Error::call("states:ListStateMachines"))?;
        let mut histories = Vec::new();
        for machine in machines {
            let executions = client
                .list_executions()
                .state_machine_arn(machine.state_machine_arn);
            let executions = executions
                .into_paginator()
                .items()
                .send()
                .collect::<Result<Vec<_>, _>>()
                .await;
            for execution in executions.map_err(Error::call("states:ListExecutions"))? {
                let text = self.history(&client, &execution.execution_arn).await?;
                histories.push((format!("the history of {}", execution.name), text));
            }
        }
        Ok(histories)
    }

    async fn history(&self, client: &aws_sdk_sfn::Client, arn: &str) -> Result<String> {
        let events = client
            .get_execution_history()
            .execution_arn(arn)
            .max_results(1000)
            .into_paginator()
            .items()
            .send();
        let events = events
            .collect::<Result<Vec<_>, _>>()
            .await
            .map_err(Error::call("states:GetExecutionHistory"))?;
        let mut text = String::new();
        for event in &events {
            // `Debug` of the SDK hides exactly these.
            let said = [
                event
                    .execution_started_event_details()
                    .and_then(|details| details.input()),
                event
                    .execution_succeeded_event_details()
                    .and_then(|details| details.output()),
                event
                    .execution_failed_event_details()
                    .and_then(|details| details.cause()),
                event
                    .state_entered_event_details()
                    .and_then(|details| details.input()),
                event
                    .state_exited_event_details()
                    .and_then(|details| details.output()),
                event
                    .task_scheduled_event_details()
                    .map(|details| details.parameters()),
                event
                    .task_succeeded_event_details()
                    .and_then(|details| details.output()),
                event
                    .task_failed_event_details()
                    .and_then(|details| details.cause()),
            ];
            text.extend(said.into_iter().flatten());
        }
        Ok(text)
    }

    async fn log_events(&self) -> Result<Vec<(String, String)>> {
        let logs = &self.aws().logs();
        let groups = logs.describe_log_groups().into_paginator().items().send();
        let groups = groups
            .collect::<Result<Vec<_>, _>>()
            .await
            .map_err(Error::call("logs:DescribeLogGroups"))?;
        let mut texts = Vec::new();
        for name in groups.into_iter().filter_map(|group| group.log_group_name) {
            let mut text = String::new();
            let mut pages = logs
                .filter_log_events()
                .log_group_name(&name)
                .into_paginator()
                .send();
            while let Some(page) = pages.next().await {
                let page = page.map_err(Error::call("logs:FilterLogEvents"))?;
                text.extend(page.events().iter().filter_map(|event| event.message()));
            }
            texts.push((format!("the log group {name}"), text));
        }
        Ok(texts)
    }
}

/// Looks into every file below a folder, without following links out of it.
fn search(folder: &Path, secret: &[u8], places: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() {
            search(&entry.path(), secret, places);
        } else if kind.is_file()
            && contains(&std::fs::read(entry.path()).unwrap_or_default(), secret)
        {
            places.push(format!("the file {}", entry.path().display()));
        }
    }
}

fn contains(content: &[u8], secret: &[u8]) -> bool {
    content
        .windows(secret.len().max(1))
        .any(|window| window == secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_wherever_it_begins() {
        assert!(contains(b"password=s3cret;", b"s3cret"));
        assert!(contains(b"s3cret", b"s3cret"));
        assert!(!contains(b"s3cre", b"s3cret"));
    }
}
