//! The cases. Each is an async function on a new [`crate::Subject`], and panics if the adapter breaks its promise.

pub mod evidence;
pub mod faults;
pub mod life;
pub mod lists;
pub mod matrix;
