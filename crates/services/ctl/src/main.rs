//! pilotctl, the operator's command.

fn main() {}
