//! `cargo xtask test`: every layer, or those named. A layer that fails does not hide the next one.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
    process::ExitCode,
    thread::ScopedJoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::{Args, ValueEnum};
use pilotlight_card::{ImageRequest, Toolset, Workshop};
use xshell::{Cmd, Shell, cmd};

use crate::{BOARD, Source, mend, ui};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The layers to run, in this order [default: all]
    layers: Vec<Layer>,
    /// A layer to leave out, loudly; may be given more than once
    #[arg(long, value_name = "LAYER")]
    skip: Vec<Layer>,
    #[command(flatten)]
    source: Source,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Layer {
    /// Formatting, lints, documentation and each crate's own tests
    Unit,
    /// The services against real clients in network namespaces
    Net,
    /// The finished image against its packages, and bad input against the builder
    Image,
    /// The image booted in QEMU, and PCs that boot from it
    Boot,
}

impl Layer {
    fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Net => "net",
            Self::Image => "image",
            Self::Boot => "boot",
        }
    }
}

/// The daemons that the benches run on this machine, and what is loaded into one.
pub(crate) const DAEMONS: &[&str] = &[
    "pilotlight-ctl",
    "pilotlight-dhcp",
    "pilotlight-dns",
    "pilotlight-http",
    "pilotlight-lab-state",
    "pilotlight-ntp",
    "pilotlight-pki",
    "pilotlight-power",
    "pilotlight-refresh",
    "pilotlight-slow-card",
    "pilotlight-tftp",
];

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let workspace = ui::workspace()?;
    // What failing scenes said stands among an hour's output: it is told once more at the end.
    let failures = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    let shell = || -> anyhow::Result<Shell> {
        let shell = shell(&workspace)?;
        shell.set_var("PILOTLIGHT_FAILURES", failures.path());
        Ok(shell)
    };
    let all = [Layer::Unit, Layer::Net, Layer::Image, Layer::Boot];
    let wanted = if arguments.layers.is_empty() { all.to_vec() } else { arguments.layers.clone() };
    let mut results = Vec::new();
    let wants = |layer| wanted.contains(&layer) && !arguments.skip.contains(&layer);
    let image_follows = wants(Layer::Image) || wants(Layer::Boot);
    let both_follow = wants(Layer::Image) && wants(Layer::Boot);
    for &layer in &wanted {
        if arguments.skip.contains(&layer) {
            results.push((layer, "SKIPPED by --skip".to_owned()));
            continue;
        }
        if both_follow && layer == Layer::Image {
            continue;
        }
        eprintln!("\n== layer {} ==", layer.name());
        let alone = |outcome: &dyn Fn() -> anyhow::Result<()>| {
            let start = Instant::now();
            vec![Played { layer, outcome: outcome(), time: start.elapsed() }]
        };
        let played = match layer {
            Layer::Unit => alone(&|| unit(&shell()?)),
            Layer::Net if image_follows => std::thread::scope(|scope| {
                scope.spawn(|| ahead(&workspace, &arguments.source));
                alone(&|| system(&shell()?, &workspace, &arguments.source, layer, &[]))
            }),
            Layer::Boot if both_follow => image_beside_boot(&shell, &workspace, &arguments.source),
            Layer::Net | Layer::Image | Layer::Boot => {
                alone(&|| system(&shell()?, &workspace, &arguments.source, layer, &[]))
            }
        };
        results.extend(played.into_iter().map(|played| (played.layer, played.told())));
    }
    let said = std::fs::read_to_string(failures.path()).context("cannot read what failed")?;
    if !said.is_empty() {
        print!("\nwhat failed:\n{said}");
    }
    println!("\nlayers:");
    for (layer, result) in &results {
        println!("  {:<6} {result}", layer.name());
    }
    let failed = results.iter().any(|(_, result)| result.starts_with("FAILED"));
    Ok(ExitCode::from(u8::from(failed)))
}

/// A layer that was played.
struct Played {
    layer: Layer,
    outcome: anyhow::Result<()>,
    time: Duration,
}

impl Played {
    /// Tells what went wrong, and gives the layer's line for the end.
    fn told(self) -> String {
        let time = ui::seconds(self.time);
        match self.outcome {
            Ok(()) => format!("passed in {time}"),
            Err(error) => {
                ui::tell(&error);
                format!("FAILED after {time}")
            }
        }
    }
}

