//! The Terraform provider: an empty room.
//!
//! Will hold a provider of plugin protocol 6, with keys and placements as resources, and plans and evidence as data sources; also
//! its examples and a module. A pipeline will not be able to write profiles, approvers or destinations.
//!
//! May know `api` alone.
