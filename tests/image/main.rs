//! Layer `image`: the finished image, judged by other people's checkers and by the packages it was made of.

mod certificates;
mod checkers;
mod configurations;
mod cut;
mod flash;
mod inventory;
mod ours;
mod packages;

use std::process::ExitCode;

fn main() -> ExitCode {
    pilotlight_tests::harness::main(
        "image",
        &[
            ("partition-table", checkers::table),
            ("boot-file-system", checkers::boot),
            ("root-file-system", checkers::root),
            ("data-file-system", checkers::data),
            ("block-map", checkers::block_map),
            ("package-files", packages::files),
            ("package-digests", packages::digests),
            ("manifest", inventory::manifest),
            ("package-database", inventory::database),
            ("network-adapters", ours::network_adapters),
            ("units-are-confined", ours::units),
            ("no-path-of-the-builder", ours::no_path_of_the_builder),
            ("certificates", certificates::by_openssl),
            ("configurations", configurations::by_their_readers),
            ("lab-on-the-boot-partition", ours::lab),
            ("flash-to-a-file", flash::file),
            ("flash-to-a-disk", flash::disk),
            ("packed-for-download", flash::packed),
        ],
    )
}