/// Plays the layers `image` and `boot` at one time. An emulated machine takes little more than one processor: the scenes of
/// `image` compute with what it leaves. When they are through, a second player takes scenes of `boot`, from the end, where they
/// have several machines and much of their time is waiting. What it and `image` say is told when the first player is through.
fn image_beside_boot(
    shell: &(dyn Fn() -> anyhow::Result<Shell> + Sync),
    workspace: &Path,
    source: &Source,
) -> Vec<Played> {
    let start = Instant::now();
    let needs = mend::lock(source, || needs(&shell()?, workspace, source, Layer::Boot));
    let taken = tempfile::tempdir().context("cannot make a folder for the scenes that are taken");
    let (mut needs, taken) = match needs.and_then(|needs| Ok((needs, taken?))) {
        Ok(both) => both,
        Err(error) => {
            let failed = |layer, error| Played { layer, outcome: Err(error), time: start.elapsed() };
            let both = anyhow!("layer boot needs the same as layer image");
            return vec![failed(Layer::Image, error), failed(Layer::Boot, both)];
        }
    };
    needs.push(("PILOTLIGHT_TAKEN", taken.path().to_owned()));
    let play = |layer, arguments: &[String], run: &dyn Fn(Cmd<'_>) -> anyhow::Result<()>| {
        let start = Instant::now();
        let outcome = shell().and_then(|shell| run(scenes(&shell, layer, &needs, arguments)));
        Played { layer, outcome, time: start.elapsed() }
    };
    let aside = |layer, arguments: &[String]| {
        let said = RefCell::new(String::new());
        let played = play(layer, arguments, &|scenes| {
            let output = undisturbed(scenes).ignore_status().output()?;
            let texts = [&output.stderr, &output.stdout].map(|text| String::from_utf8_lossy(text));
            *said.borrow_mut() = texts.concat();
            ensure!(
                output.status.success(),
                "the scenes of layer {} failed: {}",
                layer.name(),
                output.status
            );
            Ok(())
        });
        (played, said.into_inner())
    };
    let (image, second, mut boot) = std::thread::scope(|scope| {
        let image = scope.spawn(|| {
            yield_to_all();
            aside(Layer::Image, &[])
        });
        let others = scope.spawn(|| {
            let image = joined(image);
            (image, aside(Layer::Boot, &["--backwards".to_owned()]))
        });
        let boot = play(Layer::Boot, &[], &step);
        let (image, second) = joined(others);
        (image, second, boot)
    });
    for ((played, said), meanwhile) in [(&second, "by the second player"), (&image, "meanwhile")] {
        eprintln!("\n== layer {}, played {meanwhile} ==", played.layer.name());
        print!("{said}");
    }
    boot.outcome = boot.outcome.and(second.0.outcome);
    boot.time = start.elapsed();
    vec![image.0, boot]
}

/// What a thread comes to, with its panic.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A shell in the workspace that tells the scenes where this very program is. It is asked now: cargo, which puts all that it
/// builds in its place anew, leaves a program that runs without a name.
fn shell(workspace: &Path) -> anyhow::Result<Shell> {
    let shell = Shell::new()?;
    shell.change_dir(workspace);
    shell.set_var("PILOTLIGHT_XTASK", std::env::current_exe().context("cannot find this very program")?);
    Ok(shell)
}

fn unit(shell: &Shell) -> anyhow::Result<()> {
    let cargo = cargo();
    step(cmd!(shell, "{cargo} fmt --all --check"))?;
    step(cmd!(shell, "{cargo} clippy --locked --workspace --all-targets -- -D warnings"))?;
    let docs = cmd!(shell, "{cargo} doc --locked --workspace --no-deps --document-private-items");
    step(docs.env("RUSTDOCFLAGS", "-D warnings"))?;
    step(cmd!(shell, "{cargo} test --locked --workspace"))
}

/// Compiles the Pi's programs while scenes run that do without them, and mostly wait: only with what those leave of the
/// processors. What goes wrong here does so once more where the image is made, and is told there.
fn ahead(workspace: &Path, source: &Source) {
    yield_to_all();
    let _ = Workshop::open(workspace, &source.settings()).and_then(|workshop| workshop.compile_ahead());
}

/// Lets this thread, and what it starts, have only what others leave of the processors. Without it those are slower.
fn yield_to_all() {
    let _ = rustix::process::setpriority_process(None, 19);
}

