//! Everything the groundcrew functions share: the stack spec, the names and tags derived from it, the AWS clients, the
//! errors that state machines retry on, and one file for each resource of a stack.

pub mod arn;
pub mod aws;
mod check;
pub mod claim;
pub mod error;
pub mod event;
pub mod execution;
mod failure;
pub mod image;
pub mod managed;
mod mark;
pub mod pace;
pub mod policy;
pub mod reference;
pub mod resources;
pub mod secrets;
pub mod spec;
pub mod stack;
pub mod step;
pub mod tagged;
pub mod watch;

pub use aws::Aws;
pub use claim::Claim;
pub use error::{Error, Result};
pub use failure::Failure;
pub use managed::Managed;
pub use mark::Mark;
pub use policy::Policy;
pub use resources::Resource;
pub use spec::Spec;
pub use stack::Stack;
pub use step::Step;
pub use watch::Watch;
