//! Why something cannot be measured.

/// Something cannot be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// The lab does not work.
    #[error("{0}")]
    Lab(#[from] keyplane_lab::LabError),
    /// The ledger cannot be filled.
    #[error("{0}")]
    Ledger(#[from] keyplane_port::LedgerError),
    /// A file, a folder or a process.
    #[error("{what}: {source}")]
    System { what: String, source: std::io::Error },
    /// A program did not do what is measured.
    #[error("{0}")]
    Failed(String),
}

/// Makes an error of the operating system one of ours.
pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> BenchError {
    move |source| BenchError::System { what: what.into(), source }
}
