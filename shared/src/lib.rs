//! Everything the groundcrew functions share: the stack spec, the names and tags derived from it, the AWS clients, the
//! errors that state machines retry on, and what more than one function does.

pub mod alarms;
pub mod arn;
pub mod aws;
pub mod claim;
pub mod database;
pub mod error;
pub mod event;
pub mod event_log;
pub mod execution;
mod failure;
pub mod image;
pub mod input;
pub mod installation;
pub mod log;
pub mod managed;
mod mark;
pub mod memory;
mod mistake;
pub mod pace;
pub mod pages;
pub mod policy;
pub mod reference;
mod removal;
mod run;
pub mod secrets;
pub mod spec;
pub mod stack;
pub mod tag_rule;
pub mod tagged;
pub mod watch;
pub mod zone;

pub use aws::Aws;
pub use claim::Claim;
pub use error::{Error, Result};
pub use failure::Failure;
pub use managed::Managed;
pub use mark::Mark;
pub use memory::Memory;
pub use mistake::Mistake;
pub use policy::Policy;
pub use removal::Removal;
pub use run::{Outcome, Run};
pub use spec::Spec;
pub use stack::Stack;
pub use watch::Watch;
