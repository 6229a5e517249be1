//! Who may log in: the lab's operators, by their keys.

use pilotlight_lab::Lab;

/// The file `authorized_keys` of the one account that operators log in to. Each key stands as it is in the lab, which
/// allows no options.
pub fn authorized_keys(lab: &Lab) -> String {
    lab.operators.iter().map(|operator| format!("{}\n", operator.key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_operator() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA0000000000000000000000000000000000000000000 me@desk";
        let operator = |name: &str| format!("[[operators]]\nname = \"{name}\"\nkey = \"{key}\"\n");
        let text = format!("[network]\naddress = \"10.77.0.1/24\"\n{}{}", operator("a"), operator("b"));
        assert_eq!(authorized_keys(&pilotlight_lab::parse(&text).unwrap()), format!("{key}\n{key}\n"));
    }
}
