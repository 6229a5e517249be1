//! Signed Debian-style archives: locked, verified, unpacked.
