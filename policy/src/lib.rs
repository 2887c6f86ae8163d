//! What security teams write.
