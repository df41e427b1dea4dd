//! Placeholder head, replaced by the part's own.
