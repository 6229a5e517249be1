//! Packages and overlay to a finished root.
//!
//! What maintainer scripts would do on the card is done here, as a function from values to a value: nothing
//! foreign runs, nothing is mounted, no clock is read. What is done for which package, and which files stay out
//! and why, is data: the base's root.toml, read into a [`Spec`].
//!
//! This crate does not know where packages come from, nor what becomes of the [`Root`]: squashfs, FAT and the
//! card's layout are other people's. [`overlay::read`] alone touches a disk.

mod alternatives;
mod assemble;
mod certificates;
pub mod compare;
mod control;
mod dpkg;
mod error;
mod files;
mod glob;
pub mod initrd;
pub mod modules;
pub mod overlay;
mod pam;
mod payload;
mod spec;
mod steps;
mod sysusers;
mod units;
mod users;
mod volatile;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

pub use assemble::LeftOut;
pub use assemble::kernel_release;
pub use dpkg::DATABASE;
pub use error::Error;
pub use glob::Glob;
pub use modules::{Module, Modules, Wanted};
pub use overlay::{Overlay, Replaced};
pub use spec::Spec;
pub use users::Users;

use pilotlight_tree::{Bytes, Package, Tree, TreePath};

/// What a root is made of.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The packages that are installed, the kernel's among them. Their order decides nothing.
    pub packages: &'a [Package],
    /// Packages of which only single files are taken, and their copyright: what the Pi hands to other machines.
    pub payload: &'a [Package],
    /// The base's root.toml and packages.toml.
    pub spec: &'a Spec,
    /// The architecture of the user land, as dpkg names it.
    pub architecture: &'a str,
    /// Which of the kernel's modules stay.
    pub modules: Wanted<'a>,
    /// Files of ours.
    pub overlay: &'a Overlay,
    /// Programs of ours: path, content, permission bits.
    pub services: &'a [(TreePath, Bytes, u16)],
    /// Version of the builder's own part.
    pub version: &'a str,
    /// SOURCE_DATE_EPOCH: the time of all that is made here, and the latest that a package's file keeps.
    pub epoch: u32,
}

/// A finished root and what belongs beside it.
#[derive(Debug, Clone)]
pub struct Root {
    /// The root file system.
    pub tree: Tree,
    /// The kernel, as the package ships it, not packed.
    pub kernel: Bytes,
    /// `uname -r` of the kernel.
    pub kernel_release: String,
    /// The kernel's device trees and overlays by their path below `/usr/lib/linux-image-RELEASE/`.
    pub device_trees: BTreeMap<String, Bytes>,
    /// The kernel's modules: for [`initrd::build`], and to ask which module a device would get.
    pub modules: Modules,
    /// The users and groups of the root.
    pub users: Users,
    /// Whose each file and link is: of the package that it comes from (payload too), or of the builder's own part
    /// for overlay and services. Folders are everyone's; what stands in for maintainer scripts is nobody's.
    pub owners: BTreeMap<TreePath, String>,
    /// Every file that a package ships and the root does not have.
    pub left_out: Vec<LeftOut>,
    /// Every file that a package ships and the root has otherwise.
    pub replaced: Vec<Replaced>,
    /// One line a package, installed and payload: `name version architecture`. Also in the root, at
    /// [`MANIFEST`].
    pub manifest: String,
}

/// Where the list of all packages lies in the root.
pub const MANIFEST: &str = "/usr/share/pilotlight/packages";

