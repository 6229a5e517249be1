//! The one writer of the event log.