/// Runs the long runs of the layer `boot` instead of its scenes.
pub(crate) fn soak(source: &Source, parts: &[String], seed: u64) -> anyhow::Result<()> {
    let workspace = ui::workspace()?;
    let shell = shell(&workspace)?;
    shell.set_var("PILOTLIGHT_SOAK", "1");
    shell.set_var("PILOTLIGHT_SEED", seed.to_string());
    system(&shell, &workspace, source, Layer::Boot, parts)
}

/// The layers that need the tools, and some of them the image. Of its scenes those run whose names have one of `parts` in
/// them; all do without any.
fn system(
    shell: &Shell,
    workspace: &Path,
    source: &Source,
    layer: Layer,
    parts: &[String],
) -> anyhow::Result<()> {
    let needs = mend::lock(source, || needs(shell, workspace, source, layer))?;
    step(scenes(shell, layer, &needs, parts))
}

/// What the scenes of a layer find in their environment, made where it is not there yet.
type Needs = Vec<(&'static str, PathBuf)>;

fn needs(shell: &Shell, workspace: &Path, source: &Source, layer: Layer) -> anyhow::Result<Needs> {
    let workshop = Workshop::open(workspace, &source.settings())?;
    let tools = |set| -> anyhow::Result<PathBuf> { Ok(workshop.toolbox(set)?.folder().to_owned()) };
    let mut needs = vec![("PILOTLIGHT_TOOLS_CLIENTS", tools(Toolset::Clients)?)];
    if layer == Layer::Net {
        needs.push(("PILOTLIGHT_DAEMONS", programs(shell, workspace, Profile::Dev)?));
    } else {
        needs.push(("PILOTLIGHT_TOOLS_CHECKERS", tools(Toolset::Checkers)?));
        needs.push(("PILOTLIGHT_TOOLS_DESK", tools(Toolset::Desk)?));
        needs.push(("PILOTLIGHT_TOOLS_EMULATOR", tools(Toolset::Emulator)?));
        needs.push(("PILOTLIGHT_IMAGE", workshop.image(&ImageRequest::board(BOARD))?.image));
    }
    Ok(needs)
}

/// What plays the scenes of a layer, or those whose names have one of `parts` in them; these may be the harness's options, too.
fn scenes<'a>(shell: &'a Shell, layer: Layer, needs: &Needs, parts: &[String]) -> Cmd<'a> {
    let targets: &[&str] = match layer {
        Layer::Image => &["image", "faults"],
        other => &[other.name()],
    };
    let cargo = cargo();
    let targets = targets.iter().flat_map(|name| ["--test", *name]);
    // One scene at a time for each player: two cores emulate one machine, and namespaces share them too.
    let tests = cmd!(
        shell,
        "{cargo} test --locked --no-fail-fast --workspace {targets...} -- --test-threads=1 {parts...}"
    );
    tests.envs(needs.iter().map(|(name, path)| (name, path)))
}

/// How programs for this machine are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile<'a> {
    /// As the tests are, together with the rest of the workspace: nothing is compiled twice.
    Dev,
    /// As on the card, of these packages alone.
    Release(&'a [&'a str]),
}

/// Builds programs for this machine and says where they are.
pub(crate) fn programs(shell: &Shell, workspace: &Path, profile: Profile<'_>) -> anyhow::Result<PathBuf> {
    let cargo = cargo();
    let (flags, folder) = match profile {
        Profile::Dev => (vec!["--workspace"], "debug"),
        Profile::Release(packages) => {
            let packages = packages.iter().flat_map(|name| ["--package", *name]);
            (["--release"].into_iter().chain(packages).collect(), "release")
        }
    };
    step(cmd!(shell, "{cargo} build --locked {flags...}"))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let folder = target.join(folder);
    if !folder.join("pilotlight-dhcpd").is_file() {
        bail!("cargo built the daemons, but {} holds no pilotlight-dhcpd", folder.display());
    }
    Ok(folder)
}

pub(crate) fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

/// Runs a cargo.
pub(crate) fn step(command: Cmd<'_>) -> anyhow::Result<()> {
    Ok(undisturbed(command).run()?)
}

/// A cargo as if nobody had started this program by one. What cargo says of xtask's package in the environment would be
/// another environment to build scripts that look at such, and all that hangs on them would be compiled anew.
fn undisturbed(mut command: Cmd<'_>) -> Cmd<'_> {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_")
            || name.to_string_lossy().starts_with("CARGO_MANIFEST_")
        {
            command = command.env_remove(name);
        }
    }
    command
}
