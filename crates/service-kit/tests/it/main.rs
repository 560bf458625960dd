//! The kit as services use it: routes with their layers, and the work queue on real databases.

mod api;
mod work;
