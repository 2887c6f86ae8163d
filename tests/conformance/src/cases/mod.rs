//! The cases. Each is an async function over a fresh [`crate::Subject`] that panics when the adapter breaks its promise.

pub mod evidence;
pub mod faults;
pub mod life;
pub mod lists;
pub mod matrix;
