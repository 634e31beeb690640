//! The daemon: network, time, threads and people.

#![forbid(unsafe_code)]

pub mod actions;
pub mod api;
pub mod cli;
pub mod client;
pub mod config;
pub mod corpora;
pub mod demo;
pub mod devnet;
#[cfg(test)]
mod fake_node;
pub mod files;
pub mod genesis_file;
pub mod keys;
pub mod logging;
pub mod metrics;
pub mod models;
pub mod network;
pub mod node_process;
pub mod open_files;
pub mod output;
pub mod proof;
pub mod supervisor;
pub mod trust;
