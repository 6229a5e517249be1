//! Layer `boot`: the image in QEMU, and PCs that boot from it. What happened is read from the Pi's events.

mod card;
mod pcs;
mod pi;

use std::process::ExitCode;

fn main() -> ExitCode {
    pilotlight_tests::harness::main(
        "boot",
        &[
            ("raspi3b-data-present", pi::data_present),
            ("raspi3b-data-absent", pi::data_absent),
            ("raspi3b-data-corrupt", pi::data_corrupt),
            ("virt-larger-card", pi::larger_card),
            ("virt-data-with-errors", pi::data_with_errors),
            ("virt-bios-pc", pcs::bios),
            ("virt-uefi-pc", pcs::uefi),
        ],
    )
}
