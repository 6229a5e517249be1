//! Layer `boot`: the image in QEMU, and PCs that boot from it. What happened is read from the Pi's events.

mod card;
mod crowd;
mod cuts;
mod database;
mod loaders;
mod names;
mod nodes;
mod own_disks;
mod pcs;
mod pi;
mod proxy;
mod push;
mod raspbian;
mod slots;
mod used;
mod way_out;

use std::{process::ExitCode, time::Duration};

use pilotlight_tests::harness::{self, Scene};

/// How long to wait for what an emulated machine comes to. Its pace is that of the machine that emulates it, and of what else is
/// emulated meanwhile; nothing waits for it unless something is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_mins(10);

/// Names what `cargo xtask soak` plays instead of the layer's scenes: long runs.
const SOAK: &[Scene] = &[
    ("power-cuts-of-leases", cuts::soak_leases),
    ("power-cuts-of-an-update", cuts::soak_update),
    ("memory-after-leases", crowd::memory_after_leases),
];

fn main() -> ExitCode {
    if std::env::var_os("PILOTLIGHT_SOAK").is_some() {
        return harness::main("soak", SOAK);
    }
    harness::main(
        "boot",
        &[
            ("raspi3b-data-present", pi::data_present),
            ("raspi3b-data-absent", pi::data_absent),
            ("raspi3b-data-corrupt", pi::data_corrupt),
            ("raspi3b-kernel-fails", pi::kernel_fails),
            ("other-boards", pi::other_boards),
            ("virt-raspbian", raspbian::serves),
            ("virt-larger-card", pi::larger_card),
            ("virt-data-with-errors", pi::data_with_errors),
            ("slot-settled-and-tried", slots::settled_and_tried),
            ("slot-kernel-hangs", slots::kernel_hangs),
            ("slot-root-damaged", slots::root_damaged),
            ("slot-kernel-unreadable", slots::kernel_unreadable),
            ("virt-package-database", database::verified),
            ("virt-names-and-time", names::names_and_time),
            ("virt-way-out", way_out::with_a_way_out),
            ("virt-push", push::kept_and_left),
            ("virt-power-cuts", cuts::normal_running),
            ("virt-pcs", pcs::all),
            ("virt-nodes", nodes::three_machines),
            ("virt-proxy", proxy::beside_a_router),
            ("virt-loaders", loaders::each_gets_its_own),
        ],
    )
}
