//! What the parts of the project say about each other: the state machines, the functions, the template and the events.
//! Nothing is started for it.

mod assumptions;
pub(crate) mod authorizations;
mod events;
mod state_machines;
mod template;
mod upgrades;
mod ways_of_deploy;
mod ways_of_park;
mod ways_of_sweep;
