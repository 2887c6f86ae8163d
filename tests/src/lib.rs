//! Tests of the whole: what holds only when everything is put together.
//!
//! | test | owns |
//! |---|---|
//! | `tests/architecture` | who may know whom, what is reached by whom, where `unsafe` may stand, links and words in the files |
//! | `tests/end_to_end` | the real `keyplane` against emulators and a development token, driven from outside like a person would |
//! | `clients/` | the clouds' own clients against the emulators |
//!
//! Knows the lab and nothing else of the product: what only a test inside of a room can see is tested there.
