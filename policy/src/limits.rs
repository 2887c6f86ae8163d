//! Limits on files, documents, and what is in a document.

/// In bytes. Enough for some ten thousand keys.
pub const MAX_FILE_BYTES: usize = 1 << 20;
pub const MAX_DOCUMENTS: usize = 10_000;
pub const MAX_FILES: usize = 1_000;
/// Of all policy files together. A request with them, including JSON escapes, fits into the API's 16 MiB.
pub const MAX_BYTES: usize = 12 << 20;

/// The deepest nesting. Documents need four levels (key, placements, placement, its fields); this is twice that and two more.
pub(crate) const MAX_DEPTH: usize = 10;
/// The most nodes of one document. An alias counts each time it is used.
pub(crate) const MAX_NODES: usize = 100_000;
/// The most parser events that aliases may add to one document. Enough to share a list of locations, too few for an alias bomb.
pub(crate) const MAX_REPLAYED: usize = 10_000;
