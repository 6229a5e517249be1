//! The card's machine identity, machine-id(5).

/// The identity in `text`, when it is one: 32 lower-case hexadecimal digits, not all zero, and a line's end.
pub fn machine_id(text: &str) -> Option<&str> {
    let id = text.strip_suffix('\n').unwrap_or(text);
    let digits = id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (id.len() == 32 && digits && id.bytes().any(|byte| byte != b'0')).then_some(id)
}

/// A new identity from 16 random bytes, marked as a version 4 UUID (RFC 9562 § 5.4), with a line's end.
pub fn new_machine_id(mut random: [u8; 16]) -> String {
    random[6] = random[6] & 0x0f | 0x40;
    random[8] = random[8] & 0x3f | 0x80;
    let mut id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    id.push('\n');
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_identity_is_one() {
        let good = "0123456789abcdef0123456789abcdef";
        assert_eq!(machine_id(good), Some(good));
        assert_eq!(machine_id(&format!("{good}\n")), Some(good));
        for bad in ["", "\n", "uninitialized\n", &"0".repeat(32), &good.to_uppercase(), &good[1..], "é"] {
            assert_eq!(machine_id(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_new_identity_is_a_version_4_uuid() {
        for random in [[0; 16], [0xff; 16]] {
            let id = new_machine_id(random);
            let id = machine_id(&id).expect("valid");
            assert_eq!(&id[12..13], "4");
            assert!(matches!(&id[16..17], "8" | "b"), "{id}");
        }
    }
}
