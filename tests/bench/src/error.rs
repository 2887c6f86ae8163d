//! Why something cannot be measured.

#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error("{0}")]
    Lab(#[from] keyplane_lab::LabError),
    #[error("{0}")]
    Ledger(#[from] keyplane_port::LedgerError),
    /// A file, folder or process failed.
    #[error("{what}: {source}")]
    System { what: String, source: std::io::Error },
    /// A program did not do what is measured.
    #[error("{0}")]
    Failed(String),
}

/// Turns the operating system's error into ours.
pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> BenchError {
    move |source| BenchError::System { what: what.into(), source }
}
