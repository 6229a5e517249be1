//! Packages and overlay to a finished root.
