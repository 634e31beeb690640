//! The daemon's integration tests: one binary, a module for each story.

mod api;
mod arrows;
mod chaos;
mod cli_node;
mod config;
mod network;
mod processes;
