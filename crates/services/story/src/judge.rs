//! Where a boot stands, and the likeliest reason why it goes no further.

use pilotlight_lab::{Lab, ProfileKind};

use crate::{
    Machine, Stage, Step, Told, What, When,
    read::is_searched,
    tell::{seconds, step_words},
};

/// How long a machine may be silent on its way before it counts as stopped, in milliseconds: firmware asks again after
/// 32 s at the latest.
const PATIENCE_MS: u64 = 60_000;
/// The same for a system that is installing itself.
const PATIENCE_OF_SYSTEMS_MS: u64 = 45 * 60_000;

/// Where a boot stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The log has nothing of this machine.
    Unheard,
    /// It was heard of a moment ago.
    UnderWay,
    /// It went no further than this.
    Stopped(Stage),
    /// It went the way that lab.toml says, of which the Pi sees no more.
    Left,
    /// It has reported itself ready.
    Ready,
}

/// A state, why, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The state.
    pub state: State,
    /// Why, in words.
    pub words: String,
    /// What to look at.
    pub advice: Option<String>,
}

/// What else is known.
pub(crate) struct Setting<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) machine: &'a Machine,
    pub(crate) now: When,
    /// Why the Pi answers nobody, when it does not.
    pub(crate) silent: Option<&'a str>,
    /// Machines that asked and that the lab has no name for.
    pub(crate) strangers: &'a [String],
}

pub(crate) fn judge(steps: &[Step], setting: &Setting<'_>) -> Judgement {
    let Some(last) = steps.last() else { return unheard(setting) };
    let reached = steps.iter().map(|step| step.stage).max().unwrap_or(Stage::Address);
    if reached == Stage::Ready {
        return judgement(State::Ready, "it has reported itself ready", None);
    }
    let quiet = setting.now.since(last.last);
    let patience = if reached == Stage::Configuration { PATIENCE_OF_SYSTEMS_MS } else { PATIENCE_MS };
    if quiet < patience {
        let words = format!("under way; heard of {} s ago: {}", seconds(quiet), step_words(last));
        return judgement(State::UnderWay, words, None);
    }
    match last.stage {
        Stage::Address => address(last, steps, reached, setting),
        stage => fetch(last, stage, setting),
    }
}

fn judgement(state: State, words: impl Into<String>, advice: Option<&str>) -> Judgement {
    Judgement { state, words: words.into(), advice: advice.map(str::to_owned) }
}

fn stopped(stage: Stage, words: impl Into<String>, advice: &str) -> Judgement {
    judgement(State::Stopped(stage), words, Some(advice).filter(|advice| !advice.is_empty()))
}

fn unheard(setting: &Setting<'_>) -> Judgement {
    if let Some(reason) = setting.silent {
        let words = format!("the Pi answers nobody: {reason}");
        return judgement(State::Unheard, words, None);
    }
    let advice = match (setting.strangers, &setting.machine.name) {
        ([], _) => {
            "is it switched on, its cable in the Pi's switch, and booting from this network card first in its firmware?"
                .to_owned()
        }
        (strangers, Some(_)) => format!(
            "machines that lab.toml does not name have asked: {}; is it one of them, under another card's address?",
            strangers.join(", ")
        ),
        (strangers, None) => format!("these have asked: {}", strangers.join(", ")),
    };
    let node = setting.machine.name.as_ref().and_then(|name| setting.lab.node_by_name(name));
    let words = match node.filter(|node| !node.is_met()).and_then(|node| node.identity.as_ref()) {
        Some(identity) => format!("no machine with the {identity} has asked for anything"),
        None => "it never asked for an address".to_owned(),
    };
    judgement(State::Unheard, words, Some(&advice))
}

