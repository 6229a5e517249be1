//! The numbers of the image's users, by which the kernel says who speaks on a socket. They are those of the overlay's
//! `sysusers.d/pilotlight.conf`, and fixed: files on the data partition outlive the image.

/// The DHCP server's.
pub const DHCP: u32 = 901;
/// The TFTP server's.
pub const TFTP: u32 = 902;
/// The HTTP server's.
pub const HTTP: u32 = 903;
/// The lab state's and event log's.
pub const STATE: u32 = 904;
/// The account of operators.
pub const OPERATOR: u32 = 905;
/// The update service's.
pub const UPDATE: u32 = 906;
/// The name server's.
pub const DNS: u32 = 907;
/// The time server's.
pub const NTP: u32 = 908;
/// The certificate authority's.
pub const PKI: u32 = 909;
/// The one's that switches machines.
pub const POWER: u32 = 910;
/// The one's that keeps what machines are started with up to date.
pub const MIRROR: u32 = 911;

#[cfg(test)]
mod tests {
    #[test]
    fn they_are_those_of_the_image() {
        let text = include_str!("../../../image-overlay/usr/lib/sysusers.d/pilotlight.conf");
        let number = |name: &str| {
            let line = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            line.filter(|words| words.first() == Some(&"u") && words.get(1) == Some(&name))
                .find_map(|words| words.get(2)?.parse::<u32>().ok())
        };
        let all = [
            ("pilotlight-dhcp", super::DHCP),
            ("pilotlight-tftp", super::TFTP),
            ("pilotlight-http", super::HTTP),
            ("pilotlight-state", super::STATE),
            ("operator", super::OPERATOR),
            ("pilotlight-update", super::UPDATE),
            ("pilotlight-dns", super::DNS),
            ("pilotlight-ntp", super::NTP),
            ("pilotlight-pki", super::PKI),
            ("pilotlight-power", super::POWER),
            ("pilotlight-mirror", super::MIRROR),
        ];
        for (name, expected) in all {
            assert_eq!(number(name), Some(expected), "{name}");
        }
        assert_eq!(text.lines().filter(|line| line.starts_with("u ")).count(), all.len());
    }
}
