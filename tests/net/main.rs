//! Layer `net`: the daemons and other people's clients at the two ends of a cable, in namespaces of an ordinary
//! user.

mod amplify;
mod certificates;
mod channels;
mod clients;
mod conflicts;
mod crowd;
mod full;
mod guard;
mod hostile;
mod images;
mod installs;
mod keeper;
mod leases;
mod link;
mod log;
mod loss;
mod machines;
mod malice;
mod names;
mod nodes;
mod overflow;
mod power;
mod recognised;
mod refresh;
mod slow;
mod stage;
mod storm;
mod times;
mod transfers;
mod web;

use std::process::ExitCode;

fn main() -> ExitCode {
    pilotlight_tests::harness::main(
        "net",
        &[
            ("leases-udhcpc", leases::udhcpc),
            ("leases-dhclient", leases::dhclient),
            ("leases-dhcpcd", leases::dhcpcd),
            ("leases-reserved", leases::reserved),
            ("leases-networkd", clients::networkd),
            ("leases-nmap", clients::nmap),
            ("leases-perfdhcp", clients::perfdhcp),
            ("leases-slow-card", slow::card),
            ("leases-full-card", full::card),
            ("conflict-squatter", conflicts::squatter),
            ("guard-silent", guard::silent),
            ("guard-link", guard::link),
            ("tftp-atftp", transfers::atftp),
            ("tftp-curl", transfers::curl),
            ("tftp-hpa", transfers::tftp_hpa),
            ("tftp-loss", transfers::loss),
            ("tftp-single-port", transfers::single_port),
            ("tftp-restarted", transfers::restarted),
            ("tftp-restarted-on-one-port", transfers::restarted_on_one_port),
            ("tftp-narrow", transfers::narrow),
            ("http-protocol", web::protocol),
            ("http-nodes", nodes::told_and_heard),
            ("http-channels", channels::chosen),
            ("http-installs", installs::once),
            ("nodes-recognised", recognised::by_uuid_and_serial),
            ("http-certificates", certificates::by_token),
            ("http-images", images::by_skopeo),
            ("mirror-refresh", refresh::by_itself),
            ("http-crowd", crowd::crowd),
            ("http-restart", crowd::restart),
            ("dns-drill", names::drill),
            ("dns-upstream", names::upstream),
            ("ntp-chrony", times::chrony),
            ("storm-faults", storm::faults),
            ("storm-killed", storm::killed),
            ("mdns-link", link::announced),
            ("power-wake", power::magic),
            ("power-arms", power::by_power_cycle),
            ("power-silent", power::started_anew),
            ("power-web-switch", power::web_switch),
            ("power-redfish", power::redfish),
            ("log-killed", log::killed),
            ("hostile-dns", amplify::dns),
            ("hostile-ntp", amplify::ntp),
            ("hostile-dhcp", hostile::dhcp),
            ("hostile-dhcp-overflow", overflow::told),
            ("hostile-dhcp-starvation", malice::starvation),
            ("hostile-dhcp-bombs", malice::bombs),
            ("hostile-tftp", hostile::tftp),
            ("hostile-tftp-forged", transfers::forged),
            ("hostile-http", hostile::http),
        ],
    )
}