fn address(last: &Step, steps: &[Step], reached: Stage, setting: &Setting<'_>) -> Judgement {
    let stage = Stage::Address;
    match &last.what {
        What::Unanswered { kind, reason } => match &**kind {
            "unknown-machine" => stopped(
                stage,
                "the Pi does not know it, and has no pool of addresses for machines that it does not know",
                "give it an entry under [[nodes]] in lab.toml, or the network a [network.pool]",
            ),
            "pool-exhausted" => stopped(
                stage,
                "all addresses of the pool are given out",
                "make [network.pool] larger, or the lease shorter",
            ),
            "not-for-us" => stopped(
                stage,
                format!("it took another server's offer: {reason}"),
                "two DHCP servers are on this wire: unplug the other one, or set mode = \"proxy\" in lab.toml",
            ),
            "silent" => stopped(
                stage,
                reason.clone(),
                "unplug the other server, or set mode = \"proxy\" in lab.toml to boot machines beside it",
            ),
            _ => stopped(stage, format!("its question was left unanswered: {reason}"), ""),
        },
        What::Offered(_, Told::NoLoader(number)) => no_loader(*number),
        What::Offered(Some(address), _) => stopped(
            stage,
            format!(
                "it was offered {address} and never asked for it: the offer did not reach it, or another server's pleased it better"
            ),
            "look for a second DHCP server, and for a switch port that takes half a minute to come up (spanning tree)",
        ),
        What::Offered(None, _) => stopped(
            stage,
            "it was told where to boot from and never asked for it: no other server gave it an address, or it took that one's word",
            "is the network's own DHCP server up, and does it name a boot file of its own?",
        ),
        What::Given(address, told) => given(address.as_deref(), told, steps, reached, setting),
        What::Refused(address, message) => stopped(
            stage,
            format!("it was refused {address} ({message}) and did not ask again"),
            "it asks for an address of another network, or of former times",
        ),
        What::Trouble(reason) => stopped(stage, reason.clone(), ""),
        _ => stopped(stage, "it went no further", ""),
    }
}

fn given(
    address: Option<&str>,
    told: &Told,
    steps: &[Step],
    reached: Stage,
    setting: &Setting<'_>,
) -> Judgement {
    let has =
        address.map_or("it has its address".to_owned(), |address| format!("it has its address {address}"));
    match told {
        Told::NoLoader(number) => no_loader(*number),
        Told::Loader(file) => stopped(
            Stage::Loader,
            format!("{has}, was told to fetch {file}, and never asked for it"),
            "its firmware's way to the Pi is barred (a firewall, another subnet, a VLAN), or somebody stopped it at the keyboard",
        ),
        Told::Script(file) => stopped(
            Stage::Script,
            format!("its iPXE has an address, was told to fetch {file}, and never asked for it"),
            "does anything stand between the machine and port 80 of the Pi?",
        ),
        Told::RaspberryPi => stopped(
            Stage::Loader,
            format!(
                "{has} and asked for none of its files: the boot ROM of a Raspberry Pi gives up after a few seconds"
            ),
            "power it off and on again",
        ),
        Told::Nothing if reached >= Stage::Configuration => waiting(),
        Told::Nothing if reached >= Stage::Kernel => {
            if installs(setting) {
                return stopped(
                    Stage::Configuration,
                    "its kernel runs and has asked for an address, and never asked for its configuration",
                    "look at its screen: the installer may have found several network cards, or none that it can use",
                );
            }
            let words = "its kernel runs and has asked for an address; lab.toml has no configuration for it: the installer asks at the machine";
            judgement(State::Left, words, None)
        }
        Told::Nothing if reached >= Stage::Loader => local(setting),
        Told::Nothing => {
            let firmware = steps.iter().any(|step| match &step.what {
                What::Offered(_, told) | What::Given(_, told) => *told != Told::Nothing,
                _ => false,
            });
            if firmware {
                return stopped(
                    Stage::Loader,
                    "its firmware was given an address and did not boot from the network; then a system that it has already asked for one",
                    "somebody stopped it at the keyboard, or its firmware's way to the Pi is barred",
                );
            }
            stopped(
                Stage::Address,
                "a system that runs on it asked for an address, and its firmware did not: it does not boot from the network",
                "put this network card first in its firmware's boot order, and switch PXE on for it",
            )
        }
    }
}

fn no_loader(number: u64) -> Judgement {
    stopped(
        Stage::Loader,
        format!("its firmware is of architecture {number}, for which the Pi has no boot loader"),
        "docs/clients.md says which there are",
    )
}

