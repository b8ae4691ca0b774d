//! Why a source or the sink gave up for good.

/// What ends the gateway, because nothing has worked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unusable {
    /// In words, with the remedy.
    pub reason: String,
    /// A restart may find it mended; else it is in the settings.
    pub may_mend: bool,
}
