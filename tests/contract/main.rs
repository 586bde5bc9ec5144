//! What the parts of the project say about each other: the state machines, the functions, the template and the events.
//! Nothing is started for it.

#![expect(clippy::unwrap_used, reason = "so a test fails")]

mod documents;
mod events;
mod machines;
mod park_walks;
mod state_machines;
mod sweep_walks;
mod template;
mod walk;
mod walks;
