//! Runs the scenes of a layer, one after the other, each in a process of its own.
//!
//! A process of its own: a scene may enter namespaces, and whatever it started ends with it. One after the other:
//! machine scenes take most of a small computer. Two players may share a layer where its processors have room for both.

use std::{
    env,
    fs::{File, OpenOptions},
    io::{self, IsTerminal as _, Write as _},
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

use crate::process::end_with_this_thread;

/// A scene: its name and what it does.
pub type Scene = (&'static str, fn() -> Result<()>);

/// Names the one scene that this process is to play itself.
const PLAYED: &str = "PILOTLIGHT_SCENE";

/// Names the file that takes what failing scenes said, so that it can be told once more after all layers.
const FAILURES: &str = "PILOTLIGHT_FAILURES";

/// Names the folder in which players that share a layer take its scenes: each is played by who takes it first.
const TAKEN: &str = "PILOTLIGHT_TAKEN";

/// The `main` of a layer. Arguments are parts of the names of the scenes to run; all run without any.
pub fn main(layer: &str, scenes: &[Scene]) -> ExitCode {
    match env::var(PLAYED) {
        Ok(name) => play(&name, scenes),
        Err(_) => match run(layer, scenes, env::args().skip(1)) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(fault) => {
                eprintln!("error: {fault:#}");
                ExitCode::from(2)
            }
        },
    }
}

fn play(name: &str, scenes: &[Scene]) -> ExitCode {
    let Some((_, scene)) = scenes.iter().find(|(known, _)| *known == name) else {
        eprintln!("error: there is no scene {name:?}");
        return ExitCode::from(2);
    };
    match scene() {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("error: {fault:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(layer: &str, scenes: &[Scene], arguments: impl Iterator<Item = String>) -> Result<bool> {
    let (mut parts, mut list, mut exact, mut backwards) = (Vec::new(), false, false, false);
    for argument in arguments {
        match argument.as_str() {
            "--list" => list = true,
            "--exact" => exact = true,
            "--backwards" => backwards = true,
            // cargo's habits: what a scene says is shown when it fails, and its threads are its own affair.
            "--nocapture" | "--quiet" | "-q" | "--test-threads=1" => {}
            option if option.starts_with('-') => bail!("{option} is not known; give parts of scene names"),
            _ => parts.push(argument),
        }
    }
    let wanted = |name: &str| {
        parts.is_empty()
            || parts.iter().any(|part| if exact { name == part } else { name.contains(part.as_str()) })
    };
    let mut chosen: Vec<&Scene> = scenes.iter().filter(|(name, _)| wanted(name)).collect();
    if backwards {
        chosen.reverse();
    }
    if list {
        chosen.iter().for_each(|(name, _)| println!("{name}: test"));
        return Ok(true);
    }
    if chosen.is_empty() {
        bail!("layer {layer} has no scene that is called {}; --list shows them", parts.join(" or "));
    }
    let taken = env::var_os(TAKEN);
    let (mut played, mut failed) = (0, Vec::new());
    for (name, _) in &chosen {
        if let Some(folder) = &taken
            && !take(Path::new(folder), layer, name)?
        {
            continue;
        }
        played += 1;
        if !run_one(layer, name)? {
            failed.push(*name);
        }
    }
    println!("\n{layer}: {played} scenes, {} failed", failed.len());
    failed.iter().for_each(|name| println!("    {name}"));
    Ok(failed.is_empty())
}

/// Takes a scene, unless another player has.
fn take(folder: &Path, layer: &str, name: &str) -> Result<bool> {
    match File::create_new(folder.join(format!("{layer}-{name}"))) {
        Ok(_) => Ok(true),
        Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(fault) => Err(fault).with_context(|| format!("could not take scene {name}")),
    }
}

fn keep_failure(text: &str) -> Result<()> {
    let Some(path) = env::var_os(FAILURES) else { return Ok(()) };
    let file = OpenOptions::new().append(true).create(true).open(&path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).context("could not note what failed")
}

fn run_one(layer: &str, name: &str) -> Result<bool> {
    print!("{layer}: {name} ... ");
    io::stdout().flush().ok();
    let mut command = Command::new(env::current_exe().context("could not find the test's own program")?);
    command.env(PLAYED, name).stdin(Stdio::null());
    end_with_this_thread(&mut command);
    let start = Instant::now();
    let output = command.output().with_context(|| format!("could not start scene {name}"))?;
    let seconds = start.elapsed().as_secs_f64();
    let (colour, plain) = if io::stdout().is_terminal() { ("\x1b[31m", "\x1b[0m") } else { ("", "") };
    if output.status.success() {
        println!("ok, {seconds:.1} s");
        for note in String::from_utf8_lossy(&output.stdout).lines() {
            println!("    {note}");
        }
    } else {
        println!("{colour}FAILED{plain}, {seconds:.1} s, {}", output.status);
        let texts = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        let said: String =
            texts.iter().flat_map(|text| text.lines()).map(|line| format!("    {line}\n")).collect();
        print!("{said}");
        keep_failure(&format!("{layer}: {name}\n{said}"))?;
    }
    Ok(output.status.success())
}
