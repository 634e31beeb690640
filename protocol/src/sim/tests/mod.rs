//! The simulator's scenarios over some seeds, and stories of whole nodes told on top of its world.

mod scenarios;
mod stories;