fn fetch(last: &Step, stage: Stage, setting: &Setting<'_>) -> Judgement {
    let barred = "a bad cable, a switch port at half duplex, or firmware that hung";
    match &last.what {
        What::Missing(file, _) if is_searched(file) => stopped(
            stage,
            format!("it asked for {} and then nothing: none was there", searched(file, last.times)),
            "which file does its loader want? pilotctl events shows each name",
        ),
        What::Missing(file, reason) => {
            stopped(stage, format!("it asked for {file} and was refused it: {reason}"), "")
        }
        What::Broken(file, reason) => {
            let then = match stage {
                Stage::Kernel => "its firmware never got the kernel",
                Stage::Initrd => "its firmware never got all that the kernel needs",
                _ => "it never got all of it",
            };
            stopped(stage, format!("it asked for {file} and then nothing: {then}; {reason}"), barred)
        }
        What::Begun(file, _) => stopped(
            stage,
            format!("it asked for {file}, stopped that itself, and did not go on"),
            "firmware asks how long a file is before it fetches it: this one did not like the answer, or hung",
        ),
        What::Fetched(file, ..) => fetched(file, stage, setting),
        What::Disk(_) => waiting(),
        What::Reported(_) => judgement(State::Ready, "it has reported itself ready", None),
        _ => stopped(stage, "it went no further", ""),
    }
}

/// Everything that it asked for, it got.
fn fetched(file: &str, stage: Stage, setting: &Setting<'_>) -> Judgement {
    match stage {
        Stage::Loader if file.ends_with(".efi") => stopped(
            stage,
            format!("it has all of {file} and then nothing: its firmware does not start it"),
            "Secure Boot refuses a loader without a signature: switch it off in the firmware",
        ),
        Stage::Loader => stopped(
            stage,
            format!("it has all of {file} and then nothing: it hung when it was started"),
            "another loader may do better: loader = \"pxelinux\" in its entry of lab.toml",
        ),
        Stage::Script if file.ends_with("boot.ipxe") || file.ends_with("autoexec.ipxe") => stopped(
            stage,
            format!("it has {file}, which is everybody's, and never asked for its own script"),
            "look at its screen: iPXE says what it could not do",
        ),
        Stage::Script if installs(setting) => stopped(
            Stage::Kernel,
            format!("it asked for {file} and then nothing: its firmware never got the kernel"),
            "look at its screen: somebody chose something else, or what the script names cannot be fetched",
        ),
        Stage::Script => local(setting),
        Stage::Kernel => stopped(
            Stage::Initrd,
            format!("it has its kernel, {file}, and never asked for what the kernel begins with"),
            "look at its screen: there may be too little memory",
        ),
        Stage::Initrd => stopped(
            Stage::Configuration,
            "it has all that its kernel needs and was not heard of since",
            "the kernel does not start, or has no driver for this network card: look at its screen",
        ),
        _ => waiting(),
    }
}

fn waiting() -> Judgement {
    stopped(
        Stage::Ready,
        "it has fetched everything and never reported itself ready",
        "its installer is still at work, waits for an answer at the machine, or has failed: look at its screen",
    )
}

fn local(setting: &Setting<'_>) -> Judgement {
    let words = match profile(setting) {
        Some(profile) => {
            format!("it has its script, which says {profile}: from here on it goes by its own disk")
        }
        None => "it has its menu: when nobody chooses, it boots from its own disk".to_owned(),
    };
    judgement(State::Left, words, None)
}

fn profile<'a>(setting: &Setting<'a>) -> Option<&'a str> {
    setting.lab.node_by_mac(setting.machine.mac)?.boots()
}

/// Whether the lab has it installed from the network.
fn installs(setting: &Setting<'_>) -> bool {
    let kind = profile(setting).and_then(|name| setting.lab.profiles.get(name)).map(|profile| &profile.kind);
    kind.is_some_and(|kind| *kind != ProfileKind::LocalDisk)
}

/// Names that are looked for one after the other, as one.
pub(crate) fn searched(file: &str, times: u64) -> String {
    let (kind, of) = match file.split_once("pxelinux.cfg/") {
        Some(_) => ("pxelinux.cfg/…", "names"),
        None => ("grub.cfg-…", "names"),
    };
    if times > 1 { format!("{kind} ({times} {of})") } else { file.to_owned() }
}
