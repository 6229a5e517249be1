//! Which loader, script and configuration a machine gets.
