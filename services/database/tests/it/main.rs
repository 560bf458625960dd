//! The guard as a whole: its decisions over every small situation, many guards in a simulated world, and real servers.

mod cluster;
mod decide;
mod model;
mod real;
