//! Faults against the whole builder: what it says, what it leaves behind, and that the next run goes on from what
//! is already there.

mod disk;
mod dropped;
mod input;
mod kill;
mod messages;
mod mirror;
mod released;

use std::process::ExitCode;

fn main() -> ExitCode {
    pilotlight_tests::harness::main(
        "faults",
        &[
            ("unknown-board", input::unknown_board),
            ("five-mistakes-in-a-lab", input::five_mistakes),
            ("stale-lock", input::stale_lock),
            ("messages-of-words", messages::of_words),
            ("messages-of-the-workspace", messages::of_the_workspace),
            ("messages-of-devices", messages::of_devices),
            ("messages-of-mirrors", messages::of_mirrors),
            ("messages-of-full-disks", messages::of_full_disks),
            ("tampered-package", mirror::tampered_package),
            ("dropped-package-in-snapshot", dropped::in_snapshot),
            ("dropped-package-replaced", dropped::replaced),
            ("mirror-stops-half-way", mirror::half_way),
            ("no-mirror-answers", mirror::nobody),
            ("tampered-release", mirror::tampered_release),
            ("full-disk-image", disk::image),
            ("full-disk-root", disk::root),
            ("full-disk-cache", disk::cache),
            ("killed-at-any-moment", kill::at_any_moment),
            ("damaged-pieces", kill::damaged_pieces),
            ("same-card-elsewhere", kill::same_card),
            ("released-systems", released::systems),
        ],
    )
}
