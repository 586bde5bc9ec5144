//! Amazon States Language, as far as the project's state machines use it: [`Machine`] reads them, [`play`] carries out one
//! execution with whatever answers its tasks, and [`every_way`] plays all executions that answers and failures can lead to.

mod data;
pub(crate) mod machines;
mod player;
mod tests;
mod ways;

pub(crate) use machines::{Machine, State};
pub(crate) use player::{Ended, Failure, Played, Tasks, play};
pub(crate) use ways::{Functions, every_way};
