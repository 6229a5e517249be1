//! The list that Raspberry Pi Imager offers images from (raspberrypi/rpi-imager, doc/json-schema/os-list-schema.json).

use serde::Serialize;

/// One image in the list. The names of the fields are the schema's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OsEntry {
    /// What the person sees.
    pub name: String,
    /// The line below it.
    pub description: String,
    /// Address of a picture, 40 by 40.
    pub icon: String,
    /// Address of the packed image.
    pub url: String,
    /// Bytes of the image, unpacked.
    pub extract_size: u64,
    /// SHA-256 of the image, unpacked, in hex. Where it does not match, Imager leaves the card without its first
    /// megabyte.
    pub extract_sha256: String,
    /// Bytes of the packed image.
    pub image_download_size: u64,
    /// SHA-256 of the packed image, in hex.
    pub image_download_sha256: String,
    /// `2026-09-12`.
    pub release_date: String,
    /// `none`: Imager's own settings (users, wireless) are not for this image; `lab.toml` is.
    pub init_format: &'static str,
    /// The boards that it is for, as Imager calls them.
    pub devices: Vec<String>,
}

/// The whole list, ready to be served.
///
/// # Errors
/// Never, in practice: strings and numbers are always JSON.
pub fn os_list(entries: &[OsEntry]) -> Result<String, serde_json::Error> {
    let list = serde_json::json!({ "os_list": entries });
    Ok(format!("{}\n", serde_json::to_string_pretty(&list)?))
}

/// The day of a time in seconds since 1970, in UTC, as `2026-09-12`.
pub fn day(epoch: u32) -> String {
    // Days since 0000-03-01, in eras of 400 years (proleptic Gregorian calendar).
    let days = i64::from(epoch / 86400) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days() {
        let check = |epoch, expect: &str| assert_eq!(day(epoch), expect);
        check(0, "1970-01-01");
        check(951_782_399, "2000-02-28");
        check(951_782_400, "2000-02-29");
        check(1_789_199_741, "2026-09-12");
        check(u32::MAX, "2106-02-07");
    }

    /// What the schema requires of an entry, each of the kind that it says.
    #[test]
    fn an_entry_has_all_that_imager_requires() {
        let entry = OsEntry {
            name: "Pilotlight".to_owned(),
            description: "A network-boot server".to_owned(),
            icon: "https://example.org/pilotlight.svg".to_owned(),
            url: "https://example.org/pilotlight-rpi3.img.xz".to_owned(),
            extract_size: 1,
            extract_sha256: "00".repeat(32),
            image_download_size: 2,
            image_download_sha256: "11".repeat(32),
            release_date: day(0),
            init_format: "none",
            devices: vec!["pi3-64bit".to_owned()],
        };
        let list: serde_json::Value = serde_json::from_str(&os_list(&[entry]).unwrap()).unwrap();
        let entry = &list["os_list"][0];
        for text in ["name", "description", "icon", "url", "extract_sha256", "release_date"] {
            assert!(entry[text].is_string(), "{text}");
        }
        for number in ["extract_size", "image_download_size"] {
            assert!(entry[number].is_u64(), "{number}");
        }
        assert_eq!(entry["devices"][0], "pi3-64bit");
    }
}
