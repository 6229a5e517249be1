//! The Debian installer's answers for one node.
//!
//! What is answered is not asked. So nothing that touches a disk is answered unless the node names the disk.

use std::fmt::Write;

use pilotlight_lab::{Lab, Node, ProfileKind};

/// The node's preseed file; none when its profile installs nothing.
pub fn preseed(lab: &Lab, node: &Node) -> Option<String> {
    let profile = lab.profiles.get(node.profile.as_deref()?)?;
    let ProfileKind::DebianInstaller { mirror, authorized_keys, .. } = &profile.kind else { return None };
    let mut out = String::new();
    _ = write!(
        out,
        "#_preseed_V1\n\
         # {name}: {title}. Rendered by Pilotlight from lab.toml.\n\
         \n\
         d-i debian-installer/locale string en_US.UTF-8\n\
         d-i keyboard-configuration/xkb-keymap select us\n\
         \n\
         # The name in lab.toml counts, whatever a DHCP server or the DNS says.\n\
         d-i netcfg/choose_interface select auto\n\
         d-i netcfg/get_hostname string {name}\n\
         d-i netcfg/hostname string {name}\n\
         d-i netcfg/get_domain string {domain}\n\
         d-i netcfg/wireless_wep string\n",
        name = node.name,
        title = profile.title,
        domain = lab.network.domain,
    );
    if let Some(mirror) = mirror {
        _ = write!(
            out,
            "\nd-i mirror/protocol string http\n\
             d-i mirror/country string manual\n\
             d-i mirror/http/hostname string {}\n\
             d-i mirror/http/directory string {}\n\
             d-i mirror/http/proxy string\n",
            mirror.host, mirror.directory,
        );
    }
    _ = write!(
        out,
        "\nd-i clock-setup/utc boolean true\n\
         d-i time/zone string Etc/UTC\n\
         # Asking a time server is of use only where there is a way out.\n\
         d-i clock-setup/ntp boolean {}\n",
        !lab.network.isolated(),
    );
    account(&mut out, authorized_keys);
    out.push_str(
        "\ntasksel tasksel/first multiselect standard, ssh-server\n\
         d-i pkgsel/include string sudo\n\
         popularity-contest popularity-contest/participate boolean false\n",
    );
    match &node.install_to {
        Some(disk) => one_disk(&mut out, disk),
        None => out.push_str(
            "\n# lab.toml names no disk of this machine (`install-to`): nothing about disks is answered here, the\n\
             # installer asks, and writes nothing before someone has said yes.\n",
        ),
    }
    out.push_str("\nd-i finish-install/reboot_in_progress note\n");
    Some(out)
}

fn account(out: &mut String, keys: &[String]) {
    out.push_str(
        "\n# root cannot log in; `pilot` may become root by sudo.\n\
         d-i passwd/root-login boolean false\n\
         d-i passwd/user-fullname string Pilotlight operator\n\
         d-i passwd/username string pilot\n",
    );
    if keys.is_empty() {
        out.push_str(
            "# lab.toml has no `authorized-keys`, and a password does not belong in a file that anyone on this\n\
             # network can read: the installer asks for one at the machine.\n",
        );
        return;
    }
    out.push_str(
        "# No password opens this account, only the SSH keys from lab.toml.\n\
         d-i passwd/user-password-crypted password *\n\
         d-i preseed/late_command string \\\n  mkdir -p /target/home/pilot/.ssh",
    );
    for key in keys {
        _ = write!(out, "; \\\n  echo '{key}' >> /target/home/pilot/.ssh/authorized_keys");
    }
    out.push_str(
        "; \\\n  echo 'pilot ALL=(ALL) NOPASSWD: ALL' > /target/etc/sudoers.d/pilot; \\\n  \
         chmod 0440 /target/etc/sudoers.d/pilot; \\\n  \
         in-target chown -R pilot:pilot /home/pilot/.ssh; \\\n  \
         in-target chmod -R go= /home/pilot/.ssh\n",
    );
}

/// Erases `disk` and installs to it, with every other disk out of sight.
///
/// Otherwise an EFI system partition on another disk, when it is found first, becomes this system's and is
/// written to (partman-efi's `fstab.d/efi` takes the first one). Filtering what `parted_devices` lists, before
/// partman asks it for the first time, leaves partman only the one disk to see. `readlink` makes names such as
/// `/dev/disk/by-id/…` into those that partman compares.
fn one_disk(out: &mut String, disk: &str) {
    _ = write!(
        out,
        "\n# lab.toml: install-to = \"{disk}\". That disk is ERASED. The installer is shown no other.\n\
         d-i partman/early_command string \\\n  \
         disk=$(readlink -f {disk}); \\\n  \
         debconf-set partman-auto/disk \"$disk\"; \\\n  \
         debconf-set grub-installer/bootdev \"$disk\"; \\\n  \
         list=$(command -v parted_devices); \\\n  \
         mv \"$list\" \"$list.all\"; \\\n  \
         echo '#!/bin/sh' > \"$list\"; \\\n  \
         echo \"$list.all | grep -w '^$disk'\" >> \"$list\"; \\\n  \
         chmod 0755 \"$list\"\n\
         d-i partman-auto/disk string {disk}\n\
         d-i partman-auto/method string regular\n\
         d-i partman-auto/choose_recipe select atomic\n\
         d-i partman-efi/non_efi_system boolean true\n\
         d-i partman-partitioning/confirm_write_new_label boolean true\n\
         d-i partman/choose_partition select finish\n\
         d-i partman/confirm boolean true\n\
         d-i partman/confirm_nooverwrite boolean true\n\
         d-i grub-installer/only_debian boolean true\n\
         d-i grub-installer/with_other_os boolean true\n\
         d-i grub-installer/bootdev string {disk}\n",
    );
}
