//! The Terraform provider: an empty room.
//!
//! Will live here: a provider of protocol 6 (keys and placements as resources, plans and evidence as data sources), its
//! examples and a module. Pipelines cannot write profiles, approvers or destinations.
//!
//! May know: `api` alone.
