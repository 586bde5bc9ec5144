//! The steps of `provision` and `teardown`: a spec is checked, and each resource of its stack created, repaired or removed.

mod asleep;
mod check;
mod compare;
mod last_spec;
mod member;
pub mod resources;
mod step;

pub use last_spec::Again;
pub use resources::Resource;
pub use step::Step;
