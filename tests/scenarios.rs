//! The promises of the product over the deployed template, with IAM enforced. The ids are those of the features.

mod alarms;
mod asleep;
mod deployments;
mod drifts;
mod early;
mod fleet;
mod memory;
mod nights;
mod permissions;
mod reasons;
mod refusals;
mod stacks;
mod sweeps;
mod teardowns;
mod upgrades;
mod watches;
mod wishes;
mod zones;