/// Makes the root.
///
/// # Errors
/// Packages that contradict each other, a package with a script that root.toml does not know, a user without a
/// number, a file that is needed and missing. [`Error`] says what to do.
pub fn build(inputs: &Inputs<'_>) -> Result<Root, Error> {
    let Inputs { spec, epoch, .. } = *inputs;
    let mut packages: Vec<Package> = inputs.packages.to_vec();
    packages.sort_by(|one, other| (&one.name, &one.architecture).cmp(&(&other.name, &other.architecture)));
    let steps = steps::of(spec, &packages)?;

    let assembled = assemble::assemble(&packages, spec)?;
    let assemble::Assembled { mut tree, mut owners, mut left_out, kernel, merge } = assembled;
    let owner = |path: &TreePath| owners.get(path).cloned().unwrap_or_default();
    let (modules, unwanted) = Modules::select(&mut tree, &kernel.release, inputs.modules, owner)?;
    left_out.extend(modules::without_empty_folders(&mut tree, &unwanted));
    left_out.extend(unwanted);
    modules.write_tables(&mut tree, epoch)?;

    let payload = payload::copy(&mut tree, inputs.payload, spec, epoch)?;
    let mut own = put_services(&mut tree, inputs.services, epoch)?;
    let (laid, replaced) = overlay::merge(&mut tree, &mut owners, &merge, inputs.overlay, spec)?;
    own.extend(laid);
    let manifest = manifest(&packages, inputs.payload);
    files::put_file(&mut tree, files::path(MANIFEST)?, manifest.clone(), 0o644, epoch);
    own.push(files::path(MANIFEST)?);
    owners.extend(own.iter().map(|path| (path.clone(), spec.raw.own.package.clone())));
    own.extend(payload.iter().map(|(path, _)| path.clone()));
    owners.extend(payload);
    owners.retain(|path, _| tree.get(path).is_some());

    let installed: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let extra = spec.raw.sysusers.iter().filter(|line| installed.contains(line.package.as_str()));
    let extra: Vec<_> =
        extra.map(|line| ("[[sysusers]] in packages.toml".to_owned(), line.line.clone())).collect();
    let users = Users::collect(&tree, spec, &extra)?;
    users.write(&mut tree, installed.contains("passwd"), spec.raw.shadow_day, epoch)?;
    for (what, step) in steps {
        steps::take(&mut tree, &what, step, &users, epoch)?;
    }
    pam::write(&mut tree, epoch)?;
    certificates::write(&mut tree, epoch)?;
    alternatives::write(&mut tree, spec, &installed, &merge, epoch)?;
    units::set_up(&mut tree, spec, epoch)?;
    let in_memory = volatile::write(&mut tree, epoch)?;
    owners.insert(in_memory.clone(), spec.raw.own.package.clone());
    own.push(in_memory);
    own.sort();
    own.dedup();
    dpkg::write(&mut tree, &packages, inputs, &own, &merge)?;
    clamp_times(&mut tree, epoch);
    Ok(Root {
        tree,
        kernel: kernel.image,
        kernel_release: kernel.release,
        device_trees: kernel.device_trees,
        modules,
        users,
        owners,
        left_out,
        replaced,
        manifest,
    })
}

fn put_services(
    tree: &mut Tree,
    services: &[(TreePath, Bytes, u16)],
    mtime: u32,
) -> Result<Vec<TreePath>, Error> {
    for (path, content, mode) in services {
        if tree.get(path).is_some() {
            return Err(Error::Occupied { path: path.clone(), what: "the services".to_owned() });
        }
        files::put_file(tree, path.clone(), content.clone(), *mode, mtime);
    }
    Ok(services.iter().map(|(path, ..)| path.clone()).collect())
}

fn manifest(packages: &[Package], payload: &[Package]) -> String {
    let mut lines = BTreeSet::new();
    for package in packages.iter().chain(payload) {
        lines.insert(format!("{} {} {}", package.name, package.version, package.architecture));
    }
    lines.iter().fold(String::new(), |mut text, line| {
        _ = writeln!(text, "{line}");
        text
    })
}

/// No file is newer than the build says, or two builds of one lock would differ by the packages' own times.
fn clamp_times(tree: &mut Tree, epoch: u32) {
    let late: Vec<TreePath> =
        tree.iter().filter(|(_, node)| node.meta.mtime > epoch).map(|(path, _)| path.clone()).collect();
    for path in late {
        if let Some(node) = tree.get_mut(&path) {
            node.meta.mtime = epoch;
        }
    }
}
